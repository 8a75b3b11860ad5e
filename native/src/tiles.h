// How kernels walk over pixels and registers. Include it after the processor's target is set: the
// functions here become part of what calls them.
#pragma once

#include <utility>

namespace lcnn {
namespace {

// Calls f with each constant below N. Arrays of registers stay registers only if every index is a
// constant, which loops leave to the optimizer's mood.
template <int... I, typename F>
[[gnu::always_inline]] inline void repeat_each(std::integer_sequence<int, I...>, const F& f) {
  (f(std::integral_constant<int, I>()), ...);
}

template <int N, typename F>
[[gnu::always_inline]] inline void repeat(const F& f) {
  repeat_each(std::make_integer_sequence<int, N>(), f);
}

// Calls tile(first pixel, pixels) for runs of at most `most` pixels, as equal as can be.
template <typename Tile>
inline void in_tiles(int pixels, int most, const Tile& tile) {
  for (int p = 0; p < pixels;) {
    const int left = pixels - p, tiles = (left + most - 1) / most;
    const int run = (left + tiles - 1) / tiles;
    tile(p, run);
    p += run;
  }
}

}  // namespace
}  // namespace lcnn
