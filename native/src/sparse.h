// The values of a constant tensor, stored dense or sparse (schema.fbs, SparsityParameters).
#pragma once

#include <algorithm>
#include <cstdint>
#include <utility>
#include <vector>

#include "tflite.h"

namespace lcnn {

// More elements than any layer has that is worth it; beyond, a file is broken or hostile.
constexpr int64_t kMostElements = int64_t{1} << 27;

// Whether a tensor is in memory and stays as it is.
bool constant(const tflite::Tensor& tensor);

// The number of elements of a tensor of plausible shape; 0 for others.
int64_t elements(const tflite::Tensor& tensor);

// Whether the values of a constant are stored as its metadata say: these contradict neither
// themselves nor the tensor's shape nor the size of its data.
bool well_formed(const tflite::Tensor& tensor, size_t value_bytes);

namespace sparse {

// How far apart neighbors along a dimension are in the dense tensor.
inline int64_t stride(const tflite::Tensor& tensor, int dimension) {
  int64_t product = 1;
  for (int d = dimension + 1; d < tensor.dims->size; ++d) product *= tensor.dims->data[d];
  return product;
}

// Calls visit(place in the dense tensor, value) for what is stored below a position of a level:
// each level turns the positions of the one above into positions of its own.
template <typename T, typename Visit>
void descend(const tflite::Tensor& tensor, int level, int64_t position, int64_t place,
             const Visit& visit) {
  const int rank = tensor.dims->size;
  if (level == rank) {
    const T value = static_cast<const T*>(tensor.data)[position];
    if (value != 0) visit(place, value);
    return;
  }
  const int dimension = tensor.sparsity->traversal_order->data[level];
  const int size = tensor.dims->data[dimension];
  const int64_t step = stride(tensor, dimension);
  const tflite::DimensionMetadata& storage = tensor.sparsity->dimensions[level];
  if (storage.format == tflite::kDense) {
    for (int i = 0; i < size; ++i) {
      descend<T>(tensor, level + 1, position * size + i, place + i * step, visit);
    }
  } else {
    for (int i = storage.segments->data[position]; i < storage.segments->data[position + 1]; ++i) {
      descend<T>(tensor, level + 1, i, place + storage.indices->data[i] * step, visit);
    }
  }
}

inline bool in_order(const tflite::Tensor& tensor) {
  const tflite::IntArray& order = *tensor.sparsity->traversal_order;
  return std::is_sorted(order.data, order.data + order.size);
}

}  // namespace sparse

// Calls visit(place in the dense tensor, value) for each value that is not zero, by place. The
// tensor is well formed.
template <typename T, typename Visit>
void for_each_nonzero(const tflite::Tensor& tensor, const Visit& visit) {
  if (tensor.sparsity != nullptr) {
    if (sparse::in_order(tensor)) {
      sparse::descend<T>(tensor, 0, 0, 0, visit);
      return;
    }
    std::vector<std::pair<int64_t, T>> found;
    sparse::descend<T>(tensor, 0, 0, 0,
                       [&](int64_t place, T value) { found.push_back({place, value}); });
    std::sort(found.begin(), found.end());
    for (const auto& [place, value] : found) visit(place, value);
    return;
  }
  const T* data = static_cast<const T*>(tensor.data);
  const int64_t size = elements(tensor);
  for (int64_t i = 0; i < size; ++i) {
    if (data[i] != 0) visit(i, data[i]);
  }
}

}  // namespace lcnn
