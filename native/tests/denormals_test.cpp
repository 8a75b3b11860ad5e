// Denormals are zeros on every thread while kernels run, and what they were before after it.
#include <atomic>
#include <cstdio>
#include <memory>

#include "../src/denormals.h"
#include "../src/layer.h"
#include "../src/pool.h"

namespace {

constexpr int kThreads = 4;

std::atomic<int> calls{0}, flushing{0};

// The portable kernels, which look at the processor's modes on their way.
void lookup_f32(const float* const* rows, int step, int pixels, int window,
                const lcnn::Lookups<float>& lookups, const lcnn::Activate& to, float* y, size_t n,
                int filters) {
  ++calls;
  if ((lcnn::float_modes() & lcnn::kFlushDenormals) == lcnn::kFlushDenormals) ++flushing;
  lcnn::kPortable.lookup_f32(rows, step, pixels, window, lookups, to, y, n, filters);
}

bool check(bool passed, const char* what) {
  if (!passed) std::printf("FAILED: %s\n", what);
  return passed;
}

bool test(int threads) {
  lcnn::Spec<float> spec;
  spec.shape.in_h = spec.shape.h = spec.shape.out_h = 64;
  spec.shape.m = spec.shape.k = 2;
  spec.coefficients = {{0, 0, 0, 1, 1.0f}};
  spec.values.y_bias = {0.0f};
  lcnn::Kernels kernels = lcnn::kPortable;
  kernels.lookup_f32 = lookup_f32;
  const auto layer = lcnn::make_layer(spec, kernels, "registers");
  lcnn::Pool pool(threads);
  layer->prepare(threads);
  const volatile float denormal = 1e-40f;
  float x[128], y[64];
  for (float& value : x) value = denormal;
  calls = flushing = 0;
  const lcnn::FloatModes before = lcnn::float_modes();
  std::atomic<int> on{0}, without{0};
  for (int runs = 0; runs < 3; ++runs) {
    layer->run(x, y, pool);
    pool.run([&](int) {
      ++on;
      if ((lcnn::float_modes() & lcnn::kFlushDenormals) != lcnn::kFlushDenormals) ++without;
    });
  }
  return check(calls == 3 * 64 && flushing == calls, "a kernel runs with denormals") &
         check(on == 3 * threads && without == 0, "a thread runs with denormals") &
         check(lcnn::float_modes() == before, "the modes are not restored") &
         check(y[63] == 0, "a denormal was no zero") &
         check(denormal * 1.0f != 0, "denormals stay zeros after a run");
}

}  // namespace

int main() {
  bool passed = true;
  for (int threads = 1; threads <= kThreads; ++threads) passed &= test(threads);
  // Modes of the caller's own stay.
  lcnn::set_float_modes(lcnn::float_modes() | lcnn::kFlushDenormals);
  lcnn::Pool pool(1);
  pool.run([](int) {});
  passed &= check((lcnn::float_modes() & lcnn::kFlushDenormals) == lcnn::kFlushDenormals,
                  "the caller's own mode is lost");
  if (passed) std::printf("denormals are zeros on 1 to %d threads\n", kThreads);
  return passed ? 0 : 1;
}
