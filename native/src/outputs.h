// From sums to values: the last step of both stages, and the reference for all kernels.
//
// int8: y = clamp(round(sum * scale) + zero_point, lowest, highest), where
//
//   sum     is exact in int32, with the bias and what zero points of the input add;
//   sum     as a float and sum * scale are rounded to the nearest float, half to even;
//   scale   is input scale * weight scale / output scale, a float for each lane, below 1;
//   round   is to the nearest integer, half to even, as the processors' conversions do it.
//
// Since lowest and highest are integers, the clamp may come before the rounding, as below, or after
// it, with numbers that saturate on their way, as in requantizer.h: the result is the same.
//
// float32: y = min(highest, max(lowest, sum)), where a NaN stays one, as in LiteRT.
#pragma once

#include <cmath>
#include <cstdint>

namespace lcnn {

// Of an int8 stage. Where it makes unsigned bytes (S as value + 128), the three integers are of
// these.
struct Requantize {
  const int32_t* bias;  // per lane, zero points folded in
  const float* scale;   // per lane
  int32_t zero_point, lowest, highest;
};

// Whether a sum times this scale is an int32 still, so that no conversion wraps it. Other scales are
// of outputs that are finer than the products that they are sums of.
inline bool usable_scale(float scale) { return std::abs(scale) < 1; }

// Of a float32 stage.
struct Activate {
  const float* bias;  // per lane
  float lowest, highest;
  // Of the dictionary stage: in place of the limits, which are then infinite, an infinity becomes a
  // NaN. LiteRT multiplies the coefficients of zero too, and zero times an infinity is a NaN: a
  // lookup gives the same only if it begins with one.
  bool poison = false;
};

inline float clamped(float x, float lowest, float highest) {
  return x < lowest ? lowest : x > highest ? highest : x;
}

inline int32_t requantized(int32_t sum, int lane, const Requantize& to) {
  // Clamped before it is rounded: a float may not fit an integer.
  const float x = clamped(static_cast<float>(sum) * to.scale[lane],
                          static_cast<float>(to.lowest - to.zero_point),
                          static_cast<float>(to.highest - to.zero_point));
  return static_cast<int32_t>(std::nearbyintf(x)) + to.zero_point;
}

inline float activated(float sum, const Activate& to) {
  return to.poison ? sum + (sum - sum) : clamped(sum, to.lowest, to.highest);
}

}  // namespace lcnn
