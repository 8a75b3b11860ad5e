#include "table_sums.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <string>

#include "kernels.h"

namespace table_sums {
namespace {

constexpr int kMostLevels = 64;

// Of the first data cache, what activations may take.
constexpr int kCache = 24 * 1024;

#if defined(__x86_64__)
const Kernel* const kKernels[] = {&kAvx512, &kAvx2};
#elif defined(__aarch64__)
const Kernel* const kKernels[] = {&kNeon16, &kNeon64};
#else
const Kernel* const kKernels[] = {nullptr};
#endif

// Of that name and for so many levels; parts of 16 where no register is long enough.
const Kernel* find(const char* name, int levels) {
  const Kernel* found = nullptr;
  for (const Kernel* kernel : kKernels) {
    if (kernel == nullptr || std::strcmp(name, kernel->name) != 0 || !kernel->runs()) continue;
    found = kernel;
    if (levels <= kernel->row_bytes) break;
  }
  return found;
}

}  // namespace
}  // namespace table_sums

using table_sums::Kernel;
using table_sums::kMostVectors;

namespace {

// For it PSHUFB gives 0: the level is in another part.
constexpr int kNone = 0x80;

// Rows of sums do not begin in the same set of the cache.
constexpr int kApart = 16;

}  // namespace

struct TableSums {
  int height, width, channels, filters, kernel_height, kernel_width, levels, weight_levels;
  bool same;
  const Kernel* kernel;  // null: plain loops
  std::vector<int8_t> table;
  std::vector<uint8_t> weights;
  table_sums::Packed packed;
  int parts = 1, rows, columns;  // of a padded plane
  size_t plane;                  // its bytes
  std::vector<uint8_t> planes;   // parts x channels x plane, and what a vector reads beyond
  std::vector<int32_t> sums;     // filters x the pixels of some vectors
  std::vector<int32_t> outside;  // filters x positions: what index 0 reads there

  ptrdiff_t sums_stride() const { return kMostVectors * kernel->bytes + kApart; }
  int taps() const { return kernel_height * kernel_width * channels; }
  ptrdiff_t part_stride() const { return static_cast<ptrdiff_t>(channels) * static_cast<ptrdiff_t>(plane); }
  int out_height() const { return same ? height : height - kernel_height + 1; }
  int out_width() const { return same ? width : width - kernel_width + 1; }
  int top() const { return same ? (kernel_height - 1) / 2 : 0; }
  int left() const { return same ? (kernel_width - 1) / 2 : 0; }

  void prepare();
  void fill_planes(const uint8_t* activations);
  void run_block(int first, int vectors);
  void write_block(int first, int count, int32_t* to) const;
  int32_t padded(int filter, int row, int column) const;
  void run_plain(const uint8_t* activations, int32_t* to) const;
  template <typename Each>
  void blocks(Each each);
};

void TableSums::prepare() {
  parts = levels > kernel->row_bytes ? (levels + table_sums::kPart - 1) / table_sums::kPart : 1;
  rows = out_height() + kernel_height - 1;
  columns = out_width() + kernel_width - 1;
  plane = static_cast<size_t>(rows) * static_cast<size_t>(columns);
  const size_t beyond = static_cast<size_t>(kMostVectors * kernel->bytes);
  planes.resize(static_cast<size_t>(parts) * static_cast<size_t>(part_stride()) + beyond);
  // What pads is level 0.
  if (parts > 1) std::fill(planes.begin() + part_stride(), planes.end(), kNone);
  sums.resize(static_cast<size_t>(filters * sums_stride()));
  table_sums::Reads reads;
  reads.levels = levels;
  reads.weight_levels = weight_levels;
  reads.filters = filters;
  reads.taps = taps();
  reads.table = table.data();
  reads.weights = weights.data();
  reads.parts = parts;
  reads.part_stride = static_cast<uint32_t>(part_stride());
  reads.row_bytes = kernel->row_bytes;
  for (int y = 0; y < kernel_height; ++y) {
    for (int x = 0; x < kernel_width; ++x) {
      for (int c = 0; c < channels; ++c) {
        reads.at.push_back(static_cast<uint32_t>(static_cast<size_t>(c) * plane) +
                           static_cast<uint32_t>(y * columns + x));
      }
    }
  }
  const int touched = kMostVectors * kernel->bytes + (kernel_height - 1) * columns + kernel_width;
  const int together = std::max(1, table_sums::kCache / (touched * parts));
  const int chunks = (channels + together - 1) / together, size = (channels + chunks - 1) / chunks;
  reads.chunks.resize(static_cast<size_t>(chunks));
  for (int tap = 0; tap < taps(); ++tap) {
    reads.chunks[static_cast<size_t>(tap % channels / size)].push_back(tap);
  }
  packed = table_sums::pack(reads);
  for (int i = 0; i < filters * kernel_height * kernel_width; ++i) {
    int sum = 0;
    for (int c = 0; c < channels; ++c) {
      sum += table[weights[static_cast<size_t>(i) * static_cast<size_t>(channels) +
                           static_cast<size_t>(c)]];
    }
    outside.push_back(sum);
  }
}

void TableSums::fill_planes(const uint8_t* activations) {
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      uint8_t* to = planes.data() + (y + top()) * columns + left() + x;
      for (int c = 0; c < channels; ++c, to += plane) {
        const int level = *activations++;
        if (parts == 1) *to = static_cast<uint8_t>(level);
        for (int part = 0; parts > 1 && part < parts; ++part) {
          to[part * part_stride()] = static_cast<uint8_t>(
              level / table_sums::kPart == part ? level % table_sums::kPart : kNone);
        }
      }
    }
  }
}

template <typename Each>
void TableSums::blocks(Each each) {
  // Pixels of all rows of the padded plane, one after the other; a row's last ones are no outputs.
  const int pixels = (out_height() - 1) * columns + out_width(), bytes = kernel->bytes;
  for (int first = 0; first < pixels; first += kMostVectors * bytes) {
    const int count = std::min(pixels - first, kMostVectors * bytes);
    run_block(first, (count + bytes - 1) / bytes);
    each(first, count);
  }
}

void TableSums::run_block(int first, int vectors) {
  kernel->run(packed, planes.data() + first, vectors, sums.data(), sums_stride());
}

// What the positions outside of the image have read: padding adds nothing.
int32_t TableSums::padded(int filter, int row, int column) const {
  int32_t sum = 0;
  const int32_t* of_filter = outside.data() + filter * kernel_height * kernel_width;
  for (int y = 0; y < kernel_height; ++y) {
    for (int x = 0; x < kernel_width; ++x) {
      const int from_row = row + y - top(), from_column = column + x - left();
      if (from_row < 0 || from_row >= height || from_column < 0 || from_column >= width) {
        sum += of_filter[y * kernel_width + x];
      }
    }
  }
  return sum;
}

void TableSums::write_block(int first, int count, int32_t* to) const {
  constexpr int kTile = 16;
  for (int tile = 0; tile < count; tile += kTile) {
    int32_t* pixels[kTile];
    int kept[kTile], number = 0;
    for (int i = tile; i < std::min(count, tile + kTile); ++i) {
      const int row = (first + i) / columns, column = (first + i) % columns;
      if (column >= out_width()) continue;
      kept[number] = i;
      pixels[number++] = to + static_cast<ptrdiff_t>(row * out_width() + column) * filters;
    }
    for (int n = 0; n < filters; ++n) {
      const int32_t* from = sums.data() + n * sums_stride();
      const int32_t constant = packed.constant[static_cast<size_t>(n)];
      for (int i = 0; i < number; ++i) pixels[i][n] = from[kept[i]] + constant;
    }
    for (int i = 0; i < number; ++i) {
      const int row = (first + kept[i]) / columns, column = (first + kept[i]) % columns;
      const bool border = row < top() || column < left() || row - top() + kernel_height > height ||
                          column - left() + kernel_width > width;
      for (int n = 0; border && n < filters; ++n) pixels[i][n] -= padded(n, row, column);
    }
  }
}

void TableSums::run_plain(const uint8_t* activations, int32_t* to) const {
  for (int row = 0; row < out_height(); ++row) {
    for (int column = 0; column < out_width(); ++column) {
      for (int n = 0; n < filters; ++n) {
        int32_t sum = 0;
        const uint8_t* weight = weights.data() + static_cast<ptrdiff_t>(n) * taps();
        for (int y = row - top(); y < row - top() + kernel_height; ++y) {
          for (int x = column - left(); x < column - left() + kernel_width; ++x) {
            if (y < 0 || y >= height || x < 0 || x >= width) {
              weight += channels;
              continue;
            }
            const uint8_t* from = activations + static_cast<ptrdiff_t>(y * width + x) * channels;
            for (int c = 0; c < channels; ++c) {
              sum += table[static_cast<size_t>(from[c] * weight_levels + *weight++)];
            }
          }
        }
        *to++ = sum;
      }
    }
  }
}

const char* table_sums_kernels() {
  static const std::string names = [] {
    std::string found;
    for (const Kernel* kernel : table_sums::kKernels) {
      if (kernel == nullptr || !kernel->runs()) continue;
      if (found.find(kernel->name) == std::string::npos) found += std::string(kernel->name) + ",";
    }
    return found + "plain";
  }();
  return names.c_str();
}

TableSums* table_sums_new(const char* kernel, const int32_t* shape, int same, const int8_t* table,
                          const uint8_t* weights) try {
  if (*std::min_element(shape, shape + 8) < 1) return nullptr;
  auto made = std::make_unique<TableSums>();
  int* const fields[] = {&made->height, &made->width, &made->channels, &made->filters,
                         &made->kernel_height, &made->kernel_width, &made->levels,
                         &made->weight_levels};
  for (int i = 0; i < 8; ++i) *fields[i] = shape[i];
  made->same = same != 0;
  made->kernel = table_sums::find(kernel, made->levels);
  if (made->kernel == nullptr && std::strcmp(kernel, "plain") != 0) return nullptr;
  if (made->levels < 2 || made->levels > table_sums::kMostLevels || made->weight_levels > 256) {
    return nullptr;
  }
  if (made->out_height() < 1 || made->out_width() < 1) return nullptr;
  const size_t count = static_cast<size_t>(made->filters) * static_cast<size_t>(made->taps());
  if (*std::max_element(weights, weights + count) >= made->weight_levels) return nullptr;
  made->table.assign(table, table + made->levels * made->weight_levels);
  made->weights.assign(weights, weights + count);
  if (made->kernel != nullptr) made->prepare();
  return made.release();
} catch (const std::bad_alloc&) {
  return nullptr;
}

void table_sums_run(TableSums* layer, const uint8_t* activations, int32_t* sums) {
  if (layer->kernel == nullptr) return layer->run_plain(activations, sums);
  layer->fill_planes(activations);
  layer->blocks([&](int first, int count) { layer->write_block(first, count, sums); });
}

void table_sums_run_planes(TableSums* layer) {
  if (layer->kernel != nullptr) layer->blocks([](int, int) {});
}

double table_sums_group(const TableSums* layer) {
  if (layer->packed.groups == 0) return 0;
  return static_cast<double>(layer->packed.at.size()) / static_cast<double>(layer->packed.groups) /
         layer->parts;
}

void table_sums_free(TableSums* layer) { delete layer; }
