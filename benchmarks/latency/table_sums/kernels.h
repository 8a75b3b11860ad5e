// What differs between processors.
#pragma once

#include "packing.h"

namespace table_sums {

struct Kernel {
  const char* name;
  bool (*runs)();  // whether this processor has it
  int bytes;       // of a vector: pixels that one instruction looks up
  int row_bytes;   // of a column in a register, at most so many levels
  // The sums of all filters for `vectors` (1 to kMostVectors) vectors of pixels, to `sums`, filters x
  // stride; without their constants.
  void (*run)(const Packed& packed, const uint8_t* planes, int vectors, int32_t* sums,
              ptrdiff_t stride);
};

constexpr int kMostVectors = 4;

#if defined(__x86_64__)
extern const Kernel kAvx512, kAvx2;
#elif defined(__aarch64__)
extern const Kernel kNeon16, kNeon64;
#endif

}  // namespace table_sums
