// NEON: 8 filters a block, in two registers. Without its dot product of bytes; and with it where
// kernels_neondot.cpp includes this file, since a target is best set for whole files.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>
#include <type_traits>
#include <utility>

#include "kernels.h"

#if defined(LCNN_NEON_DOT)
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("arch=armv8.2-a+dotprod")
#endif
#endif

#include "tiles.h"

namespace lcnn {
namespace {

constexpr int kLanes = 8;

struct Bytes {
  int8x16_t first, second;
};

Bytes load_bytes(const void* from) {
  const int8_t* bytes = static_cast<const int8_t*>(from);
  return {vld1q_s8(bytes), vld1q_s8(bytes + 16)};
}

// How four products of bytes are added to each of a block's sums. `arrange` orders the block's
// 8 x 4 bytes, indices as well as coefficients, as `add` wants them; `spread` gives every lane the
// same four.

#if defined(LCNN_NEON_DOT)
struct Dot {
  static Bytes arrange(Bytes x) { return x; }

  static Bytes spread(const void* four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(all));
    return {x, x};
  }

  // Not the intrinsic, which older headers keep from files that set their target themselves.
  static int32x4_t dot(int32x4_t sum, int8x16_t x, int8x16_t y) {
    asm("sdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(y));
    return sum;
  }

  static void add(int32x4_t& low, int32x4_t& high, Bytes x, Bytes y) {
    low = dot(low, x.first, y.first);
    high = dot(high, x.second, y.second);
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

  static void add(int32x4_t& low, int32x4_t& high, Bytes x, Bytes y) {
    const int16x8_t a = vmull_s8(vget_low_s8(x.first), vget_low_s8(y.first));
    const int16x8_t b = vmull_high_s8(x.first, y.first);
    low = vpadalq_s16(low, vmlal_s8(a, vget_low_s8(x.second), vget_low_s8(y.second)));
    high = vpadalq_s16(high, vmlal_high_s8(b, x.second, y.second));
  }
};

// For weights of -128, which converters do not write.
struct Exact {
  static Bytes arrange(Bytes x) { return x; }

  static Bytes spread(const void* four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(all));
    return {x, x};
  }

  static int32x4_t dot(int32x4_t sum, int8x16_t x, int8x16_t y) {
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(x), vget_low_s8(y)));
    const int32x4_t high = vpaddlq_s16(vmull_high_s8(x, y));
    return vaddq_s32(sum, vpaddq_s32(low, high));
  }

  static void add(int32x4_t& low, int32x4_t& high, Bytes x, Bytes y) {
    low = dot(low, x.first, y.first);
    high = dot(high, x.second, y.second);
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

class Requantizer {
 public:
  explicit Requantizer(const Requantize& to)
      : lowest_(vdupq_n_f32(static_cast<float>(to.lowest - to.zero_point))),
        highest_(vdupq_n_f32(static_cast<float>(to.highest - to.zero_point))),
        zero_point_(vdupq_n_s32(to.zero_point)) {}

  void store(int32x4_t low, int32x4_t high, const Requantize& to, int row, int lanes,
             void* y) const {
    const int8x8_t bytes =
        vmovn_s16(vcombine_s16(narrow(low, to.bias + row, to.scale + row),
                               narrow(high, to.bias + row + 4, to.scale + row + 4)));
    if (lanes >= kLanes) {
      vst1_s8(static_cast<int8_t*>(y), bytes);
    } else {
      int8_t eight[kLanes];
      vst1_s8(eight, bytes);
      std::memcpy(y, eight, lanes);
    }
  }

 private:
  int16x4_t narrow(int32x4_t sum, const int32_t* bias, const float* scale) const {
    float32x4_t x = vcvtq_f32_s32(vaddq_s32(sum, vld1q_s32(bias)));
    x = vmulq_f32(x, vld1q_f32(scale));
    x = vminq_f32(vmaxq_f32(x, lowest_), highest_);
    return vmovn_s32(vaddq_s32(vcvtnq_s32_f32(x), zero_point_));
  }

  float32x4_t lowest_, highest_;
  int32x4_t zero_point_;
};

class Activation {
 public:
  explicit Activation(const Activate& to)
      : lowest_(vdupq_n_f32(to.lowest)), highest_(vdupq_n_f32(to.highest)) {}

  // `max` and `min` of a NaN are one, as in LiteRT.
  float32x4_t operator()(float32x4_t x) const {
    return vminq_f32(vmaxq_f32(x, lowest_), highest_);
  }

  void store(float32x4_t low, float32x4_t high, float* to) const {
    vst1q_f32(to, (*this)(low));
    vst1q_f32(to + 4, (*this)(high));
  }

  void store(float32x4_t low, float32x4_t high, int lanes, float* to) const {
    put((*this)(low), (*this)(high), lanes, to);
  }

  static void put(float32x4_t low, float32x4_t high, int lanes, float* to) {
    if (lanes >= kLanes) {
      vst1q_f32(to, low);
      vst1q_f32(to + 4, high);
    } else {
      float eight[kLanes];
      vst1q_f32(eight, low);
      vst1q_f32(eight + 4, high);
      std::memcpy(to, eight, lanes * sizeof(float));
    }
  }

 private:
  float32x4_t lowest_, highest_;
};

// An infinity becomes a NaN, all else stays.
float32x4_t poisoned(float32x4_t x) { return vaddq_f32(x, vsubq_f32(x, x)); }

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels.
template <typename Product, int NB, int PX>
void dictionary_tile_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int row,
                        const Dictionary<int8_t>& d, const Requantize& to,
                        const Requantizer& requantize) {
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 4 * kLanes;
  const int8_t* values = d.values + static_cast<size_t>(row) * quads * 4;
  int32x4_t low[PX][NB], high[PX][NB];
  repeat<PX * NB>([&](auto i) { low[i / NB][i % NB] = high[i / NB][i % NB] = vdupq_n_s32(0); });
  for (int q = 0; q < quads; ++q) {
    Bytes weights[NB];
    repeat<NB>([&](auto b) {
      weights[b] = Product::arrange(load_bytes(values + b * block + q * 4 * kLanes));
    });
    repeat<PX>([&](auto p) {
      const Bytes in = Product::spread(x + p * stride + 4 * q);
      repeat<NB>([&](auto b) { Product::add(low[p][b], high[p][b], in, weights[b]); });
    });
  }
  repeat<PX * NB>([&](auto i) {
    constexpr int p = i / NB, b = i % NB;
    const int at = row + b * kLanes;
    requantize.store(low[p][b], high[p][b], to, at, d.k - at, s[p] + at);
  });
}

template <typename Product>
void dictionary_by(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  using Tile = decltype(&dictionary_tile_s8<Product, 1, 1>);
  static constexpr Tile kTwo[4] = {
      dictionary_tile_s8<Product, 2, 1>, dictionary_tile_s8<Product, 2, 2>,
      dictionary_tile_s8<Product, 2, 3>, dictionary_tile_s8<Product, 2, 4>};
  static constexpr Tile kOne[6] = {
      dictionary_tile_s8<Product, 1, 1>, dictionary_tile_s8<Product, 1, 2>,
      dictionary_tile_s8<Product, 1, 3>, dictionary_tile_s8<Product, 1, 4>,
      dictionary_tile_s8<Product, 1, 5>, dictionary_tile_s8<Product, 1, 6>};
  const Requantizer requantize(to);
  int row = 0;
  for (; row + kLanes < d.k; row += 2 * kLanes) {
    in_tiles(pixels, 4, [&](int p, int run) {
      kTwo[run - 1](x + p * stride, stride, s + p, row, d, to, requantize);
    });
  }
  if (row < d.k) {
    in_tiles(pixels, 6, [&](int p, int run) {
      kOne[run - 1](x + p * stride, stride, s + p, row, d, to, requantize);
    });
  }
}

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
#if defined(LCNN_NEON_DOT)
  dictionary_by<Dot>(x, stride, s, pixels, d, to);
#else
  const size_t blocks = (d.k + kLanes - 1) / kLanes, quads = (d.m + 3) / 4;
  if (has_lowest(d.values, blocks * quads)) {
    dictionary_by<Exact>(x, stride, s, pixels, d, to);
  } else {
    dictionary_by<Pairs>(x, stride, s, pixels, d, to);
  }
#endif
}

template <int NB, int PX>
void dictionary_tile_f32(const float* x, ptrdiff_t stride, float* const* s, int row,
                         const Dictionary<float>& d, const Activate& to,
                         const Activation& activate) {
  const size_t block = static_cast<size_t>(d.m) * kLanes;
  const float* values = d.values + static_cast<size_t>(row) * d.m;
  float32x4_t low[PX][NB], high[PX][NB];
  repeat<PX * NB>([&](auto i) {
    constexpr int p = i / NB, b = i % NB;
    low[p][b] = vld1q_f32(to.bias + row + b * kLanes);
    high[p][b] = vld1q_f32(to.bias + row + b * kLanes + 4);
  });
  for (int c = 0; c < d.m; ++c) {
    float32x4_t low_in[NB], high_in[NB];
    repeat<NB>([&](auto b) {
      low_in[b] = vld1q_f32(values + b * block + c * kLanes);
      high_in[b] = vld1q_f32(values + b * block + c * kLanes + 4);
    });
    repeat<PX>([&](auto p) {
      const float by = x[p * stride + c];
      repeat<NB>([&](auto b) {
        low[p][b] = vfmaq_n_f32(low[p][b], low_in[b], by);
        high[p][b] = vfmaq_n_f32(high[p][b], high_in[b], by);
      });
    });
  }
  const auto finish = [&](auto poison) __attribute__((always_inline)) {
    repeat<PX * NB>([&](auto i) {
      constexpr int p = i / NB, b = i % NB;
      const int at = row + b * kLanes;
      const float32x4_t first = low[p][b], second = high[p][b];
      Activation::put(poison ? poisoned(first) : activate(first),
                      poison ? poisoned(second) : activate(second), d.k - at, s[p] + at);
    });
  };
  if (to.poison) {
    finish(std::true_type());
  } else {
    finish(std::false_type());
  }
}

void dictionary_f32(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                    const Dictionary<float>& d, const Activate& to) {
  using Tile = decltype(&dictionary_tile_f32<1, 1>);
  static constexpr Tile kTwo[5] = {dictionary_tile_f32<2, 1>, dictionary_tile_f32<2, 2>,
                                   dictionary_tile_f32<2, 3>, dictionary_tile_f32<2, 4>,
                                   dictionary_tile_f32<2, 5>};
  static constexpr Tile kOne[8] = {dictionary_tile_f32<1, 1>, dictionary_tile_f32<1, 2>,
                                   dictionary_tile_f32<1, 3>, dictionary_tile_f32<1, 4>,
                                   dictionary_tile_f32<1, 5>, dictionary_tile_f32<1, 6>,
                                   dictionary_tile_f32<1, 7>, dictionary_tile_f32<1, 8>};
  const Activation activate(to);
  int row = 0;
  for (; row + kLanes < d.k; row += 2 * kLanes) {
    in_tiles(pixels, 5, [&](int p, int run) {
      kTwo[run - 1](x + p * stride, stride, s + p, row, d, to, activate);
    });
  }
  if (row < d.k) {
    in_tiles(pixels, 8, [&](int p, int run) {
      kOne[run - 1](x + p * stride, stride, s + p, row, d, to, activate);
    });
  }
}

// A window of Registers * 16 bytes.
template <int Registers>
struct Table;

template <>
struct Table<1> {
  int8x16_t bytes;
  explicit Table(const void* from) : bytes(vld1q_s8(static_cast<const int8_t*>(from))) {}
  int8x16_t at(int8x16_t i) const { return vqtbl1q_s8(bytes, vreinterpretq_u8_s8(i)); }
};

template <>
struct Table<2> {
  int8x16x2_t bytes;
  explicit Table(const void* from) : bytes(vld1q_s8_x2(static_cast<const int8_t*>(from))) {}
  int8x16_t at(int8x16_t i) const { return vqtbl2q_s8(bytes, vreinterpretq_u8_s8(i)); }
};

template <>
struct Table<4> {
  int8x16x4_t bytes;
  explicit Table(const void* from) : bytes(vld1q_s8_x4(static_cast<const int8_t*>(from))) {}
  int8x16_t at(int8x16_t i) const { return vqtbl4q_s8(bytes, vreinterpretq_u8_s8(i)); }
};

// What indices, coefficients and a table leave of 32 registers for pixels, two to each.
constexpr int kMostPixels = 8;

template <typename Product, int Registers, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to, const Requantizer& requantize,
                    int8_t* y, size_t n, int filters) {
  int32x4_t low[PX], high[PX];
  repeat<PX>([&](auto p) { low[p] = high[p] = vdupq_n_s32(0); });
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 4 * kLanes, coefficient += 4 * kLanes) {
    const Bytes i = Product::arrange(load_bytes(index));
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const Table<Registers> table(at);
      Product::add(low[p], high[p], {table.at(i.first), table.at(i.second)}, c);
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 4 * kLanes) {
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      Product::add(low[p], high[p], Product::spread(at), c);
      at += step;
    });
  }
  repeat<PX>([&](auto p) { requantize.store(low[p], high[p], to, 0, filters, y + p * n); });
}

template <typename Product, int Registers>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_s8<Product, Registers, 1>) kTiles[kMostPixels] = {
      lookup_tile_s8<Product, Registers, 1>, lookup_tile_s8<Product, Registers, 2>,
      lookup_tile_s8<Product, Registers, 3>, lookup_tile_s8<Product, Registers, 4>,
      lookup_tile_s8<Product, Registers, 5>, lookup_tile_s8<Product, Registers, 6>,
      lookup_tile_s8<Product, Registers, 7>, lookup_tile_s8<Product, Registers, 8>};
  const Requantizer requantize(to);
  in_tiles(pixels, kMostPixels, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n,
                    filters);
  });
}

template <typename Product>
void lookup_by(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantize& to, int8_t* y, size_t n, int filters) {
  if (window > 32) {
    lookup_pixels_s8<Product, 4>(rows, step, pixels, l, to, y, n, filters);
  } else if (window > 16) {
    lookup_pixels_s8<Product, 2>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_s8<Product, 1>(rows, step, pixels, l, to, y, n, filters);
  }
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantize& to, int8_t* y, size_t n, int filters) {
#if defined(LCNN_NEON_DOT)
  lookup_by<Dot>(rows, step, pixels, window, l, to, y, n, filters);
#else
  if (has_lowest(l.coefficient, l.steps) || has_lowest(l.full_coefficient, l.full_steps)) {
    lookup_by<Exact>(rows, step, pixels, window, l, to, y, n, filters);
  } else {
    lookup_by<Pairs>(rows, step, pixels, window, l, to, y, n, filters);
  }
#endif
}

// The bytes of four floats for four indices: 4 * index + {0, 1, 2, 3}.
int8x16_t float_bytes(const uint8_t* index) {
  static constexpr uint8_t kEach[16] = {0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3};
  uint32_t four;
  std::memcpy(&four, index, 4);
  const uint8x16_t spread =
      vqtbl1q_u8(vreinterpretq_u8_u32(vdupq_n_u32(four)), vld1q_u8(kEach));
  return vreinterpretq_s8_u8(
      vorrq_u8(vshlq_n_u8(spread, 2), vreinterpretq_u8_u32(vdupq_n_u32(0x03020100))));
}

// A window of Registers * 4 floats.
template <int Registers, int PX>
void lookup_tile_f32(const float* const* rows, ptrdiff_t first, int step, const Lookups<float>& l,
                     const Activate& to, const Activation& activate, float* y, size_t n,
                     int filters) {
  float32x4_t low[PX], high[PX];
  const float32x4_t low_start = vld1q_f32(to.bias), high_start = vld1q_f32(to.bias + 4);
  repeat<PX>([&](auto p) {
    low[p] = low_start;
    high[p] = high_start;
  });
  const uint8_t* index = l.index;
  const float* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kLanes, coefficient += kLanes) {
    const int8x16_t low_at = float_bytes(index), high_at = float_bytes(index + 4);
    const float32x4_t low_c = vld1q_f32(coefficient), high_c = vld1q_f32(coefficient + 4);
    const float* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const Table<Registers> table(at);
      low[p] = vfmaq_f32(low[p], vreinterpretq_f32_s8(table.at(low_at)), low_c);
      high[p] = vfmaq_f32(high[p], vreinterpretq_f32_s8(table.at(high_at)), high_c);
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kLanes) {
    const float32x4_t low_c = vld1q_f32(coefficient), high_c = vld1q_f32(coefficient + 4);
    const float* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      low[p] = vfmaq_n_f32(low[p], low_c, *at);
      high[p] = vfmaq_n_f32(high[p], high_c, *at);
      at += step;
    });
  }
  repeat<PX>([&](auto p) { activate.store(low[p], high[p], filters, y + p * n); });
}

template <int Registers>
void lookup_pixels_f32(const float* const* rows, int step, int pixels, const Lookups<float>& l,
                       const Activate& to, float* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_f32<Registers, 1>) kTiles[kMostPixels] = {
      lookup_tile_f32<Registers, 1>, lookup_tile_f32<Registers, 2>,
      lookup_tile_f32<Registers, 3>, lookup_tile_f32<Registers, 4>,
      lookup_tile_f32<Registers, 5>, lookup_tile_f32<Registers, 6>,
      lookup_tile_f32<Registers, 7>, lookup_tile_f32<Registers, 8>};
  const Activation activate(to);
  in_tiles(pixels, kMostPixels, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, activate, y + p * n, n,
                    filters);
  });
}

void lookup_f32(const float* const* rows, int step, int pixels, int window, const Lookups<float>& l,
                const Activate& to, float* y, size_t n, int filters) {
  if (window > 8) {
    lookup_pixels_f32<4>(rows, step, pixels, l, to, y, n, filters);
  } else if (window > 4) {
    lookup_pixels_f32<2>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_f32<1>(rows, step, pixels, l, to, y, n, filters);
  }
}

// One filter's sums over NV vectors of pixels, of two registers each.
template <int NV>
void planes_run(const float* origin, int entries, const int32_t* offset, const float* value,
                float bias, const Activation& activate, float* y) {
  float32x4_t low[NV], high[NV];
  repeat<NV>([&](auto v) { low[v] = high[v] = vdupq_n_f32(bias); });
  for (int e = 0; e < entries; ++e) {
    const float by = value[e];
    const float* plane = origin + offset[e];
    repeat<NV>([&](auto v) {
      low[v] = vfmaq_n_f32(low[v], vld1q_f32(plane + v * kLanes), by);
      high[v] = vfmaq_n_f32(high[v], vld1q_f32(plane + v * kLanes + 4), by);
    });
  }
  repeat<NV>([&](auto v) { activate.store(low[v], high[v], y + v * kLanes); });
}

void planes_f32(const float* origin, int vectors, const Planes& planes, const Activate& to,
                int filters, float* y) {
  static constexpr decltype(&planes_run<1>) kRuns[kMostVectors] = {
      planes_run<1>, planes_run<2>, planes_run<3>, planes_run<4>,
      planes_run<5>, planes_run<6>, planes_run<7>, planes_run<8>};
  const Activation activate(to);
  for (int j = 0; j < filters; ++j) {
    const int32_t e = planes.first[j];
    kRuns[vectors - 1](origin, planes.first[j + 1] - e, planes.offset + e, planes.value + e,
                       to.bias[j], activate, y + static_cast<size_t>(j) * vectors * kLanes);
  }
}

// Where a map is one pixel. Four sums, since an addition takes longer than two loads.
void pixel_f32(const float* origin, const Planes& planes, const Activate& to, int filters,
               float* y) {
  for (int j = 0; j < filters; ++j) {
    const int end = planes.first[j + 1];
    float sum[4] = {to.bias[j], 0, 0, 0};
    int e = planes.first[j];
    for (; e + 4 <= end; e += 4) {
      repeat<4>([&](auto i) { sum[i] += planes.value[e + i] * origin[planes.offset[e + i]]; });
    }
    for (; e < end; ++e) sum[0] += planes.value[e] * origin[planes.offset[e]];
    const float x = (sum[0] + sum[1]) + (sum[2] + sum[3]);
    y[j] = x < to.lowest ? to.lowest : x > to.highest ? to.highest : x;
  }
}

// 4 x 4 floats in registers: interleaved by 1 and 2.
void transpose_block(const float* from, size_t stride, float* const* to, int row) {
  const float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + stride);
  const float32x4_t c = vld1q_f32(from + 2 * stride), d = vld1q_f32(from + 3 * stride);
  const float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
  const float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
  const float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
  const float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
  const float64x2_t columns[4] = {vzip1q_f64(ab_even, cd_even), vzip1q_f64(ab_odd, cd_odd),
                                  vzip2q_f64(ab_even, cd_even), vzip2q_f64(ab_odd, cd_odd)};
  for (int i = 0; i < 4; ++i) {
    if (to[i] != nullptr) vst1q_f32(to[i] + row, vreinterpretq_f32_f64(columns[i]));
  }
}

void transpose_f32(const float* from, size_t stride, float* const* to, int rows, int columns) {
  for (int i = 0; i < rows; i += 4) {
    for (int j = 0; j < columns; j += 4) {
      const float* block = from + i * stride + j;
      if (rows - i >= 4 && columns - j >= 4) {
        transpose_block(block, stride, to + j, i);
        continue;
      }
      for (int c = 0; c < 4 && c < columns - j; ++c) {
        if (to[j + c] == nullptr) continue;
        for (int r = 0; r < 4 && r < rows - i; ++r) to[j + c][i + r] = block[r * stride + c];
      }
    }
  }
}

}  // namespace

// The rates are estimates: with the dot product, llvm-mca's cycles of the inner loops on a
// Cortex-A76 (benchmarks/latency/instructions.py) at 2.4 GHz; without it, from counts of instructions.
#if defined(LCNN_NEON_DOT)
const Kernels kNeonDot = {
    "neondot",
#else
const Kernels kNeon = {
    "neon",
#endif
    kLanes,
    false,
    {16, 32, 64},
    {4, 8, 16},
    kLanes,
    dictionary_s8,
    dictionary_f32,
    lookup_s8,
    lookup_f32,
    planes_f32,
    transpose_f32,
#if defined(LCNN_NEON_DOT)
    {1.3e-11, 1.6e-11, {8.4e-10, 9.7e-10, 2e-9}, 3e-10, 0, 0, 2e-6, 6e-10},
    {5.2e-11, 5.3e-11, {1.2e-9, 1.2e-9, 2.4e-9}, 2e-10, 7.9e-11, 3e-10, 2e-6, 4e-10},
#else
    {1e-10, 9e-11, {3.8e-9, 5.3e-9, 7.6e-9}, 5e-10, 0, 0, 2e-6, 3.5e-9},
    {1.2e-10, 1.3e-10, {3.2e-9, 4.4e-9, 6.4e-9}, 3e-10, 1.5e-10, 5e-10, 2e-6, 1e-9},
#endif
    1,
    pixel_f32,
};

}  // namespace lcnn

#if defined(LCNN_NEON_DOT)
#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
#endif
