// A small layer from the fuzzer's bytes, and what it computes, by plain loops.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <vector>

#include "../src/layer.h"
#include "bytes.h"

namespace fuzz {

using lcnn::Coefficient;
using lcnn::Shape;
using lcnn::Spec;

// Layers with more multiplications are cut down, so that thousands run in a second.
constexpr int64_t kMostProducts = 6000;

inline Shape shape_of(Reader* in, bool dictionary) {
  static constexpr int kChannels[] = {8, 1, 3, 4, 5, 7, 9, 12, 15, 16, 17, 20, 31, 32, 33, 40};
  static constexpr int kFilters[] = {8, 1, 3, 5, 7, 12, 15, 16, 17, 31, 32, 33, 47, 48, 64, 80};
  static constexpr int kRows[] = {8,  1,  2,  3,  4,  7,  9,  15, 16, 17, 20,
                                  31, 32, 33, 48, 63, 64, 65, 90, 127, 128, 130};
  static constexpr int kMaps[] = {4, 1, 2, 3, 5, 6, 7, 9, 13, 17, 20, 30};
  Shape s;
  s.k = kRows[in->below(22)];
  s.m = dictionary ? kChannels[in->below(16)] : s.k;
  s.n = kFilters[in->below(16)];
  s.kh = 1 + in->below(4);
  s.kw = 1 + in->below(5);
  s.stride_h = 1 + in->below(8) / 5;
  s.stride_w = 1 + in->below(8) / 5;
  s.dilation_h = 1 + in->below(8) / 6;
  s.dilation_w = 1 + in->below(8) / 6;
  s.batch = 1 + in->below(8) / 6;
  s.in_h = kMaps[in->below(12)];
  s.in_w = kMaps[in->below(12)];
  if (dictionary) {
    s.dictionary_stride_h = 1 + in->below(8) / 7;
    s.dictionary_stride_w = 1 + in->below(8) / 7;
  }
  const bool same = !in->flag();
  const auto finish = [&] {
    s.h = (s.in_h - 1) / s.dictionary_stride_h + 1;
    s.w = (s.in_w - 1) / s.dictionary_stride_w + 1;
    const auto side = [&](int extent, int kernel, int stride, int dilation, int* pad, int* out) {
      const int reach = (kernel - 1) * dilation + 1;
      const bool valid = !same && reach <= extent;
      *out = valid ? (extent - reach) / stride + 1 : (extent - 1) / stride + 1;
      *pad = valid ? 0 : std::max(0, (*out - 1) * stride + reach - extent) / 2;
    };
    side(s.h, s.kh, s.stride_h, s.dilation_h, &s.pad_top, &s.out_h);
    side(s.w, s.kw, s.stride_w, s.dilation_w, &s.pad_left, &s.out_w);
    const int64_t pixels = int64_t{s.batch} * s.out_h * s.out_w;
    return pixels * s.n * s.kh * s.kw * std::min(s.k, 8) +
           int64_t{s.batch} * s.h * s.w * s.k * (dictionary ? s.m : 1);
  };
  while (finish() > kMostProducts) {
    int& largest = s.in_h > s.in_w ? s.in_h : s.in_w;
    if (largest > 1) {
      largest /= 2;
    } else if (s.batch > 1) {
      s.batch = 1;
    } else if (s.kh * s.kw > 1) {
      (s.kh > s.kw ? s.kh : s.kw) = 1;
    } else {
      s.n = 1;
      if (dictionary) s.m = 1;
    }
  }
  return s;
}

// Numbers of a kind: most are random; some are those of which sums are largest.
class Numbers {
 public:
  explicit Numbers(Reader* in) : kind_(in->below(8)), state_(static_cast<uint32_t>(in->any32())) {}

  uint32_t bits() {
    state_ = state_ * 1664525u + 1013904223u;
    return state_ >> 8;
  }
  uint32_t below(uint32_t n) { return static_cast<uint32_t>(uint64_t{bits()} * n >> 24); }

  void next(int8_t* value, bool weight) {
    const int lowest = weight && kind_ != 5 ? -127 : -128;
    if (kind_ == 5 || kind_ == 6) {
      *value = static_cast<int8_t>(lowest);
    } else if (kind_ == 7) {
      *value = static_cast<int8_t>(below(2) != 0 ? 127 : lowest);
    } else {
      *value = static_cast<int8_t>(lowest + static_cast<int>(below(static_cast<uint32_t>(128 - lowest))));
    }
  }
  void next(float* value, bool) { *value = static_cast<float>(below(2001)) / 512 - 2; }

 private:
  int kind_;
  uint32_t state_;
};

template <typename T>
struct LayerCase {
  Spec<T> spec;
  std::vector<T> x;
  std::vector<double> y, bound;  // and the largest error of each
};

// Some lookups for each filter and position: a few, half, all, or none in places.
template <typename T>
void add_coefficients(Reader* in, Numbers* numbers, Spec<T>* spec) {
  const Shape& s = spec->shape;
  const int kind = in->below(8);
  for (int j = 0; j < s.n; ++j) {
    for (int r = 0; r < s.kh; ++r) {
      for (int c = 0; c < s.kw; ++c) {
        uint32_t chances = 0;  // of 64
        switch (kind) {
          case 0: case 1: case 2: chances = static_cast<uint32_t>(64 * 3 / s.k + 1); break;
          case 3: chances = 32; break;
          case 4: chances = 64; break;
          case 5: chances = numbers->below(65); break;
          case 6: chances = numbers->below(8) == 0 ? 64 : 2; break;
          default: chances = 1;
        }
        for (int i = 0; i < s.k; ++i) {
          if (numbers->below(64) >= chances) continue;
          T value;
          numbers->next(&value, true);
          if (value != 0) spec->coefficients.push_back({j, r, c, i, value});
        }
      }
    }
  }
}

template <typename T>
Spec<T> spec_of(Reader* in, Numbers* numbers) {
  Spec<T> spec;
  const bool dictionary = !in->seldom(8);
  spec.shape = shape_of(in, dictionary);
  const Shape& s = spec.shape;
  if (dictionary) {
    spec.dictionary.resize(static_cast<size_t>(s.k) * s.m);
    for (T& value : spec.dictionary) numbers->next(&value, true);
  }
  add_coefficients(in, numbers, &spec);
  return spec;
}

inline int clamp_round(float x, int lowest, int highest, int zero_point) {
  x = std::min(std::max(x, static_cast<float>(lowest - zero_point)),
               static_cast<float>(highest - zero_point));
  return static_cast<int>(std::nearbyint(x)) + zero_point;
}

// The sum over an output's coefficients: visit(S at (row, column, i), coefficient); S outside the
// map is not visited.
template <typename T, typename Visit>
void for_each_product(const Spec<T>& spec, const Visit& visit) {
  const Shape& s = spec.shape;
  for (int b = 0; b < s.batch; ++b) {
    for (int row = 0; row < s.out_h; ++row) {
      for (int column = 0; column < s.out_w; ++column) {
        for (const Coefficient<T>& p : spec.coefficients) {
          const int at_h = row * s.stride_h - s.pad_top + p.r * s.dilation_h;
          const int at_w = column * s.stride_w - s.pad_left + p.c * s.dilation_w;
          if (at_h < 0 || at_h >= s.h || at_w < 0 || at_w >= s.w) continue;
          const size_t from = ((static_cast<size_t>(b) * s.h + at_h) * s.w + at_w) * s.k + p.i;
          const size_t to =
              ((static_cast<size_t>(b) * s.out_h + row) * s.out_w + column) * s.n + p.filter;
          visit(from, to, p.value);
        }
      }
    }
  }
}

// S before its bias: visit(S's place, row of D, channel's place in X).
template <typename T, typename Visit>
void for_each_dictionary_product(const Spec<T>& spec, const Visit& visit) {
  const Shape& s = spec.shape;
  size_t to = 0;
  for (int b = 0; b < s.batch; ++b) {
    for (int row = 0; row < s.h; ++row) {
      for (int column = 0; column < s.w; ++column) {
        const size_t pixel = ((static_cast<size_t>(b) * s.in_h + row * s.dictionary_stride_h) * s.in_w +
                              column * s.dictionary_stride_w) * s.m;
        for (int i = 0; i < s.k; ++i, ++to) {
          for (int c = 0; c < s.m; ++c) visit(to, static_cast<size_t>(i) * s.m + c, pixel + c);
        }
      }
    }
  }
}

inline void make(Reader* in, LayerCase<int8_t>* made) {
  Numbers numbers(in);
  Spec<int8_t>& spec = made->spec;
  spec = spec_of<int8_t>(in, &numbers);
  const Shape& s = spec.shape;
  auto& q = spec.values;
  const auto zero = [&] {
    static constexpr int kZeros[] = {0, -128, 127, -5};
    return kZeros[in->below(4)];
  };
  q.x_zero = zero();
  q.s_zero = spec.dictionary.empty() ? q.x_zero : zero();
  q.y_zero = zero();
  if (in->flag()) q.s_lowest = q.s_zero;
  if (in->flag()) q.y_lowest = q.y_zero;
  if (in->flag()) q.y_highest = std::min(127, q.y_zero + 60);
  const auto biases = [&](int count, std::vector<int32_t>* bias, std::vector<float>* scale, int terms) {
    for (int i = 0; i < count; ++i) {
      bias->push_back(static_cast<int32_t>(numbers.below(6001)) - 3000);
      // Powers of two make ties.
      const float about = 1.0f / (32.0f * static_cast<float>(terms + 1));
      const float power = std::exp2(std::round(std::log2(about)));
      scale->push_back(numbers.below(2) != 0 ? power
                                             : about * (0.5f + static_cast<float>(numbers.below(256)) / 64));
    }
  };
  if (!spec.dictionary.empty()) biases(s.k, &q.s_bias, &q.s_scale, s.m);
  biases(s.n, &q.y_bias, &q.y_scale, static_cast<int>(spec.coefficients.size()) / s.n);
  made->x.resize(static_cast<size_t>(s.batch) * s.in_h * s.in_w * s.m);
  for (int8_t& value : made->x) numbers.next(&value, false);

  std::vector<int64_t> sums(static_cast<size_t>(s.batch) * s.h * s.w * s.k);
  std::vector<int> values(sums.size());
  if (spec.dictionary.empty()) {
    for (size_t i = 0; i < sums.size(); ++i) values[i] = made->x[i];
  } else {
    for (size_t i = 0; i < sums.size(); ++i) sums[i] = q.s_bias[i % s.k];
    for_each_dictionary_product(spec, [&](size_t to, size_t d, size_t from) {
      sums[to] += int64_t{spec.dictionary[d]} * (made->x[from] - q.x_zero);
    });
    for (size_t i = 0; i < sums.size(); ++i) {
      values[i] = clamp_round(static_cast<float>(sums[i]) * q.s_scale[i % s.k], q.s_lowest,
                              q.s_highest, q.s_zero);
    }
  }
  std::vector<int64_t> results(static_cast<size_t>(s.batch) * s.out_h * s.out_w * s.n);
  for (size_t i = 0; i < results.size(); ++i) results[i] = q.y_bias[i % s.n];
  for_each_product(spec, [&](size_t from, size_t to, int8_t value) {
    results[to] += int64_t{value} * (values[from] - q.s_zero);
  });
  made->y.resize(results.size());
  made->bound.assign(results.size(), 0);
  for (size_t i = 0; i < results.size(); ++i) {
    made->y[i] = clamp_round(static_cast<float>(results[i]) * q.y_scale[i % s.n], q.y_lowest,
                             q.y_highest, q.y_zero);
  }
}

inline void make(Reader* in, LayerCase<float>* made) {
  Numbers numbers(in);
  Spec<float>& spec = made->spec;
  spec = spec_of<float>(in, &numbers);
  const Shape& s = spec.shape;
  auto& q = spec.values;
  if (in->seldom(4)) q.s_lowest = 0;
  if (in->flag()) q.y_lowest = 0;
  if (in->flag()) q.y_highest = 6;
  const auto biases = [&](int count, std::vector<float>* bias) {
    bias->resize(count);
    for (float& value : *bias) numbers.next(&value, false);
  };
  if (!spec.dictionary.empty()) biases(s.k, &q.s_bias);
  biases(s.n, &q.y_bias);
  made->x.resize(static_cast<size_t>(s.batch) * s.in_h * s.in_w * s.m);
  for (float& value : made->x) numbers.next(&value, false);

  constexpr double kUnit = 1.0 / (1 << 24);
  std::vector<double> values(static_cast<size_t>(s.batch) * s.h * s.w * s.k), size(values.size());
  if (spec.dictionary.empty()) {
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = made->x[i];
      size[i] = 0;
    }
  } else {
    for (size_t i = 0; i < values.size(); ++i) size[i] = std::abs(values[i] = q.s_bias[i % s.k]);
    for_each_dictionary_product(spec, [&](size_t to, size_t d, size_t from) {
      const double product = static_cast<double>(spec.dictionary[d]) * made->x[from];
      values[to] += product;
      size[to] += std::abs(product);
    });
    for (size_t i = 0; i < values.size(); ++i) {
      values[i] = std::min<double>(std::max<double>(values[i], q.s_lowest), q.s_highest);
      size[i] *= kUnit * (s.m + 1);  // the largest error
    }
  }
  const size_t count = static_cast<size_t>(s.batch) * s.out_h * s.out_w * s.n;
  made->y.resize(count);
  made->bound.resize(count);
  std::vector<double> terms(count, 2), sizes(count);
  for (size_t i = 0; i < count; ++i) sizes[i] = std::abs(made->y[i] = q.y_bias[i % s.n]);
  for_each_product(spec, [&](size_t from, size_t to, float value) {
    const double product = value * values[from];
    made->y[to] += product;
    sizes[to] += std::abs(product);
    made->bound[to] += std::abs(value) * size[from];
    ++terms[to];
  });
  for (size_t i = 0; i < count; ++i) {
    // The factor is for errors of errors.
    made->bound[i] = 1.01 * (made->bound[i] + kUnit * terms[i] * (sizes[i] + made->bound[i]));
    made->y[i] = std::min<double>(std::max<double>(made->y[i], q.y_lowest), q.y_highest);
  }
}

}  // namespace fuzz
