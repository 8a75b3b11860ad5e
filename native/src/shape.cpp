#include "shape.h"

#include <algorithm>
#include <cstdlib>
#include <limits>

#include "sparse.h"

namespace lcnn {
namespace {

constexpr int64_t kMostStrip = int64_t{1} << 25;  // elements of S, held at once
constexpr int64_t kMostEmpty = int64_t{1} << 20;  // kernel positions that few weights may cover
constexpr int64_t kMostReach = 1 << 9;
constexpr int64_t kMostThin = 1 << 24;  // rows or columns of a map

bool fits(int64_t a, int64_t b, int64_t c, int64_t d) {
  int64_t product = 1;
  for (int64_t size : {a, b, c, d}) {
    if (size < 1 || size > kMostElements / product) return false;
    product *= size;
  }
  return true;
}

// Kernels take filters, and channels of a dictionary, in groups.
bool packed_fits(int64_t n, int64_t positions, int64_t channels) {
  return (n + 63) / 64 * 64 * positions * ((channels + 3) / 4 * 4) <= 4 * kMostElements;
}

// One direction: S, the kernel over it, and Y.
bool plausible(int64_t s, int64_t kernel, int64_t stride, int64_t dilation, int64_t pad,
               int64_t out) {
  if (stride < 1 || dilation < 1 || stride > kMostReach || dilation > kMostReach || s > kMostThin) {
    return false;
  }
  const int64_t reach = (kernel - 1) * dilation + 1;
  // Every window begins in the map or in the padding before it.
  return reach <= kMostReach && pad >= 0 && pad < reach && (out - 1) * stride - pad < s;
}

}  // namespace

bool plausible(const Shape& s, bool dictionary) {
  if (!fits(s.batch, s.in_h, s.in_w, s.m) || !fits(s.batch, s.h, s.w, s.k) ||
      !fits(s.batch, s.out_h, s.out_w, s.n) || !fits(s.kh, s.kw, s.k, s.n) ||
      !fits(s.k, s.m, 1, 1) || !plausible(s.h, s.kh, s.stride_h, s.dilation_h, s.pad_top, s.out_h) ||
      !plausible(s.w, s.kw, s.stride_w, s.dilation_w, s.pad_left, s.out_w)) {
    return false;
  }
  if (dictionary) {
    const int64_t down = s.dictionary_stride_h, across = s.dictionary_stride_w;
    if (down < 1 || across < 1 || down > kMostReach || across > kMostReach ||
        s.h != (s.in_h - 1) / down + 1 || s.w != (s.in_w - 1) / across + 1 ||
        !packed_fits(s.k, 1, s.m)) {
      return false;
    }
  } else if (s.h != s.in_h || s.w != s.in_w || s.m != s.k || s.dictionary_stride_h != 1 ||
             s.dictionary_stride_w != 1) {
    return false;
  }
  if (!packed_fits(s.n, int64_t{s.kh} * s.kw, s.k)) return false;
  const int64_t columns =
      std::max<int64_t>(int64_t{s.pad_left} + s.w,
                        int64_t{s.out_w} * s.stride_w + int64_t{s.kw} * s.dilation_w);
  const int64_t rows = int64_t{s.kh} * s.dilation_h + s.stride_h;
  return columns * rows * s.k <= kMostStrip;
}

bool worthwhile(const Shape& s, int64_t nonzero) {
  const int64_t positions = (s.n + int64_t{63}) / 64 * 64 * s.kh * s.kw;
  return positions <= kMostEmpty || nonzero * 64 >= positions;
}

bool sum_fits(int32_t bias, int64_t weights) {
  return std::abs(int64_t{bias}) + 512 * weights <= std::numeric_limits<int32_t>::max();
}

}  // namespace lcnn
