// AVX2: PSHUFB reads 16 entries; 64 levels are four parts, of which three give 0.
#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
#include <immintrin.h>

#include "run.h"

namespace table_sums {
namespace {

struct Avx2 {
  static constexpr int kBytes = 32;
  using Bytes = __m256i;
  using Row = __m256i;

  static Row load_row(const uint8_t* row) {
    return _mm256_broadcastsi128_si256(_mm_load_si128(reinterpret_cast<const __m128i*>(row)));
  }
  static Bytes look_up(Row row, const uint8_t* at) {
    return _mm256_shuffle_epi8(row, _mm256_loadu_si256(reinterpret_cast<const __m256i*>(at)));
  }
  static Bytes add(Bytes a, Bytes b) { return _mm256_add_epi8(a, b); }

  // Bytes of even and odd pixels are not parted: `all` adds them as 16-bit numbers, low and 256
  // times high, and wraps around; what the high ones add up to is known at the end.
  struct Wide {
    __m256i all, high;

    Wide() : all(_mm256_setzero_si256()), high(_mm256_setzero_si256()) {}

    void add(Bytes x) {
      all = _mm256_add_epi16(all, x);
      high = _mm256_add_epi16(high, _mm256_srli_epi16(x, 8));
    }

    void add_to(int32_t* sums) const {
      const __m256i low = _mm256_sub_epi16(all, _mm256_slli_epi16(high, 8));
      const __m256i first = _mm256_unpacklo_epi16(low, high);
      const __m256i second = _mm256_unpackhi_epi16(low, high);
      add_eight(sums, _mm256_castsi256_si128(first));
      add_eight(sums + 8, _mm256_castsi256_si128(second));
      add_eight(sums + 16, _mm256_extracti128_si256(first, 1));
      add_eight(sums + 24, _mm256_extracti128_si256(second, 1));
    }

    static void add_eight(int32_t* sums, __m128i x) {
      __m256i* to = reinterpret_cast<__m256i*>(sums);
      _mm256_storeu_si256(to, _mm256_add_epi32(_mm256_loadu_si256(to), _mm256_cvtepu16_epi32(x)));
    }
  };
};

bool runs() { return __builtin_cpu_supports("avx2"); }

}  // namespace

const Kernel kAvx2 = {"avx2", runs, Avx2::kBytes, 16, run<Avx2>};

}  // namespace table_sums

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif
