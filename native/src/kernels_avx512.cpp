// AVX-512 with VBMI (byte permutes) and VNNI (dot products of bytes): 16 filters a block.
#if defined(__x86_64__)
#include <array>
#include <type_traits>
#include <utility>

#include "kernels.h"

// The target is set here and not by a compiler flag, so that one command builds every file. Tests
// on other processors do without: tests/emulated/immintrin.h has the instructions.
#if defined(LCNN_EMULATED)
#elif defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,fma"))), \
    apply_to = function)
#else
#pragma GCC push_options
#pragma GCC diagnostic push
// GCC 12 takes the undefined vectors inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// This pass keeps copies of the sums in memory: a store for each multiplication.
#pragma GCC optimize("no-tree-pre")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,fma")
#endif
#include <immintrin.h>

#include "float_kernels.h"
#include "requantizer.h"
#include "tiles.h"

namespace lcnn {
namespace {

constexpr int kLanes = 16;

__mmask16 lanes_mask(int lanes) {
  return lanes >= kLanes ? __mmask16(0xffff) : __mmask16((1u << lanes) - 1);
}

// A value that stays in its register: the compiler would rather load a window, which crosses cache
// lines, again for every permute.
template <typename V>
inline V kept(V value) {
#if !defined(LCNN_EMULATED)
  asm("" : "+v"(value));
#endif
  return value;
}

// What float_kernels.h and requantizer.h ask for. Masked stores cost several whole ones on some
// processors, and few blocks need one.
struct Avx512 {
  static constexpr int kLanes = 16;
  static constexpr int kVectors = 4;
  static constexpr int kDictionaryVectors = 4;
  template <int NB>
  static constexpr int kDictionaryPixels = NB == 4 ? 6 : NB == 3 ? 8 : NB == 2 ? 12 : 14;
  template <int NB>
  static constexpr int kLookupPixels = NB == 1 ? 14 : NB == 2 ? 10 : NB == 3 ? 6 : 5;
  static constexpr std::array<int, 2> kWindows = {16, 32};
  static constexpr int kTransposed = 16;

  using Vector = __m512;
  using Each = __m512;

  static Vector load(const float* from) { return _mm512_loadu_ps(from); }
  static void store(float* to, Vector x) { _mm512_storeu_ps(to, x); }
  static void store_some(float* to, Vector x, int lanes) {
    _mm512_mask_storeu_ps(to, lanes_mask(lanes), x);
  }
  static Each each(const float* from) { return _mm512_set1_ps(*from); }
  static Vector broadcast(float x) { return _mm512_set1_ps(x); }
  static Vector add(Vector a, Vector b) { return _mm512_add_ps(a, b); }
  static Vector subtract(Vector a, Vector b) { return _mm512_sub_ps(a, b); }
  static Vector multiply(Vector a, Vector b) { return _mm512_mul_ps(a, b); }
  static Vector multiply_add(Vector a, Vector b, Vector sum) { return _mm512_fmadd_ps(a, b, sum); }
  // Of two numbers of which one is none, `max` and `min` give the second: a NaN stays one.
  static Vector limited(Vector x, Vector lowest, Vector highest) {
    return _mm512_min_ps(highest, _mm512_max_ps(lowest, x));
  }

  using Indices = __m512i;
  static Indices load_indices(const uint8_t* from) {
    return _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  }

  template <int W>
  struct Window {
    __m512 low, high;
    explicit Window(const float* from)
        : low(kept(_mm512_loadu_ps(from))),
          high(W == 0 ? low : kept(_mm512_loadu_ps(from + kLanes))) {}
    Vector look_up(Indices i) const {
      return W == 0 ? _mm512_permutexvar_ps(i, low) : _mm512_permutex2var_ps(low, i, high);
    }
  };

  // 16 x 16 floats in registers: interleaved by 1, 2, 4 and 8.
  static void transpose_block(const float* from, size_t stride, float* const* to, int first_row, int rows,
                       int columns) {
    __m512 a[16], b[16];
    const __mmask16 in = lanes_mask(columns), out = lanes_mask(rows);
    repeat<16>([&](auto i) {
      a[i] = i < rows ? _mm512_maskz_loadu_ps(in, from + i * stride) : _mm512_setzero_ps();
    });
    repeat<8>([&](auto i) {
      b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
      b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
    });
    repeat<8>([&](auto i) {
      constexpr int at = i / 2 * 4, j = i % 2;
      const __m512d x = _mm512_castps_pd(b[at + j]), y = _mm512_castps_pd(b[at + j + 2]);
      a[at + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
      a[at + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    });
    repeat<8>([&](auto i) {
      constexpr int at = i / 4 * 8 + i % 4;
      b[at] = _mm512_shuffle_f32x4(a[at], a[at + 4], 0x88);
      b[at + 4] = _mm512_shuffle_f32x4(a[at], a[at + 4], 0xdd);
    });
    repeat<8>([&](auto j) {
      a[j] = _mm512_shuffle_f32x4(b[j], b[j + 8], 0x88);
      a[j + 8] = _mm512_shuffle_f32x4(b[j], b[j + 8], 0xdd);
    });
    repeat<16>([&](auto i) {
      if (i >= columns || to[i] == nullptr) return;
      if (rows >= kLanes) {
        store(to[i] + first_row, a[i]);
      } else {
        _mm512_mask_storeu_ps(to[i] + first_row, out, a[i]);
      }
    });
  }

  using Sums = __m512i;
  using Halves = __m512i;
  using Bytes = __m512i;

  static Vector to_float(Sums x) { return _mm512_cvtepi32_ps(x); }
  static Sums rounded(Vector x) { return _mm512_cvtps_epi32(x); }
  static Halves broadcast_half(int16_t x) { return _mm512_set1_epi16(x); }
  static Bytes broadcast_byte(int8_t x) { return _mm512_set1_epi8(x); }
  static Halves narrow(Sums a, Sums b) { return _mm512_packs_epi32(a, b); }
  static Halves add_saturating(Halves a, Halves b) { return _mm512_adds_epi16(a, b); }
  static Bytes narrow(Halves a, Halves b, std::false_type) { return _mm512_packs_epi16(a, b); }
  static Bytes narrow(Halves a, Halves b, std::true_type) { return _mm512_packus_epi16(a, b); }
  static Bytes minimum(Bytes a, Bytes b, std::false_type) { return _mm512_min_epi8(a, b); }
  static Bytes minimum(Bytes a, Bytes b, std::true_type) { return _mm512_min_epu8(a, b); }
  static Bytes maximum(Bytes a, Bytes b, std::false_type) { return _mm512_max_epi8(a, b); }
  static Bytes maximum(Bytes a, Bytes b, std::true_type) { return _mm512_max_epu8(a, b); }
  // The narrowing instructions take two registers each, quarter by quarter.
  static Bytes in_order(Bytes x) {
    return _mm512_permutexvar_epi32(
        _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15), x);
  }
  static void store_bytes(void* to, Bytes bytes) { _mm512_storeu_si512(to, bytes); }
  template <int J>
  static void store_quarter(void* to, int lanes, Bytes bytes, std::integral_constant<int, J>) {
    const __m128i quarter = _mm512_extracti32x4_epi32(bytes, J);
    if (lanes >= kLanes) {
      _mm_storeu_si128(static_cast<__m128i*>(to), quarter);
    } else {
      _mm_mask_storeu_epi8(to, lanes_mask(lanes), quarter);
    }
  }
};

using Floats = FloatKernels<Avx512>;

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels. `row` is the
// first of these rows, of k in all.
template <int NB, int PX>
void dictionary_tile_s8(Pixels<int8_t> x, uint8_t* const* s, int quads, const int8_t* values,
                        size_t block, int row, int k, const Requantize& to,
                        const Requantizer<Avx512, true>& requantize) {
  __m512i sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m512i start = _mm512_loadu_si512(to.bias + row + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  const __m512i flip = _mm512_set1_epi32(static_cast<int>(0x80808080u));
  for (int q = 0; q < quads; ++q) {
    __m512i d[NB];
    repeat<NB>([&](auto b) { d[b] = _mm512_loadu_si512(values + b * block); });
    values += 64;
    repeat<PX>([&](auto p) {
      int four;
      __builtin_memcpy(&four, x.at(p), 4);
      const __m512i in = _mm512_xor_si512(_mm512_set1_epi32(four), flip);
      repeat<NB>([&](auto b) { sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], in, d[b]); });
    });
    x.advance(4);
  }
  requantize.store(sum, to.scale + row,
                   [&](auto p, auto b) { return s[p] + row + b * kLanes; },
                   [&](auto b) { return k - row - b * kLanes; });
}

// A first layer, of few channels and rows of D, has many pixels: four of them share a vector, and a
// turn takes 16 that follow one another in X and in S.
constexpr int kFew = 4, kFewPixels = 16;

class FewRows {
 public:
  FewRows(const Dictionary<int8_t>& d, const Requantize& to)
      : pixels_(~__mmask64(0) >> (64 - kFewPixels * d.m)),
        values_(quarters(d.values)), bias_(quarters(to.bias)),
        scale_(_mm512_castsi512_ps(quarters(to.scale))), k_(d.k), m_(d.m), requantize_(to) {
    uint8_t quad[64], row[64] = {};
    for (int i = 0; i < 64; ++i) {
      // D is zero where a pixel has no channel.
      quad[i] = static_cast<uint8_t>(i / 16 * d.m + (i % 4 < d.m ? i % 4 : 0));
      if (i % kFew < d.k) row[i / kFew * d.k + i % kFew] = static_cast<uint8_t>(i);
    }
    quad_ = _mm512_loadu_si512(quad);
    row_ = _mm512_loadu_si512(row);
  }

  static bool fit(const Dictionary<int8_t>& d, ptrdiff_t stride) {
    return d.m <= kFew && d.k <= kFew && stride == d.m;
  }
  bool follow(uint8_t* const* s) const {
    return s[kFewPixels - 1] == s[0] + (kFewPixels - 1) * k_;
  }

  void run(const int8_t* x, uint8_t* s) const {
    const __m512i in = _mm512_xor_si512(_mm512_maskz_loadu_epi8(pixels_, x), _mm512_set1_epi8(-128));
    __m512i at = quad_, sum[4];
    repeat<4>([&](auto i) {
      sum[i] = _mm512_dpbusd_epi32(bias_, _mm512_permutexvar_epi8(at, in), values_);
      at = _mm512_add_epi8(at, _mm512_set1_epi8(static_cast<char>(4 * m_)));
    });
    const __m512i bytes = _mm512_permutexvar_epi8(
        row_, requantize_.bytes(sum[0], sum[1], sum[2], sum[3], scale_, scale_, scale_, scale_));
    // What follows in S may be another thread's.
    repeat<kFew>([&](auto j) {
      if (j < k_) Avx512::store_quarter(s + j * kLanes, kLanes, bytes, j);
    });
  }

 private:
  static __m512i quarters(const void* four) {
    return _mm512_broadcast_i32x4(_mm_loadu_si128(static_cast<const __m128i*>(four)));
  }

  __mmask64 pixels_;
  __m512i values_, bias_;
  __m512 scale_;
  int k_, m_;
  Requantizer<Avx512, true> requantize_;
  __m512i quad_, row_;
};

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  if (FewRows::fit(d, stride)) {
    const FewRows few(d, to);
    while (pixels >= kFewPixels && few.follow(s)) {
      few.run(x, s[0]);
      x += kFewPixels * stride;
      s += kFewPixels;
      pixels -= kFewPixels;
    }
  }
  const Requantizer<Avx512, true> requantize(to);
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 64;
  in_groups<Avx512::kDictionaryVectors>((d.k + kLanes - 1) / kLanes, [&](auto nb, int first) {
    constexpr int kVectors = nb;
    static constexpr auto kTiles = tiles<Avx512::kDictionaryPixels<kVectors>>(
        [](auto px) { return &dictionary_tile_s8<kVectors, px>; });
    in_tiles(pixels, kTiles, [&](auto tile, int p) {
      tile({x + p * stride, stride}, s + p, quads, d.values + first * block, block,
           first * kLanes, d.k, to, requantize);
    });
  });
}

// A tile's sums, PX pixels by NB vectors of filters. A window of S is loaded once for all of these
// filters; of what is packed for a block of kVectors vectors the first NB are read.
template <bool Wide, int NB, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to, const Requantizer<Avx512, false>& requantize,
                    int8_t* y, size_t n, int filters) {
  __m512i sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m512i start = _mm512_loadu_si512(to.bias + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  constexpr int kStep = 64 * Avx512::kVectors;
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kStep, coefficient += kStep) {
    __m512i i[NB], c[NB];
    repeat<NB>([&](auto b) {
      i[b] = _mm512_loadu_si512(index + b * 64);
      c[b] = _mm512_loadu_si512(coefficient + b * 64);
    });
    const uint8_t* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const __m512i low = kept(_mm512_loadu_si512(at));
      const __m512i high = Wide ? kept(_mm512_loadu_si512(at + 64)) : low;
      repeat<NB>([&](auto b) {
        const __m512i s = Wide ? _mm512_permutex2var_epi8(low, i[b], high)
                               : _mm512_permutexvar_epi8(i[b], low);
        sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], s, c[b]);
      });
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kStep) {
    __m512i c[NB];
    repeat<NB>([&](auto b) { c[b] = _mm512_loadu_si512(coefficient + b * 64); });
    const uint8_t* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      int four;
      __builtin_memcpy(&four, at, 4);
      const __m512i s = _mm512_set1_epi32(four);
      repeat<NB>([&](auto b) { sum[p][b] = _mm512_dpbusd_epi32(sum[p][b], s, c[b]); });
      at += step;
    });
  }
  // Only the last vector has fewer filters than lanes.
  requantize.store(sum, to.scale, [&](auto p, auto b) { return y + p * n + b * kLanes; },
                   [&](auto b) { return b + 1 == NB ? filters - b * kLanes : kLanes; });
}

template <bool Wide, int NB>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr auto kTiles = tiles<Avx512::kLookupPixels<NB>>(
      [](auto px) { return &lookup_tile_s8<Wide, NB, px>; });
  const Requantizer<Avx512, false> requantize(to);
  in_tiles(pixels, kTiles, [&](auto tile, int p) {
    tile(rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n, filters);
  });
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantize& to, int8_t* y, size_t n, int filters) {
  in_groups<Avx512::kVectors>((filters + kLanes - 1) / kLanes, [&](auto nb, int) {
    const auto run = window > 64 ? lookup_pixels_s8<true, nb> : lookup_pixels_s8<false, nb>;
    run(rows, step, pixels, l, to, y, n, filters);
  });
}

// Where a map is one pixel, vectors of lookups in place of vectors of pixels.
void pixel_f32(const float* origin, const Planes& planes, const Activate& to, int filters,
               float* y) {
  for (int j = 0; j < filters; ++j) {
    __m512 sum = _mm512_setzero_ps();
    const int end = planes.first[j + 1];
    for (int e = planes.first[j]; e < end; e += kLanes) {
      const __mmask16 mask = lanes_mask(end - e);
      const __m512i offset = _mm512_maskz_loadu_epi32(mask, planes.offset + e);
      const __m512 s = _mm512_mask_i32gather_ps(_mm512_setzero_ps(), mask, offset, origin, 4);
      sum = _mm512_fmadd_ps(s, _mm512_maskz_loadu_ps(mask, planes.value + e), sum);
    }
    y[j] = clamped(_mm512_reduce_add_ps(sum) + to.bias[j], to.lowest, to.highest);
  }
}

// As in elementwise.cpp, in pairs (a, b), which one instruction multiplies and adds. Interleaving and
// packing keep to quarters of a vector, so elements stay in order.
struct SumBy {
  __m512i low, high, bias;
  __m128i shift;

  explicit SumBy(const SumS8& s)
      : low(_mm512_set1_epi32((s.a_multiplier & 0x7fff) | (s.b_multiplier & 0x7fff) << 16)),
        high(_mm512_set1_epi32(s.a_multiplier >> 15 | s.b_multiplier >> 15 << 16)),
        bias(_mm512_set1_epi32(s.bias)), shift(_mm_cvtsi32_si128(s.shift)) {}

  // Of 16 elements; `bytes` has each pair twice.
  __m512i operator()(__m512i bytes) const {
    const __m512i pairs = _mm512_srai_epi16(bytes, 8);
    const __m512i sum = _mm512_slli_epi32(_mm512_madd_epi16(pairs, high), 15);
    return _mm512_sra_epi32(
        _mm512_add_epi32(bias, _mm512_add_epi32(sum, _mm512_madd_epi16(pairs, low))), shift);
  }
  __m512i halves(__m512i bytes) const {
    return _mm512_packs_epi32((*this)(_mm512_unpacklo_epi8(bytes, bytes)),
                              (*this)(_mm512_unpackhi_epi8(bytes, bytes)));
  }
};

void sum_s8(const int8_t* a, const int8_t* b, int8_t* y, size_t count, const SumS8& s) {
  const SumBy by(s);
  const __m512i zero_point = _mm512_set1_epi16(static_cast<int16_t>(s.zero_point));
  const __m512i lowest = _mm512_set1_epi8(static_cast<int8_t>(s.lowest));
  const __m512i highest = _mm512_set1_epi8(static_cast<int8_t>(s.highest));
  size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    const __m512i of_a = _mm512_loadu_si512(a + i), of_b = _mm512_loadu_si512(b + i);
    const __m512i low = _mm512_adds_epi16(by.halves(_mm512_unpacklo_epi8(of_a, of_b)), zero_point);
    const __m512i high = _mm512_adds_epi16(by.halves(_mm512_unpackhi_epi8(of_a, of_b)), zero_point);
    const __m512i x = _mm512_max_epi8(lowest, _mm512_packs_epi16(low, high));
    _mm512_storeu_si512(y + i, _mm512_min_epi8(highest, x));
  }
  sum_s8_rest(a + i, b + i, y + i, count - i, s);
}

void max_s8(const int8_t* const* x, int vectors, int8_t* y, size_t count, int8_t lowest,
            int8_t highest) {
  const __m512i low = _mm512_set1_epi8(lowest), high = _mm512_set1_epi8(highest);
  size_t i = 0;
  for (; i + 64 <= count; i += 64) {
    __m512i most = low;
    for (int v = 0; v < vectors; ++v) most = _mm512_max_epi8(most, _mm512_loadu_si512(x[v] + i));
    _mm512_storeu_si512(y + i, _mm512_min_epi8(most, high));
  }
  max_s8_rest(i, x, vectors, y, count, lowest, highest);
}

}  // namespace

const Elementwise kAvx512Elementwise = {sum_s8, sum_f32_avx2, max_s8};

const Kernels kAvx512 = {
    "avx512",
    kLanes,
    true,
    {64, 128, 0},
    {Avx512::kWindows[0], Avx512::kWindows[1], 0},
    kLanes,
    dictionary_s8,
    Floats::dictionary,
    lookup_s8,
    Floats::lookup,
    Floats::planes,
    Floats::transpose,
    &kAvx512Elementwise,
    Avx512::kVectors,
    pixel_f32,
};

}  // namespace lcnn

#if defined(LCNN_EMULATED)
#elif defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif
