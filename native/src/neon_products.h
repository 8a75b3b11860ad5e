// Products of bytes on NEON, with its dot product and without. Include it after the target is set.
#pragma once

#include <arm_neon.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace lcnn {
namespace {

constexpr int kLanes = 8;

// Four bytes for each lane.
struct Bytes {
  int8x16_t first, second;
};

// An int32 for each lane.
struct Sums {
  int32x4_t low, high;
};

Bytes load_bytes(const void* from) {
  const int8_t* bytes = static_cast<const int8_t*>(from);
  return {vld1q_s8(bytes), vld1q_s8(bytes + 16)};
}

Sums load_sums(const int32_t* from) { return {vld1q_s32(from), vld1q_s32(from + 4)}; }

// How four products of bytes are added to each of a block's sums. `arrange` orders the block's
// 8 x 4 bytes, indices as well as coefficients, as `add` wants them; `spread` gives every lane the
// same four.

// Four terms of a lane beside each other, as they lie.
struct InOrder {
  static Bytes arrange(Bytes x) { return x; }

  static Bytes spread(const void* four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(all));
    return {x, x};
  }
};

#if defined(LCNN_NEON_DOT)
struct Dot : InOrder {
  // Not the intrinsic, which older headers keep from files that set their target themselves.
  static int32x4_t dot(int32x4_t sum, int8x16_t x, int8x16_t y) {
    asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(y));
    return sum;
  }

  static void add(Sums& sum, Bytes x, Bytes y) {
    sum.low = dot(sum.low, x.first, y.first);
    sum.high = dot(sum.high, x.second, y.second);
  }
};
#else
// Terms 0 and 1 of every lane, then terms 2 and 3: products of the two are added in 16 bits. They
// hold 2 * 128 * 127, but not 2 * 128 * 128: y must not contain -128.
struct Pairs {
  static Bytes arrange(Bytes x) {
    const int16x8_t a = vreinterpretq_s16_s8(x.first), b = vreinterpretq_s16_s8(x.second);
    return {vreinterpretq_s8_s16(vuzp1q_s16(a, b)), vreinterpretq_s8_s16(vuzp2q_s16(a, b))};
  }

  static Bytes spread(const void* four) {
    int16_t first, second;
    std::memcpy(&first, four, 2);
    std::memcpy(&second, static_cast<const int8_t*>(four) + 2, 2);
    return {vreinterpretq_s8_s16(vdupq_n_s16(first)), vreinterpretq_s8_s16(vdupq_n_s16(second))};
  }

  static void add(Sums& sum, Bytes x, Bytes y) {
    const int16x8_t a = vmull_s8(vget_low_s8(x.first), vget_low_s8(y.first));
    const int16x8_t b = vmull_high_s8(x.first, y.first);
    sum.low = vpadalq_s16(sum.low, vmlal_s8(a, vget_low_s8(x.second), vget_low_s8(y.second)));
    sum.high = vpadalq_s16(sum.high, vmlal_high_s8(b, x.second, y.second));
  }
};

// For weights of -128, which converters do not write.
struct Exact : InOrder {
  static int32x4_t dot(int32x4_t sum, int8x16_t x, int8x16_t y) {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(x, y));
    return vaddq_s32(sum, vpaddq_s32(low, high));
  }

  static void add(Sums& sum, Bytes x, Bytes y) {
    sum.low = dot(sum.low, x.first, y.first);
    sum.high = dot(sum.high, x.second, y.second);
  }
};

// Whether a byte of a block's (or of D's) weights is -128.
bool has_lowest(const int8_t* weights, size_t groups) {
  int8x16_t lowest = vdupq_n_s8(0);
  for (size_t g = 0; g < groups; ++g, weights += 4 * kLanes) {
    const Bytes x = load_bytes(weights);
    lowest = vminq_s8(lowest, vminq_s8(x.first, x.second));
  }
  return vminvq_s8(lowest) == -128;
}
#endif

}  // namespace
}  // namespace lcnn
