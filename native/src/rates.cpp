#include "rates.h"

#include <iterator>

namespace lcnn {
namespace {

struct Entry {
  const Kernels* kernels;
  Rates s8, f32;
};

constexpr Entry kTable[] = {
    // Of no machine: in proportion.
    {&kPortable,
     {1e-10, 5e-10, {2e-8, 0, 0}, 2e-9, 0, 0, 2e-6, 1.5e-8},
     {1e-10, 5e-10, {8e-9, 0, 0}, 2e-9, 5e-10, 2e-9, 2e-6, 6e-9}},
#if defined(__x86_64__)
    // Measured; `dense` is not, since LiteRT takes its AVX-512 kernels where it was measured.
    {&kAvx2,
     {1e-11, 1.05e-11, {4.3e-10, 6.4e-10, 1.05e-9}, 1.2e-10, 0, 0, 2e-6, 4.3e-10},
     {1.7e-11, 1.5e-11, {1.9e-10, 4e-10, 0}, 8e-11, 2.4e-11, 1.5e-10, 2e-6, 1.4e-10}},
    // As for AVX2 until measured.
    {&kAvxVnni,
     {1e-11, 1.05e-11, {4.3e-10, 6.4e-10, 1.05e-9}, 1.2e-10, 0, 0, 2e-6, 4.3e-10},
     {1.7e-11, 1.5e-11, {1.9e-10, 4e-10, 0}, 8e-11, 2.4e-11, 1.5e-10, 2e-6, 1.4e-10}},
    // Measured on an AMD EPYC (Zen 5), steps for blocks of half the filters.
    {&kAvx512,
     {1.9e-12, 2.5e-12, {1.02e-9, 1.6e-9, 0}, 4e-11, 0, 0, 2e-6, 5.6e-10},
     {7.4e-12, 7.6e-12, {8.4e-10, 1.16e-9, 0}, 4e-11, 2.2e-11, 1.5e-10, 2e-6, 5.6e-10}},
#elif defined(__aarch64__)
    // Estimates, from counts of instructions.
    {&kNeon,
     {1e-10, 9e-11, {3.8e-9, 5.3e-9, 7.6e-9}, 5e-10, 0, 0, 2e-6, 3.5e-9},
     {1.2e-10, 1.3e-10, {3.2e-9, 4.4e-9, 6.4e-9}, 3e-10, 1.5e-10, 5e-10, 2e-6, 1e-9}},
    // Estimates: llvm-mca's cycles of the inner loops on a Cortex-A76 at 2.4 GHz
    // (benchmarks/latency/instructions.py).
    {&kNeonDot,
     {1.3e-11, 1.6e-11, {8.4e-10, 9.7e-10, 2e-9}, 3e-10, 0, 0, 2e-6, 6e-10},
     {5.2e-11, 5.3e-11, {1.2e-9, 1.2e-9, 2.4e-9}, 2e-10, 7.9e-11, 3e-10, 2e-6, 4e-10}},
#endif
};

}  // namespace

const Rates& rates(const Kernels& kernels, bool int8) {
  const Entry* entry = std::begin(kTable);
  while (entry->kernels != &kernels && entry + 1 != std::end(kTable)) ++entry;
  return int8 ? entry->s8 : entry->f32;
}

}  // namespace lcnn
