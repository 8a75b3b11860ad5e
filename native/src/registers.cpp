// A layer whose rows of S are looked up in registers: S stays NHWC, filters are the lanes.
#include "registers.h"

#include <algorithm>
#include <cstring>

#include "arithmetic.h"
#include "buffer.h"
#include "packing.h"

namespace lcnn {
namespace {

// A strip of S this large, for each thread, stays in its first-level cache, beside the lookups and a
// tile of X.
constexpr size_t kStripBytes = 24 * 1024;
// No strip of several rows is larger, whatever the threads.
constexpr size_t kMostStripBytes = size_t{1} << 27;
// Pixels that the dictionary stage is given at once.
constexpr int kRun = 96;

template <typename T>
class Registers : public Layer {
  using S = typename Arithmetic<T>::S;

 public:
  Registers(const Spec<T>& spec, const Kernels& kernels, PackedLookups<T> lookups)
      : kernels_(kernels), shape_(spec.shape), lookups_(std::move(lookups)) {
    if (!spec.dictionary.empty()) {
      dictionary_ = pack_dictionary(spec, kernels.lanes);
      to_s_ = Arithmetic<T>::to_s(spec, kernels, shape_.k + kSlack);
    }
    to_y_ = Arithmetic<T>::to_y(spec, kernels, shape_.n + kSlack);
    columns_ = std::max(shape_.pad_left + shape_.w,
                        (shape_.out_w - 1) * shape_.stride_w +
                            (shape_.kw - 1) * shape_.dilation_w + 1);
    row_ = (static_cast<size_t>(columns_) * shape_.k * sizeof(S) + kSlack + 63) / 64 * 64 /
           sizeof(S);
    padding_ = Arithmetic<T>::padding(spec, kernels);
    choose_strip(1);
  }

  void prepare(int threads) override {
    choose_strip(threads);
    s_ = Buffer<S>(row_ * (slots_ + 1));
    std::fill(s_.data(), s_.data() + row_ * (slots_ + 1), padding_);
    scratch_.resize(threads);
    for (Scratch& scratch : scratch_) {
      scratch.rows = Buffer<const S*>(shape_.kh);
      const int channels = shape_.m + terms<T>();
      scratch.pixel = Buffer<T>(channels);
      std::fill(scratch.pixel.data(), scratch.pixel.data() + channels, T{0});
    }
  }

  size_t bytes() const override {
    size_t sum = dictionary_.size() * sizeof(T) + row_ * (slots_ + 1) * sizeof(S);
    for (const PackedBlock<T>& block : lookups_.blocks) {
      sum += block.step.size() * sizeof(Step) + block.index.size() +
             block.full_step.size() * sizeof(Step) +
             (block.coefficient.size() + block.full_coefficient.size()) * sizeof(T);
    }
    return sum;
  }

  void run(const void* x, void* y, Pool& pool) noexcept override {
    const size_t image = static_cast<size_t>(shape_.in_h) * shape_.in_w * shape_.m;
    const T* x_end = static_cast<const T*>(x) + image * shape_.batch;
    pool.run([&](int thread) {
      for (int b = 0; b < shape_.batch; ++b) {
        const T* in = static_cast<const T*>(x) + image * b;
        T* out = static_cast<T*>(y) + static_cast<size_t>(b) * shape_.out_h * shape_.out_w * shape_.n;
        run_image(in, x_end, out, b + 1 == shape_.batch, thread, pool);
      }
    });
  }

 private:
  void choose_strip(int threads) {
    const int reach = (shape_.kh - 1) * shape_.dilation_h + 1;
    const auto rows_in = [&](size_t bytes) {
      const int most = static_cast<int>(bytes / (row_ * sizeof(S)));
      return most > reach ? (most - reach) / shape_.stride_h + 1 : 1;
    };
    // A row at least for each thread, and equally many: a block of filters may be all there are.
    const int least = std::min(threads, rows_in(kMostStripBytes));
    const int fit = std::max(least, rows_in(kStripBytes * threads));
    const int rows = std::min(shape_.out_h, fit > threads ? fit / threads * threads : fit);
    const int strips = (shape_.out_h + rows - 1) / rows;
    strip_ = (shape_.out_h + strips - 1) / strips;
    slots_ = (strip_ - 1) * shape_.stride_h + reach;
  }

  // A thread's own.
  struct Scratch {
    Buffer<const S*> rows;  // of S, that an output row reads
    Buffer<T> pixel;        // of X, with the channels that kernels read beyond it
  };

  S* slot(int s_row) { return s_.data() + row_ * (s_row % slots_); }

  void run_image(const T* x, const T* x_end, T* y, bool last_image, int thread, Pool& pool) {
    int next = 0;  // the first row of S that was not computed yet
    for (int top = 0; top < shape_.out_h; top += strip_) {
      const int bottom = std::min(top + strip_, shape_.out_h);
      next = std::max(next, top * shape_.stride_h - shape_.pad_top);
      const int end = std::min(shape_.h, (bottom - 1) * shape_.stride_h - shape_.pad_top +
                                             (shape_.kh - 1) * shape_.dilation_h + 1);
      if (end > next) {
        dictionary_stage(x, x_end, next, end, thread, pool);
        next = end;
      }
      pool.barrier();
      lookup_stage(y, top, bottom, thread, pool);
      // The next strip overwrites rows that other threads may still read.
      if (bottom < shape_.out_h || !last_image) pool.barrier();
    }
  }

  void dictionary_stage(const T* x, const T* x_end, int first, int end, int thread, Pool& pool) {
    const int pixels = (end - first) * shape_.w;
    const Share share(pixels, thread, pool.threads());
    // Kernels read channels in groups, so the last pixels' may reach beyond the tensor.
    const int groups = (shape_.m + terms<T>() - 1) / terms<T>();
    int inside = pixels;
    while (!dictionary_.empty() && inside > 0 &&
           x_end - pixel(x, first, inside - 1) < groups * terms<T>()) {
      --inside;
    }
    const int last = std::max(share.first, std::min(share.last, inside));
    // Pixels of one row are equally far apart; those of all rows if none is skipped.
    const bool even = shape_.dictionary_stride_h == 1 && shape_.dictionary_stride_w == 1;
    const ptrdiff_t stride = static_cast<ptrdiff_t>(shape_.dictionary_stride_w) * shape_.m;
    S* to[kRun];
    for (int p = share.first; p < last;) {
      const T* from = pixel(x, first, p);
      int row = first + p / shape_.w, column = p % shape_.w, run = 0;
      S* s = slot(row) + static_cast<size_t>(shape_.pad_left + column) * shape_.k;
      while (run < kRun && p < last) {
        const int more = std::min({kRun - run, last - p, shape_.w - column});
        for (int i = 0; i < more; ++i) to[run + i] = s + static_cast<size_t>(i) * shape_.k;
        s += static_cast<size_t>(more) * shape_.k;
        run += more;
        p += more;
        column += more;
        if (column == shape_.w) {
          column = 0;
          ++row;
          s = slot(row) + static_cast<size_t>(shape_.pad_left) * shape_.k;
          if (!even) break;
        }
      }
      if (dictionary_.empty()) {
        for (int i = 0; i < run; ++i) Arithmetic<T>::copy(kernels_, from + i * stride, to[i], shape_.k);
      } else {
        Arithmetic<T>::dictionary(kernels_, from, stride, to, run, packed(), to_s_);
      }
    }
    for (int p = last; p < share.last; ++p) {
      const T* from = pixel(x, first, p);
      T* copy = scratch_[thread].pixel.data();
      std::memcpy(copy, from, shape_.m * sizeof(T));
      to[0] = slot(first + p / shape_.w) +
              static_cast<size_t>(shape_.pad_left + p % shape_.w) * shape_.k;
      Arithmetic<T>::dictionary(kernels_, copy, 0, to, 1, packed(), to_s_);
    }
  }

  Dictionary<T> packed() const { return {dictionary_.data(), shape_.m, shape_.k}; }

  // Where the p-th pixel of S from row `first` on is computed from.
  const T* pixel(const T* x, int first, int p) const {
    const size_t row = static_cast<size_t>(first + p / shape_.w) * shape_.dictionary_stride_h;
    const size_t column = static_cast<size_t>(p % shape_.w) * shape_.dictionary_stride_w;
    return x + (row * shape_.in_w + column) * shape_.m;
  }

  void lookup_stage(T* y, int top, int bottom, int thread, Pool& pool) {
    const int rows = bottom - top, filters = kernels_.filters_per_block();
    const S** from = scratch_[thread].rows.data();
    const Share share(static_cast<int>(lookups_.blocks.size()) * rows, thread, pool.threads());
    for (int item = share.first; item < share.last; ++item) {
      const int block = item / rows, row = top + item % rows;
      for (int r = 0; r < shape_.kh; ++r) {
        const int s_row = row * shape_.stride_h - shape_.pad_top + r * shape_.dilation_h;
        from[r] = s_row >= 0 && s_row < shape_.h ? slot(s_row) : s_.data() + row_ * slots_;
      }
      Arithmetic<T>::lookup(kernels_, from, shape_.stride_w * shape_.k, shape_.out_w,
                    lookups_.window, lookups_.blocks[block].lookups(), to_y_, block * filters,
                    y + static_cast<size_t>(row) * shape_.out_w * shape_.n + block * filters,
                    shape_.n, std::min(filters, shape_.n - block * filters));
    }
  }

  const Kernels& kernels_;
  Shape shape_;
  PackedLookups<T> lookups_;
  LineVector<T> dictionary_;
  typename Arithmetic<T>::Output to_s_{}, to_y_{};
  int columns_, strip_ = 0, slots_ = 0;
  size_t row_;      // elements of a row of S, with its padding
  S padding_;
  Buffer<S> s_;     // a ring of rows, and a row of padding after them
  std::vector<Scratch> scratch_;
};

}  // namespace

std::unique_ptr<Layer> make_registers(const Spec<int8_t>& spec, const Kernels& kernels,
                                      PackedLookups<int8_t> lookups) {
  return std::make_unique<Registers<int8_t>>(spec, kernels, std::move(lookups));
}

std::unique_ptr<Layer> make_registers(const Spec<float>& spec, const Kernels& kernels,
                                      PackedLookups<float> lookups) {
  return std::make_unique<Registers<float>>(spec, kernels, std::move(lookups));
}

}  // namespace lcnn
