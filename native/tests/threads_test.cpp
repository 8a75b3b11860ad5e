// Layers on one to four threads give the same bits, time after time, with all kernels that this
// processor has. For the sanitizers: ThreadSanitizer sees the pool at work, AddressSanitizer inputs
// and outputs of exact sizes.
#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <iterator>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "../src/c_api.h"

namespace {

constexpr int kThreads = 4;
constexpr int kRuns = 3;
constexpr const char* kKernels[] = {"portable", "avx2", "avxvnni", "avx512", "neon", "neondot"};

std::atomic<int> failures{0};

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

// A layer over a square map, SAME.
struct Case {
  const char* name;
  int batch, map, m, k, n, kernel, stride, dilation, lookups;
  bool dictionary;
};

constexpr Case kCases[] = {
    {"64 channels", 1, 14, 64, 16, 64, 3, 1, 1, 4, true},
    {"odd sizes", 2, 9, 13, 19, 37, 3, 1, 1, 3, true},
    {"strided", 1, 17, 16, 32, 48, 5, 2, 1, 2, true},
    {"dilated", 1, 12, 8, 64, 20, 3, 1, 2, 4, true},
    {"wide dictionary", 1, 7, 32, 130, 64, 3, 1, 1, 6, true},
    {"one pixel, one channel", 3, 1, 1, 5, 3, 1, 1, 1, 1, true},
    {"no dictionary", 2, 10, 24, 24, 33, 3, 1, 1, 2, false},
    {"several strips", 1, 24, 4, 512, 16, 3, 1, 1, 1, true},
    {"fewer rows than threads", 1, 2, 16, 16, 8, 3, 1, 1, 4, true},
};

struct Shape {
  std::vector<int32_t> numbers;
  size_t x, y, dictionary, coefficients;
};

Shape shape_of(const Case& c) {
  const int out = (c.map + c.stride - 1) / c.stride, reach = (c.kernel - 1) * c.dilation + 1;
  const int pad = std::max(0, (out - 1) * c.stride + reach - c.map) / 2;
  return {{c.batch, c.map, c.map, c.m, 1, 1, c.map, c.map, c.k, c.kernel, c.kernel, c.stride,
           c.stride, c.dilation, c.dilation, pad, pad, out, out, c.n},
          size_t(c.batch) * c.map * c.map * c.m,
          size_t(c.batch) * out * out * c.n,
          size_t(c.k) * c.m,
          size_t(c.n) * c.kernel * c.kernel * c.k};
}

// Coefficients: some lookups for each filter and position.
template <typename T, typename Value>
std::vector<T> coefficients_of(const Case& c, size_t size, const Value& value,
                               std::mt19937* random) {
  std::vector<T> p(size);
  for (size_t position = 0; position < size; position += static_cast<size_t>(c.k)) {
    for (int s = 0; s < c.lookups; ++s) {
      p[position + (*random)() % static_cast<unsigned>(c.k)] = value();
    }
  }
  return p;
}

template <typename T>
std::vector<T> run(LcnnLayer* layer, const std::vector<T>& x, size_t size) {
  std::vector<T> y(size, 99);
  lcnn_layer_run(layer, x.data(), y.data());
  return y;
}

template <typename T>
bool same(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Runs the layers that make(threads) builds; the result, empty if there are no such kernels.
template <typename T, typename Make>
std::vector<T> run_all(const std::string& what, const std::vector<T>& x, size_t size,
                       const Make& make) {
  std::vector<T> first;
  for (int threads = 1; threads <= kThreads; ++threads) {
    LcnnLayer* layer = make(threads);
    if (layer == nullptr) return {};
    for (int i = 0; i < kRuns; ++i) {
      const std::vector<T> y = run(layer, x, size);
      if (first.empty()) first = y;
      check(same(first, y), what + " on " + std::to_string(threads) + " threads");
    }
    lcnn_layer_free(layer);
  }
  return first;
}

void test_s8(const Case& c) {
  std::mt19937 random(7);
  const auto byte = [&] { return static_cast<int8_t>(random() % 255 - 127); };
  const auto small = [&] { return static_cast<int32_t>(random() % 2001) - 1000; };
  const Shape shape = shape_of(c);
  std::vector<int8_t> x(shape.x), dictionary(shape.dictionary);
  std::generate(x.begin(), x.end(), byte);
  std::generate(dictionary.begin(), dictionary.end(), byte);
  const auto p = coefficients_of<int8_t>(c, shape.coefficients, byte, &random);
  std::vector<int32_t> s_bias(static_cast<size_t>(c.k)), y_bias(static_cast<size_t>(c.n));
  std::generate(s_bias.begin(), s_bias.end(), small);
  std::generate(y_bias.begin(), y_bias.end(), small);
  const std::vector<float> s_scale(static_cast<size_t>(c.k), 0.002f);
  const std::vector<float> y_scale(static_cast<size_t>(c.n), 0.003f);
  // S is X, with its zero point, where there is no dictionary.
  const int32_t zero_points[] = {-128, c.dictionary ? 5 : -128, 127};
  const int32_t limits[] = {-128, 127, -100, 127};
  std::vector<int8_t> expected;
  for (const char* kernels : kKernels) {
    const std::string what = std::string(c.name) + ", int8, " + kernels;
    const std::vector<int8_t> y = run_all<int8_t>(what, x, shape.y, [&](int threads) {
      return lcnn_layer_s8(kernels, nullptr, threads, shape.numbers.data(),
                           c.dictionary ? dictionary.data() : nullptr, s_scale.data(),
                           s_bias.data(), p.data(), y_scale.data(), y_bias.data(), zero_points,
                           limits);
    });
    if (y.empty()) continue;
    if (expected.empty()) expected = y;
    check(same(expected, y), what + " against portable");
  }
}

void test_f32(const Case& c, const char* form) {
  std::mt19937 random(8);
  std::normal_distribution<float> normal;
  const auto value = [&] { return normal(random); };
  const Shape shape = shape_of(c);
  std::vector<float> x(shape.x), dictionary(shape.dictionary);
  std::generate(x.begin(), x.end(), value);
  std::generate(dictionary.begin(), dictionary.end(), value);
  const auto p = coefficients_of<float>(c, shape.coefficients, value, &random);
  std::vector<float> s_bias(static_cast<size_t>(c.k)), y_bias(static_cast<size_t>(c.n));
  std::generate(s_bias.begin(), s_bias.end(), value);
  std::generate(y_bias.begin(), y_bias.end(), value);
  const float limits[] = {-1e30f, 1e30f, 0, 1e30f};
  std::vector<float> expected;
  for (const char* kernels : kKernels) {
    const std::string what = std::string(c.name) + ", float32, " + form + ", " + kernels;
    const std::vector<float> y = run_all<float>(what, x, shape.y, [&](int threads) {
      return lcnn_layer_f32(kernels, form, threads, shape.numbers.data(),
                            c.dictionary ? dictionary.data() : nullptr, s_bias.data(), p.data(),
                            y_bias.data(), limits);
    });
    if (y.empty()) continue;
    if (expected.empty()) expected = y;
    float largest = 0, difference = 0;
    for (size_t i = 0; i < y.size(); ++i) {
      largest = std::max(largest, std::abs(expected[i]));
      difference = std::max(difference, std::abs(expected[i] - y[i]));
    }
    check(difference <= 1e-5f * largest, what + " against portable");
  }
}

// Two callers, each with layers and threads of its own.
void test_two_callers() {
  std::thread other([] { test_f32(kCases[1], "planes"); });
  test_s8(kCases[0]);
  other.join();
}

}  // namespace

int main() {
  for (const Case& c : kCases) {
    test_s8(c);
    for (const char* form : {"registers", "planes"}) test_f32(c, form);
  }
  test_two_callers();
  if (failures != 0) return 1;
  std::printf("%zu layers, equal on 1 to %d threads\n", std::size(kCases), kThreads);
  return 0;
}
