// Sums and maxima: of each processor against plain code, and all against real numbers.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <random>
#include <vector>

#include "../src/kernels.h"

namespace {

int failures = 0;

void check(bool passed, const char* what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what);
}

// Every pair of int8 numbers, and some more, so that vectors end in the middle.
void all_pairs(std::vector<int8_t>* a, std::vector<int8_t>* b) {
  for (int i = 0; i < 65536 + 11; ++i) {
    a->push_back(static_cast<int8_t>(i));
    b->push_back(static_cast<int8_t>(i >> 8));
  }
}

void test_sums(const lcnn::Elementwise& of) {
  std::mt19937 random(0);
  std::uniform_real_distribution<float> exponent(-9.9f, 7.9f), scale(-6, 2);
  std::uniform_int_distribution<int> zero(-128, 127);
  std::vector<int8_t> a, b;
  all_pairs(&a, &b);
  std::vector<int8_t> plain(a.size()), fast(a.size());
  for (int round = 0; round < 40; ++round) {
    const float y_scale = std::exp2(scale(random));
    const float a_scale = y_scale * std::exp2(exponent(random));
    const float b_scale = y_scale * std::exp2(exponent(random));
    const int a_zero = zero(random), b_zero = zero(random);
    lcnn::SumS8 sum{0, 0, 0, 0, zero(random), -128, round % 2 == 0 ? 127 : 90};
    check(lcnn::sum_of_scales(a_scale, a_zero, b_scale, b_zero, y_scale, &sum), "scales refused");
    lcnn::kPortableElementwise.sum_s8(a.data(), b.data(), plain.data(), a.size(), sum);
    of.sum_s8(a.data(), b.data(), fast.data(), a.size(), sum);
    check(plain == fast, "sums differ");
    // A multiplier is off by half a unit at most, 2^-20 of the larger one.
    const double larger = std::max(a_scale, b_scale) / y_scale;
    const double tolerance = 0.5 + larger * 2 * 256 * std::exp2(-20);
    bool close = true;
    for (size_t i = 0; i < a.size(); ++i) {
      const double real = (double{a_scale} * (a[i] - a_zero) + double{b_scale} * (b[i] - b_zero)) /
                              y_scale + sum.zero_point;
      const double wanted = std::min(double(sum.highest), std::max(double(sum.lowest), real));
      close &= std::abs(plain[i] - wanted) <= tolerance;
    }
    check(close, "a sum is none");
  }
}

void test_refused_scales() {
  lcnn::SumS8 sum{};
  for (const float a : {0x1p-11f, 0x1p8f, std::nanf(""), INFINITY}) {
    check(!lcnn::sum_of_scales(a, 0, 1, 0, 1, &sum), "scales that are too far apart are taken");
    check(!lcnn::sum_of_scales(1, 0, a, 0, 1, &sum), "scales that are too far apart are taken");
  }
}

void test_maxima(const lcnn::Elementwise& of) {
  std::vector<int8_t> a, b, plain(257), fast(257);
  all_pairs(&a, &b);
  for (int vectors = 1; vectors <= 9; ++vectors) {
    std::vector<const int8_t*> x;
    for (int v = 0; v < vectors; ++v) x.push_back((v % 2 == 0 ? a : b).data() + 301 * v);
    lcnn::kPortableElementwise.max_s8(x.data(), vectors, plain.data(), plain.size(), -100, 90);
    of.max_s8(x.data(), vectors, fast.data(), fast.size(), -100, 90);
    check(plain == fast, "maxima differ");
    for (size_t i = 0; i < plain.size(); ++i) {
      int most = -100;
      for (int v = 0; v < vectors; ++v) most = std::max<int>(most, x[v][i]);
      check(plain[i] == std::min(most, 90), "a maximum is none");
    }
  }
}

}  // namespace

int main() {
  for (const char* name : {"avx512", "avxvnni", "avx2", "neondot", "neon", "portable"}) {
    const lcnn::Kernels* kernels = lcnn::kernels(name);
    if (kernels == nullptr) continue;
    test_sums(*kernels->elementwise);
    test_maxima(*kernels->elementwise);
  }
  test_refused_scales();
  if (failures != 0) return 1;
  std::printf("sums and maxima are right\n");
  return 0;
}
