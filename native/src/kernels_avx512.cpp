// AVX-512 with VBMI (byte permutes) and VNNI (dot products of bytes): 16 filters a block.
#if defined(__x86_64__)
#include <array>
#include <utility>

#include "kernels.h"

// The target is set here and not by a compiler flag, so that one command builds every file.
#if defined(__clang__)
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

#include "tiles.h"

namespace lcnn {
namespace {

constexpr int kLanes = 16;

__mmask16 lanes_mask(int lanes) {
  return lanes >= kLanes ? __mmask16(0xffff) : __mmask16((1u << lanes) - 1);
}

// Masked stores cost several whole ones on some processors, and few blocks need one.
inline void store(void* to, __mmask16 mask, __m128i bytes) {
  if (mask == 0xffff) {
    _mm_storeu_si128(static_cast<__m128i*>(to), bytes);
  } else {
    _mm_mask_storeu_epi8(to, mask, bytes);
  }
}

inline void store(float* to, __mmask16 mask, __m512 floats) {
  if (mask == 0xffff) {
    _mm512_storeu_ps(to, floats);
  } else {
    _mm512_mask_storeu_ps(to, mask, floats);
  }
}

// Of two numbers of which one is none, `max` and `min` give the second: a NaN stays one, as in
// LiteRT.
inline __m512 activated(__m512 sum, __m512 lowest, __m512 highest) {
  return _mm512_min_ps(highest, _mm512_max_ps(lowest, sum));
}

// An infinity becomes a NaN, all else stays.
inline __m512 poisoned(__m512 sum) { return _mm512_add_ps(sum, _mm512_sub_ps(sum, sum)); }

// int32 sums to bytes: clamp(round(sum * scale) + zero_point), as `requantized` in the portable
// kernels. Sums that are too large saturate on their way to bytes; only the upper clamp is needed
// before the rounding, which gives the least integer for what does not fit.
struct Requantizer {
  __m512 highest;
  __m512i zero_point;  // 16-bit
  __m512i lowest;      // 8-bit
  __m512i order;
  bool is_unsigned;

  Requantizer(const Requantize& to, bool to_unsigned)
      : highest(_mm512_set1_ps(static_cast<float>(to.highest - to.zero_point))),
        zero_point(_mm512_set1_epi16(static_cast<int16_t>(to.zero_point))),
        lowest(_mm512_set1_epi8(static_cast<char>(to.lowest))),
        order(_mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)),
        is_unsigned(to_unsigned) {}

  __m512i rounded(__m512i sum, __m512 scale) const {
    const __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
    return _mm512_cvtps_epi32(_mm512_min_ps(x, highest));
  }

  // Four vectors at once: the narrowing instructions take two registers each, lane by lane, and
  // `order` undoes the lanes.
  __m512i bytes(__m512i a, __m512i b, __m512i c, __m512i d) const {
    const __m512i ab = _mm512_adds_epi16(_mm512_packs_epi32(a, b), zero_point);
    const __m512i cd = _mm512_adds_epi16(_mm512_packs_epi32(c, d), zero_point);
    if (is_unsigned) {
      return _mm512_permutexvar_epi32(
          order, _mm512_max_epu8(_mm512_packus_epi16(ab, cd), lowest));
    }
    return _mm512_permutexvar_epi32(order, _mm512_max_epi8(_mm512_packs_epi16(ab, cd), lowest));
  }
};

constexpr int within(int i, int count) { return i < count ? i : count - 1; }

// The j-th quarter of `bytes`.
template <int J>
inline void store_quarter(void* to, __mmask16 mask, __m512i bytes, std::integral_constant<int, J>) {
  store(to, mask, _mm512_extracti32x4_epi32(bytes, J));
}

// The addresses of up to 16 pixels from six registers: the processor adds the rest.
template <typename T>
struct Pixels {
  const T* x;
  const T* x8;
  ptrdiff_t s, s3, s5, s7;

  Pixels(const T* first, ptrdiff_t stride)
      : x(first), x8(first + 8 * stride), s(stride), s3(3 * stride), s5(5 * stride),
        s7(7 * stride) {}

  template <int P>
  const T* at(std::integral_constant<int, P>) const {
    const T* from = P < 8 ? x : x8;
    switch (P % 8) {
      case 0: return from;
      case 1: return from + s;
      case 2: return from + 2 * s;
      case 3: return from + s3;
      case 4: return from + 4 * s;
      case 5: return from + s5;
      case 6: return from + 2 * s3;
      default: return from + s7;
    }
  }

  void advance(int elements) {
    x += elements;
    x8 += elements;
  }
};

// PX pixels by NB blocks of dictionary rows, kept in registers over all channels. `row` is the
// first of these rows, of k in all.
template <int NB, int PX>
void dictionary_tile_s8(Pixels<int8_t> x, uint8_t* const* s, int quads,
                               const int8_t* values, size_t block, int row, int k,
                               const Requantize& to, const Requantizer& requantize) {
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
  __m512 scale[NB];
  repeat<NB>([&](auto b) { scale[b] = _mm512_loadu_ps(to.scale + row + b * kLanes); });
  constexpr int kCount = PX * NB;
  repeat<kCount>([&](auto i) {
    sum[i / NB][i % NB] = requantize.rounded(sum[i / NB][i % NB], scale[i % NB]);
  });
  repeat<(kCount + 3) / 4>([&](auto group) {
    constexpr int a = 4 * group, b = within(a + 1, kCount), c = within(a + 2, kCount),
                  d = within(a + 3, kCount);
    const __m512i bytes = requantize.bytes(sum[a / NB][a % NB], sum[b / NB][b % NB],
                                           sum[c / NB][c % NB], sum[d / NB][d % NB]);
    repeat<(kCount - a < 4 ? kCount - a : 4)>([&](auto j) {
      constexpr int i = a + j, first = i % NB * kLanes;
      store_quarter(s[i / NB] + row + first, lanes_mask(k - row - first), bytes, j);
    });
  });
}

template <int NB, int PX>
void dictionary_tile_f32(Pixels<float> x, float* const* s, int m, const float* values,
                                size_t block, int row, int k, const Activate& to) {
  __m512 sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m512 start = _mm512_loadu_ps(to.bias + row + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  for (int c = 0; c < m; ++c) {
    __m512 d[NB];
    repeat<NB>([&](auto b) { d[b] = _mm512_loadu_ps(values + b * block); });
    values += kLanes;
    repeat<PX>([&](auto p) {
      const __m512 in = _mm512_set1_ps(*x.at(p));
      repeat<NB>([&](auto b) { sum[p][b] = _mm512_fmadd_ps(d[b], in, sum[p][b]); });
    });
    x.advance(1);
  }
  const __m512 lowest = _mm512_set1_ps(to.lowest), highest = _mm512_set1_ps(to.highest);
  const auto finish = [&](auto poison) __attribute__((always_inline)) {
    repeat<NB>([&](auto b) {
      const int first = row + b * kLanes;
      const __mmask16 mask = lanes_mask(k - first);
      repeat<PX>([&](auto p) {
        store(s[p] + first, mask,
              poison ? poisoned(sum[p][b]) : activated(sum[p][b], lowest, highest));
      });
    });
  };
  if (to.poison) {
    finish(std::true_type());
  } else {
    finish(std::false_type());
  }
}

// Pixels per tile of a dictionary stage with NB blocks of rows: what 32 registers hold.
template <int NB>
constexpr int kMostDictionaryPixels = NB == 4 ? 6 : NB == 3 ? 8 : NB == 2 ? 12 : 14;

template <int NB, int... I>
constexpr auto dictionary_tiles_s8(std::integer_sequence<int, I...>) {
  return std::array<decltype(&dictionary_tile_s8<NB, 1>), sizeof...(I)>{
      dictionary_tile_s8<NB, I + 1>...};
}

template <int NB, int... I>
constexpr auto dictionary_tiles_f32(std::integer_sequence<int, I...>) {
  return std::array<decltype(&dictionary_tile_f32<NB, 1>), sizeof...(I)>{
      dictionary_tile_f32<NB, I + 1>...};
}

// Calls run(blocks at once, a constant, and the first of them).
template <typename Run>
inline void dictionary_blocks(int blocks, const Run& run) {
  int b = 0;
  for (; b + 4 <= blocks; b += 4) run(std::integral_constant<int, 4>(), b);
  switch (blocks - b) {
    case 3: run(std::integral_constant<int, 3>(), b); break;
    case 2: run(std::integral_constant<int, 2>(), b); break;
    case 1: run(std::integral_constant<int, 1>(), b); break;
    default: break;
  }
}

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  const Requantizer requantize(to, true);
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 64;
  dictionary_blocks((d.k + kLanes - 1) / kLanes, [&](auto nb, int b) {
    constexpr int kMost = kMostDictionaryPixels<nb>;
    static constexpr auto kTiles = dictionary_tiles_s8<nb>(std::make_integer_sequence<int, kMost>());
    in_tiles(pixels, kMost, [&](int p, int run) {
      kTiles[run - 1]({x + p * stride, stride}, s + p, quads, d.values + b * block, block,
                      b * kLanes, d.k, to, requantize);
    });
  });
}

void dictionary_f32(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                    const Dictionary<float>& d, const Activate& to) {
  const size_t block = static_cast<size_t>(d.m) * kLanes;
  dictionary_blocks((d.k + kLanes - 1) / kLanes, [&](auto nb, int b) {
    constexpr int kMost = kMostDictionaryPixels<nb>;
    static constexpr auto kTiles =
        dictionary_tiles_f32<nb>(std::make_integer_sequence<int, kMost>());
    in_tiles(pixels, kMost, [&](int p, int run) {
      kTiles[run - 1]({x + p * stride, stride}, s + p, d.m, d.values + b * block, block, b * kLanes,
                      d.k, to);
    });
  });
}

// A value that stays in its register: the compiler would rather load a window, which crosses cache
// lines, again for every permute.
template <typename V>
inline V kept(V value) {
  asm("" : "+v"(value));
  return value;
}

// A tile's sums, PX pixels by NB vectors of filters. A window of S is loaded once for all of these
// filters; of what is packed for a block of kVectors vectors the first NB are read.
constexpr int kVectors = 2;

template <bool Wide, int NB, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantize& to, const Requantizer& requantize,
                    int8_t* y, size_t n, __mmask16 mask) {
  __m512i sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m512i start = _mm512_loadu_si512(to.bias + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  constexpr int kStep = 64 * kVectors;
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
  __m512 scale[NB];
  repeat<NB>([&](auto b) { scale[b] = _mm512_loadu_ps(to.scale + b * kLanes); });
  constexpr int kCount = PX * NB;
  repeat<kCount>([&](auto i) {
    sum[i / NB][i % NB] = requantize.rounded(sum[i / NB][i % NB], scale[i % NB]);
  });
  repeat<(kCount + 3) / 4>([&](auto group) {
    constexpr int a = 4 * group, b = within(a + 1, kCount), c = within(a + 2, kCount),
                  d = within(a + 3, kCount);
    const __m512i bytes = requantize.bytes(sum[a / NB][a % NB], sum[b / NB][b % NB],
                                           sum[c / NB][c % NB], sum[d / NB][d % NB]);
    repeat<(kCount - a < 4 ? kCount - a : 4)>([&](auto j) {
      constexpr int i = a + j;
      store_quarter(y + i / NB * n + i % NB * kLanes, i % NB + 1 == NB ? mask : __mmask16(0xffff),
                    bytes, j);
    });
  });
}

template <bool Wide, int NB, int PX>
void lookup_tile_f32(const float* const* rows, ptrdiff_t first, int step, const Lookups<float>& l,
                     const Activate& to, float* y, size_t n, __mmask16 mask) {
  __m512 sum[PX][NB];
  repeat<NB>([&](auto b) {
    const __m512 start = _mm512_loadu_ps(to.bias + b * kLanes);
    repeat<PX>([&](auto p) { sum[p][b] = start; });
  });
  constexpr int kStep = kLanes * kVectors;
  const uint8_t* index = l.index;
  const float* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kStep, coefficient += kStep) {
    __m512i i[NB];
    __m512 c[NB];
    repeat<NB>([&](auto b) {
      i[b] = _mm512_cvtepu8_epi32(
          _mm_loadu_si128(reinterpret_cast<const __m128i*>(index + b * kLanes)));
      c[b] = _mm512_loadu_ps(coefficient + b * kLanes);
    });
    const float* at = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const __m512 low = kept(_mm512_loadu_ps(at));
      const __m512 high = Wide ? kept(_mm512_loadu_ps(at + kLanes)) : low;
      repeat<NB>([&](auto b) {
        const __m512 s = Wide ? _mm512_permutex2var_ps(low, i[b], high)
                              : _mm512_permutexvar_ps(i[b], low);
        sum[p][b] = _mm512_fmadd_ps(s, c[b], sum[p][b]);
      });
      at += step;
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kStep) {
    __m512 c[NB];
    repeat<NB>([&](auto b) { c[b] = _mm512_loadu_ps(coefficient + b * kLanes); });
    const float* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      const __m512 s = _mm512_set1_ps(*at);
      repeat<NB>([&](auto b) { sum[p][b] = _mm512_fmadd_ps(s, c[b], sum[p][b]); });
      at += step;
    });
  }
  const __m512 lowest = _mm512_set1_ps(to.lowest), highest = _mm512_set1_ps(to.highest);
  repeat<NB>([&](auto b) {
    const __mmask16 lanes = b + 1 == NB ? mask : __mmask16(0xffff);
    repeat<PX>([&](auto p) {
      store(y + p * n + b * kLanes, lanes,
            activated(sum[p][b], lowest, highest));
    });
  });
}

// Pixels per tile of a lookup stage with NB vectors of filters.
template <int NB>
constexpr int kMostPixels = NB == 1 ? 14 : 10;

template <bool Wide, int NB, int... I>
constexpr auto tiles_s8(std::integer_sequence<int, I...>) {
  return std::array<decltype(&lookup_tile_s8<Wide, NB, 1>), sizeof...(I)>{
      lookup_tile_s8<Wide, NB, I + 1>...};
}

template <bool Wide, int NB, int... I>
constexpr auto tiles_f32(std::integer_sequence<int, I...>) {
  return std::array<decltype(&lookup_tile_f32<Wide, NB, 1>), sizeof...(I)>{
      lookup_tile_f32<Wide, NB, I + 1>...};
}

template <bool Wide, int NB>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantize& to, int8_t* y, size_t n, int filters) {
  static constexpr auto kTiles =
      tiles_s8<Wide, NB>(std::make_integer_sequence<int, kMostPixels<NB>>());
  const Requantizer requantize(to, false);
  const __mmask16 mask = lanes_mask(filters - (NB - 1) * kLanes);
  in_tiles(pixels, kMostPixels<NB>, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantize, y + p * n, n,
                    mask);
  });
}

template <bool Wide, int NB>
void lookup_pixels_f32(const float* const* rows, int step, int pixels, const Lookups<float>& l,
                       const Activate& to, float* y, size_t n, int filters) {
  static constexpr auto kTiles =
      tiles_f32<Wide, NB>(std::make_integer_sequence<int, kMostPixels<NB>>());
  const __mmask16 mask = lanes_mask(filters - (NB - 1) * kLanes);
  in_tiles(pixels, kMostPixels<NB>, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, y + p * n, n, mask);
  });
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantize& to, int8_t* y, size_t n, int filters) {
  const auto run = window > 64 ? (filters > kLanes ? lookup_pixels_s8<true, 2>
                                                   : lookup_pixels_s8<true, 1>)
                               : (filters > kLanes ? lookup_pixels_s8<false, 2>
                                                   : lookup_pixels_s8<false, 1>);
  run(rows, step, pixels, l, to, y, n, filters);
}

void lookup_f32(const float* const* rows, int step, int pixels, int window, const Lookups<float>& l,
                const Activate& to, float* y, size_t n, int filters) {
  const auto run = window > kLanes ? (filters > kLanes ? lookup_pixels_f32<true, 2>
                                                       : lookup_pixels_f32<true, 1>)
                                   : (filters > kLanes ? lookup_pixels_f32<false, 2>
                                                       : lookup_pixels_f32<false, 1>);
  run(rows, step, pixels, l, to, y, n, filters);
}

// One filter's sums over NV vectors of pixels; an entry's value is broadcast once for them all.
template <int NV>
void planes_run(const float* origin, int entries, const int32_t* offset, const float* value,
                float bias, const Activate& to, float* y) {
  __m512 sum[NV];
  repeat<NV>([&](auto v) { sum[v] = _mm512_set1_ps(bias); });
  for (int e = 0; e < entries; ++e) {
    const __m512 by = _mm512_set1_ps(value[e]);
    const float* plane = origin + offset[e];
    repeat<NV>([&](auto v) {
      sum[v] = _mm512_fmadd_ps(_mm512_loadu_ps(plane + v * kLanes), by, sum[v]);
    });
  }
  const __m512 lowest = _mm512_set1_ps(to.lowest), highest = _mm512_set1_ps(to.highest);
  repeat<NV>([&](auto v) {
    _mm512_storeu_ps(y + v * kLanes, activated(sum[v], lowest, highest));
  });
}

void planes_f32(const float* origin, int vectors, const Planes& planes, const Activate& to,
                int filters, float* y) {
  static constexpr decltype(&planes_run<1>) kRuns[kMostVectors] = {
      planes_run<1>, planes_run<2>, planes_run<3>, planes_run<4>,
      planes_run<5>, planes_run<6>, planes_run<7>, planes_run<8>};
  for (int j = 0; j < filters; ++j) {
    const int32_t e = planes.first[j];
    kRuns[vectors - 1](origin, planes.first[j + 1] - e, planes.offset + e, planes.value + e,
                       to.bias[j], to, y + static_cast<size_t>(j) * vectors * kLanes);
  }
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
    const float x = _mm512_reduce_add_ps(sum) + to.bias[j];
    y[j] = x < to.lowest ? to.lowest : x > to.highest ? to.highest : x;
  }
}

// 16 x 16 floats in registers: interleaved by 1, 2, 4 and 8.
void transpose_block(const float* from, size_t stride, float* const* to, int first_row, int rows,
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
    if (i < columns && to[i] != nullptr) store(to[i] + first_row, out, a[i]);
  });
}

void transpose_f32(const float* from, size_t stride, float* const* to, int rows, int columns) {
  for (int i = 0; i < rows; i += kLanes) {
    for (int j = 0; j < columns; j += kLanes) {
      transpose_block(from + i * stride + j, stride, to + j, i, rows - i, columns - j);
    }
  }
}

}  // namespace

const Kernels kAvx512 = {
    "avx512",
    kLanes,
    true,
    {64, 128, 0},
    {16, 32, 0},
    kLanes,
    dictionary_s8,
    dictionary_f32,
    lookup_s8,
    lookup_f32,
    planes_f32,
    transpose_f32,
    // Measured on an AMD EPYC (Zen 5).
    {1.9e-12, 2.5e-12, {5.1e-10, 8e-10, 0}, 4e-11, 0, 0, 2e-6, 2.8e-10},
    {7.4e-12, 7.6e-12, {4.2e-10, 5.8e-10, 0}, 4e-11, 2.2e-11, 1.5e-10, 2e-6, 2.8e-10},
    kVectors,
    pixel_f32,
};

}  // namespace lcnn

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif
