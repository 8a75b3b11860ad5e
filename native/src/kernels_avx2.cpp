// AVX2 and FMA: 8 filters a block. It has no permute across a register's halves and no dot product
// of bytes that cannot saturate, so a byte window is made of 16-byte tables, each in both halves,
// and products are summed in pairs of 16 bits.
#if defined(__x86_64__)
#include <type_traits>
#include <utility>

#include "kernels.h"

// The target is set here and not by a compiler flag, so that one command builds every file.
#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2,fma")
#endif
#include <immintrin.h>

#include "tiles.h"

namespace lcnn {
namespace {

constexpr int kLanes = 8;

// Keeps the order of additions: compilers would rather add products first, and then need more
// registers than there are.
[[gnu::always_inline]] inline __m256i in_order(__m256i sum) {
  asm("" : "+x"(sum));
  return sum;
}

// sum + the products of 16-bit numbers, pairs of them added.
[[gnu::always_inline]] inline __m256i add_products(__m256i sum, __m256i a, __m256i b) {
  return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(a, b)));
}

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// 16 bytes, in both halves.
__m256i load_table(const void* from) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// The bytes at even places (within pairs) as 16-bit numbers, and those at odd places.
__m256i even_bytes(__m256i x) { return _mm256_srai_epi16(_mm256_slli_epi16(x, 8), 8); }
__m256i odd_bytes(__m256i x) { return _mm256_srai_epi16(x, 8); }

class Requantizer {
 public:
  explicit Requantizer(const Requantize& to)
      : lowest_(_mm256_set1_ps(static_cast<float>(to.lowest - to.zero_point))),
        highest_(_mm256_set1_ps(static_cast<float>(to.highest - to.zero_point))),
        zero_point_(_mm256_set1_epi32(to.zero_point)) {}

  void store(__m256i sum, __m256 scale, int lanes, void* to) const {
    __m256 x = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), scale);
    x = _mm256_min_ps(_mm256_max_ps(x, lowest_), highest_);
    const __m256i wide = _mm256_add_epi32(_mm256_cvtps_epi32(x), zero_point_);
    const __m128i half =
        _mm_packs_epi32(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    // The low bytes, whether they are signed or not.
    const __m128i bytes = _mm_shuffle_epi8(
        half, _mm_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 14, 12, 10, 8, 6, 4, 2, 0));
    if (lanes >= kLanes) {
      _mm_storel_epi64(static_cast<__m128i*>(to), bytes);
    } else {
      int8_t eight[kLanes];
      _mm_storel_epi64(reinterpret_cast<__m128i*>(eight), bytes);
      __builtin_memcpy(to, eight, lanes);
    }
  }

 private:
  __m256 lowest_, highest_;
  __m256i zero_point_;
};

class Activation {
 public:
  explicit Activation(const Activate& to)
      : lowest_(_mm256_set1_ps(to.lowest)), highest_(_mm256_set1_ps(to.highest)) {}

  __m256 operator()(__m256 x) const {
    // Of two numbers of which one is none, `max` and `min` give the second: a NaN stays one, as in
    // LiteRT.
    return _mm256_min_ps(highest_, _mm256_max_ps(lowest_, x));
  }

  void store(__m256 sum, int lanes, float* to) const { put((*this)(sum), lanes, to); }

  static void put(__m256 x, int lanes, float* to) {
    if (lanes >= kLanes) {
      _mm256_storeu_ps(to, x);
    } else {
      float eight[kLanes];
      _mm256_storeu_ps(eight, x);
      __builtin_memcpy(to, eight, lanes * sizeof(float));
    }
  }

 private:
  __m256 lowest_, highest_;
};

// An infinity becomes a NaN, all else stays.
__m256 poisoned(__m256 sum) { return _mm256_add_ps(sum, _mm256_sub_ps(sum, sum)); }

// Pixels that a tile of the dictionary stage takes, and groups of 4 channels that it widens.
constexpr int kDictionaryPixels = 12;
constexpr int kQuads = 128;

// Channels of a tile's pixels as 16-bit numbers, a pair to an element: one broadcast loads them.
struct Widened {
  alignas(32) int32_t even[kDictionaryPixels][kQuads];
  alignas(32) int32_t odd[kDictionaryPixels][kQuads];
};

// The biases are those of unsigned channels, value + 128.
void widen(const int8_t* x, int quads, int32_t* even, int32_t* odd) {
  int q = 0;
  for (; q + 8 <= quads; q += 8) {
    const __m256i in = _mm256_xor_si256(load(x + 4 * q), _mm256_set1_epi8(-128));
    _mm256_store_si256(reinterpret_cast<__m256i*>(even + q),
                       _mm256_and_si256(in, _mm256_set1_epi16(0xff)));
    _mm256_store_si256(reinterpret_cast<__m256i*>(odd + q), _mm256_srli_epi16(in, 8));
  }
  for (; q < quads; ++q) {
    uint32_t in;
    __builtin_memcpy(&in, x + 4 * q, 4);
    in ^= 0x80808080u;
    even[q] = static_cast<int32_t>(in & 0x00ff00ffu);
    odd[q] = static_cast<int32_t>(in >> 8 & 0x00ff00ffu);
  }
}

// PX pixels by one block of dictionary rows, kept in registers over the channels.
template <int PX>
void multiply_s8(const Widened& x, int quads, const int8_t* values, __m256i* sums) {
  __m256i sum[PX];
  repeat<PX>([&](auto p) { sum[p] = sums[p]; });
  for (int q = 0; q < quads; ++q) {
    const __m256i d = load(values + q * 32);
    const __m256i even = even_bytes(d), odd = odd_bytes(d);
    repeat<PX>([&](auto p) {
      sum[p] = add_products(sum[p], even, _mm256_set1_epi32(x.even[p][q]));
      sum[p] = add_products(sum[p], odd, _mm256_set1_epi32(x.odd[p][q]));
    });
  }
  repeat<PX>([&](auto p) { sums[p] = sum[p]; });
}

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  static constexpr decltype(&multiply_s8<1>) kMultiply[kDictionaryPixels] = {
      multiply_s8<1>, multiply_s8<2>, multiply_s8<3>, multiply_s8<4>,
      multiply_s8<5>, multiply_s8<6>, multiply_s8<7>, multiply_s8<8>,
      multiply_s8<9>, multiply_s8<10>, multiply_s8<11>, multiply_s8<12>};
  const Requantizer requantize(to);
  const int quads = (d.m + 3) / 4;
  Widened wide;
  in_tiles(pixels, kDictionaryPixels, [&](int first, int run) {
    int widened = -1;  // the first of the groups that `wide` holds
    for (int row = 0; row < d.k; row += kLanes) {
      __m256i sums[kDictionaryPixels];
      for (int p = 0; p < run; ++p) sums[p] = load(to.bias + row);
      for (int q = 0; q < quads; q += kQuads) {
        const int some = quads - q < kQuads ? quads - q : kQuads;
        if (widened != q) {
          for (int p = 0; p < run; ++p) {
            widen(x + (first + p) * stride + 4 * q, some, wide.even[p], wide.odd[p]);
          }
          widened = q;
        }
        const size_t block = static_cast<size_t>(row) * quads * 4;
        kMultiply[run - 1](wide, some, d.values + block + q * kLanes * 4, sums);
      }
      const __m256 scale = _mm256_loadu_ps(to.scale + row);
      for (int p = 0; p < run; ++p) {
        requantize.store(sums[p], scale, d.k - row, s[first + p] + row);
      }
    }
  });
}

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels.
template <int NB, int PX>
void dictionary_tile_f32(const float* x, ptrdiff_t stride, float* const* s, int row,
                         const Dictionary<float>& d, const Activate& to,
                         const Activation& activate) {
  const size_t block = static_cast<size_t>(d.m) * kLanes;
  const float* values = d.values + static_cast<size_t>(row) * d.m;
  __m256 sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m256 start = _mm256_loadu_ps(to.bias + row + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  for (int c = 0; c < d.m; ++c) {
    __m256 in[NB];
    repeat<NB>([&](auto b) { in[b] = _mm256_loadu_ps(values + b * block + c * kLanes); });
    repeat<PX>([&](auto p) {
      const __m256 by = _mm256_set1_ps(x[p * stride + c]);
      repeat<NB>([&](auto b) { sum[p][b] = _mm256_fmadd_ps(in[b], by, sum[p][b]); });
    });
  }
  const Activation limits = activate;  // in registers, whatever the stores may change
  const auto finish = [&](auto poison) __attribute__((always_inline)) {
    repeat<PX>([&](auto p) {
      repeat<NB>([&](auto b) {
        const int at = row + b * kLanes;
        Activation::put(poison ? poisoned(sum[p][b]) : limits(sum[p][b]), d.k - at, s[p] + at);
      });
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
  static constexpr decltype(&dictionary_tile_f32<1, 1>) kTwo[6] = {
      dictionary_tile_f32<2, 1>, dictionary_tile_f32<2, 2>, dictionary_tile_f32<2, 3>,
      dictionary_tile_f32<2, 4>, dictionary_tile_f32<2, 5>, dictionary_tile_f32<2, 6>};
  static constexpr decltype(&dictionary_tile_f32<1, 1>) kOne[8] = {
      dictionary_tile_f32<1, 1>, dictionary_tile_f32<1, 2>, dictionary_tile_f32<1, 3>,
      dictionary_tile_f32<1, 4>, dictionary_tile_f32<1, 5>, dictionary_tile_f32<1, 6>,
      dictionary_tile_f32<1, 7>, dictionary_tile_f32<1, 8>};
  const Activation activate(to);
  int row = 0;
  for (; row + kLanes < d.k; row += 2 * kLanes) {
    in_tiles(pixels, 6, [&](int p, int run) {
      kTwo[run - 1](x + p * stride, stride, s + p, row, d, to, activate);
    });
  }
  if (row < d.k) {
    in_tiles(pixels, 8, [&](int p, int run) {
      kOne[run - 1](x + p * stride, stride, s + p, row, d, to, activate);
    });
  }
}

// A window of Tables * 16 bytes. S is unsigned: a byte that `pshufb` leaves out is zero, so
// the even and the odd bytes are made 16-bit numbers by the lookup itself or by a mask.
template <int Tables, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to, const Requantizer& requantize,
                    int8_t* y, size_t n, int filters) {
  __m256i sum[PX];
  const __m256i start = load(to.bias);
  repeat<PX>([&](auto p) { sum[p] = start; });
  const __m256i low = _mm256_set1_epi16(0xff);
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 32, coefficient += 32) {
    const __m256i i = load(index), c = load(coefficient);
    const __m256i even = even_bytes(c), odd = odd_bytes(c);
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
    if (Tables == 1) {
      const __m256i none = _mm256_set1_epi16(static_cast<short>(0xff00));
      const __m256i even_at = _mm256_or_si256(i, none);
      const __m256i odd_at = _mm256_or_si256(_mm256_srli_epi16(i, 8), none);
      repeat<PX>([&](auto p) {
        const __m256i table = load_table(at);
        sum[p] = add_products(sum[p], _mm256_shuffle_epi8(table, even_at), even);
        sum[p] = add_products(sum[p], _mm256_shuffle_epi8(table, odd_at), odd);
        at += step;
      });
    } else {
      // An index that another table holds gets its highest bit set: `pshufb` then gives zero.
      __m256i table_at[Tables];
      repeat<Tables>([&](auto t) {
        table_at[t] = _mm256_add_epi8(_mm256_xor_si256(i, _mm256_set1_epi8(t * 16)),
                                      _mm256_set1_epi8(0x70));
      });
      repeat<PX>([&](auto p) {
        __m256i s = _mm256_shuffle_epi8(load_table(at), table_at[0]);
        repeat<Tables - 1>([&](auto t) {
          s = _mm256_or_si256(
              s, _mm256_shuffle_epi8(load_table(at + 16 * (t + 1)), table_at[t + 1]));
        });
        sum[p] = add_products(sum[p], _mm256_and_si256(s, low), even);
        sum[p] = add_products(sum[p], _mm256_srli_epi16(s, 8), odd);
        at += step;
      });
    }
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 32) {
    const __m256i c = load(coefficient);
    const __m256i even = even_bytes(c), odd = odd_bytes(c);
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      int four;
      __builtin_memcpy(&four, at, 4);
      const __m256i s = _mm256_set1_epi32(four);
      sum[p] = add_products(sum[p], _mm256_and_si256(s, low), even);
      sum[p] = add_products(sum[p], _mm256_srli_epi16(s, 8), odd);
      at += step;
    });
  }
  const __m256 scale = _mm256_loadu_ps(to.scale);
  repeat<PX>([&](auto p) { requantize.store(sum[p], scale, filters, y + p * n); });
}

// What indices, coefficients and tables leave of 16 registers for pixels.
constexpr int most_pixels_s8(int tables) { return tables == 4 ? 7 : 8; }

template <int Tables>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_s8<Tables, 1>) kTiles[8] = {
      lookup_tile_s8<Tables, 1>, lookup_tile_s8<Tables, 2>, lookup_tile_s8<Tables, 3>,
      lookup_tile_s8<Tables, 4>, lookup_tile_s8<Tables, 5>, lookup_tile_s8<Tables, 6>,
      lookup_tile_s8<Tables, 7>, lookup_tile_s8<Tables, 8>};
  const Requantizer requantize(to);
  in_tiles(pixels, most_pixels_s8(Tables), [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n,
                    filters);
  });
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantize& to, int8_t* y, size_t n, int filters) {
  if (window > 32) {
    lookup_pixels_s8<4>(rows, step, pixels, l, to, y, n, filters);
  } else if (window > 16) {
    lookup_pixels_s8<2>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_s8<1>(rows, step, pixels, l, to, y, n, filters);
  }
}

// A window of one register, or of two where it is wide.
template <bool Wide, int PX>
void lookup_tile_f32(const float* const* rows, ptrdiff_t first, int step, const Lookups<float>& l,
                     const Activate& to, const Activation& activate, float* y, size_t n,
                     int filters) {
  __m256 sum[PX];
  const __m256 start = _mm256_loadu_ps(to.bias);
  repeat<PX>([&](auto p) { sum[p] = start; });
  const uint8_t* index = l.index;
  const float* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kLanes, coefficient += kLanes) {
    const __m256i i =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(index)));
    // The permute reads three bits of an index; the next one, as a sign, chooses the register.
    const __m256 second = _mm256_castsi256_ps(_mm256_slli_epi32(i, 28));
    const __m256 c = _mm256_loadu_ps(coefficient);
    const float* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      __m256 s = _mm256_permutevar8x32_ps(_mm256_loadu_ps(at), i);
      if (Wide) {
        s = _mm256_blendv_ps(s, _mm256_permutevar8x32_ps(_mm256_loadu_ps(at + 8), i), second);
      }
      sum[p] = _mm256_fmadd_ps(s, c, sum[p]);
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kLanes) {
    const __m256 c = _mm256_loadu_ps(coefficient);
    const float* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      sum[p] = _mm256_fmadd_ps(_mm256_set1_ps(*at), c, sum[p]);
      at += step;
    });
  }
  const Activation limits = activate;  // in registers, whatever the stores may change
  repeat<PX>([&](auto p) { limits.store(sum[p], filters, y + p * n); });
}

constexpr int kMostPixelsF32 = 10;

template <bool Wide>
void lookup_pixels_f32(const float* const* rows, int step, int pixels, const Lookups<float>& l,
                       const Activate& to, float* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_f32<Wide, 1>) kTiles[kMostPixelsF32] = {
      lookup_tile_f32<Wide, 1>, lookup_tile_f32<Wide, 2>, lookup_tile_f32<Wide, 3>,
      lookup_tile_f32<Wide, 4>, lookup_tile_f32<Wide, 5>, lookup_tile_f32<Wide, 6>,
      lookup_tile_f32<Wide, 7>, lookup_tile_f32<Wide, 8>, lookup_tile_f32<Wide, 9>,
      lookup_tile_f32<Wide, 10>};
  const Activation activate(to);
  in_tiles(pixels, kMostPixelsF32, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, activate, y + p * n, n,
                    filters);
  });
}

void lookup_f32(const float* const* rows, int step, int pixels, int window, const Lookups<float>& l,
                const Activate& to, float* y, size_t n, int filters) {
  if (window > kLanes) {
    lookup_pixels_f32<true>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_f32<false>(rows, step, pixels, l, to, y, n, filters);
  }
}

// One filter's sums over NV vectors of pixels; an entry's value is broadcast once for them all.
template <int NV>
void planes_run(const float* origin, int entries, const int32_t* offset, const float* value,
                float bias, const Activation& activate, float* y) {
  __m256 sum[NV];
  repeat<NV>([&](auto v) { sum[v] = _mm256_set1_ps(bias); });
  for (int e = 0; e < entries; ++e) {
    const __m256 by = _mm256_set1_ps(value[e]);
    const float* plane = origin + offset[e];
    repeat<NV>([&](auto v) {
      sum[v] = _mm256_fmadd_ps(_mm256_loadu_ps(plane + v * kLanes), by, sum[v]);
    });
  }
  const Activation limits = activate;  // in registers, whatever the stores may change
  repeat<NV>([&](auto v) { _mm256_storeu_ps(y + v * kLanes, limits(sum[v])); });
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

// The first `lanes` lanes.
__m256i lanes_mask(int lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// 8 x 8 floats in registers: interleaved by 1, 2 and 4.
void transpose_block(const float* from, size_t stride, float* const* to, int first_row, int rows,
                     int columns) {
  __m256 a[8], b[8];
  const __m256i in = lanes_mask(columns), out = lanes_mask(rows);
  for (int i = 0; i < 8; ++i) {
    a[i] = i < rows ? _mm256_maskload_ps(from + i * stride, in) : _mm256_setzero_ps();
  }
  for (int i = 0; i < 8; i += 2) {
    b[i] = _mm256_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm256_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m256d x = _mm256_castps_pd(b[i + j]), y = _mm256_castps_pd(b[i + j + 2]);
      a[i + 2 * j] = _mm256_castpd_ps(_mm256_unpacklo_pd(x, y));
      a[i + 2 * j + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(x, y));
    }
  }
  for (int j = 0; j < 4; ++j) {
    b[j] = _mm256_permute2f128_ps(a[j], a[j + 4], 0x20);
    b[j + 4] = _mm256_permute2f128_ps(a[j], a[j + 4], 0x31);
  }
  for (int i = 0; i < columns && i < 8; ++i) {
    if (to[i] == nullptr) continue;
    if (rows >= kLanes) {
      _mm256_storeu_ps(to[i] + first_row, b[i]);
    } else {
      _mm256_maskstore_ps(to[i] + first_row, out, b[i]);
    }
  }
}

void transpose_f32(const float* from, size_t stride, float* const* to, int rows, int columns) {
  for (int i = 0; i < rows; i += kLanes) {
    for (int j = 0; j < columns; j += kLanes) {
      transpose_block(from + i * stride + j, stride, to + j, i, rows - i, columns - j);
    }
  }
}

}  // namespace

const Kernels kAvx2 = {
    "avx2",
    kLanes,
    true,
    {16, 32, 64},
    {8, 16, 0},
    kLanes,
    dictionary_s8,
    dictionary_f32,
    lookup_s8,
    lookup_f32,
    planes_f32,
    transpose_f32,
    // Measured; `dense` is not, since LiteRT takes its AVX-512 kernels where it was measured.
    {1e-11, 1.05e-11, {4.3e-10, 6.4e-10, 1.05e-9}, 1.2e-10, 0, 0, 2e-6, 4.3e-10},
    {1.7e-11, 1.5e-11, {1.9e-10, 4e-10, 0}, 8e-11, 2.4e-11, 1.5e-10, 2e-6, 1.4e-10},
    1,
    pixel_f32,
};

}  // namespace lcnn

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
