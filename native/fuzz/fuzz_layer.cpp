// Layers of the fuzzer's bytes against plain loops: int8 to the last bit, float32 within what its
// roundings can make; with all kernels that the processor has, all forms, on one to three threads.
// For libFuzzer, and for main.cpp.
#include <cstdio>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "../src/kernels.h"
#include "../src/packing.h"
#include "../src/pool.h"
#include "layer_case.h"

namespace {

constexpr int kMostThreads = 3;

// A pool of each size, made once: threads take longer to start than layers to run.
lcnn::Pool& pool(int threads) {
  static lcnn::Pool pools[] = {lcnn::Pool(1), lcnn::Pool(2), lcnn::Pool(3)};
  return pools[threads - 1];
}

std::vector<const lcnn::Kernels*> kernels_here() {
  std::vector<const lcnn::Kernels*> here;
  for (const char* name : {"avx512", "avxvnni", "avx2", "neondot", "neon", "portable"}) {
    if (const lcnn::Kernels* kernels = lcnn::kernels(name)) here.push_back(kernels);
  }
  return here;
}

template <typename T>
void check(const fuzz::LayerCase<T>& layer, const std::vector<T>& y, const std::string& what) {
  for (size_t i = 0; i < y.size(); ++i) {
    if (std::abs(static_cast<double>(y[i]) - layer.y[i]) <= layer.bound[i]) continue;
    const lcnn::Shape& s = layer.spec.shape;
    std::fprintf(stderr, "%s: value %zu of %zu is %g, not %g within %g: k=%d m=%d n=%d %dx%d\n",
                 what.c_str(), i, y.size(), static_cast<double>(y[i]), layer.y[i], layer.bound[i],
                 s.k, s.m, s.n, s.kh, s.kw);
    std::abort();
  }
}

template <typename T>
void run(fuzz::Reader* in) {
  static const std::vector<const lcnn::Kernels*> here = kernels_here();
  const int choice = in->byte();
  const lcnn::Kernels& kernels = *here[static_cast<size_t>(choice) % here.size()];
  const char* form = sizeof(T) == 4 && choice % 2 != 0 ? "planes" : "registers";
  // Seldom several: where there are fewer cores they wait for each other.
  const int threads = in->seldom(32) ? 2 + in->below(kMostThreads - 1) : 1;
  fuzz::LayerCase<T> layer;
  fuzz::make(in, &layer);
  if (!lcnn::plausible(layer.spec.shape, !layer.spec.dictionary.empty())) {
    std::fprintf(stderr, "a layer is not plausible\n");
    std::abort();
  }
  const auto made = lcnn::make_layer(layer.spec, kernels, form);
  made->prepare(threads);
  std::vector<T> y(layer.y.size());
  for (int times = 0; times < 2; ++times) {
    std::memset(static_cast<void*>(y.data()), 0x55, y.size() * sizeof(T));
    made->run(layer.x.data(), y.data(), pool(threads));
    check(layer, y, made->kernel + (sizeof(T) == 1 ? " int8 on " : " float32 on ") +
                        std::to_string(threads) + " threads");
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzz::Reader in(data, size);
  if (in.flag()) {
    run<int8_t>(&in);
  } else {
    run<float>(&in);
  }
  return 0;
}
