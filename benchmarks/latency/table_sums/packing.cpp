#include "packing.h"

#include <algorithm>
#include <utility>

namespace table_sums {
namespace {

struct Tap {
  int tap, weight;
};

struct Group {
  std::vector<Tap> taps;
  int most = 0;
};

// The largest that still fits goes in first.
std::vector<Group> grouped(const Reads& reads, const std::vector<int>& chunk,
                           const uint8_t* weights, const std::vector<int>& range) {
  std::vector<std::vector<Tap>> of_range(kByte + 1);
  size_t left = 0;
  for (int tap : chunk) {
    const int most = range[weights[tap]];
    // A column of equal entries is a constant.
    if (most == 0) continue;
    of_range[static_cast<size_t>(most)].push_back({tap, weights[tap]});
    ++left;
  }
  std::vector<Group> groups;
  while (left > 0) {
    Group group;
    for (int most = kByte; most > 0; --most) {
      auto& taps = of_range[static_cast<size_t>(most)];
      while (!taps.empty() && group.most + most <= kByte &&
             static_cast<int>(group.taps.size() + 1) * reads.parts <= kMostInGroup) {
        group.taps.push_back(taps.back());
        group.most += most;
        taps.pop_back();
        --left;
      }
    }
    groups.push_back(std::move(group));
  }
  return groups;
}

// Every column of the table, from 0; returns its (lowest, range) by weight.
std::pair<std::vector<int>, std::vector<int>> pack_rows(const Reads& reads, Packed* packed) {
  const size_t bytes = static_cast<size_t>(reads.row_bytes);
  const size_t all = static_cast<size_t>(reads.weight_levels * reads.parts) * bytes;
  packed->lines.resize((all + sizeof(Line) - 1) / sizeof(Line));
  std::vector<int> lowest, range;
  for (int w = 0; w < reads.weight_levels; ++w) {
    const auto entry = [&](int a) { return int{reads.table[a * reads.weight_levels + w]}; };
    int low = entry(0), high = entry(0);
    for (int a = 1; a < reads.levels; ++a) {
      low = std::min(low, entry(a));
      high = std::max(high, entry(a));
    }
    for (int a = 0; a < reads.levels; ++a) {
      const int part = reads.parts == 1 ? 0 : a / kPart, place = a - part * kPart;
      packed->rows()[static_cast<size_t>(w * reads.parts + part) * bytes +
                     static_cast<size_t>(place)] = static_cast<uint8_t>(entry(a) - low);
    }
    lowest.push_back(low);
    range.push_back(high - low);
  }
  return {lowest, range};
}

// Groups one after the other, as segments of which each has the small ones first.
void write(const Reads& reads, std::vector<Group> groups, Packed* packed) {
  packed->groups += groups.size();
  auto next = groups.begin();
  while (next != groups.end()) {
    auto end = next;
    for (int most = 0; end != groups.end() && most + end->most <= kHalf; ++end) most += end->most;
    std::stable_sort(next, end, [](const Group& a, const Group& b) {
      return a.taps.size() < b.taps.size();
    });
    Segment segment{};
    for (; next != end; ++next) {
      ++segment[next->taps.size() * static_cast<size_t>(reads.parts) - 1];
      for (const Tap& tap : next->taps) {
        for (int part = 0; part < reads.parts; ++part) {
          packed->at.push_back(reads.at[static_cast<size_t>(tap.tap)] +
                               static_cast<uint32_t>(part) * reads.part_stride);
          packed->row.push_back(
              static_cast<uint16_t>((tap.weight * reads.parts + part) * reads.row_bytes / 8));
        }
      }
    }
    packed->segments.push_back(segment);
  }
}

}  // namespace

Packed pack(const Reads& reads) {
  Packed packed;
  packed.filters = static_cast<size_t>(reads.filters);
  const auto [lowest, range] = pack_rows(reads, &packed);
  packed.constant.resize(packed.filters);
  for (const auto& chunk : reads.chunks) {
    for (int n = 0; n < reads.filters; ++n) {
      const uint8_t* weights = reads.weights + static_cast<ptrdiff_t>(n) * reads.taps;
      for (int tap : chunk) packed.constant[static_cast<size_t>(n)] += lowest[weights[tap]];
      packed.first.push_back(static_cast<uint32_t>(packed.segments.size()));
      write(reads, grouped(reads, chunk, weights, range), &packed);
    }
  }
  packed.first.push_back(static_cast<uint32_t>(packed.segments.size()));
  return packed;
}

}  // namespace table_sums
