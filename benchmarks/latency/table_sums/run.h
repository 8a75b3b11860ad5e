// The loop over groups, for the vectors of one processor. Include it after the target is set.
//
// A processor is a class with `Bytes`, `Row`, `load_row`, `look_up(row, indices)`, `add`, and
// `Wide`: sums of 16 bits of a vector's bytes, with `add(Bytes)` and `store`, or add, 32-bit ones.
#pragma once

#include <algorithm>
#include <utility>

#include "kernels.h"

namespace table_sums {
namespace {

// A value that stays in its register: the compiler would rather add in another order, for which it
// has too few.
template <typename Vector>
inline void keep(Vector& value) {
#if defined(__x86_64__)
  asm("" : "+v"(value));
#else
  asm("" : "+w"(value));
#endif
}

template <typename A, int V, int Reads>
inline void add_groups(int count, const uint8_t* rows, const uint8_t* planes, const uint32_t*& at,
                       const uint16_t*& row, typename A::Wide (&wide)[V]) {
  for (; count > 0; --count) {
    typename A::Bytes sum[V];
    const auto first = A::load_row(rows + 8 * size_t{row[0]});
    for (int v = 0; v < V; ++v) sum[v] = A::look_up(first, planes + at[0] + v * A::kBytes);
#pragma GCC unroll 16
    for (int i = 1; i < Reads; ++i) {
      const auto next = A::load_row(rows + 8 * size_t{row[i]});
      for (int v = 0; v < V; ++v) {
        sum[v] = A::add(sum[v], A::look_up(next, planes + at[i] + v * A::kBytes));
        keep(sum[v]);
      }
    }
    for (int v = 0; v < V; ++v) wide[v].add(sum[v]);
    at += Reads;
    row += Reads;
  }
}

template <typename A, int V, size_t... I>
inline void add_segment(const Segment& segment, const uint8_t* rows, const uint8_t* planes,
                        const uint32_t*& at, const uint16_t*& row, typename A::Wide (&wide)[V],
                        std::index_sequence<I...>) {
  (add_groups<A, V, static_cast<int>(I) + 1>(segment[I], rows, planes, at, row, wide), ...);
}

// By itself, so that its loops are found in the compiler's output.
template <typename A, int V>
[[gnu::noinline]] void run_vectors(const Packed& packed, const uint8_t* planes, int32_t* sums, ptrdiff_t stride) {
  const uint32_t* at = packed.at.data();
  const uint16_t* row = packed.row.data();
  for (size_t i = 0; i + 1 < packed.first.size(); ++i) {
    int32_t* to = sums + static_cast<ptrdiff_t>(i % packed.filters) * stride;
    if (i < packed.filters) std::fill(to, to + V * A::kBytes, 0);
    for (uint32_t s = packed.first[i]; s < packed.first[i + 1]; ++s) {
      typename A::Wide wide[V];
      add_segment<A, V>(packed.segments[s], packed.rows(), planes, at, row, wide,
                        std::make_index_sequence<kMostInGroup>());
      for (int v = 0; v < V; ++v) wide[v].add_to(to + v * A::kBytes);
    }
  }
}

template <typename A>
void run(const Packed& packed, const uint8_t* planes, int vectors, int32_t* sums,
         ptrdiff_t stride) {
  static_assert(kMostVectors == 4);
  switch (vectors) {
    case 1: return run_vectors<A, 1>(packed, planes, sums, stride);
    case 2: return run_vectors<A, 2>(packed, planes, sums, stride);
    case 3: return run_vectors<A, 3>(packed, planes, sums, stride);
    default: return run_vectors<A, 4>(packed, planes, sums, stride);
  }
}

}  // namespace
}  // namespace table_sums
