// NEON, with and without its dot product of bytes: 8 filters a block, in two registers.
#if defined(__aarch64__)
#include <arm_neon.h>

#include <cstring>

#include "kernels.h"

namespace lcnn {
namespace {

constexpr int kLanes = 8;

// One for each half of a block.
struct Sums {
  int32x4_t low, high;
};

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

struct Dot {
  static Bytes arrange(Bytes x) { return x; }

  static Bytes spread(const void* four) {
    int32_t all;
    std::memcpy(&all, four, 4);
    const int8x16_t x = vreinterpretq_s8_s32(vdupq_n_s32(all));
    return {x, x};
  }

  static int32x4_t dot(int32x4_t sum, int8x16_t x, int8x16_t y) {
#if defined(__ARM_FEATURE_DOTPROD)
    return vdotq_s32(sum, x, y);
#else
    // The target is set here and not by a compiler flag, so that one command builds every file, and
    // not by a function's attribute, with which compilers do not inline this into templates.
    asm(".arch armv8.2-a+dotprod\n\tsdot %0.4s, %1.16b, %2.16b" : "+w"(sum) : "w"(x), "w"(y));
    return sum;
#endif
  }

  static void add(Sums& sum, Bytes x, Bytes y) {
    sum.low = dot(sum.low, x.first, y.first);
    sum.high = dot(sum.high, x.second, y.second);
  }
};

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
    const int16x8_t low = vmull_s8(vget_low_s8(x.first), vget_low_s8(y.first));
    const int16x8_t high = vmull_high_s8(x.first, y.first);
    sum.low = vpadalq_s16(
        sum.low, vmlal_s8(low, vget_low_s8(x.second), vget_low_s8(y.second)));
    sum.high = vpadalq_s16(sum.high, vmlal_high_s8(high, x.second, y.second));
  }
};

// For weights of -128, which converters do not write.
struct Exact {
  static Bytes arrange(Bytes x) { return x; }
  static Bytes spread(const void* four) { return Dot::spread(four); }

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

class Requantiser {
 public:
  explicit Requantiser(const Requantise& to)
      : lowest_(vdupq_n_f32(static_cast<float>(to.lowest - to.zero_point))),
        highest_(vdupq_n_f32(static_cast<float>(to.highest - to.zero_point))),
        zero_point_(vdupq_n_s32(to.zero_point)) {}

  void store(const Sums& sum, const Requantise& to, int row, int lanes, void* y) const {
    const int16x4_t low = narrow(sum.low, to.bias + row, to.scale + row);
    const int16x4_t high = narrow(sum.high, to.bias + row + 4, to.scale + row + 4);
    const int8x8_t bytes = vmovn_s16(vcombine_s16(low, high));
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

struct Floats {
  float32x4_t low, high;
};

Floats load_floats(const float* from) { return {vld1q_f32(from), vld1q_f32(from + 4)}; }

class Activation {
 public:
  explicit Activation(const Activate& to)
      : lowest_(vdupq_n_f32(to.lowest)), highest_(vdupq_n_f32(to.highest)) {}

  void store(Floats sum, float* to) const {
    vst1q_f32(to, vminq_f32(vmaxq_f32(sum.low, lowest_), highest_));
    vst1q_f32(to + 4, vminq_f32(vmaxq_f32(sum.high, lowest_), highest_));
  }

  void store(Floats sum, int lanes, float* to) const {
    if (lanes >= kLanes) {
      store(sum, to);
    } else {
      float eight[kLanes];
      store(sum, eight);
      std::memcpy(to, eight, lanes * sizeof(float));
    }
  }

 private:
  float32x4_t lowest_, highest_;
};

// Calls tile(first pixel, pixels) for runs of at most `most` pixels, as equal as can be.
template <typename Tile>
void in_tiles(int pixels, int most, const Tile& tile) {
  for (int p = 0; p < pixels;) {
    const int left = pixels - p, tiles = (left + most - 1) / most;
    const int run = (left + tiles - 1) / tiles;
    tile(p, run);
    p += run;
  }
}

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels.
template <typename Product, int NB, int PX>
void dictionary_tile_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int row,
                        const Dictionary<int8_t>& d, const Requantise& to,
                        const Requantiser& requantise) {
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 4 * kLanes;
  const int8_t* values = d.values + static_cast<size_t>(row) * quads * 4;
  Sums sum[PX][NB];
  for (int p = 0; p < PX; ++p) {
    for (int b = 0; b < NB; ++b) sum[p][b] = {vdupq_n_s32(0), vdupq_n_s32(0)};
  }
  for (int q = 0; q < quads; ++q) {
    Bytes weights[NB];
    for (int b = 0; b < NB; ++b) {
      weights[b] = Product::arrange(load_bytes(values + b * block + q * 4 * kLanes));
    }
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p) {
      const Bytes in = Product::spread(x + p * stride + 4 * q);
      for (int b = 0; b < NB; ++b) Product::add(sum[p][b], in, weights[b]);
    }
  }
  for (int p = 0; p < PX; ++p) {
    for (int b = 0; b < NB; ++b) {
      const int at = row + b * kLanes;
      requantise.store(sum[p][b], to, at, d.k - at, s[p] + at);
    }
  }
}

template <typename Product>
void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantise& to) {
  using Tile = decltype(&dictionary_tile_s8<Product, 1, 1>);
  static constexpr Tile kTwo[4] = {
      dictionary_tile_s8<Product, 2, 1>, dictionary_tile_s8<Product, 2, 2>,
      dictionary_tile_s8<Product, 2, 3>, dictionary_tile_s8<Product, 2, 4>};
  static constexpr Tile kOne[8] = {
      dictionary_tile_s8<Product, 1, 1>, dictionary_tile_s8<Product, 1, 2>,
      dictionary_tile_s8<Product, 1, 3>, dictionary_tile_s8<Product, 1, 4>,
      dictionary_tile_s8<Product, 1, 5>, dictionary_tile_s8<Product, 1, 6>,
      dictionary_tile_s8<Product, 1, 7>, dictionary_tile_s8<Product, 1, 8>};
  const Requantiser requantise(to);
  int row = 0;
  for (; row + kLanes < d.k; row += 2 * kLanes) {
    in_tiles(pixels, 4, [&](int p, int run) {
      kTwo[run - 1](x + p * stride, stride, s + p, row, d, to, requantise);
    });
  }
  if (row < d.k) {
    in_tiles(pixels, 8, [&](int p, int run) {
      kOne[run - 1](x + p * stride, stride, s + p, row, d, to, requantise);
    });
  }
}

void dictionary_s8_without_dot(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                               const Dictionary<int8_t>& d, const Requantise& to) {
  const size_t blocks = (d.k + kLanes - 1) / kLanes, quads = (d.m + 3) / 4;
  if (has_lowest(d.values, blocks * quads)) {
    dictionary_s8<Exact>(x, stride, s, pixels, d, to);
  } else {
    dictionary_s8<Pairs>(x, stride, s, pixels, d, to);
  }
}

template <int NB, int PX>
void dictionary_tile_f32(const float* x, ptrdiff_t stride, float* const* s, int row,
                         const Dictionary<float>& d, const float* bias,
                         const Activation& activate) {
  const size_t block = static_cast<size_t>(d.m) * kLanes;
  const float* values = d.values + static_cast<size_t>(row) * d.m;
  Floats sum[PX][NB];
  for (int b = 0; b < NB; ++b) {
    const Floats start = load_floats(bias + row + b * kLanes);
    for (int p = 0; p < PX; ++p) sum[p][b] = start;
  }
  for (int c = 0; c < d.m; ++c) {
    Floats in[NB];
    for (int b = 0; b < NB; ++b) in[b] = load_floats(values + b * block + c * kLanes);
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p) {
      const float by = x[p * stride + c];
      for (int b = 0; b < NB; ++b) {
        sum[p][b].low = vfmaq_n_f32(sum[p][b].low, in[b].low, by);
        sum[p][b].high = vfmaq_n_f32(sum[p][b].high, in[b].high, by);
      }
    }
  }
  for (int p = 0; p < PX; ++p) {
    for (int b = 0; b < NB; ++b) {
      const int at = row + b * kLanes;
      activate.store(sum[p][b], d.k - at, s[p] + at);
    }
  }
}

void dictionary_f32(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                    const Dictionary<float>& d, const Activate& to) {
  using Tile = decltype(&dictionary_tile_f32<1, 1>);
  static constexpr Tile kTwo[6] = {dictionary_tile_f32<2, 1>, dictionary_tile_f32<2, 2>,
                                   dictionary_tile_f32<2, 3>, dictionary_tile_f32<2, 4>,
                                   dictionary_tile_f32<2, 5>, dictionary_tile_f32<2, 6>};
  static constexpr Tile kOne[8] = {dictionary_tile_f32<1, 1>, dictionary_tile_f32<1, 2>,
                                   dictionary_tile_f32<1, 3>, dictionary_tile_f32<1, 4>,
                                   dictionary_tile_f32<1, 5>, dictionary_tile_f32<1, 6>,
                                   dictionary_tile_f32<1, 7>, dictionary_tile_f32<1, 8>};
  const Activation activate(to);
  int row = 0;
  for (; row + kLanes < d.k; row += 2 * kLanes) {
    in_tiles(pixels, 6, [&](int p, int run) {
      kTwo[run - 1](x + p * stride, stride, s + p, row, d, to.bias, activate);
    });
  }
  if (row < d.k) {
    in_tiles(pixels, 8, [&](int p, int run) {
      kOne[run - 1](x + p * stride, stride, s + p, row, d, to.bias, activate);
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
                    const Lookups<int8_t>& l, const Requantise& to, const Requantiser& requantise,
                    int8_t* y, size_t n, int filters) {
  Sums sum[PX];
  for (int p = 0; p < PX; ++p) sum[p] = {vdupq_n_s32(0), vdupq_n_s32(0)};
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 4 * kLanes, coefficient += 4 * kLanes) {
    const Bytes i = Product::arrange(load_bytes(index));
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p, at += step) {
      const Table<Registers> table(at);
      Product::add(sum[p], {table.at(i.first), table.at(i.second)}, c);
    }
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 4 * kLanes) {
    const Bytes c = Product::arrange(load_bytes(coefficient));
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p, at += step) Product::add(sum[p], Product::spread(at), c);
  }
  for (int p = 0; p < PX; ++p) requantise.store(sum[p], to, 0, filters, y + p * n);
}

template <typename Product, int Registers>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantise& to, int8_t* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_s8<Product, Registers, 1>) kTiles[kMostPixels] = {
      lookup_tile_s8<Product, Registers, 1>, lookup_tile_s8<Product, Registers, 2>,
      lookup_tile_s8<Product, Registers, 3>, lookup_tile_s8<Product, Registers, 4>,
      lookup_tile_s8<Product, Registers, 5>, lookup_tile_s8<Product, Registers, 6>,
      lookup_tile_s8<Product, Registers, 7>, lookup_tile_s8<Product, Registers, 8>};
  const Requantiser requantise(to);
  in_tiles(pixels, kMostPixels, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantise, y + p * n, n,
                    filters);
  });
}

template <typename Product>
void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantise& to, int8_t* y, size_t n, int filters) {
  if (window > 32) {
    lookup_pixels_s8<Product, 4>(rows, step, pixels, l, to, y, n, filters);
  } else if (window > 16) {
    lookup_pixels_s8<Product, 2>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_s8<Product, 1>(rows, step, pixels, l, to, y, n, filters);
  }
}

void lookup_s8_without_dot(const uint8_t* const* rows, int step, int pixels, int window,
                           const Lookups<int8_t>& l, const Requantise& to, int8_t* y, size_t n,
                           int filters) {
  if (has_lowest(l.coefficient, l.steps) || has_lowest(l.full_coefficient, l.full_steps)) {
    lookup_s8<Exact>(rows, step, pixels, window, l, to, y, n, filters);
  } else {
    lookup_s8<Pairs>(rows, step, pixels, window, l, to, y, n, filters);
  }
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
  Floats sum[PX];
  const Floats start = load_floats(to.bias);
  for (int p = 0; p < PX; ++p) sum[p] = start;
  const uint8_t* index = l.index;
  const float* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kLanes, coefficient += kLanes) {
    const int8x16_t low = float_bytes(index), high = float_bytes(index + 4);
    const Floats c = load_floats(coefficient);
    const float* at = rows[l.step[g].row] + l.step[g].offset + first;
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p, at += step) {
      const Table<Registers> table(at);
      sum[p].low = vfmaq_f32(sum[p].low, vreinterpretq_f32_s8(table.at(low)), c.low);
      sum[p].high = vfmaq_f32(sum[p].high, vreinterpretq_f32_s8(table.at(high)), c.high);
    }
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kLanes) {
    const Floats c = load_floats(coefficient);
    const float* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
#pragma GCC unroll 16
    for (int p = 0; p < PX; ++p, at += step) {
      sum[p].low = vfmaq_n_f32(sum[p].low, c.low, *at);
      sum[p].high = vfmaq_n_f32(sum[p].high, c.high, *at);
    }
  }
  for (int p = 0; p < PX; ++p) activate.store(sum[p], filters, y + p * n);
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
  Floats sum[NV];
  for (int v = 0; v < NV; ++v) sum[v] = {vdupq_n_f32(bias), vdupq_n_f32(bias)};
  for (int e = 0; e < entries; ++e) {
    const float by = value[e];
    const float* plane = origin + offset[e];
#pragma GCC unroll 16
    for (int v = 0; v < NV; ++v) {
      const Floats in = load_floats(plane + v * kLanes);
      sum[v].low = vfmaq_n_f32(sum[v].low, in.low, by);
      sum[v].high = vfmaq_n_f32(sum[v].high, in.high, by);
    }
  }
  for (int v = 0; v < NV; ++v) activate.store(sum[v], y + v * kLanes);
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

const Kernels kNeon = {
    "neon",
    kLanes,
    false,
    {16, 32, 64},
    {4, 8, 16},
    kLanes,
    dictionary_s8_without_dot,
    dictionary_f32,
    lookup_s8_without_dot,
    lookup_f32,
    planes_f32,
    transpose_f32,
    {4e-11, 5e-11, {2e-9, 2.4e-9, 3e-9}, 3e-10, 0, 0, 2e-6, 1e-9},
    {8e-11, 9e-11, {1.2e-9, 1.6e-9, 2.4e-9}, 3e-10, 1.4e-10, 4e-10, 2e-6, 1e-9},
};

const Kernels kNeonDot = {
    "neondot",
    kLanes,
    false,
    {16, 32, 64},
    {4, 8, 16},
    kLanes,
    dictionary_s8<Dot>,
    dictionary_f32,
    lookup_s8<Dot>,
    lookup_f32,
    planes_f32,
    transpose_f32,
    {1.2e-11, 1.5e-11, {1e-9, 1.4e-9, 2e-9}, 3e-10, 0, 0, 2e-6, 1e-9},
    {4e-11, 5e-11, {1e-9, 1.4e-9, 2e-9}, 2e-10, 8e-11, 3e-10, 2e-6, 1e-9},
};

}  // namespace lcnn
#endif
