// Arithmetic on whole tensors, as the runtime does it.
#pragma once

#include <cstddef>
#include <cstdint>

namespace lcnn {

// (a - its zero point) * its scale + the same of b, as int8 of another scale: XNNPACK's arithmetic,
// (bias + a * a_multiplier + b * b_multiplier) >> shift, so results are equal to the bit.
struct SumS8 {
  int32_t a_multiplier, b_multiplier;  // 0 to 2^21
  int32_t bias;                        // zero points and half a unit
  int shift;                           // 13 to 30
  int32_t zero_point, lowest, highest;
};

// False for scales for which XNNPACK leaves the sum to another operator.
bool sum_of_scales(float a_scale, int32_t a_zero, float b_scale, int32_t b_zero, float y_scale,
                   SumS8* sum);

struct Elementwise {
  void (*sum_s8)(const int8_t* a, const int8_t* b, int8_t* y, size_t count, const SumS8& sum);
  void (*sum_f32)(const float* a, const float* b, float* y, size_t count, float lowest,
                  float highest);
  // y[i] = the largest of x[0][i] to x[vectors - 1][i], within limits.
  void (*max_s8)(const int8_t* const* x, int vectors, int8_t* y, size_t count, int8_t lowest,
                 int8_t highest);
};

extern const Elementwise kPortableElementwise;
#if defined(__x86_64__)
extern const Elementwise kAvx2Elementwise;
extern const Elementwise kAvx512Elementwise;  // in kernels_avx512.cpp

void sum_f32_avx2(const float* a, const float* b, float* y, size_t count, float lowest,
                  float highest);
#endif

// What vectors leave over.
void sum_s8_rest(const int8_t* a, const int8_t* b, int8_t* y, size_t count, const SumS8& sum);
void max_s8_rest(size_t first, const int8_t* const* x, int vectors, int8_t* y, size_t count,
                 int8_t lowest, int8_t highest);

}  // namespace lcnn
