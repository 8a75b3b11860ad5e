// The sizes of a lookup layer, and which of them can be meant.
#pragma once

#include <cstdint>

namespace lcnn {

struct Shape {
  int batch = 1;
  int in_h = 1, in_w = 1, m = 1;               // X
  int dictionary_stride_h = 1, dictionary_stride_w = 1;
  int h = 1, w = 1, k = 1;                     // S, one value per dictionary row
  int kh = 1, kw = 1;
  int stride_h = 1, stride_w = 1;
  int dilation_h = 1, dilation_w = 1;
  int pad_top = 0, pad_left = 0;
  int out_h = 1, out_w = 1, n = 1;             // Y
};

// Whether the sizes of a layer fit each other, and are ones that its kernels can count and hold:
// what they allocate stays in proportion to its weights and maps.
bool plausible(const Shape& shape, bool dictionary);

// Whether a layer's coefficients are not so few that nearly all of what is packed is empty.
bool worthwhile(const Shape& shape, int64_t nonzero);

// Whether sums stay within int32, with zero points and the offset of unsigned activations in the
// bias. `weights`: the sum of the absolute weights of a filter.
bool sum_fits(int32_t bias, int64_t weights);

}  // namespace lcnn
