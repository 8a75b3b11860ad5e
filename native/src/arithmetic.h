// Both stages of a layer, as its kernels take them: in int8 or in float32.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "layer.h"

namespace lcnn {

// What int8 and float32 kernels differ in.
template <typename T>
struct Arithmetic;

template <>
struct Arithmetic<int8_t> {
  using S = uint8_t;

  struct Output {
    std::vector<int32_t> bias;
    std::vector<float> scale;
    int32_t zero_point, lowest, highest;

    Requantize from(int lane) const {
      return {bias.data() + lane, scale.data() + lane, zero_point, lowest, highest};
    }
  };

  // Where a kernel takes activations as value + 128, their zero point moves too.
  static int shift(const Kernels& kernels) { return kernels.unsigned_s ? 128 : 0; }

  static Output to_s(const Spec<int8_t>& spec, const Kernels& kernels, size_t padded) {
    const Quantized<int8_t>& q = spec.values;
    Output to{q.s_bias, q.s_scale, q.s_zero, q.s_lowest, q.s_highest};
    for (int i = 0; i < spec.shape.k; ++i) {
      for (int c = 0; c < spec.shape.m; ++c) {
        const int8_t value = spec.dictionary[static_cast<size_t>(i) * spec.shape.m + c];
        to.bias[i] -= kernels.surplus(value, q.x_zero);
      }
    }
    to.bias.resize(padded);
    to.scale.resize(padded);
    to.zero_point += shift(kernels);
    to.lowest += shift(kernels);
    to.highest += shift(kernels);
    return to;
  }

  static Output to_y(const Spec<int8_t>& spec, const Kernels& kernels, size_t padded) {
    const Quantized<int8_t>& q = spec.values;
    Output to{q.y_bias, q.y_scale, q.y_zero, q.y_lowest, q.y_highest};
    for (const Coefficient<int8_t>& p : spec.coefficients) {
      to.bias[p.filter] -= kernels.surplus(p.value, q.s_zero);
    }
    to.bias.resize(padded);
    to.scale.resize(padded);
    return to;
  }

  static S padding(const Spec<int8_t>& spec, const Kernels& kernels) {
    return static_cast<S>(spec.values.s_zero + shift(kernels));
  }

  static void dictionary(const Kernels& kernels, const int8_t* x, ptrdiff_t stride, S* const* s,
                         int pixels, const Dictionary<int8_t>& d, const Output& to) {
    kernels.dictionary_s8(x, stride, s, pixels, d, to.from(0));
  }

  static void copy(const Kernels& kernels, const int8_t* x, S* s, int channels) {
    const uint8_t flip = kernels.unsigned_s ? 0x80 : 0;
    for (int c = 0; c < channels; ++c) s[c] = static_cast<uint8_t>(x[c]) ^ flip;
  }

  static void lookup(const Kernels& kernels, const S* const* rows, int step, int pixels, int window,
                     const Lookups<int8_t>& lookups, const Output& to, int lane, int8_t* y, size_t n,
                     int filters) {
    kernels.lookup_s8(rows, step, pixels, window, lookups, to.from(lane), y, n, filters);
  }
};

template <>
struct Arithmetic<float> {
  using S = float;

  struct Output {
    std::vector<float> bias;
    float lowest, highest;
    bool poison;

    Activate from(int lane) const { return {bias.data() + lane, lowest, highest, poison}; }
  };

  static Output to_s(const Spec<float>& spec, const Kernels&, size_t padded) {
    Output to{spec.values.s_bias, spec.values.s_lowest, spec.values.s_highest, poisons(spec)};
    to.bias.resize(padded);
    return to;
  }

  static Output to_y(const Spec<float>& spec, const Kernels&, size_t padded) {
    Output to{spec.values.y_bias, spec.values.y_lowest, spec.values.y_highest, false};
    to.bias.resize(padded);
    return to;
  }

  static float padding(const Spec<float>&, const Kernels&) { return 0; }

  static void dictionary(const Kernels& kernels, const float* x, ptrdiff_t stride, float* const* s,
                         int pixels, const Dictionary<float>& d, const Output& to) {
    kernels.dictionary_f32(x, stride, s, pixels, d, to.from(0));
  }

  static void copy(const Kernels&, const float* x, float* s, int channels) {
    std::memcpy(s, x, channels * sizeof(float));
  }

  static void lookup(const Kernels& kernels, const float* const* rows, int step, int pixels,
                     int window, const Lookups<float>& lookups, const Output& to, int lane, float* y,
                     size_t n, int filters) {
    kernels.lookup_f32(rows, step, pixels, window, lookups, to.from(lane), y, n, filters);
  }
};

}  // namespace lcnn
