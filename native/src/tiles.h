// How kernels walk over pixels and registers. Include it after the processor's target is set: the
// functions here become part of what calls them.
#pragma once

#include <array>
#include <cstddef>
#include <type_traits>
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

// The functions that tile(pixels) returns for 1 to `most` pixels, each a constant: pixels are known
// when the program runs, and the registers that hold their sums when it is compiled.
template <int... I, typename Tile>
constexpr auto tiles_of(std::integer_sequence<int, I...>, const Tile& tile) {
  return std::array<decltype(tile(std::integral_constant<int, 1>())), sizeof...(I)>{
      tile(std::integral_constant<int, I + 1>())...};
}

template <int Most, typename Tile>
constexpr auto tiles(const Tile& tile) {
  return tiles_of(std::make_integer_sequence<int, Most>(), tile);
}

// Calls run(tile, first pixel) with a tile of `table` for each of as few runs of pixels as it can
// do, all as equal as can be.
template <typename Table, typename Run>
inline void in_tiles(int pixels, const Table& table, const Run& run) {
  const int most = static_cast<int>(table.size());
  for (int p = 0; p < pixels;) {
    const int left = pixels - p, runs = (left + most - 1) / most;
    const int length = (left + runs - 1) / runs;
    run(table[static_cast<size_t>(length) - 1], p);
    p += length;
  }
}

// Calls run(vectors, a constant, and the first of them) for groups of at most `Most` vectors.
template <int Most, typename Run>
inline void in_groups(int vectors, const Run& run) {
  int first = 0;
  for (; first + Most <= vectors; first += Most) run(std::integral_constant<int, Most>(), first);
  repeat<Most - 1>([&](auto i) {
    if (vectors - first == i + 1) run(std::integral_constant<int, i + 1>(), first);
  });
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

}  // namespace
}  // namespace lcnn
