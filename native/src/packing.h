// The constants of a layer, laid out in the order in which a kernel reads them.
#pragma once

#include <vector>

#include "buffer.h"
#include "layer.h"
#include "rates.h"

namespace lcnn {

// Lookups that one block of filters makes, see kernels.h.
template <typename T>
struct PackedBlock {
  std::vector<Step> step;
  LineVector<uint8_t> index;
  LineVector<T> coefficient;
  std::vector<Step> full_step;
  LineVector<T> full_coefficient;

  Lookups<T> lookups() const {
    return {static_cast<int>(step.size()),      step.data(),      index.data(), coefficient.data(),
            static_cast<int>(full_step.size()), full_step.data(), full_coefficient.data()};
  }
};

template <typename T>
struct PackedLookups {
  int window = 0;
  double seconds = 0;  // of a pixel, all blocks
  std::vector<PackedBlock<T>> blocks;
};

// The lookups for the i-th of a kernel's windows.
template <typename T>
PackedLookups<T> pack_lookups(const Spec<T>& spec, const Kernels& kernels, int window,
                              const Rates& rates);

// D in blocks x ceil(m / terms) x lanes x terms, zeros where k or m end.
template <typename T>
LineVector<T> pack_dictionary(const Spec<T>& spec, int lanes);

// How many lookups of a lane a step holds.
template <typename T>
constexpr int terms() {
  return sizeof(T) == 1 ? 4 : 1;
}

}  // namespace lcnn
