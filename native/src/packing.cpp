#include "packing.h"

#include <algorithm>
#include <cstring>

namespace lcnn {
namespace {

// A lookup of a lane, at an element of a kernel row: c * dilation * k + i.
template <typename T>
struct Lookup {
  int element, lane;
  T value;
};

// First elements of the windows over a kernel row's lookups (sorted by element). Aligned windows
// start where the dictionary does: their loads cross fewer cache lines.
template <typename T>
std::vector<int> window_starts(const std::vector<Lookup<T>>& row, int window, int k, int column,
                               bool aligned) {
  std::vector<int> starts;
  for (const Lookup<T>& lookup : row) {
    if (!starts.empty() && lookup.element < starts.back() + window) continue;
    int start = lookup.element;
    if (aligned) {
      const int tap = lookup.element / column * column, within = lookup.element - tap;
      start = tap + (within < k ? within / window * window : within);
    }
    starts.push_back(start);
  }
  return starts;
}

// Steps for each window: as many as its fullest lane needs.
template <typename T>
std::vector<int> window_steps(const std::vector<Lookup<T>>& row, const std::vector<int>& starts,
                              int lanes) {
  std::vector<int> count(starts.size() * lanes), steps(starts.size());
  size_t w = 0;
  for (const Lookup<T>& lookup : row) {
    while (w + 1 < starts.size() && lookup.element >= starts[w + 1]) ++w;
    ++count[w * lanes + lookup.lane];
  }
  for (w = 0; w < starts.size(); ++w) {
    const auto first = count.begin() + static_cast<ptrdiff_t>(w * lanes);
    steps[w] = (*std::max_element(first, first + lanes) + terms<T>() - 1) / terms<T>();
  }
  return steps;
}

// How a kernel reads the lookups: windows of this many elements, at these costs.
struct Reading {
  int lanes, window;
  double step, full_step;
};

// First elements of the groups of `terms` that cover a row's lookups.
template <typename T>
std::vector<int> full_starts(const std::vector<Lookup<T>>& row) {
  std::vector<int> starts;
  for (const Lookup<T>& lookup : row) {
    if (starts.empty() || lookup.element >= starts.back() + terms<T>()) starts.push_back(lookup.element);
  }
  return starts;
}

template <typename T>
void pack_full(PackedBlock<T>& block, const std::vector<Lookup<T>>& row, int r,
               const std::vector<int>& starts, int lanes) {
  size_t group = block.full_step.size();
  for (int start : starts) block.full_step.push_back({r, start});
  block.full_coefficient.resize(block.full_step.size() * lanes * terms<T>());
  for (const Lookup<T>& lookup : row) {
    while (lookup.element >= block.full_step[group].offset + terms<T>()) ++group;
    block.full_coefficient[(group * lanes + lookup.lane) * terms<T>() + lookup.element -
                           block.full_step[group].offset] = lookup.value;
  }
}

// Appends a kernel row's lookups to a block; the seconds that they take for a pixel.
template <typename T>
double pack_row(PackedBlock<T>& block, const std::vector<Lookup<T>>& row, int r, int k, int column,
                const Reading& reading) {
  const int lanes = reading.lanes;
  std::vector<int> starts, steps;
  int fewest = -1;
  for (bool aligned : {true, false}) {
    const std::vector<int> candidate = window_starts(row, reading.window, k, column, aligned);
    const std::vector<int> needed = window_steps(row, candidate, lanes);
    int sum = 0;
    for (int s : needed) sum += s;
    if (fewest < 0 || sum < fewest) {
      fewest = sum;
      starts = candidate;
      steps = needed;
    }
  }
  const double seconds = fewest * reading.step;
  if (reading.full_step > 0) {
    const std::vector<int> full = full_starts(row);
    const double full_seconds = static_cast<double>(full.size()) * reading.full_step;
    if (full_seconds < seconds) {
      pack_full(block, row, r, full, lanes);
      return full_seconds;
    }
  }
  const size_t per_step = static_cast<size_t>(lanes) * terms<T>();
  size_t at = 0;
  for (size_t w = 0; w < starts.size(); ++w) {
    const size_t first = block.step.size();
    for (int s = 0; s < steps[w]; ++s) block.step.push_back({r, starts[w]});
    block.index.resize(block.step.size() * per_step);
    block.coefficient.resize(block.step.size() * per_step);
    std::vector<int> used(lanes);
    for (; at < row.size() && (w + 1 == starts.size() || row[at].element < starts[w + 1]); ++at) {
      const int term = used[row[at].lane]++;
      const size_t place = (first + term / terms<T>()) * per_step +
                           row[at].lane * terms<T>() + term % terms<T>();
      block.index[place] = static_cast<uint8_t>(row[at].element - starts[w]);
      block.coefficient[place] = row[at].value;
    }
  }
  return seconds;
}

}  // namespace

template <typename T>
PackedLookups<T> pack_lookups(const Spec<T>& spec, const Kernels& kernels, int window,
                              const Rates& rates) {
  const Shape& shape = spec.shape;
  const int* windows = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  const int lanes = kernels.filters_per_block();
  const Reading reading = {lanes, windows[window], rates.step[window], rates.full_step};
  const int blocks = (shape.n + lanes - 1) / lanes, column = shape.dilation_w * shape.k;
  std::vector<std::vector<Lookup<T>>> rows(static_cast<size_t>(blocks) * shape.kh);
  for (const Coefficient<T>& p : spec.coefficients) {
    rows[static_cast<size_t>(p.filter / lanes) * shape.kh + p.r].push_back(
        {p.c * column + p.i, p.filter % lanes, p.value});
  }
  PackedLookups<T> packed;
  packed.window = reading.window;
  packed.blocks.resize(blocks);
  for (int b = 0; b < blocks; ++b) {
    for (int r = 0; r < shape.kh; ++r) {
      std::vector<Lookup<T>>& row = rows[static_cast<size_t>(b) * shape.kh + r];
      std::stable_sort(row.begin(), row.end(),
                       [](const Lookup<T>& x, const Lookup<T>& y) { return x.element < y.element; });
      packed.seconds += pack_row(packed.blocks[b], row, r, shape.k, column, reading);
    }
    // Kernels read whole registers.
    packed.blocks[b].index.resize(packed.blocks[b].index.size() + kSlack);
    packed.blocks[b].coefficient.resize(packed.blocks[b].coefficient.size() + kSlack);
    packed.blocks[b].full_coefficient.resize(packed.blocks[b].full_coefficient.size() + kSlack);
  }
  return packed;
}

template <typename T>
LineVector<T> pack_dictionary(const Spec<T>& spec, int lanes) {
  const int m = spec.shape.m, k = spec.shape.k;
  const int groups = (m + terms<T>() - 1) / terms<T>(), blocks = (k + lanes - 1) / lanes;
  LineVector<T> packed(static_cast<size_t>(blocks) * groups * lanes * terms<T>() + kSlack);
  for (int i = 0; i < k; ++i) {
    for (int c = 0; c < m; ++c) {
      const size_t group = static_cast<size_t>(i / lanes) * groups + c / terms<T>();
      packed[(group * lanes + i % lanes) * terms<T>() + c % terms<T>()] =
          spec.dictionary[static_cast<size_t>(i) * m + c];
    }
  }
  return packed;
}

template PackedLookups<int8_t> pack_lookups(const Spec<int8_t>&, const Kernels&, int, const Rates&);
template PackedLookups<float> pack_lookups(const Spec<float>&, const Kernels&, int, const Rates&);
template LineVector<int8_t> pack_dictionary(const Spec<int8_t>&, int);
template LineVector<float> pack_dictionary(const Spec<float>&, int);

}  // namespace lcnn
