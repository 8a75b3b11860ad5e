// AVX-512 with VBMI (byte permutes) and VNNI (dot products of bytes): 16 filters a block.
#if defined(__x86_64__)
#include <utility>

#include "kernels.h"

// The target is set here and not by a compiler flag, so that one command builds every file.
#if defined(__clang__)
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,fma"))), \
    apply_to = function)
#else
// GCC 12 takes the undefined vectors inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
// This pass keeps copies of the sums in memory: a store for each multiplication.
#pragma GCC optimize("no-tree-pre")
#pragma GCC target("avx512f,avx512bw,avx512vl,avx512dq,avx512vbmi,avx512vnni,fma")
#endif
#include <immintrin.h>

namespace lcnn {
namespace {

constexpr int kLanes = 16;

// Calls f with each constant below N. Arrays of registers stay registers only if every index is a
// constant, which loops leave to the optimiser's mood.
template <int... I, typename F>
[[gnu::always_inline]] inline void repeat_each(std::integer_sequence<int, I...>, const F& f) {
  (f(std::integral_constant<int, I>()), ...);
}

template <int N, typename F>
[[gnu::always_inline]] inline void repeat(const F& f) {
  repeat_each(std::make_integer_sequence<int, N>(), f);
}

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

struct Requantiser {
  __m512 lowest, highest;
  __m512i zero_point;

  explicit Requantiser(const Requantise& to)
      : lowest(_mm512_set1_ps(static_cast<float>(to.lowest - to.zero_point))),
        highest(_mm512_set1_ps(static_cast<float>(to.highest - to.zero_point))),
        zero_point(_mm512_set1_epi32(to.zero_point)) {}

  __m128i operator()(__m512i sum, __m512 scale) const {
    __m512 x = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale);
    x = _mm512_min_ps(_mm512_max_ps(x, lowest), highest);
    return _mm512_cvtepi32_epi8(_mm512_add_epi32(_mm512_cvtps_epi32(x), zero_point));
  }
};

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
inline void dictionary_tile_s8(Pixels<int8_t> x, uint8_t* const* s, int quads,
                               const int8_t* values, size_t block, int row, int k,
                               const Requantise& to, const Requantiser& requantise) {
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
  repeat<NB>([&](auto b) {
    const int first = row + b * kLanes;
    const __m512 scale = _mm512_loadu_ps(to.scale + first);
    const __mmask16 mask = lanes_mask(k - first);
    repeat<PX>([&](auto p) { store(s[p] + first, mask, requantise(sum[p][b], scale)); });
  });
}

template <int NB, int PX>
inline void dictionary_tile_f32(Pixels<float> x, float* const* s, int m, const float* values,
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
  repeat<NB>([&](auto b) {
    const int first = row + b * kLanes;
    const __mmask16 mask = lanes_mask(k - first);
    repeat<PX>([&](auto p) {
      store(s[p] + first, mask, _mm512_min_ps(_mm512_max_ps(sum[p][b], lowest), highest));
    });
  });
}

// NB blocks of rows for all pixels: in tiles of PX, then of half as many, then one by one.
// `tile` is called with the number of pixels, a constant, and the first.
template <int PX, typename Tile>
inline void dictionary_pixels(int pixels, const Tile& tile) {
  constexpr int kHalf = (PX + 1) / 2;
  int p = 0;
  for (; p + PX <= pixels; p += PX) tile(std::integral_constant<int, PX>(), p);
  for (; p + kHalf <= pixels; p += kHalf) tile(std::integral_constant<int, kHalf>(), p);
  for (; p < pixels; ++p) tile(std::integral_constant<int, 1>(), p);
}

// Calls run(blocks at once, pixels per tile, first block): what 32 registers hold.
template <typename Run>
inline void dictionary_blocks(int blocks, const Run& run) {
  int b = 0;
  for (; b + 4 <= blocks; b += 4) {
    run(std::integral_constant<int, 4>(), std::integral_constant<int, 6>(), b);
  }
  switch (blocks - b) {
    case 3: run(std::integral_constant<int, 3>(), std::integral_constant<int, 8>(), b); break;
    case 2: run(std::integral_constant<int, 2>(), std::integral_constant<int, 12>(), b); break;
    case 1: run(std::integral_constant<int, 1>(), std::integral_constant<int, 14>(), b); break;
    default: break;
  }
}

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantise& to) {
  const Requantiser requantise(to);
  const int quads = (d.m + 3) / 4;
  const size_t block = static_cast<size_t>(quads) * 64;
  dictionary_blocks((d.k + kLanes - 1) / kLanes, [&](auto nb, auto px, int b) {
    dictionary_pixels<px>(pixels, [&](auto run, int p) {
      dictionary_tile_s8<nb, run>({x + p * stride, stride}, s + p, quads, d.values + b * block,
                                  block, b * kLanes, d.k, to, requantise);
    });
  });
}

void dictionary_f32(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                    const Dictionary<float>& d, const Activate& to) {
  const size_t block = static_cast<size_t>(d.m) * kLanes;
  dictionary_blocks((d.k + kLanes - 1) / kLanes, [&](auto nb, auto px, int b) {
    dictionary_pixels<px>(pixels, [&](auto run, int p) {
      dictionary_tile_f32<nb, run>({x + p * stride, stride}, s + p, d.m, d.values + b * block,
                                   block, b * kLanes, d.k, to);
    });
  });
}

template <bool Wide, int PX>
void lookup_tile_s8(const uint8_t* const* rows, ptrdiff_t first, int step,
                    const Lookups<int8_t>& l, const Requantise& to, const Requantiser& requantise,
                    int8_t* y, size_t n, __mmask16 mask) {
  __m512i sum[PX];
  const __m512i start = _mm512_loadu_si512(to.bias);
  repeat<PX>([&](auto p) { sum[p] = start; });
  const uint8_t* index = l.index;
  const int8_t* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += 64, coefficient += 64) {
    const __m512i i = _mm512_loadu_si512(index), c = _mm512_loadu_si512(coefficient);
    const uint8_t* table = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const uint8_t* at = table + static_cast<ptrdiff_t>(p) * step;
      const __m512i s = Wide ? _mm512_permutex2var_epi8(_mm512_loadu_si512(at), i,
                                                        _mm512_loadu_si512(at + 64))
                             : _mm512_permutexvar_epi8(i, _mm512_loadu_si512(at));
      sum[p] = _mm512_dpbusd_epi32(sum[p], s, c);
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += 64) {
    const __m512i c = _mm512_loadu_si512(coefficient);
    const uint8_t* from = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      int four;
      __builtin_memcpy(&four, from, 4);
      sum[p] = _mm512_dpbusd_epi32(sum[p], _mm512_set1_epi32(four), c);
      from += step;
    });
  }
  const __m512 scale = _mm512_loadu_ps(to.scale);
  repeat<PX>([&](auto p) { store(y + p * n, mask, requantise(sum[p], scale)); });
}

template <bool Wide, int PX>
void lookup_tile_f32(const float* const* rows, ptrdiff_t first, int step, const Lookups<float>& l,
                     const Activate& to, float* y, size_t n, __mmask16 mask) {
  __m512 sum[PX];
  const __m512 start = _mm512_loadu_ps(to.bias);
  repeat<PX>([&](auto p) { sum[p] = start; });
  const uint8_t* index = l.index;
  const float* coefficient = l.coefficient;
  for (int g = 0; g < l.steps; ++g, index += kLanes, coefficient += kLanes) {
    const __m512i i =
        _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(index)));
    const __m512 c = _mm512_loadu_ps(coefficient);
    const float* table = rows[l.step[g].row] + l.step[g].offset + first;
    repeat<PX>([&](auto p) {
      const float* at = table + static_cast<ptrdiff_t>(p) * step;
      const __m512 s = Wide ? _mm512_permutex2var_ps(_mm512_loadu_ps(at), i,
                                                     _mm512_loadu_ps(at + kLanes))
                            : _mm512_permutexvar_ps(i, _mm512_loadu_ps(at));
      sum[p] = _mm512_fmadd_ps(s, c, sum[p]);
    });
  }
  coefficient = l.full_coefficient;
  for (int g = 0; g < l.full_steps; ++g, coefficient += kLanes) {
    const __m512 c = _mm512_loadu_ps(coefficient);
    const float* from = rows[l.full_step[g].row] + l.full_step[g].offset + first;
    repeat<PX>([&](auto p) {
      sum[p] = _mm512_fmadd_ps(_mm512_set1_ps(*from), c, sum[p]);
      from += step;
    });
  }
  const __m512 lowest = _mm512_set1_ps(to.lowest), highest = _mm512_set1_ps(to.highest);
  repeat<PX>([&](auto p) {
    store(y + p * n, mask, _mm512_min_ps(_mm512_max_ps(sum[p], lowest), highest));
  });
}

// What the accumulators, an index and a coefficient leave of 32 registers for pixels.
constexpr int kMostPixels = 14;

// Calls tile(first pixel, pixels) for runs as equal as can be.
template <typename Tile>
void in_tiles(int pixels, const Tile& tile) {
  for (int p = 0; p < pixels;) {
    const int left = pixels - p, tiles = (left + kMostPixels - 1) / kMostPixels;
    const int run = (left + tiles - 1) / tiles;
    tile(p, run);
    p += run;
  }
}

template <bool Wide>
void lookup_pixels_s8(const uint8_t* const* rows, int step, int pixels, const Lookups<int8_t>& l,
                      const Requantise& to, int8_t* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_s8<Wide, 1>) kTiles[kMostPixels] = {
      lookup_tile_s8<Wide, 1>,  lookup_tile_s8<Wide, 2>,  lookup_tile_s8<Wide, 3>,
      lookup_tile_s8<Wide, 4>,  lookup_tile_s8<Wide, 5>,  lookup_tile_s8<Wide, 6>,
      lookup_tile_s8<Wide, 7>,  lookup_tile_s8<Wide, 8>,  lookup_tile_s8<Wide, 9>,
      lookup_tile_s8<Wide, 10>, lookup_tile_s8<Wide, 11>, lookup_tile_s8<Wide, 12>,
      lookup_tile_s8<Wide, 13>, lookup_tile_s8<Wide, 14>};
  const Requantiser requantise(to);
  const __mmask16 mask = lanes_mask(filters);
  in_tiles(pixels, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, requantise, y + p * n, n,
                    mask);
  });
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int window,
               const Lookups<int8_t>& l, const Requantise& to, int8_t* y, size_t n, int filters) {
  if (window > 64) {
    lookup_pixels_s8<true>(rows, step, pixels, l, to, y, n, filters);
  } else {
    lookup_pixels_s8<false>(rows, step, pixels, l, to, y, n, filters);
  }
}

template <bool Wide>
void lookup_pixels_f32(const float* const* rows, int step, int pixels, const Lookups<float>& l,
                       const Activate& to, float* y, size_t n, int filters) {
  static constexpr decltype(&lookup_tile_f32<Wide, 1>) kTiles[kMostPixels] = {
      lookup_tile_f32<Wide, 1>,  lookup_tile_f32<Wide, 2>,  lookup_tile_f32<Wide, 3>,
      lookup_tile_f32<Wide, 4>,  lookup_tile_f32<Wide, 5>,  lookup_tile_f32<Wide, 6>,
      lookup_tile_f32<Wide, 7>,  lookup_tile_f32<Wide, 8>,  lookup_tile_f32<Wide, 9>,
      lookup_tile_f32<Wide, 10>, lookup_tile_f32<Wide, 11>, lookup_tile_f32<Wide, 12>,
      lookup_tile_f32<Wide, 13>, lookup_tile_f32<Wide, 14>};
  const __mmask16 mask = lanes_mask(filters);
  in_tiles(pixels, [&](int p, int run) {
    kTiles[run - 1](rows, static_cast<ptrdiff_t>(p) * step, step, l, to, y + p * n, n, mask);
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
    _mm512_storeu_ps(y + v * kLanes, _mm512_min_ps(_mm512_max_ps(sum[v], lowest), highest));
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

// 16 x 16 floats in registers: interleaved by 1, 2, 4 and 8.
void transpose_block(const float* from, size_t stride, float* const* to, int first_row, int rows,
                     int columns) {
  __m512 a[16], b[16];
  const __mmask16 in = lanes_mask(columns), out = lanes_mask(rows);
  repeat<16>([&](auto i) {
    a[i] = i < rows ? _mm512_maskz_loadu_ps(in, from + i * stride) : _mm512_setzero_ps();
  });
  for (int i = 0; i < 16; i += 2) {
    b[i] = _mm512_unpacklo_ps(a[i], a[i + 1]);
    b[i + 1] = _mm512_unpackhi_ps(a[i], a[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int j = 0; j < 2; ++j) {
      const __m512d x = _mm512_castps_pd(b[i + j]), y = _mm512_castps_pd(b[i + j + 2]);
      a[i + 2 * j] = _mm512_castpd_ps(_mm512_unpacklo_pd(x, y));
      a[i + 2 * j + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(x, y));
    }
  }
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 4; ++j) {
      b[i + j] = _mm512_shuffle_f32x4(a[i + j], a[i + j + 4], 0x88);
      b[i + j + 4] = _mm512_shuffle_f32x4(a[i + j], a[i + j + 4], 0xdd);
    }
  }
  for (int j = 0; j < 8; ++j) {
    a[j] = _mm512_shuffle_f32x4(b[j], b[j + 8], 0x88);
    a[j + 8] = _mm512_shuffle_f32x4(b[j], b[j + 8], 0xdd);
  }
  for (int i = 0; i < columns && i < 16; ++i) {
    if (to[i] != nullptr) store(to[i] + first_row, out, a[i]);
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
    {2.2e-12, 3e-12, {2.8e-10, 4e-10, 0}, 4e-11, 0, 0, 2e-6, 1.3e-10},
    {8.7e-12, 1.1e-11, {2.3e-10, 4e-10, 0}, 4e-11, 1.8e-11, 6e-11, 2e-6, 1.3e-10},
};

}  // namespace lcnn

#if defined(__clang__)
#pragma clang attribute pop
#endif
#endif
