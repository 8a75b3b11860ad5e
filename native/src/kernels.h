// The kernels: what differs between processors, and nothing else.
//
// A lookup layer runs in two stages. The dictionary stage computes S = X.D for some pixels; the
// lookup stage computes, for a block of filters and a run of output pixels,
//
//     y[p][lane] = sum over groups g, terms t of
//                  coefficient[g][lane][t] * table(g, p)[index[g][lane][t]]
//                + the same over full steps, where index[g][lane][t] = t
//
// where table(g, p) is the window of S that begins at element steps[g].offset of kernel row
// steps[g].row, moved p output pixels to the right. A window holds a register or a few, so one
// permute by `index` is a lookup for every lane; filters are the lanes (LCNN, equation 5).
#pragma once

#include <cstddef>
#include <cstdint>

#include "elementwise.h"
#include "outputs.h"

namespace lcnn {

// Bytes that a kernel may read past the last element of S, X or a packed array.
constexpr size_t kSlack = 256;

struct Step {
  int32_t row;     // kernel row
  int32_t offset;  // elements from the first of the row that the output pixel sees
};

// The lookups of one block of filters, in the order in which they are used.
template <typename Coefficient>
struct Lookups {
  int steps;
  const Step* step;
  const uint8_t* index;            // steps x filters x terms
  const Coefficient* coefficient;  // steps x filters x terms
  // Steps in which every lane takes the same `terms` elements, one after the other: where nearly
  // all coefficients of a kernel row are used, no permute is needed.
  int full_steps;
  const Step* full_step;
  const Coefficient* full_coefficient;  // full_steps x filters x terms
};

// The lookups of one block of filters where S is kept as planes.
struct Planes {
  const int32_t* first;   // per filter, and the end
  const int32_t* offset;  // elements from the output pixel's place
  const float* value;
};

// Vectors of pixels that a block of filters takes at once.
constexpr int kMostVectors = 8;

// D, packed for a kernel: blocks x ceil(m / terms) x lanes x terms.
template <typename Coefficient>
struct Dictionary {
  const Coefficient* values;
  int m, k;
};

constexpr int kWindows = 3;

// One processor's kernels. int8 activations are passed as they lie in LiteRT's tensors; S of an
// int8 layer is unsigned (its int8 value + 128) where `unsigned_s`, for processors whose dot product
// wants one unsigned side.
struct Kernels {
  const char* name;
  int lanes;  // of a vector: rows of D, and filters
  bool unsigned_s;
  int windows_s8[kWindows];  // elements that a window may hold, smallest first; 0 ends the list
  int windows_f32[kWindows];
  int vector_f32;            // pixels per vector of `planes_f32`

  // S of `pixels` pixels: pixel i lies at x + i * stride, its S at s[i].
  void (*dictionary_s8)(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                        const Dictionary<int8_t>& d, const Requantize& to);
  void (*dictionary_f32)(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                         const Dictionary<float>& d, const Activate& to);
  // y of `pixels` pixels and a block of filters (the last may have fewer): pixel p reads
  // rows[r] + p * step elements, and is written to y + p * n.
  void (*lookup_s8)(const uint8_t* const* rows, int step, int pixels, int window,
                    const Lookups<int8_t>& lookups, const Requantize& to, int8_t* y, size_t n,
                    int filters);
  void (*lookup_f32)(const float* const* rows, int step, int pixels, int window,
                     const Lookups<float>& lookups, const Activate& to, float* y, size_t n,
                     int filters);
  // The lookup stage on planes of S, for dictionaries that no register holds: filter j sums
  // value * plane over entries[first[j]] .. entries[first[j + 1]], for `vectors` <= kMostVectors
  // vectors of pixels from `origin` on; y is filters x vectors x vector_f32.
  void (*planes_f32)(const float* origin, int vectors, const Planes& planes, const Activate& to,
                     int filters, float* y);
  // rows x columns floats at `from`, rows `stride` apart; column i goes to to[i], unless that is
  // null.
  void (*transpose_f32)(const float* from, size_t stride, float* const* to, int rows, int columns);

  // Sums and maxima of whole tensors.
  const Elementwise* elementwise;

  // Vectors of filters that a step serves, and a block has.
  int vectors = 1;

  // The lookup stage on planes of one pixel, as of a dense layer: y[j] for each of `filters`.
  // nullptr where planes_f32 does as well.
  void (*pixel_f32)(const float* origin, const Planes& planes, const Activate& to, int filters,
                    float* y) = nullptr;

  // Whether int8 products are |c| * x for coefficients (of D, too) c >= 0, and |c| * ~x, which is
  // c * x + c, for others: the biases take away what is too much.
  bool complements = false;

  // What an int8 sum has beside the product of a coefficient and x - zero_point.
  int32_t surplus(int8_t coefficient, int32_t zero_point) const {
    const int32_t complement = complements && coefficient < 0 ? coefficient : 0;
    return (zero_point + (unsigned_s ? 128 : 0)) * coefficient + complement;
  }

  int filters_per_block() const { return lanes * vectors; }
};

extern const Kernels kPortable;
#if defined(__x86_64__)
extern const Kernels kAvx2;
extern const Kernels kAvxVnni;
extern const Kernels kAvx512;
#elif defined(__aarch64__)
extern const Kernels kNeon;
extern const Kernels kNeonDot;
#endif

// The fastest kernels that this processor runs, or those of a name; nullptr where it has none.
const Kernels* kernels(const char* name = nullptr);

}  // namespace lcnn
