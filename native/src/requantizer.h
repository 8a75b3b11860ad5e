// int32 sums to bytes, as outputs.h says, for four vectors of lanes at once: narrowing instructions
// take two registers each. Over operations of the processor's struct (see float_kernels.h):
//
//   Vector              kLanes floats
//   Sums                kLanes int32
//   Halves              2 * kLanes int16, of two vectors
//   Bytes               4 * kLanes bytes, of four vectors
//   to_float(sums), multiply, broadcast_half, broadcast_byte
//   rounded(vector)     to the nearest, half to even; what is too small gives a number that
//                       saturates below, as the least integer does
//   narrow(a, b)        saturating, sums to halves
//   add_saturating(halves, halves)
//   narrow(a, b, kind)  saturating, halves to bytes: signed or, if kind is true, unsigned
//   minimum, maximum(bytes, bytes, kind)
//   in_order(bytes)     undoes what order the narrowing left
//   store_quarter(to, lanes, bytes, i)  stores the bytes of the i-th vector
//   store_bytes(to, bytes)              stores those of all four
//
// Include it after the processor's target is set.
#pragma once

#include "kernels.h"
#include "tiles.h"

namespace lcnn {
namespace {

// Why clamps are of bytes alone: scales are below 1 (see Requantize), so a sum times its scale is an
// int32 still; narrowing saturates it to int16, adding the zero point saturates too, and what is
// beyond `lowest` or `highest` then is so as a byte.
template <typename Simd, bool Unsigned>
class Requantizer {
 public:
  using Vector = typename Simd::Vector;
  using Sums = typename Simd::Sums;

  explicit Requantizer(const Requantize& to)
      : zero_point_(Simd::broadcast_half(static_cast<int16_t>(to.zero_point))),
        lowest_(Simd::broadcast_byte(static_cast<int8_t>(to.lowest))),
        highest_(Simd::broadcast_byte(static_cast<int8_t>(to.highest))) {}

  // Four vectors of sums, times their scales, as bytes.
  [[gnu::always_inline]] typename Simd::Bytes bytes(Sums a, Sums b, Sums c, Sums d, Vector by_a,
                                                    Vector by_b, Vector by_c, Vector by_d) const {
    const auto ab = Simd::add_saturating(Simd::narrow(scaled(a, by_a), scaled(b, by_b)), zero_point_);
    const auto cd = Simd::add_saturating(Simd::narrow(scaled(c, by_c), scaled(d, by_d)), zero_point_);
    constexpr std::bool_constant<Unsigned> kind;
    const auto narrow = Simd::maximum(Simd::narrow(ab, cd, kind), lowest_, kind);
    return Simd::in_order(Simd::minimum(narrow, highest_, kind));
  }

  // Stores PX x NB vectors of sums: sum[p][b] begins at to(p, b), of which `lanes(b)` are written.
  template <int PX, int NB, typename To, typename Lanes>
  [[gnu::always_inline]] void store(const Sums (&sum)[PX][NB], const float* scale, const To& to,
                                    const Lanes& lanes) const {
    constexpr int kCount = PX * NB;
    Vector scales[NB];
    repeat<NB>([&](auto b) { scales[b] = Simd::load(scale + b * Simd::kLanes); });
    repeat<(kCount + 3) / 4>([&](auto group) {
      constexpr int a = 4 * group, b = within(a + 1, kCount), c = within(a + 2, kCount),
                    d = within(a + 3, kCount);
      const auto bytes = this->bytes(sum[a / NB][a % NB], sum[b / NB][b % NB], sum[c / NB][c % NB],
                                     sum[d / NB][d % NB], scales[a % NB], scales[b % NB],
                                     scales[c % NB], scales[d % NB]);
      if constexpr (NB == 4) {
        constexpr std::integral_constant<int, a / NB> p;
        if (lanes(std::integral_constant<int, 3>()) >= Simd::kLanes) {
          Simd::store_bytes(to(p, std::integral_constant<int, 0>()), bytes);
          return;
        }
      }
      repeat<(kCount - a < 4 ? kCount - a : 4)>([&](auto j) {
        constexpr int i = a + j;
        constexpr std::integral_constant<int, i / NB> p;
        constexpr std::integral_constant<int, i % NB> v;
        Simd::store_quarter(to(p, v), lanes(v), bytes, j);
      });
    });
  }

 private:
  [[gnu::always_inline]] static Sums scaled(Sums sum, Vector by) {
    return Simd::rounded(Simd::multiply(Simd::to_float(sum), by));
  }
  static constexpr int within(int i, int count) { return i < count ? i : count - 1; }

  typename Simd::Halves zero_point_;
  typename Simd::Bytes lowest_, highest_;
};

}  // namespace
}  // namespace lcnn
