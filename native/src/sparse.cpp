#include "sparse.h"

namespace lcnn {
namespace {

using tflite::Tensor;

// Whether an order names each dimension once.
bool permutation(const tflite::IntArray* order, int rank) {
  if (order == nullptr || order->size != rank) return false;
  unsigned seen = 0;
  for (int i = 0; i < rank; ++i) {
    if (order->data[i] < 0 || order->data[i] >= rank) return false;
    seen |= 1u << order->data[i];
  }
  return seen == (1u << rank) - 1;
}

// How many positions a level has below as many as `above`; -1 where it is not well formed.
int64_t positions(const tflite::DimensionMetadata& level, int size, int64_t above) {
  if (level.format == tflite::kDense) return level.dense_size == size ? above * size : -1;
  if (level.format != tflite::kSparseCsr) return -1;
  const tflite::IntArray *segments = level.segments, *indices = level.indices;
  if (segments == nullptr || indices == nullptr || indices->size < 0 ||
      segments->size != above + 1 || segments->data[0] != 0) {
    return -1;
  }
  for (int64_t p = 0; p < above; ++p) {
    const int first = segments->data[p], last = segments->data[p + 1];
    if (last < first || last > indices->size) return -1;
    for (int i = first; i < last; ++i) {
      const int index = indices->data[i];
      if (index < 0 || index >= size || (i > first && index <= indices->data[i - 1])) return -1;
    }
  }
  return segments->data[above];
}

}  // namespace

bool constant(const Tensor& tensor) {
  return tensor.data != nullptr && (tensor.allocation_type == tflite::kMmapRo ||
                                    tensor.allocation_type == tflite::kPersistentRo);
}

int64_t elements(const Tensor& tensor) {
  if (tensor.dims == nullptr || tensor.dims->size < 1 || tensor.dims->size > 8) return 0;
  int64_t product = 1;
  for (int i = 0; i < tensor.dims->size; ++i) {
    if (tensor.dims->data[i] < 1) return 0;
    product *= tensor.dims->data[i];
    if (product > kMostElements) return 0;
  }
  return product;
}

bool well_formed(const Tensor& tensor, size_t value_bytes) {
  const int64_t size = elements(tensor);
  if (!constant(tensor) || size == 0) return false;
  const int64_t stored = static_cast<int64_t>(tensor.bytes / value_bytes);
  if (tensor.sparsity == nullptr) return size <= stored;
  const tflite::Sparsity& sparsity = *tensor.sparsity;
  const int rank = tensor.dims->size;
  if (sparsity.dimensions == nullptr || sparsity.dimensions_size != rank ||
      !permutation(sparsity.traversal_order, rank) ||
      (sparsity.block_map != nullptr && sparsity.block_map->size != 0)) {
    return false;
  }
  int64_t count = 1;
  for (int d = 0; d < rank; ++d) {
    const int size_of_level = tensor.dims->data[sparsity.traversal_order->data[d]];
    count = positions(sparsity.dimensions[d], size_of_level, count);
    if (count < 0 || count > size) return false;
  }
  return count <= stored;
}

}  // namespace lcnn
