// A layer whose S is kept as planes, one per dictionary row: a lookup adds one scaled vector of
// pixels. For dictionaries too large for registers.
//
// A strip of rows of S is split by the strides into phases, so that neighboring output pixels
// read neighboring elements whatever the stride; all phases have rows of `pitch_` elements, and
// output pixel (y, x) of the strip is element y * pitch_ + x of a phase, moved by the lookup's
// kernel position.
#include "planes.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "buffer.h"
#include "packing.h"

namespace lcnn {
namespace {

// A strip of S this large stays in the second-level cache; smaller ones gain nothing.
constexpr size_t kStripBytes = 384 * 1024;

class PlanesLayer : public Layer {
 public:
  PlanesLayer(const Spec<float>& spec, const Kernels& kernels)
      : kernels_(kernels), shape_(spec.shape), values_(spec.values), poison_(poisons(spec)) {
    const Shape& s = shape_;
    if (!spec.dictionary.empty()) dictionary_ = pack_dictionary(spec, kernels.lanes);
    values_.s_bias.resize(s.k + kSlack);
    reach_h_ = (s.kh - 1) * s.dilation_h / s.stride_h;
    reach_w_ = (s.kw - 1) * s.dilation_w / s.stride_w;
    // Pixels that look beyond the end of a row see the zeros that the next row begins with.
    const int columns = (s.pad_left + s.w + s.stride_w - 1) / s.stride_w;
    pitch_ = std::max(s.out_w + reach_w_ - leading_zeros(s.stride_w - 1), columns);
    const size_t row_bytes = static_cast<size_t>(pitch_) * s.k * s.stride_w * s.stride_h * 4;
    const int most = static_cast<int>(std::max<size_t>(1, kStripBytes / row_bytes));
    const int rows = std::max(1, std::min(most - reach_h_, s.out_h));
    const int strips = (s.out_h + rows - 1) / rows;
    strip_ = (s.out_h + strips - 1) / strips;
    phase_ = static_cast<size_t>(strip_ + reach_h_) * pitch_;
    plane_ = phase_ * s.stride_h * s.stride_w;
    // Lookups of the last row reach into the zeros of a row that would follow.
    size_ = plane_ * s.k + leading_zeros(s.stride_w - 1) + kMostVectors * kernels.vector_f32 +
            kSlack;
    pack(spec);
  }

  void prepare(int threads) override {
    s_ = Buffer<float>(size_);
    std::fill(s_.data(), s_.data() + size_, 0.0f);
    const size_t tile = static_cast<size_t>(kTile) * (shape_.k + kSlack);
    const size_t pixels = static_cast<size_t>(kMostVectors) * kernels_.vector_f32;
    const size_t sums = pixels * kernels_.lanes + kSlack;
    scratch_.resize(threads);
    for (Scratch& scratch : scratch_) {
      scratch.tile = Buffer<float>(tile);
      std::fill(scratch.tile.data(), scratch.tile.data() + tile, 0.0f);
      scratch.sums = Buffer<float>(sums);
      std::fill(scratch.sums.data(), scratch.sums.data() + sums, 0.0f);
      scratch.pixels = Buffer<float*>(pixels);
      scratch.outputs = Buffer<float*>(pixels);
    }
  }

  size_t bytes() const override {
    return 4 * (dictionary_.size() + size_ + first_.size() + offset_.size() + value_.size());
  }

  void run(const void* x, void* y, Pool& pool) noexcept override {
    pool.run([&](int thread) {
      for (int b = 0; b < shape_.batch; ++b) {
        const float* in = static_cast<const float*>(x) +
                          static_cast<size_t>(b) * shape_.in_h * shape_.in_w * shape_.m;
        float* out = static_cast<float*>(y) +
                     static_cast<size_t>(b) * shape_.out_h * shape_.out_w * shape_.n;
        for (int top = 0; top < shape_.out_h; top += strip_) {
          const int bottom = std::min(top + strip_, shape_.out_h);
          if (top > 0) {
            keep_rows(thread, pool);
            pool.barrier();
          }
          dictionary_stage(in, top, bottom, top > 0 ? reach_h_ : 0, thread, pool);
          pool.barrier();
          lookup_stage(out, top, bottom, thread, pool);
          // The next strip overwrites what other threads may still read.
          pool.barrier();
        }
      }
    });
  }

 private:
  // A thread's own.
  struct Scratch {
    Buffer<float> tile;     // S of some pixels
    Buffer<float> sums;     // Y of some pixels and filters
    Buffer<float*> pixels;  // of Y; null where there is none
    Buffer<float*> outputs;  // of these pixels, the filters that are computed
  };

  void pack(const Spec<float>& spec) {
    std::vector<Coefficient<float>> sorted = spec.coefficients;
    std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
      return a.filter != b.filter ? a.filter < b.filter : a.i < b.i;
    });
    const Shape& s = shape_;
    first_.push_back(0);
    size_t at = 0;
    for (int j = 0; j < s.n; ++j) {
      for (; at < sorted.size() && sorted[at].filter == j; ++at) {
        const int r = sorted[at].r * s.dilation_h, c = sorted[at].c * s.dilation_w;
        const size_t phase = static_cast<size_t>(r % s.stride_h) * s.stride_w + c % s.stride_w;
        offset_.push_back(static_cast<int32_t>(sorted[at].i * plane_ + phase * phase_ +
                                               static_cast<size_t>(r / s.stride_h) * pitch_ +
                                               c / s.stride_w));
        value_.push_back(sorted[at].value);
      }
      first_.push_back(static_cast<int32_t>(offset_.size()));
    }
  }

  // How many columns of padding a column phase begins with.
  int leading_zeros(int phase_w) const {
    const int padding = shape_.pad_left - phase_w;
    return padding > 0 ? (padding + shape_.stride_w - 1) / shape_.stride_w : 0;
  }

  // The last rows of the strip before are the first of this one.
  void keep_rows(int thread, Pool& pool) {
    const int phases = shape_.stride_h * shape_.stride_w;
    const Share share(shape_.k * phases, thread, pool.threads());
    for (int i = share.first; i < share.last; ++i) {
      float* rows = s_.data() + i * phase_;
      std::memmove(rows, rows + static_cast<size_t>(strip_) * pitch_,
                   static_cast<size_t>(reach_h_) * pitch_ * sizeof(float));
    }
  }

  // S of the strip's rows from `first` on; rows outside the map are zeros.
  void dictionary_stage(const float* x, int top, int bottom, int first, int thread, Pool& pool) {
    const Shape& s = shape_;
    const int sub_rows = bottom - top + reach_h_ - first;
    const Share share(sub_rows * s.stride_h, thread, pool.threads());
    for (int item = share.first; item < share.last; ++item) {
      const int sub_row = first + item / s.stride_h, phase_h = item % s.stride_h;
      const int row = (top + sub_row) * s.stride_h + phase_h - s.pad_top;
      for (int phase_w = 0; phase_w < s.stride_w; ++phase_w) {
        float* to = s_.data() + (static_cast<size_t>(phase_h) * s.stride_w + phase_w) * phase_ +
                    static_cast<size_t>(sub_row) * pitch_;
        if (row < 0 || row >= s.h) {
          for (int i = 0; i < s.k; ++i) std::fill(to + i * plane_, to + i * plane_ + pitch_, 0.0f);
        } else {
          s_row(x, row, phase_w, to, scratch_[thread].tile.data());
        }
      }
    }
  }

  // The pixels of a row of S that are in a column phase.
  void s_row(const float* x, int row, int phase_w, float* to, float* tile) {
    const Shape& s = shape_;
    const int skip = leading_zeros(phase_w);
    const float* in = x + static_cast<size_t>(row) * s.dictionary_stride_h * s.in_w * s.m;
    const int first = skip * s.stride_w + phase_w - s.pad_left;
    const int count = first < s.w ? (s.w - first + s.stride_w - 1) / s.stride_w : 0;
    const size_t stride = s.k;
    for (int done = 0; done < count; done += kTile) {
      const int run = std::min(kTile, count - done);
      const ptrdiff_t apart = static_cast<ptrdiff_t>(s.stride_w) * s.dictionary_stride_w * s.m;
      const float* from =
          in + static_cast<size_t>(first + done * s.stride_w) * s.dictionary_stride_w * s.m;
      float* rows[kTile];
      for (int p = 0; p < run; ++p) rows[p] = tile + p * stride;
      if (dictionary_.empty()) {
        for (int p = 0; p < run; ++p) {
          std::memcpy(rows[p], from + p * apart, stride * sizeof(float));
        }
      } else {
        kernels_.dictionary_f32(from, apart, rows, run, {dictionary_.data(), s.m, s.k},
                                {values_.s_bias.data(), values_.s_lowest, values_.s_highest, poison_});
      }
      float* planes[kColumns];
      for (int i = 0; i < s.k; i += kColumns) {
        const int columns = std::min(kColumns, s.k - i);
        for (int c = 0; c < columns; ++c) planes[c] = to + (i + c) * plane_ + skip + done;
        kernels_.transpose_f32(tile + i, stride, planes, run, columns);
      }
    }
  }

  void lookup_stage(float* y, int top, int bottom, int thread, Pool& pool) {
    const Shape& s = shape_;
    if (s.out_h * s.out_w == 1 && kernels_.pixel_f32 != nullptr) {
      const Share share(s.n, thread, pool.threads());
      kernels_.pixel_f32(s_.data(), {first_.data() + share.first, offset_.data(), value_.data()},
                         {values_.y_bias.data() + share.first, values_.y_lowest, values_.y_highest},
                         share.last - share.first, y + share.first);
      return;
    }
    const int lanes = kernels_.vector_f32, block = kernels_.lanes;
    const int run = kMostVectors * lanes, pixels = (bottom - top - 1) * pitch_ + s.out_w;
    const int runs = (pixels + run - 1) / run, blocks = (s.n + block - 1) / block;
    const Share share(runs * blocks, thread, pool.threads());
    float* sums = scratch_[thread].sums.data();
    float **first = scratch_[thread].pixels.data(), **to = scratch_[thread].outputs.data();
    int placed = -1;
    for (int item = share.first; item < share.last; ++item) {
      const int p = item / blocks * run, j = item % blocks * block;
      const int vectors = std::min(kMostVectors, (pixels - p + lanes - 1) / lanes);
      if (placed != p) {
        for (int q = 0; q < vectors * lanes; ++q) {
          const int row = (p + q) / pitch_, column = (p + q) % pitch_;
          const bool inside = column < s.out_w && row < bottom - top;
          first[q] = inside ? y + (static_cast<size_t>(top + row) * s.out_w + column) * s.n
                            : nullptr;
        }
        placed = p;
      }
      for (int q = 0; q < vectors * lanes; ++q) to[q] = first[q] ? first[q] + j : nullptr;
      const int filters = std::min(block, s.n - j);
      kernels_.planes_f32(s_.data() + p, vectors,
                          {first_.data() + j, offset_.data(), value_.data()},
                          {values_.y_bias.data() + j, values_.y_lowest, values_.y_highest}, filters,
                          sums);
      kernels_.transpose_f32(sums, static_cast<size_t>(vectors) * lanes, to, filters,
                             vectors * lanes);
    }
  }

  static constexpr int kTile = 16;     // pixels that are computed, then transposed
  static constexpr int kColumns = 64;  // planes that a tile is transposed into at once

  const Kernels& kernels_;
  Shape shape_;
  Quantized<float> values_;
  bool poison_;
  LineVector<float> dictionary_;
  std::vector<float> value_;
  std::vector<int32_t> first_, offset_;
  int reach_h_, reach_w_, pitch_, strip_;
  size_t phase_, plane_, size_;
  Buffer<float> s_;
  std::vector<Scratch> scratch_;
};

}  // namespace

std::unique_ptr<Layer> make_planes(const Spec<float>& spec, const Kernels& kernels) {
  return std::make_unique<PlanesLayer>(spec, kernels);
}

}  // namespace lcnn
