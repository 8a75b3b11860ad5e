// NEON: 8 filters a block, in two registers. Without its dot product of bytes; and with it where
// kernels_neondot.cpp includes this file, since a target is best set for whole files.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <array>
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

#include "float_kernels.h"
#include "neon_products.h"
#include "requantizer.h"
#include "tiles.h"

namespace lcnn {
namespace {

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

// What float_kernels.h and requantizer.h ask for.
struct Neon {
  static constexpr int kLanes = 8;
  static constexpr int kVectors = 1;
  static constexpr int kDictionaryVectors = 2;
  template <int NB>
  static constexpr int kDictionaryPixels = NB == 2 ? 5 : 8;
  template <int>
  static constexpr int kLookupPixels = 8;
  static constexpr std::array<int, 3> kWindows = {4, 8, 16};
  static constexpr int kTransposed = 4;

  struct Vector {
    float32x4_t low, high;
  };
  using Each = float;

  static Vector load(const float* from) { return {vld1q_f32(from), vld1q_f32(from + 4)}; }
  static void store(float* to, Vector x) {
    vst1q_f32(to, x.low);
    vst1q_f32(to + 4, x.high);
  }
  static void store_some(float* to, Vector x, int lanes) {
    float eight[kLanes];
    store(eight, x);
    std::memcpy(to, eight, lanes * sizeof(float));
  }
  // In one lane, by which a multiplication can take it; a load into all lanes takes longer.
  static Each each(const float* from) {
    float x = *from;
    asm("" : "+w"(x));
    return x;
  }
  static Vector broadcast(float x) { return {vdupq_n_f32(x), vdupq_n_f32(x)}; }
  static Vector add(Vector a, Vector b) {
    return {vaddq_f32(a.low, b.low), vaddq_f32(a.high, b.high)};
  }
  static Vector subtract(Vector a, Vector b) {
    return {vsubq_f32(a.low, b.low), vsubq_f32(a.high, b.high)};
  }
  static Vector multiply(Vector a, Vector b) {
    return {vmulq_f32(a.low, b.low), vmulq_f32(a.high, b.high)};
  }
  static Vector multiply_add(Vector a, Vector b, Vector sum) {
    return {vfmaq_f32(sum.low, a.low, b.low), vfmaq_f32(sum.high, a.high, b.high)};
  }
  static Vector multiply_add(Vector a, Each b, Vector sum) {
    return {vfmaq_n_f32(sum.low, a.low, b), vfmaq_n_f32(sum.high, a.high, b)};
  }
  // `max` and `min` of a NaN are one.
  static Vector limited(Vector x, Vector lowest, Vector highest) {
    return {vminq_f32(vmaxq_f32(x.low, lowest.low), highest.low),
            vminq_f32(vmaxq_f32(x.high, lowest.high), highest.high)};
  }

  struct Indices {
    int8x16_t low, high;
  };
  static Indices load_indices(const uint8_t* from) {
    return {float_bytes(from), float_bytes(from + 4)};
  }

  template <int W>
  struct Window {
    Table<1 << W> table;
    explicit Window(const float* from) : table(from) {}
    Vector look_up(const Indices& i) const {
      return {vreinterpretq_f32_s8(table.at(i.low)), vreinterpretq_f32_s8(table.at(i.high))};
    }
  };

  // 4 x 4 floats in registers: interleaved by 1 and 2.
  static void transpose_block(const float* from, size_t stride, float* const* to, int row, int rows,
                              int columns) {
    if (rows < 4 || columns < 4) {
      for (int c = 0; c < 4 && c < columns; ++c) {
        if (to[c] == nullptr) continue;
        for (int r = 0; r < 4 && r < rows; ++r) to[c][row + r] = from[r * stride + c];
      }
      return;
    }
    const float32x4_t a = vld1q_f32(from), b = vld1q_f32(from + stride);
    const float32x4_t c = vld1q_f32(from + 2 * stride), d = vld1q_f32(from + 3 * stride);
    const float64x2_t ab_even = vreinterpretq_f64_f32(vtrn1q_f32(a, b));
    const float64x2_t ab_odd = vreinterpretq_f64_f32(vtrn2q_f32(a, b));
    const float64x2_t cd_even = vreinterpretq_f64_f32(vtrn1q_f32(c, d));
    const float64x2_t cd_odd = vreinterpretq_f64_f32(vtrn2q_f32(c, d));
    const float64x2_t turned[4] = {vzip1q_f64(ab_even, cd_even), vzip1q_f64(ab_odd, cd_odd),
                                   vzip2q_f64(ab_even, cd_even), vzip2q_f64(ab_odd, cd_odd)};
    for (int i = 0; i < 4; ++i) {
      if (to[i] != nullptr) vst1q_f32(to[i] + row, vreinterpretq_f32_f64(turned[i]));
    }
  }

  using Sums = lcnn::Sums;
  using Halves = int16x8x2_t;
  using Bytes = lcnn::Bytes;

  static Vector to_float(Sums x) { return {vcvtq_f32_s32(x.low), vcvtq_f32_s32(x.high)}; }
  static Sums rounded(Vector x) { return {vcvtnq_s32_f32(x.low), vcvtnq_s32_f32(x.high)}; }
  static Halves broadcast_half(int16_t x) { return {{vdupq_n_s16(x), vdupq_n_s16(x)}}; }
  static Bytes broadcast_byte(int8_t x) { return {vdupq_n_s8(x), vdupq_n_s8(x)}; }
  static int16x8_t narrow(Sums x) {
    return vqmovn_high_s32(vqmovn_s32(x.low), x.high);
  }
  static Halves narrow(Sums a, Sums b) { return {{narrow(a), narrow(b)}}; }
  static Halves add_saturating(Halves a, Halves b) {
    return {{vqaddq_s16(a.val[0], b.val[0]), vqaddq_s16(a.val[1], b.val[1])}};
  }
  static int8x16_t narrow(Halves x) { return vqmovn_high_s16(vqmovn_s16(x.val[0]), x.val[1]); }
  static Bytes narrow(Halves a, Halves b, std::false_type) { return {narrow(a), narrow(b)}; }
  static Bytes minimum(Bytes a, Bytes b, std::false_type) {
    return {vminq_s8(a.first, b.first), vminq_s8(a.second, b.second)};
  }
  static Bytes maximum(Bytes a, Bytes b, std::false_type) {
    return {vmaxq_s8(a.first, b.first), vmaxq_s8(a.second, b.second)};
  }
  static Bytes in_order(Bytes x) { return x; }
  template <int J>
  static void store_quarter(void* to, int lanes, Bytes bytes, std::integral_constant<int, J>) {
    const int8x16_t half = J < 2 ? bytes.first : bytes.second;
    const int8x8_t quarter = J % 2 == 0 ? vget_low_s8(half) : vget_high_s8(half);
    if (lanes >= kLanes) {
      vst1_s8(static_cast<int8_t*>(to), quarter);
    } else {
      int8_t eight[kLanes];
      vst1_s8(eight, quarter);
      std::memcpy(to, eight, lanes);
    }
  }
};

using Floats = FloatKernels<Neon>;

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels.
template <typename Product, int NB, int PX>
void dictionary_tile_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int row,
                        const Dictionary<int8_t>& d, const Requantize& to,
                        const Requantizer<Neon, false>& requantize) {
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 4 * kLanes;
  const int8_t* values = d.values + static_cast<size_t>(row) * quads * 4;
  Sums sum[PX][NB];
  repeat<NB>([&](auto b) {
    const Sums start = load_sums(to.bias + row + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  for (int q = 0; q < quads; ++q) {
    Bytes weights[NB];
    repeat<NB>([&](auto b) {
      weights[b] = Product::arrange(load_bytes(values + b * block + q * 4 * kLanes));
    });
    repeat<PX>([&](auto p) {
      const Bytes in = Product::spread(x + p * stride + 4 * q);
      repeat<NB>([&](auto b) { Product::add(sum[p][b], in, weights[b]); });
    });
  }
  requantize.store(sum, to.scale + row,
                   [&](auto p, auto b) { return s[p] + row + b * kLanes; },
                   [&](auto b) { return d.k - row - b * kLanes; });
}

// Pixels of a tile that takes NB vectors of rows: what the registers hold.
template <int NB>
constexpr int kDictionaryPixels = NB == 2 ? 4 : 6;

template <typename Product>
void dictionary_by(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  const Requantizer<Neon, false> requantize(to);
  in_groups<2>((d.k + kLanes - 1) / kLanes, [&](auto nb, int first) {
    constexpr int kVectors = nb;
    static constexpr auto kTiles = tiles<kDictionaryPixels<kVectors>>(
        [](auto px) { return &dictionary_tile_s8<Product, kVectors, px>; });
    in_tiles(pixels, kTiles, [&](auto tile, int p) {
      tile(x + p * stride, stride, s + p, first * kLanes, d, to, requantize);
    });
  });
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

// What indices, coefficients and a table leave of 32 registers for pixels, two to each.
constexpr int kMostPixels = 8;

template <typename Product, int Registers, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to, const Requantizer<Neon, false>& requantize,
                    int8_t* y, size_t n, int filters) {
  Sums sum[PX][1];
  const Sums start = load_sums(to.bias);
  repeat<PX>([&](auto p) { sum[p][0] = start; });
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 4 * kLanes, coefficient += 4 * kLanes) {
    const Bytes i = Product::arrange(load_bytes(index));
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const Table<Registers> table(at);
      Product::add(sum[p][0], {table.at(i.first), table.at(i.second)}, c);
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 4 * kLanes) {
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      Product::add(sum[p][0], Product::spread(at), c);
      at += step;
    });
  }
  requantize.store(sum, to.scale, [&](auto p, auto) { return y + p * n; },
                   [&](auto) { return filters; });
}

template <typename Product, int Registers>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr auto kTiles = tiles<kMostPixels>(
      [](auto px) { return &lookup_tile_s8<Product, Registers, px>; });
  const Requantizer<Neon, false> requantize(to);
  in_tiles(pixels, kTiles, [&](auto tile, int p) {
    tile(rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n, filters);
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

}  // namespace

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
    {Neon::kWindows[0], Neon::kWindows[1], Neon::kWindows[2]},
    kLanes,
    dictionary_s8,
    Floats::dictionary,
    lookup_s8,
    Floats::lookup,
    Floats::planes,
    Floats::transpose,
    &kPortableElementwise,
    Neon::kVectors,
    Floats::pixel,
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
