// int32 sums to bytes, as outputs.h says, for four vectors of lanes at once: narrowing instructions
// take two registers each. Over operations of the processor's struct (see float_kernels.h):
//
//   Vector              kLanes floats
//   Sums                kLanes int32
//   Halves              2 * kLanes int16, of two vectors
//   Bytes               4 * kLanes bytes, of four vectors
//   to_float(sums), multiply, minimum, broadcast, broadcast_half, broadcast_byte
//   rounded(vector)     to the nearest, half to even; what is too small gives a number that
//                       saturates below, as the least integer does
//   narrow(a, b)        saturating, sums to halves
//   add_saturating(halves, halves)
//   narrow(a, b, kind)  saturating, halves to bytes: signed or, if kind is true, unsigned
//   maximum(bytes, bytes, kind)
//   in_order(bytes)     undoes what order the narrowing left
//   store_quarter(to, lanes, bytes, i)  stores the bytes of the i-th vector
//
// Include it after the processor's target is set.
#pragma once

#include "kernels.h"
#include "tiles.h"

namespace lcnn {
namespace {

// Why so few clamps: a sum that is too large is clamped as a float, since a conversion would wrap
// it; one that is too small is the least int16 at the latest, to which adding the zero point
// saturates, and then below `lowest` as a byte.
template <typename Simd, bool Unsigned>
class Requantizer {
 public:
  using Vector = typename Simd::Vector;
  using Sums = typename Simd::Sums;

  explicit Requantizer(const Requantize& to)
      : highest_(Simd::broadcast(static_cast<float>(to.highest - to.zero_point))),
        zero_point_(Simd::broadcast_half(static_cast<int16_t>(to.zero_point))),
        lowest_(Simd::broadcast_byte(static_cast<int8_t>(to.lowest))) {}

  // Stores PX x NB vectors of sums: sum[p][b] begins at to(p, b), of which `lanes(b)` are written.
  template <int PX, int NB, typename To, typename Lanes>
  [[gnu::always_inline]] void store(const Sums (&sum)[PX][NB], const float* scale, const To& to,
                                    const Lanes& lanes) const {
    constexpr int kCount = PX * NB;
    Vector scales[NB];
    repeat<NB>([&](auto b) { scales[b] = Simd::load(scale + b * Simd::kLanes); });
    Sums rounded[kCount];
    repeat<kCount>([&](auto i) {
      const Vector x = Simd::multiply(Simd::to_float(sum[i / NB][i % NB]), scales[i % NB]);
      rounded[i] = Simd::rounded(Simd::minimum(x, highest_));
    });
    repeat<(kCount + 3) / 4>([&](auto group) {
      constexpr int a = 4 * group, b = within(a + 1, kCount), c = within(a + 2, kCount),
                    d = within(a + 3, kCount);
      const auto ab = Simd::add_saturating(Simd::narrow(rounded[a], rounded[b]), zero_point_);
      const auto cd = Simd::add_saturating(Simd::narrow(rounded[c], rounded[d]), zero_point_);
      constexpr std::bool_constant<Unsigned> kind;
      const auto bytes =
          Simd::in_order(Simd::maximum(Simd::narrow(ab, cd, kind), lowest_, kind));
      repeat<(kCount - a < 4 ? kCount - a : 4)>([&](auto j) {
        constexpr int i = a + j;
        constexpr std::integral_constant<int, i / NB> p;
        constexpr std::integral_constant<int, i % NB> v;
        Simd::store_quarter(to(p, v), lanes(v), bytes, j);
      });
    });
  }

 private:
  static constexpr int within(int i, int count) { return i < count ? i : count - 1; }

  Vector highest_;
  typename Simd::Halves zero_point_;
  typename Simd::Bytes lowest_;
};

}  // namespace
}  // namespace lcnn
