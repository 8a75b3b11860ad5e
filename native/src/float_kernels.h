// The float32 kernels, over a few operations on vectors that each processor's file defines in a
// struct:
//
//   constexpr int kLanes                    floats in a vector
//   constexpr int kVectors                  vectors of filters that a step of the lookups serves
//   constexpr int kDictionaryVectors        vectors of rows of D that a tile takes at most
//   template <int NB> kDictionaryPixels     pixels of such a tile of NB vectors, and of
//   template <int NB> kLookupPixels         a tile of lookups: what the registers hold
//   kWindows                                elements that a window holds, smallest first
//   kTransposed                             rows and columns that transpose_block takes
//   Vector                                  kLanes floats, in one register or two
//   Each                                    one float that is multiplied with every lane
//   Indices                                 where each lane looks, as a window takes it
//   template <int W> Window                 kWindows[W] floats in registers: Window(from), and
//                                           look_up(indices)
//   load, store, store_some (lanes), each, broadcast, add, subtract, multiply_add, load_indices
//   limited(x, lowest, highest)             a NaN stays one
//   transpose_block                         as Kernels::transpose_f32, to row `row` of `to`
//
// Include it after the processor's target is set: the functions here become part of what calls them.
#pragma once

#include "kernels.h"
#include "tiles.h"

namespace lcnn {
namespace {

// The first `lanes` lanes, which are most often all.
template <typename Simd>
[[gnu::always_inline]] inline void store_lanes(float* to, typename Simd::Vector x, int lanes) {
  if (lanes >= Simd::kLanes) {
    Simd::store(to, x);
  } else {
    Simd::store_some(to, x, lanes);
  }
}

// What Activate says, of a vector.
template <typename Simd>
class Activation {
 public:
  using Vector = typename Simd::Vector;

  explicit Activation(const Activate& to)
      : lowest_(Simd::broadcast(to.lowest)), highest_(Simd::broadcast(to.highest)) {}

  Vector operator()(Vector x) const { return Simd::limited(x, lowest_, highest_); }

  // An infinity becomes a NaN, all else stays.
  static Vector poisoned(Vector x) { return Simd::add(x, Simd::subtract(x, x)); }

 private:
  Vector lowest_, highest_;
};

// One processor's float32 kernels, as kernels.h describes them.
template <typename Simd>
struct FloatKernels {
  using Vector = typename Simd::Vector;
  using Each = typename Simd::Each;
  static constexpr int kLanes = Simd::kLanes;

  // PX pixels by NB vectors of dictionary rows, kept in registers over all channels. `row` is the
  // first of these rows.
  template <int NB, int PX>
  static void dictionary_tile(Pixels<float> x, float* const* s, int row,
                              const Dictionary<float>& d, const Activate& to) {
    const size_t block = static_cast<size_t>(d.m) * kLanes;
    const float* values = d.values + static_cast<size_t>(row) * d.m;
    Vector sum[PX][NB];
    repeat<NB>([&](auto b) {
      const Vector start = Simd::load(to.bias + row + b * kLanes);
      repeat<PX>([&](auto p) { sum[p][b] = start; });
    });
    for (const float* end = values + block; values != end; values += kLanes) {
      Vector in[NB];
      repeat<NB>([&](auto b) { in[b] = Simd::load(values + b * block); });
      repeat<PX>([&](auto p) {
        const Each by = Simd::each(x.at(p));
        repeat<NB>([&](auto b) { sum[p][b] = Simd::multiply_add(in[b], by, sum[p][b]); });
      });
      x.advance(1);
    }
    const Activation<Simd> activate(to);
    const auto finish = [&](auto poison) __attribute__((always_inline)) {
      repeat<PX>([&](auto p) {
        repeat<NB>([&](auto b) {
          const int at = row + b * kLanes;
          store_lanes<Simd>(
              s[p] + at, poison ? activate.poisoned(sum[p][b]) : activate(sum[p][b]), d.k - at);
        });
      });
    };
    if (to.poison) {
      finish(std::true_type());
    } else {
      finish(std::false_type());
    }
  }

  static void dictionary(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                         const Dictionary<float>& d, const Activate& to) {
    const int vectors = (d.k + kLanes - 1) / kLanes;
    in_groups<Simd::kDictionaryVectors>(vectors, [&](auto nb, int first) {
      constexpr int kVectors = nb;
      static constexpr auto kTiles = tiles<Simd::template kDictionaryPixels<kVectors>>(
          [](auto px) { return &dictionary_tile<kVectors, px>; });
      in_tiles(pixels, kTiles, [&](auto tile, int p) {
        tile({x + p * stride, stride}, s + p, first * kLanes, d, to);
      });
    });
  }

  // PX pixels by NB vectors of filters, through the W-th window. A window of S is loaded once for
  // all of these filters; of what is packed for a block of kVectors vectors the first NB are read.
  template <int W, int NB, int PX>
  static void lookup_tile(const float* const* rows, ptrdiff_t first, int step,
                          const Lookups<float>& l, const Activate& to, float* y, size_t n,
                          int filters) {
    constexpr int kStep = kLanes * Simd::kVectors;
    Vector sum[PX][NB];
    repeat<NB>([&](auto b) {
      const Vector start = Simd::load(to.bias + b * kLanes);
      repeat<PX>([&](auto p) { sum[p][b] = start; });
    });
    const uint8_t* index = l.index;
    const float* coefficient = l.coefficient;
    for (int g = 0; g < l.steps; ++g, index += kStep, coefficient += kStep) {
      typename Simd::Indices i[NB];
      Vector c[NB];
      repeat<NB>([&](auto b) {
        i[b] = Simd::load_indices(index + b * kLanes);
        c[b] = Simd::load(coefficient + b * kLanes);
      });
      const float* at = rows[l.step[g].row] + l.step[g].offset + first;
      repeat<PX>([&](auto p) {
        const typename Simd::template Window<W> window(at);
        repeat<NB>([&](auto b) {
          sum[p][b] = Simd::multiply_add(window.look_up(i[b]), c[b], sum[p][b]);
        });
        at += step;
      });
    }
    coefficient = l.full_coefficient;
    for (int g = 0; g < l.full_steps; ++g, coefficient += kStep) {
      Vector c[NB];
      repeat<NB>([&](auto b) { c[b] = Simd::load(coefficient + b * kLanes); });
      const float* at = rows[l.full_step[g].row] + l.full_step[g].offset + first;
      repeat<PX>([&](auto p) {
        const Each s = Simd::each(at);
        repeat<NB>([&](auto b) { sum[p][b] = Simd::multiply_add(c[b], s, sum[p][b]); });
        at += step;
      });
    }
    const Activation<Simd> activate(to);
    repeat<PX>([&](auto p) {
      repeat<NB>([&](auto b) {
        // Only the last vector has fewer filters than lanes.
        const int lanes = b + 1 == NB ? filters - b * kLanes : kLanes;
        store_lanes<Simd>(y + p * n + b * kLanes, activate(sum[p][b]), lanes);
      });
    });
  }

  static void lookup(const float* const* rows, int step, int pixels, int window,
                     const Lookups<float>& l, const Activate& to, float* y, size_t n,
                     int filters) {
    const auto run = [&](auto w, auto nb) {
      constexpr int kWindow = w, kVectors = nb;
      static constexpr auto kTiles = tiles<Simd::template kLookupPixels<kVectors>>(
          [](auto px) { return &lookup_tile<kWindow, kVectors, px>; });
      in_tiles(pixels, kTiles, [&](auto tile, int p) {
        tile(rows, static_cast<ptrdiff_t>(p) * step, step, l, to, y + p * n, n, filters);
      });
    };
    repeat<Simd::kWindows.size()>([&](auto w) {
      if (window != Simd::kWindows[w]) return;
      in_groups<Simd::kVectors>((filters + kLanes - 1) / kLanes,
                                [&](auto nb, int) { run(w, nb); });
    });
  }

  // One filter's sums over NV vectors of pixels; an entry's value is broadcast once for them all.
  template <int NV>
  static void planes_run(const float* origin, int entries, const int32_t* offset,
                         const float* value, float bias, const Activation<Simd>& activate,
                         float* y) {
    Vector sum[NV];
    repeat<NV>([&](auto v) { sum[v] = Simd::broadcast(bias); });
    for (int e = 0; e < entries; ++e) {
      const Each by = Simd::each(value + e);
      const float* plane = origin + offset[e];
      repeat<NV>([&](auto v) {
        sum[v] = Simd::multiply_add(Simd::load(plane + v * kLanes), by, sum[v]);
      });
    }
    const Activation<Simd> limits = activate;  // in registers, whatever the stores may change
    repeat<NV>([&](auto v) { Simd::store(y + v * kLanes, limits(sum[v])); });
  }

  static void planes(const float* origin, int vectors, const Planes& planes, const Activate& to,
                     int filters, float* y) {
    static constexpr auto kRuns =
        tiles<kMostVectors>([](auto nv) { return &planes_run<nv>; });
    const Activation<Simd> activate(to);
    for (int j = 0; j < filters; ++j) {
      const int32_t e = planes.first[j];
      kRuns[static_cast<size_t>(vectors) - 1](
          origin, planes.first[j + 1] - e, planes.offset + e, planes.value + e, to.bias[j],
          activate, y + static_cast<size_t>(j) * vectors * kLanes);
    }
  }

  // Where a map is one pixel. Four sums, since an addition takes longer than two loads.
  static void pixel(const float* origin, const Planes& planes, const Activate& to, int filters,
                    float* y) {
    for (int j = 0; j < filters; ++j) {
      const int end = planes.first[j + 1];
      float sum[4] = {to.bias[j], 0, 0, 0};
      int e = planes.first[j];
      for (; e + 4 <= end; e += 4) {
        repeat<4>([&](auto i) { sum[i] += planes.value[e + i] * origin[planes.offset[e + i]]; });
      }
      for (; e < end; ++e) sum[0] += planes.value[e] * origin[planes.offset[e]];
      y[j] = clamped((sum[0] + sum[1]) + (sum[2] + sum[3]), to.lowest, to.highest);
    }
  }

  static void transpose(const float* from, size_t stride, float* const* to, int rows,
                        int columns) {
    for (int i = 0; i < rows; i += Simd::kTransposed) {
      for (int j = 0; j < columns; j += Simd::kTransposed) {
        Simd::transpose_block(from + i * stride + j, stride, to + j, i, rows - i, columns - j);
      }
    }
  }
};

}  // namespace
}  // namespace lcnn
