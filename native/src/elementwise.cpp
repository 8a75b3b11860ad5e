#include "elementwise.h"

#include <algorithm>
#include <cmath>

#if defined(__x86_64__)
#include <immintrin.h>
#define LCNN_AVX2 __attribute__((target("avx2")))
#endif

namespace lcnn {
namespace {

// A NaN stays one.
[[gnu::always_inline]] inline void sum_f32_each(const float* a, const float* b, float* y,
                                                size_t count, float lowest, float highest) {
  for (size_t i = 0; i < count; ++i) {
    const float x = a[i] + b[i];
    y[i] = x < lowest ? lowest : x > highest ? highest : x;
  }
}

}  // namespace

void max_s8_rest(size_t first, const int8_t* const* x, int vectors, int8_t* y, size_t count,
                 int8_t lowest, int8_t highest) {
  for (size_t i = first; i < count; ++i) {
    int8_t most = lowest;
    for (int v = 0; v < vectors; ++v) most = std::max(most, x[v][i]);
    y[i] = std::min(most, highest);
  }
}

void sum_s8_rest(const int8_t* a, const int8_t* b, int8_t* y, size_t count, const SumS8& s) {
  for (size_t i = 0; i < count; ++i) {
    const int32_t x = (s.bias + a[i] * s.a_multiplier + b[i] * s.b_multiplier) >> s.shift;
    y[i] = static_cast<int8_t>(std::min(s.highest, std::max(s.lowest, x + s.zero_point)));
  }
}

namespace {

void sum_f32(const float* a, const float* b, float* y, size_t count, float lowest, float highest) {
  sum_f32_each(a, b, y, count, lowest, highest);
}
void max_s8(const int8_t* const* x, int vectors, int8_t* y, size_t count, int8_t lowest,
            int8_t highest) {
  max_s8_rest(0, x, vectors, y, count, lowest, highest);
}

#if defined(__x86_64__)
// A multiplier has 22 bits: as two factors of 16, the pairs (a, b) are multiplied and added by one
// instruction each.
LCNN_AVX2 void sum_s8_avx2(const int8_t* a, const int8_t* b, int8_t* y, size_t count,
                           const SumS8& s) {
  const int32_t low = 0x7fff;
  const __m256i by_low =
      _mm256_set1_epi32((s.a_multiplier & low) | (s.b_multiplier & low) << 16);
  const __m256i by_high = _mm256_set1_epi32(s.a_multiplier >> 15 | s.b_multiplier >> 15 << 16);
  const __m256i bias = _mm256_set1_epi32(s.bias);
  const __m128i shift = _mm_cvtsi32_si128(s.shift);
  const __m256i zero_point = _mm256_set1_epi16(static_cast<int16_t>(s.zero_point));
  const __m256i lowest = _mm256_set1_epi16(static_cast<int16_t>(s.lowest));
  const __m256i highest = _mm256_set1_epi16(static_cast<int16_t>(s.highest));
  const auto half = [&](__m256i pairs) LCNN_AVX2 {
    const __m256i high = _mm256_slli_epi32(_mm256_madd_epi16(pairs, by_high), 15);
    const __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(pairs, by_low), high);
    return _mm256_sra_epi32(_mm256_add_epi32(sum, bias), shift);
  };
  size_t i = 0;
  for (; i + 16 <= count; i += 16) {
    const __m256i wide_a =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(a + i)));
    const __m256i wide_b =
        _mm256_cvtepi8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(b + i)));
    // Interleaving takes elements apart within the halves, and packing puts them in order again.
    __m256i x = _mm256_packs_epi32(half(_mm256_unpacklo_epi16(wide_a, wide_b)),
                                   half(_mm256_unpackhi_epi16(wide_a, wide_b)));
    x = _mm256_adds_epi16(x, zero_point);
    x = _mm256_min_epi16(highest, _mm256_max_epi16(lowest, x));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(y + i),
                     _mm_packs_epi16(_mm256_castsi256_si128(x), _mm256_extracti128_si256(x, 1)));
  }
  sum_s8_rest(a + i, b + i, y + i, count - i, s);
}
LCNN_AVX2 void max_s8_avx2(const int8_t* const* x, int vectors, int8_t* y, size_t count,
                           int8_t lowest, int8_t highest) {
  const __m256i low = _mm256_set1_epi8(lowest), high = _mm256_set1_epi8(highest);
  size_t i = 0;
  for (; i + 32 <= count; i += 32) {
    __m256i most = low;
    for (int v = 0; v < vectors; ++v) {
      most = _mm256_max_epi8(
          most, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x[v] + i)));
    }
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(y + i), _mm256_min_epi8(most, high));
  }
  max_s8_rest(i, x, vectors, y, count, lowest, highest);
}
#endif

}  // namespace

#if defined(__x86_64__)
LCNN_AVX2 void sum_f32_avx2(const float* a, const float* b, float* y, size_t count, float lowest,
                            float highest) {
  sum_f32_each(a, b, y, count, lowest, highest);
}

const Elementwise kAvx2Elementwise = {sum_s8_avx2, sum_f32_avx2, max_s8_avx2};
#endif
const Elementwise kPortableElementwise = {sum_s8_rest, sum_f32, max_s8};

bool sum_of_scales(float a_scale, int32_t a_zero, float b_scale, int32_t b_zero, float y_scale,
                   SumS8* sum) {
  const float a = a_scale / y_scale, b = b_scale / y_scale, least = 0x1p-10f, most = 0x1p8f;
  if (!(a >= least && a < most && b >= least && b < most)) return false;
  sum->shift = 20 - std::ilogb(std::max(a, b));
  sum->a_multiplier = static_cast<int32_t>(std::lrint(std::ldexp(a, sum->shift)));
  sum->b_multiplier = static_cast<int32_t>(std::lrint(std::ldexp(b, sum->shift)));
  sum->bias = (1 << (sum->shift - 1)) - sum->a_multiplier * a_zero - sum->b_multiplier * b_zero;
  return true;
}

}  // namespace lcnn
