// The order in which a filter's table entries are added.
//
// The cost of adding bytes is their widening. So each column of the table, one weight's entries for
// all activations, is moved to start from 0 as uint8; and what a filter reads, in whatever order, is
// split into groups whose largest possible sum fits a byte: they are added as bytes and widened once.
// Weights near zero have columns of a small range, and most weights are near zero.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace table_sums {

constexpr int kMostInGroup = 16, kByte = 255, kHalf = 65535, kPart = 16;

// Rows do not cross the lines of a cache.
struct alignas(64) Line {
  uint8_t bytes[64];
};

// Of a segment, groups by their number of reads less one. Its largest sum fits 16 bits.
using Segment = std::array<uint16_t, kMostInGroup>;

struct Packed {
  std::vector<Line> lines;         // rows, weight levels x parts
  std::vector<uint32_t> at;        // of each read, where its activations begin
  std::vector<uint16_t> row;       // and its row in units of 8 bytes
  std::vector<Segment> segments;
  std::vector<uint32_t> first;     // of each filter of each chunk, its first segment; and the end
  size_t filters;
  std::vector<int32_t> constant;   // what was subtracted from the rows of a filter
  size_t groups = 0;

  uint8_t* rows() { return lines.front().bytes; }
  const uint8_t* rows() const { return lines.front().bytes; }
};

struct Reads {
  int levels, weight_levels, filters, taps;
  const int8_t* table;     // levels x weight_levels
  const uint8_t* weights;  // filters x taps
  std::vector<uint32_t> at;  // of each tap
  // Taps whose activations lie in the first cache together; all filters read one chunk, then the next.
  std::vector<std::vector<int>> chunks;
  int parts;               // registers that a column takes: 16 levels each
  uint32_t part_stride;    // between the activations of the parts
  int row_bytes;           // of one part
};

Packed pack(const Reads& reads);

}  // namespace table_sums
