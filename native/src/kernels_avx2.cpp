// AVX2 and FMA: 8 filters a block. It has no permute across a register's halves, so a byte window is
// made of 16-byte tables, each in both halves. kernels_avxvnni.cpp is the same with AVX-VNNI's dot
// product of bytes.
#if defined(__x86_64__)
#include <array>
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

#include "float_kernels.h"
#include "requantizer.h"
#include "tiles.h"

namespace lcnn {
namespace {

constexpr int kLanes = 8;

__m256i load(const void* from) {
  return _mm256_loadu_si256(static_cast<const __m256i*>(from));
}

// The first `lanes` lanes.
__m256i lanes_mask(int lanes) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(lanes), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

// What float_kernels.h and requantizer.h ask for.
struct Avx2 {
  static constexpr int kLanes = 8;
  static constexpr int kVectors = 1;
  static constexpr int kDictionaryVectors = 2;
  template <int NB>
  static constexpr int kDictionaryPixels = NB == 2 ? 6 : 8;
  template <int>
  static constexpr int kLookupPixels = 10;
  static constexpr std::array<int, 2> kWindows = {8, 16};
  static constexpr int kTransposed = 8;

  using Vector = __m256;
  using Each = __m256;

  static Vector load(const float* from) { return _mm256_loadu_ps(from); }
  static void store(float* to, Vector x) { _mm256_storeu_ps(to, x); }
  static void store_some(float* to, Vector x, int lanes) {
    float eight[kLanes];
    _mm256_storeu_ps(eight, x);
    __builtin_memcpy(to, eight, lanes * sizeof(float));
  }
  static Each each(const float* from) { return _mm256_set1_ps(*from); }
  static Vector broadcast(float x) { return _mm256_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm256_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm256_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm256_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm256_fmadd_ps(a, b, sum); }
  // Of two numbers of which one is none, `max` and `min` give the second: a NaN stays one.
  static Vector limited(Vector x, Vector lowest, Vector highest) {
    return _mm256_min_ps(highest, _mm256_max_ps(lowest, x));
  }

  // The permute reads three bits of an index; the next one, as a sign, chooses the register.
  struct Indices {
    __m256i at;
    __m256 second;
  };
  static Indices load_indices(const uint8_t* from) {
    const __m256i at =
        _mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    return {at, _mm256_castsi256_ps(_mm256_slli_epi32(at, 28))};
  }

  template <int W>
  struct Window {
    __m256 low, high;
    explicit Window(const float* from)
        : low(_mm256_loadu_ps(from)), high(W == 0 ? low : _mm256_loadu_ps(from + 8)) {}
    Vector look_up(const Indices& i) const {
      const __m256 s = _mm256_permutevar8x32_ps(low, i.at);
      if (W == 0) return s;
      return _mm256_blendv_ps(s, _mm256_permutevar8x32_ps(high, i.at), i.second);
    }
  };

  // 8 x 8 floats in registers: interleaved by 1, 2 and 4.
  static void transpose_block(const float* from, size_t stride, float* const* to, int first_row, int rows,
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

  using Sums = __m256i;
  using Halves = __m256i;
  using Bytes = __m256i;

  static Vector to_float(Sums x) { return _mm256_cvtepi32_ps(x); }
  static Sums rounded(Vector x) { return _mm256_cvtps_epi32(x); }
  static Halves broadcast_half(int16_t x) { return _mm256_set1_epi16(x); }
  static Bytes broadcast_byte(int8_t x) { return _mm256_set1_epi8(x); }
  static Halves narrow(Sums a, Sums b) { return _mm256_packs_epi32(a, b); }
  static Halves add_saturating(Halves a, Halves b) { return _mm256_adds_epi16(a, b); }
  static Bytes narrow(Halves a, Halves b, std::false_type) { return _mm256_packs_epi16(a, b); }
  static Bytes narrow(Halves a, Halves b, std::true_type) { return _mm256_packus_epi16(a, b); }
  static Bytes minimum(Bytes a, Bytes b, std::false_type) { return _mm256_min_epi8(a, b); }
  static Bytes minimum(Bytes a, Bytes b, std::true_type) { return _mm256_min_epu8(a, b); }
  static Bytes maximum(Bytes a, Bytes b, std::false_type) { return _mm256_max_epi8(a, b); }
  static Bytes maximum(Bytes a, Bytes b, std::true_type) { return _mm256_max_epu8(a, b); }
  // The narrowing instructions take two registers each, half by half.
  static Bytes in_order(Bytes x) {
    return _mm256_permutevar8x32_epi32(x, _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7));
  }
  template <int J>
  static void store_quarter(void* to, int lanes, Bytes bytes, std::integral_constant<int, J>) {
    const __m128i half =
        J < 2 ? _mm256_castsi256_si128(bytes) : _mm256_extracti128_si256(bytes, 1);
    const __m128d two = _mm_castsi128_pd(half);
    if (lanes >= kLanes) {
      J % 2 == 0 ? _mm_storel_pd(static_cast<double*>(to), two)
                 : _mm_storeh_pd(static_cast<double*>(to), two);
    } else {
      int8_t eight[kLanes];
      J % 2 == 0 ? _mm_storel_pd(reinterpret_cast<double*>(eight), two)
                 : _mm_storeh_pd(reinterpret_cast<double*>(eight), two);
      __builtin_memcpy(to, eight, lanes);
    }
  }
};

using Floats = FloatKernels<Avx2>;

// Keeps the order of additions: compilers would rather add products first, and then need more
// registers than there are.
[[gnu::always_inline]] inline __m256i in_order(__m256i sum) {
  asm("" : "+x"(sum));
  return sum;
}

// 16 bytes, in both halves.
__m256i load_table(const void* from) {
  return _mm256_broadcastsi128_si256(_mm_loadu_si128(static_cast<const __m128i*>(from)));
}

// How four bytes x of every lane are multiplied by coefficients c and added to its sum, and what
// goes with it:
//
//   kUnsigned           S is unsigned, see Kernels::unsigned_s
//   kVectors            vectors of dictionary rows that a tile has at most
//   kDictionaryPixels   and pixels, where it has as many vectors as that
//   kLookupPixels       for windows of 1, 2 and 4 tables; the rest of 16 registers is for these,
//                       indices and coefficients
//   of_dictionary(x)    bytes of X as `add` takes them
#if defined(LCNN_AVX_VNNI)
// One side of AVX-VNNI's dot product is unsigned: S, and X plus 128.
struct Products {
  static constexpr bool kUnsigned = true;
  static constexpr int kVectors = 2;
  template <int NB>
  static constexpr int kDictionaryPixels = NB == 2 ? 6 : 12;
  template <int Tables>
  static constexpr int kLookupPixels = Tables == 4 ? 8 : Tables == 2 ? 10 : 12;

  __m256i c;

  static __m256i of_dictionary(__m256i x) { return _mm256_xor_si256(x, _mm256_set1_epi8(-128)); }

  [[gnu::always_inline]] __m256i add(__m256i sum, __m256i x) const {
#if defined(LCNN_EMULATED)
    // The same in 16 bits: bytes at even places, and those at odd ones.
    const __m256i even = _mm256_madd_epi16(_mm256_and_si256(x, _mm256_set1_epi16(255)),
                                           _mm256_srai_epi16(_mm256_slli_epi16(c, 8), 8));
    const __m256i odd = _mm256_madd_epi16(_mm256_srli_epi16(x, 8), _mm256_srai_epi16(c, 8));
    return in_order(_mm256_add_epi32(sum, _mm256_add_epi32(even, odd)));
#else
    // Not the intrinsic, which older compilers do not know.
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(x), "x"(c));
    return sum;
#endif
  }
};
#else
// AVX2 adds the products of bytes in pairs that saturate at 16 bits. With |c| on the unsigned side,
// up to 128, and bytes x on the signed one no pair does. Where c is negative x is complemented:
// |c| * ~x = |c| * (-x - 1) = c * x + c; the c that is too much is in the bias (see
// Kernels::complements).
struct Products {
  static constexpr bool kUnsigned = false;
  // More pixels to a vector of rows are faster here than fewer to two vectors.
  static constexpr int kVectors = 1;
  template <int>
  static constexpr int kDictionaryPixels = 12;
  template <int Tables>
  static constexpr int kLookupPixels = Tables == 4 ? 7 : 8;

  __m256i magnitude, negative;

  explicit Products(__m256i c)
      : magnitude(_mm256_abs_epi8(c)), negative(_mm256_cmpgt_epi8(_mm256_setzero_si256(), c)) {}

  static __m256i of_dictionary(__m256i x) { return x; }

  [[gnu::always_inline]] __m256i add(__m256i sum, __m256i x) const {
    const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_xor_si256(x, negative));
    return in_order(_mm256_add_epi32(sum, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1))));
  }
};
#endif

// Four bytes for every lane.
__m256i load_four(const void* from) {
  int four;
  __builtin_memcpy(&four, from, 4);
  return _mm256_set1_epi32(four);
}

// PX pixels by NB vectors of dictionary rows, kept in registers over all channels.
template <int NB, int PX>
void dictionary_tile_s8(Pixels<int8_t> x, uint8_t* const* s, int row, const Dictionary<int8_t>& d,
                        const Requantize& to,
                        const Requantizer<Avx2, Products::kUnsigned>& requantize) {
  const size_t block = static_cast<size_t>((d.m + 3) / 4) * 4 * kLanes;
  const int8_t* values = d.values + static_cast<size_t>(row / kLanes) * block;
  __m256i sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m256i start = load(to.bias + row + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  for (const int8_t* end = values + block; values != end; values += 4 * kLanes) {
    const auto by = [&](auto b) { return Products{load(values + b * block)}; };
    const Products first = by(std::integral_constant<int, 0>());
    const Products last = NB == 1 ? first : by(std::integral_constant<int, NB - 1>());
    repeat<PX>([&](auto p) {
      const __m256i four = Products::of_dictionary(load_four(x.at(p)));
      sum[p][0] = first.add(sum[p][0], four);
      if constexpr (NB == 2) sum[p][1] = last.add(sum[p][1], four);
    });
    x.advance(4);
  }
  requantize.store(sum, to.scale + row, [&](auto p, auto b) { return s[p] + row + b * kLanes; },
                   [&](auto b) { return d.k - row - b * kLanes; });
}

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  const Requantizer<Avx2, Products::kUnsigned> requantize(to);
  in_groups<Products::kVectors>((d.k + kLanes - 1) / kLanes, [&](auto nb, int first) {
    constexpr int kVectors = nb;
    static constexpr auto kTiles = tiles<Products::kDictionaryPixels<kVectors>>(
        [](auto px) { return &dictionary_tile_s8<kVectors, px>; });
    in_tiles(pixels, kTiles, [&](auto tile, int p) {
      tile({x + p * stride, stride}, s + p, first * kLanes, d, to, requantize);
    });
  });
}

// A window of Tables * 16 bytes.
template <int Tables, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to,
                    const Requantizer<Avx2, false>& requantize, int8_t* y, size_t n,
                    int filters) {
  __m256i sum[PX][1];
  const __m256i start = load(to.bias);
  repeat<PX>([&](auto p) { sum[p][0] = start; });
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 32, coefficient += 32) {
    const __m256i i = load(index);
    const Products c{load(coefficient)};
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
    if (Tables == 1) {
      repeat<PX>([&](auto p) {
        sum[p][0] = c.add(sum[p][0], _mm256_shuffle_epi8(load_table(at), i));
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
        sum[p][0] = c.add(sum[p][0], s);
        at += step;
      });
    }
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 32) {
    const Products c{load(coefficient)};
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      sum[p][0] = c.add(sum[p][0], load_four(at));
      at += step;
    });
  }
  requantize.store(sum, to.scale, [&](auto p, auto) { return y + p * n; },
                   [&](auto) { return filters; });
}

template <int Tables>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr auto kTiles = tiles<Products::kLookupPixels<Tables>>(
      [](auto px) { return &lookup_tile_s8<Tables, px>; });
  const Requantizer<Avx2, false> requantize(to);
  in_tiles(pixels, kTiles, [&](auto tile, int p) {
    tile(rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n, filters);
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

}  // namespace

#if defined(LCNN_AVX_VNNI)
const Kernels kAvxVnni = {
    "avxvnni",
#else
const Kernels kAvx2 = {
    "avx2",
#endif
    kLanes,
    Products::kUnsigned,
    {16, 32, 64},
    {Avx2::kWindows[0], Avx2::kWindows[1], 0},
    kLanes,
    dictionary_s8,
    Floats::dictionary,
    lookup_s8,
    Floats::lookup,
    Floats::planes,
    Floats::transpose,
    &kAvx2Elementwise,
    Avx2::kVectors,
    Floats::pixel,
    !Products::kUnsigned,
};

}  // namespace lcnn

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
