// Memory on the boundary of a cache line.
#pragma once

#include <cstddef>
#include <new>
#include <type_traits>
#include <utility>

namespace lcnn {

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  // Not initialized. Throws std::bad_alloc.
  explicit Buffer(size_t size)
      : data_(static_cast<T*>(::operator new((size > 0 ? size : 1) * sizeof(T), kAlignment))) {}
  ~Buffer() {
    static_assert(std::is_trivial_v<T>, "nothing is constructed or destroyed here");
    ::operator delete(data_, kAlignment);
  }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  T* data() const { return data_; }

 private:
  static constexpr std::align_val_t kAlignment{64};

  T* data_ = nullptr;
};

}  // namespace lcnn
