// AVX-512 with VBMI: VPERMB reads 64 entries.
#if defined(__x86_64__)
#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "kernels.h"

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512vbmi"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC diagnostic push
// GCC 12 takes the undefined vectors inside its own intrinsics for mistakes.
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#pragma GCC target("avx512f,avx512bw,avx512vbmi")
#endif
#include <immintrin.h>

#include "run.h"

namespace table_sums {
namespace {

struct Avx512 {
  static constexpr int kBytes = 64;
  using Bytes = __m512i;
  using Row = __m512i;

  static Row load_row(const uint8_t* row) { return _mm512_load_si512(row); }
  static Bytes look_up(Row row, const uint8_t* at) {
    return _mm512_permutexvar_epi8(_mm512_loadu_si512(at), row);
  }
  static Bytes add(Bytes a, Bytes b) { return _mm512_add_epi8(a, b); }

  // As in avx2.cpp.
  struct Wide {
    __m512i all, high;

    Wide() : all(_mm512_setzero_si512()), high(_mm512_setzero_si512()) {}

    void add(Bytes x) {
      all = _mm512_add_epi16(all, x);
      high = _mm512_add_epi16(high, _mm512_srli_epi16(x, 8));
    }

    void add_to(int32_t* sums) const {
      const __m512i low = _mm512_sub_epi16(all, _mm512_slli_epi16(high, 8));
      const __m512i first = _mm512_unpacklo_epi16(low, high);
      const __m512i second = _mm512_unpackhi_epi16(low, high);
      // In a quarter of 128 bits: its first eight pixels and its second eight.
      add_sixteen(sums, _mm512_shuffle_i64x2(first, second, 0x00));
      add_sixteen(sums + 16, _mm512_shuffle_i64x2(first, second, 0x55));
      add_sixteen(sums + 32, _mm512_shuffle_i64x2(first, second, 0xaa));
      add_sixteen(sums + 48, _mm512_shuffle_i64x2(first, second, 0xff));
    }

    static void add_sixteen(int32_t* sums, __m512i pairs) {
      // Eight of the first quarter, eight of the third.
      const __m256i x = _mm512_castsi512_si256(_mm512_shuffle_i64x2(pairs, pairs, 0x08));
      _mm512_storeu_si512(sums, _mm512_add_epi32(_mm512_loadu_si512(sums), _mm512_cvtepu16_epi32(x)));
    }
  };
};

bool runs() {
  return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vbmi");
}

}  // namespace

const Kernel kAvx512 = {"avx512", runs, Avx512::kBytes, 64, run<Avx512>};

}  // namespace table_sums

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC diagnostic pop
#pragma GCC pop_options
#endif
#endif
