// Memory on the boundary of a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>
#include <vector>

namespace lcnn {

constexpr std::align_val_t kLine{64};

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  // Not initialized. Throws std::bad_alloc.
  explicit Buffer(size_t size)
      : data_(static_cast<T*>(::operator new((size > 0 ? size : 1) * sizeof(T), kLine))) {}
  ~Buffer() {
    static_assert(std::is_trivial_v<T>, "nothing is constructed or destroyed here");
    ::operator delete(data_, kLine);
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

// A vector whose elements begin with a cache line: registers as wide as one are loaded without
// crossing two.
template <typename T>
struct LineAllocator {
  using value_type = T;

  LineAllocator() = default;
  template <typename Other>
  LineAllocator(const LineAllocator<Other>&) {}

  T* allocate(size_t size) { return static_cast<T*>(::operator new(size * sizeof(T), kLine)); }
  void deallocate(T* data, size_t) { ::operator delete(data, kLine); }

  friend bool operator==(const LineAllocator&, const LineAllocator&) { return true; }
  friend bool operator!=(const LineAllocator&, const LineAllocator&) { return false; }
};

template <typename T>
using LineVector = std::vector<T, LineAllocator<T>>;

}  // namespace lcnn
