// The rates of the machine at hand.
#include <algorithm>
#include <chrono>
#include <mutex>
#include <new>

#include "rates.h"

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lcnn {
namespace {

constexpr int kTimes = 7;  // of which the shortest counts
constexpr int kPixels = 32, kChannels = 64, kRows = 64;
constexpr int kFewSteps = 8, kSteps = 40;
constexpr int kFilters = 64;  // the most of a block
constexpr int kWindow = 64;   // the widest, in elements
// Planes lie apart as those of a strip do, which the second-level cache holds, and lookups begin
// anywhere in a line.
constexpr int kPlaneFilters = 8, kPlaneLookups = 24, kPlaneApart = 1500, kMostLanes = 16;

// All that kernels read and write here, in one allocation. Numbers are ordinary ones: arithmetic on
// denormals would take longer.
template <typename T, typename S>
struct Arena {
  alignas(64) T x[kPixels * kChannels + kSlack];
  alignas(64) T dictionary[kRows * kChannels + kSlack];
  alignas(64) S s[kPixels * kRows + kPlaneLookups * kPlaneApart + kWindow + kSlack];
  alignas(64) T coefficients[kSteps * kFilters * 4 + kSlack];
  alignas(64) T y[kPixels * kFilters + kMostVectors * kMostLanes * kPlaneFilters + kSlack];
  alignas(64) uint8_t index[kSteps * kFilters * 4 + kSlack];
  float zeros[kFilters + kSlack];
  float scales[kFilters + kSlack];
  int32_t biases[kFilters + kSlack];
  Step steps[kSteps];
  S* pixels[kPixels];
  int32_t first[kPlaneFilters + 1];
  int32_t offsets[kPlaneFilters * kPlaneLookups];
  float values[kPlaneFilters * kPlaneLookups];

  Arena() {
    std::fill(std::begin(x), std::end(x), T{1});
    std::fill(std::begin(dictionary), std::end(dictionary), T{1});
    std::fill(std::begin(s), std::end(s), S{1});
    std::fill(std::begin(coefficients), std::end(coefficients), T{1});
    std::fill(std::begin(index), std::end(index), uint8_t{0});
    std::fill(std::begin(zeros), std::end(zeros), 0.0f);
    std::fill(std::begin(scales), std::end(scales), 0.01f);
    std::fill(std::begin(biases), std::end(biases), 0);
    std::fill(std::begin(steps), std::end(steps), Step{0, 0});
    std::fill(std::begin(values), std::end(values), 0.5f);
    for (int p = 0; p < kPixels; ++p) pixels[p] = s + p * kRows;
    for (int j = 0; j <= kPlaneFilters; ++j) first[j] = j * kPlaneLookups;
    for (int i = 0; i < kPlaneFilters * kPlaneLookups; ++i) {
      offsets[i] = i * 7 % kPlaneLookups * kPlaneApart + i % 5;
    }
  }
};

template <typename Run>
double seconds(const Run& run) {
  double best = 1;
  for (int i = 0; i < kTimes; ++i) {
    const auto start = std::chrono::steady_clock::now();
    run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    best = std::min(best, took.count());
  }
  return best;
}

class Int8Bench {
 public:
  explicit Int8Bench(const Kernels& kernels) : kernels_(kernels) {}

  static Rates table(const Kernels& kernels) { return rates(kernels, true); }
  const int* windows() const { return kernels_.windows_s8; }

  void dictionary() {
    kernels_.dictionary_s8(arena_.x, kChannels, arena_.pixels, kPixels,
                           {arena_.dictionary, kChannels, kRows}, to());
  }

  void lookups(int steps, int full_steps, int window) {
    const uint8_t* rows[] = {arena_.s};
    kernels_.lookup_s8(rows, kPixelStep, kPixels, window,
                       {steps, arena_.steps, arena_.index, arena_.coefficients, full_steps,
                        arena_.steps, arena_.coefficients},
                       to(), arena_.y, kernels_.filters_per_block(), kernels_.filters_per_block());
  }

 private:
  static constexpr int kPixelStep = 16;

  Requantize to() const { return {arena_.biases, arena_.scales, 0, -128, 127}; }

  const Kernels& kernels_;
  Arena<int8_t, uint8_t> arena_;
};

class FloatBench {
 public:
  explicit FloatBench(const Kernels& kernels) : kernels_(kernels) {}

  static Rates table(const Kernels& kernels) { return rates(kernels, false); }
  const int* windows() const { return kernels_.windows_f32; }

  void dictionary() {
    kernels_.dictionary_f32(arena_.x, kChannels, arena_.pixels, kPixels,
                            {arena_.dictionary, kChannels, kRows}, to());
  }

  void lookups(int steps, int full_steps, int window) {
    const float* rows[] = {arena_.s};
    kernels_.lookup_f32(rows, kPixelStep, kPixels, window,
                        {steps, arena_.steps, arena_.index, arena_.coefficients, full_steps,
                         arena_.steps, arena_.coefficients},
                        to(), arena_.y, kernels_.filters_per_block(),
                        kernels_.filters_per_block());
  }

  void planes() {
    kernels_.planes_f32(arena_.s, kMostVectors, {arena_.first, arena_.offsets, arena_.values}, to(),
                        kPlaneFilters, arena_.y);
  }

 private:
  static constexpr int kPixelStep = 16;

  Activate to() const { return {arena_.zeros, -1e9f, 1e9f}; }

  const Kernels& kernels_;
  Arena<float, float> arena_;
};

// Rates by dictionary and steps; what is not measured grows as the dictionary stage does.
template <typename Bench>
Rates measure(const Kernels& kernels, Bench* bench) {
  Rates r = Bench::table(kernels);
  const double dictionary =
      seconds([&] { bench->dictionary(); }) / (double{kPixels} * kChannels * kRows);
  const double slower = dictionary / r.dictionary;
  for (double* rate : {&r.dense, &r.dictionary, &r.output, &r.plane, &r.plane_output,
                       &r.full_step}) {
    *rate *= slower;
  }
  constexpr double kMore = double{kSteps - kFewSteps} * kPixels;
  const auto per_step = [&](const auto& run) {
    const double more = seconds([&] { run(kSteps); }), few = seconds([&] { run(kFewSteps); });
    return std::max(more - few, 0.0) / kMore;
  };
  for (int i = 0; i < kWindows && bench->windows()[i] > 0; ++i) {
    const int window = bench->windows()[i];
    const double step = per_step([&](int steps) { bench->lookups(steps, 0, window); });
    if (step > 0) r.step[i] = step;
  }
  if (r.full_step > 0) {
    const int window = bench->windows()[0];
    const double step = per_step([&](int steps) { bench->lookups(0, steps, window); });
    if (step > 0) r.full_step = step;
  }
  return r;
}

Rates measure_int8(const Kernels& kernels) {
  auto* bench = new (std::nothrow) Int8Bench(kernels);
  if (bench == nullptr) return rates(kernels, true);
  const Rates r = measure(kernels, bench);
  delete bench;
  return r;
}

Rates measure_float(const Kernels& kernels) {
  auto* bench = new (std::nothrow) FloatBench(kernels);
  if (bench == nullptr) return rates(kernels, false);
  Rates r = measure(kernels, bench);
  r.plane = seconds([&] { bench->planes(); }) /
            (double{kPlaneFilters} * kPlaneLookups * kMostVectors * kernels.vector_f32);
  delete bench;
  return r;
}

// On such a processor XNNPACK multiplies int8 in tiles, which kernels here do not: a dense
// multiplication was 0.38 of what AVX-512 takes at that processor's speed (1.36 ps, where 1.9 ps
// were measured on one 1.9 times as fast).
constexpr double kAmxDense = 0.38;
constexpr int kAmxChannels = 64;  // a row of a tile has 64 bytes

bool has_amx() {
#if defined(__x86_64__)
  unsigned a, b, c, d;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) != 0 && (d >> 25 & 1) != 0;
#else
  return false;
#endif
}

struct Measured {
  std::once_flag once;
  Rates rates{};
};

}  // namespace

Rates measured_rates(const Kernels& kernels, bool int8) {
  // Layers are packed for other processors too, by tests.
  if (lcnn::kernels(kernels.name) != &kernels) return rates(kernels, int8);
  constexpr int kMostKernels = 8;
  static const Kernels* known[kMostKernels];
  static Measured measured[kMostKernels][2];
  static std::mutex mutex;
  int place = 0;
  {
    const std::lock_guard<std::mutex> lock(mutex);
    while (known[place] != nullptr && known[place] != &kernels) ++place;
    known[place] = &kernels;
  }
  Measured& of = measured[place][int8];
  std::call_once(of.once, [&] {
    of.rates = int8 ? measure_int8(kernels) : measure_float(kernels);
    if (int8 && has_amx()) of.rates.dense *= kAmxDense;
  });
  return of.rates;
}

int dense_channels(bool int8) { return !int8 ? 1 : has_amx() ? kAmxChannels : 8; }

}  // namespace lcnn
