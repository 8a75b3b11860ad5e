// What is packed holds each coefficient once, where a kernel reads it, and nothing else.
#include "../src/packing.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

namespace {

int failures = 0;

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

using Place = std::tuple<int, int, int>;  // filter, kernel row, element of the row of S

template <typename T>
lcnn::Spec<T> layer(int k, int n, int kernel, int dilation, int one_in, std::mt19937* random) {
  lcnn::Spec<T> spec;
  spec.shape.m = 5;
  spec.shape.k = k;
  spec.shape.n = n;
  spec.shape.kh = spec.shape.kw = kernel;
  spec.shape.dilation_w = dilation;
  for (int filter = 0; filter < n; ++filter) {
    for (int r = 0; r < kernel; ++r) {
      for (int c = 0; c < kernel; ++c) {
        for (int i = 0; i < k; ++i) {
          if ((*random)() % static_cast<unsigned>(one_in) != 0) continue;
          spec.coefficients.push_back({filter, r, c, i, static_cast<T>(1 + (*random)() % 100)});
        }
      }
    }
  }
  spec.values.s_bias.resize(k);
  spec.values.y_bias.resize(n);
  if constexpr (sizeof(T) == 1) {
    spec.values.s_scale.resize(k);
    spec.values.y_scale.resize(n);
  }
  spec.dictionary.resize(static_cast<size_t>(k) * spec.shape.m);
  for (T& value : spec.dictionary) value = static_cast<T>((*random)() % 100);
  return spec;
}

// Reads a block as kernels.h says; what it sums, by place.
template <typename T>
void read(const lcnn::Lookups<T>& l, int block, int lanes, int window, const std::string& what,
          std::map<Place, T>* sums) {
  constexpr int kTerms = lcnn::terms<T>();
  const auto add = [&](const lcnn::Step& step, int lane, int element, T value) {
    if (value == 0) return;
    const Place place{block * lanes + lane, step.row, step.offset + element};
    check(sums->emplace(place, value).second, what + ": a lookup twice");
  };
  for (int g = 0; g < l.steps; ++g) {
    for (int at = 0; at < lanes * kTerms; ++at) {
      const size_t place = static_cast<size_t>(g) * lanes * kTerms + at;
      check(l.index[place] < window, what + ": an index beyond the window");
      add(l.step[g], at / kTerms, l.index[place], l.coefficient[place]);
    }
  }
  for (int g = 0; g < l.full_steps; ++g) {
    for (int at = 0; at < lanes * kTerms; ++at) {
      add(l.full_step[g], at / kTerms, at % kTerms,
          l.full_coefficient[static_cast<size_t>(g) * lanes * kTerms + at]);
    }
  }
}

template <typename T>
void test_lookups(const lcnn::Kernels& kernels, const lcnn::Spec<T>& spec, const std::string& what) {
  const int* windows = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  const lcnn::Rates& rates = lcnn::rates(kernels, sizeof(T) == 1);
  const lcnn::Shape& s = spec.shape;
  const int lanes = kernels.filters_per_block();
  std::map<Place, T> expected;
  for (const auto& p : spec.coefficients) {
    expected[{p.filter, p.r, p.c * s.dilation_w * s.k + p.i}] = p.value;
  }
  for (int i = 0; i < lcnn::kWindows && windows[i] > 0; ++i) {
    const auto packed = lcnn::pack_lookups(spec, kernels, i, rates);
    check(packed.window == windows[i], what + ": another window");
    check(packed.blocks.size() == static_cast<size_t>((s.n + lanes - 1) / lanes),
          what + ": another number of blocks");
    std::map<Place, T> sums;
    double seconds = 0;
    for (size_t b = 0; b < packed.blocks.size(); ++b) {
      const lcnn::Lookups<T> l = packed.blocks[b].lookups();
      read(l, static_cast<int>(b), lanes, windows[i], what, &sums);
      seconds += l.steps * rates.step[i] + l.full_steps * rates.full_step;
    }
    check(sums == expected, what + ": other lookups");
    check(packed.seconds <= 1.000001 * seconds && seconds <= 1.000001 * packed.seconds,
          what + ": another time");
    const double least =
        lcnn::least_seconds(s, true, spec.coefficients.size(), kernels, sizeof(T) == 1);
    const double whole = lcnn::make_layer(spec, kernels)->seconds;
    check(least <= 1.000001 * whole, what + ": faster than possible");
  }
}

template <typename T>
void test_dictionary(const lcnn::Kernels& kernels, const lcnn::Spec<T>& spec,
                     const std::string& what) {
  constexpr int kTerms = lcnn::terms<T>();
  const int m = spec.shape.m, k = spec.shape.k, groups = (m + kTerms - 1) / kTerms;
  const auto packed = lcnn::pack_dictionary(spec, kernels.lanes);
  auto expected = packed;
  std::fill(expected.begin(), expected.end(), T{0});
  for (int row = 0; row < k; ++row) {
    for (int c = 0; c < m; ++c) {
      const int block = row / kernels.lanes, lane = row % kernels.lanes;
      expected[((static_cast<size_t>(block) * groups + c / kTerms) * kernels.lanes + lane) * kTerms +
               c % kTerms] = spec.dictionary[static_cast<size_t>(row) * m + c];
    }
  }
  check(packed == expected, what + ": another dictionary");
  check(reinterpret_cast<uintptr_t>(packed.data()) % 64 == 0, what + ": across cache lines");
}

template <typename T>
void test(const lcnn::Kernels& kernels) {
  std::mt19937 random(5);
  for (int k : {1, 7, 16, 33, 130}) {
    for (int n : {1, 16, 40}) {
      for (int one_in : {1, 2, 8, 1000}) {
        const int kernel = n == 16 ? 3 : 2, dilation = one_in == 8 ? 2 : 1;
        const auto spec = layer<T>(k, n, kernel, dilation, one_in, &random);
        const std::string what = std::string(kernels.name) + (sizeof(T) == 1 ? ", int8" : "") +
                                 ", k=" + std::to_string(k) + ", n=" + std::to_string(n) +
                                 ", one in " + std::to_string(one_in);
        test_lookups(kernels, spec, what);
        test_dictionary(kernels, spec, what);
      }
    }
  }
}

}  // namespace

int main() {
  // Packing needs no such processor.
  for (const lcnn::Kernels* kernels : {
           &lcnn::kPortable,
#if defined(__x86_64__)
           &lcnn::kAvx2, &lcnn::kAvx512,
#elif defined(__aarch64__)
           &lcnn::kNeon, &lcnn::kNeonDot,
#endif
       }) {
    test<int8_t>(*kernels);
    test<float>(*kernels);
  }
  if (failures != 0) return 1;
  std::printf("all lookups are packed once\n");
  return 0;
}
