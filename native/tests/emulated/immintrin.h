// AVX-512 for processors that have none: SIMDe (Debian: libsimde-dev), and what it lacks of the
// instructions in kernels_avx512.cpp. For tests: it finds this in place of the compiler's header.
#pragma once

#define SIMDE_NO_NATIVE
#define SIMDE_NO_INLINE  // compiles in half a minute, not in minutes
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>

#include <cmath>
#include <cstdint>
#include <cstring>

using __mmask16 = uint16_t;
using __mmask64 = uint64_t;

namespace emulated {

// The lanes of a vector, to be read and written.
template <typename Lane, typename Vector>
struct Lanes {
  static constexpr int kCount = sizeof(Vector) / sizeof(Lane);
  Lane at[kCount] = {};

  Lanes() = default;
  explicit Lanes(Vector x) { std::memcpy(at, &x, sizeof(x)); }
  explicit Lanes(const void* from) { std::memcpy(at, from, sizeof(at)); }

  operator Vector() const {
    Vector x;
    std::memcpy(&x, at, sizeof(x));
    return x;
  }
};

using Floats = Lanes<float, __m512>;
using Integers = Lanes<int32_t, __m512i>;
using Shorts = Lanes<int16_t, __m512i>;

// Touches only what the mask has, as the instructions do.
template <typename Result, typename Lane>
Result load(__mmask16 mask, const Lane* from) {
  Result x;
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) x.at[i] = from[i];
  }
  return x;
}

template <typename Lane, typename From>
void store(void* to, __mmask16 mask, const From& from) {
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) std::memcpy(static_cast<Lane*>(to) + i, &from.at[i], sizeof(Lane));
  }
}

}  // namespace emulated

// SIMDe has its masked form under this name.
#undef _mm512_madd_epi16
inline __m512i _mm512_madd_epi16(__m512i a, __m512i b) {
  const emulated::Shorts from_a(a), from_b(b);
  emulated::Integers to;
  for (int i = 0; i < 16; ++i) {
    to.at[i] = from_a.at[2 * i] * from_b.at[2 * i] + from_a.at[2 * i + 1] * from_b.at[2 * i + 1];
  }
  return to;
}

// Of all lanes by the same count, of at most 31 here.
inline __m512i _mm512_sra_epi32(__m512i x, __m128i count) {
  const emulated::Integers from(x);
  const emulated::Lanes<int64_t, __m128i> by(count);
  emulated::Integers to;
  for (int i = 0; i < 16; ++i) to.at[i] = from.at[i] >> by.at[0];
  return to;
}

inline __m512 _mm512_cvtepi32_ps(__m512i x) {
  const emulated::Integers from(x);
  emulated::Floats to;
  for (int i = 0; i < 16; ++i) to.at[i] = static_cast<float>(from.at[i]);
  return to;
}

// To the nearest, half to even; the least integer for what does not fit.
inline __m512i _mm512_cvtps_epi32(__m512 x) {
  const emulated::Floats from(x);
  emulated::Integers to;
  for (int i = 0; i < 16; ++i) {
    const float rounded = std::nearbyintf(from.at[i]);
    const bool fits = rounded >= -2147483648.0f && rounded < 2147483648.0f;
    to.at[i] = fits ? static_cast<int32_t>(rounded) : INT32_MIN;
  }
  return to;
}

inline __m512i _mm512_cvtepu8_epi32(__m128i x) {
  const emulated::Lanes<uint8_t, __m128i> from(x);
  emulated::Integers to;
  for (int i = 0; i < 16; ++i) to.at[i] = from.at[i];
  return to;
}

inline __m512 _mm512_mask_i32gather_ps(__m512 other, __mmask16 mask, __m512i index,
                                       const void* from, int scale) {
  const emulated::Integers at(index);
  emulated::Floats to(other);
  for (int i = 0; i < 16; ++i) {
    if (mask >> i & 1) {
      std::memcpy(&to.at[i], static_cast<const char*>(from) + int64_t{at.at[i]} * scale, 4);
    }
  }
  return to;
}

inline __m512 _mm512_maskz_loadu_ps(__mmask16 mask, const void* from) {
  return emulated::load<emulated::Floats>(mask, static_cast<const float*>(from));
}

inline __m512i _mm512_maskz_loadu_epi32(__mmask16 mask, const void* from) {
  return emulated::load<emulated::Integers>(mask, static_cast<const int32_t*>(from));
}

inline __m512i _mm512_maskz_loadu_epi8(__mmask64 mask, const void* from) {
  emulated::Lanes<uint8_t, __m512i> x;
  for (int i = 0; i < 64; ++i) {
    if (mask >> i & 1) x.at[i] = static_cast<const uint8_t*>(from)[i];
  }
  return x;
}

inline void _mm512_mask_storeu_ps(void* to, __mmask16 mask, __m512 x) {
  emulated::store<float>(to, mask, emulated::Floats(x));
}

inline void _mm_mask_storeu_epi8(void* to, __mmask16 mask, __m128i x) {
  emulated::store<int8_t>(to, mask, emulated::Lanes<int8_t, __m128i>(x));
}

// Halves added to halves, as compilers do it.
inline float _mm512_reduce_add_ps(__m512 x) {
  emulated::Floats sum(x);
  for (int half = 8; half > 0; half /= 2) {
    for (int i = 0; i < half; ++i) sum.at[i] += sum.at[i + half];
  }
  return sum.at[0];
}

// Quarters: two of `a`, then two of `b`, by pairs of bits.
inline __m512 _mm512_shuffle_f32x4(__m512 a, __m512 b, int which) {
  const emulated::Floats from_a(a), from_b(b);
  emulated::Floats to;
  for (int quarter = 0; quarter < 4; ++quarter) {
    const float* from = quarter < 2 ? from_a.at : from_b.at;
    const int place = which >> (2 * quarter) & 3;
    std::memcpy(to.at + 4 * quarter, from + 4 * place, 4 * sizeof(float));
  }
  return to;
}
