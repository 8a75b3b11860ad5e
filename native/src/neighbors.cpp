#include "neighbors.h"

#include <algorithm>
#include <type_traits>

#include "arithmetic.h"
#include "buffer.h"
#include "packing.h"
#include "rates.h"

namespace lcnn {
namespace {

// On elements that have nothing to do with each other.
template <typename T, typename Run>
class Sum : public Operation {
 public:
  Sum(size_t count, Run run) : count_(count), run_(run) { kernel = "sum"; }

  void prepare(int) override {}
  size_t bytes() const override { return 0; }

  void run_on(const void* const* inputs, void* y, Pool& pool) noexcept override {
    const T *a = static_cast<const T*>(inputs[0]), *b = static_cast<const T*>(inputs[1]);
    pool.run([&](int thread) {
      const Share blocks(static_cast<int>((count_ + kBlock - 1) / kBlock), thread, pool.threads());
      const size_t first = static_cast<size_t>(blocks.first) * kBlock;
      const size_t last = std::min(count_, static_cast<size_t>(blocks.last) * kBlock);
      if (first < last) run_(a + first, b + first, static_cast<T*>(y) + first, last - first);
    });
  }

 private:
  static constexpr size_t kBlock = 1024;

  size_t count_;
  Run run_;
};

template <typename T, typename Run>
std::unique_ptr<Operation> sum_of(size_t count, Run run) {
  return std::make_unique<Sum<T, Run>>(count, run);
}

class MaxPool : public Operation {
 public:
  MaxPool(const PoolShape& shape, int8_t lowest, int8_t highest, const Kernels& kernels)
      : shape_(shape), lowest_(lowest), highest_(highest), max_(kernels.elementwise->max_s8) {
    kernel = "maximum";
  }

  void prepare(int threads) override {
    windows_.resize(threads);
    for (auto& window : windows_) {
      window = Buffer<const int8_t*>(static_cast<size_t>(shape_.kh) * shape_.kw);
    }
  }
  size_t bytes() const override { return 0; }

  void run_on(const void* const* inputs, void* y, Pool& pool) noexcept override {
    const PoolShape& s = shape_;
    const auto* x = static_cast<const int8_t*>(inputs[0]);
    auto* to = static_cast<int8_t*>(y);
    const size_t image = static_cast<size_t>(s.in_h) * s.in_w * s.channels;
    const size_t out_row = static_cast<size_t>(s.out_w) * s.channels;
    pool.run([&](int thread) {
      const Share rows(s.batch * s.out_h, thread, pool.threads());
      for (int row = rows.first; row < rows.last; ++row) {
        output_row(x + row / s.out_h * image, row % s.out_h * s.stride_h - s.pad_top,
                   windows_[thread].data(), to + row * out_row);
      }
    });
  }

 private:
  void output_row(const int8_t* image, int top, const int8_t** window, int8_t* to) const {
    const PoolShape& s = shape_;
    const int first_row = std::max(0, top), last_row = std::min(s.in_h, top + s.kh);
    for (int column = 0; column < s.out_w; ++column, to += s.channels) {
      const int left = column * s.stride_w - s.pad_left;
      const int first = std::max(0, left), last = std::min(s.in_w, left + s.kw);
      int pixels = 0;
      for (int r = first_row; r < last_row; ++r) {
        for (int c = first; c < last; ++c) {
          window[pixels++] = image + (static_cast<size_t>(r) * s.in_w + c) * s.channels;
        }
      }
      max_(window, pixels, to, s.channels, lowest_, highest_);
    }
  }

  PoolShape shape_;
  int8_t lowest_, highest_;
  decltype(Elementwise::max_s8) max_;
  std::vector<Buffer<const int8_t*>> windows_;  // a thread's own: the pixels of a window
};

// A dictionary stage that writes the layer's output.
template <typename T>
class Pointwise : public Operation {
 public:
  Pointwise(const Spec<T>& spec, const Kernels& kernels)
      : kernels_(kernels), shape_(spec.shape), dictionary_(pack_dictionary(spec, kernels.lanes)),
        output_(Arithmetic<T>::to_s(spec, kernels, shape_.k + kSlack)) {
    // No lookup multiplies what this writes by zero.
    if constexpr (std::is_same_v<T, float>) output_.poison = false;
    const Rates rates = measured_rates(kernels, sizeof(T) == 1);
    const double values = static_cast<double>(shape_.batch) * shape_.h * shape_.w * shape_.k;
    kernel = std::string(kernels.name) + " 1x1";
    seconds = values * (shape_.m * rates.dictionary + rates.output) + rates.call;
  }

  void prepare(int) override {}
  size_t bytes() const override { return dictionary_.size() * sizeof(T); }

  void run_on(const void* const* inputs, void* y, Pool& pool) noexcept override {
    const Shape& s = shape_;
    pool.run([&](int thread) {
      const Share rows(s.batch * s.h, thread, pool.threads());
      for (int row = rows.first; row < rows.last; ++row) {
        const size_t image = static_cast<size_t>(row / s.h) * s.in_h;
        const size_t in_row = image + static_cast<size_t>(row % s.h) * s.dictionary_stride_h;
        run_row(static_cast<const T*>(inputs[0]) + in_row * s.in_w * s.m,
                static_cast<T*>(y) + static_cast<size_t>(row) * s.w * s.k);
      }
    });
  }

 private:
  void run_row(const T* x, T* y) const {
    const Shape& s = shape_;
    const ptrdiff_t stride = static_cast<ptrdiff_t>(s.dictionary_stride_w) * s.m;
    S* to[kRun];
    for (int done = 0; done < s.w; done += kRun) {
      const int run = std::min(kRun, s.w - done);
      S* const first = reinterpret_cast<S*>(y) + static_cast<size_t>(done) * s.k;
      for (int p = 0; p < run; ++p) to[p] = first + static_cast<size_t>(p) * s.k;
      Arithmetic<T>::dictionary(kernels_, x + done * stride, stride, to, run,
                                {dictionary_.data(), s.m, s.k}, output_);
      if constexpr (std::is_same_v<T, int8_t>) {
        // From S as value + 128; the pixels of a row follow one another.
        const size_t count = kernels_.unsigned_s ? static_cast<size_t>(run) * s.k : 0;
        for (size_t i = 0; i < count; ++i) first[i] ^= 0x80;
      }
    }
  }

  using S = typename Arithmetic<T>::S;

  static constexpr int kRun = 96;  // pixels that a kernel is given at once

  const Kernels& kernels_;
  Shape shape_;
  LineVector<T> dictionary_;
  typename Arithmetic<T>::Output output_;
};

}  // namespace

std::unique_ptr<Operation> make_sum(const SumS8& sum, size_t count, const Kernels& kernels) {
  const auto add = kernels.elementwise->sum_s8;
  return sum_of<int8_t>(count, [add, sum](const int8_t* a, const int8_t* b, int8_t* y, size_t n) {
    add(a, b, y, n, sum);
  });
}

std::unique_ptr<Operation> make_sum(float lowest, float highest, size_t count,
                                    const Kernels& kernels) {
  const auto add = kernels.elementwise->sum_f32;
  return sum_of<float>(count, [=](const float* a, const float* b, float* y, size_t n) {
    add(a, b, y, n, lowest, highest);
  });
}

std::unique_ptr<Operation> make_max_pool(const PoolShape& shape, int8_t lowest, int8_t highest,
                                         const Kernels& kernels) {
  return std::make_unique<MaxPool>(shape, lowest, highest, kernels);
}

std::unique_ptr<Operation> make_pointwise(const Spec<int8_t>& spec, const Kernels& kernels) {
  return std::make_unique<Pointwise<int8_t>>(spec, kernels);
}

std::unique_ptr<Operation> make_pointwise(const Spec<float>& spec, const Kernels& kernels) {
  return std::make_unique<Pointwise<float>>(spec, kernels);
}

}  // namespace lcnn
