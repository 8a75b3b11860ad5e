// Memory on the boundary of a cache line.
#pragma once

#include <cstdlib>
#include <new>
#include <utility>

namespace lcnn {

template <typename T>
class Buffer {
 public:
  Buffer() = default;
  explicit Buffer(size_t size) {
    void* data = nullptr;
    if (posix_memalign(&data, 64, (size > 0 ? size : 1) * sizeof(T)) != 0) throw std::bad_alloc();
    data_ = static_cast<T*>(data);
  }
  ~Buffer() { std::free(data_); }
  Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)) {}
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(data_, other.data_);
    return *this;
  }

  T* data() const { return data_; }

 private:
  T* data_ = nullptr;
};

}  // namespace lcnn
