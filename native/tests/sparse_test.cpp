// The reader of sparse tensors: every storage of a tensor gives its values, and metadata that
// contradict themselves are found before anything is read. Arrays have exactly the memory that they
// say, for AddressSanitizer.
#include "../src/sparse.h"

#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "../fuzz/bytes.h"

namespace {

int failures = 0;

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

// A tensor stored with the levels of `csr` sparse; all levels dense, and no metadata, for -1.
template <typename T>
tflite::Tensor stored(const std::vector<int>& dims, const std::vector<T>& dense, int csr,
                      fuzz::Arena* arena) {
  tflite::Tensor tensor{};
  tensor.type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
  tensor.dims = arena->ints(dims);
  tensor.allocation_type = tflite::kMmapRo;
  std::vector<int64_t> places = {0};
  const int rank = static_cast<int>(dims.size());
  auto* sparsity = static_cast<tflite::Sparsity*>(arena->bytes(sizeof(tflite::Sparsity)));
  auto* levels = static_cast<tflite::DimensionMetadata*>(
      arena->bytes(sizeof(tflite::DimensionMetadata) * static_cast<size_t>(rank)));
  std::vector<int> order;
  auto inner = static_cast<int64_t>(dense.size());
  for (int d = 0; d < rank; ++d) {
    order.push_back(d);
    inner /= dims[d];
    std::vector<int64_t> next;
    std::vector<int> segments = {0}, indices;
    const bool sparse = csr >= 0 && (csr >> d & 1) != 0;
    for (int64_t place : places) {
      for (int i = 0; i < dims[d]; ++i) {
        const int64_t at = place * dims[d] + i;
        bool empty = true;
        for (int64_t j = at * inner; j < (at + 1) * inner; ++j) empty &= dense[j] == 0;
        if (sparse && empty) continue;
        next.push_back(at);
        indices.push_back(i);
      }
      segments.push_back(static_cast<int>(indices.size()));
    }
    levels[d].format = sparse ? tflite::kSparseCsr : tflite::kDense;
    levels[d].dense_size = dims[d];
    if (sparse) {
      levels[d].segments = arena->ints(segments);
      levels[d].indices = arena->ints(indices);
    }
    places = next;
  }
  sparsity->traversal_order = arena->ints(order);
  sparsity->dimensions = levels;
  sparsity->dimensions_size = rank;
  if (csr >= 0) tensor.sparsity = sparsity;
  tensor.bytes = places.size() * sizeof(T);
  tensor.data = arena->bytes(tensor.bytes);
  for (size_t i = 0; i < places.size(); ++i) static_cast<T*>(tensor.data)[i] = dense[places[i]];
  return tensor;
}

template <typename T>
std::vector<T> read(const tflite::Tensor& tensor, size_t size) {
  std::vector<T> dense(size);
  int64_t before = -1;
  lcnn::for_each_nonzero<T>(tensor, [&](int64_t place, T value) {
    if (place <= before || place >= static_cast<int64_t>(size) || value == 0) {
      check(false, "a place out of order");
      std::exit(1);
    }
    before = place;
    dense[place] = value;
  });
  return dense;
}

template <typename T>
void test_storage(const std::vector<int>& dims, int one_in, std::mt19937* random) {
  size_t size = 1;
  for (int d : dims) size *= static_cast<size_t>(d);
  std::vector<T> dense(size);
  for (T& value : dense) {
    if ((*random)() % static_cast<unsigned>(one_in) == 0) value = static_cast<T>((*random)() % 99);
  }
  for (int csr = -1; csr < 1 << dims.size(); ++csr) {
    fuzz::Arena arena;
    tflite::Tensor tensor = stored(dims, dense, csr, &arena);
    check(lcnn::well_formed(tensor, sizeof(T)), "a storage is refused");
    check(read<T>(tensor, size) == dense, "other values");
    if (tensor.bytes == 0) continue;
    --tensor.bytes;
    check(!lcnn::well_formed(tensor, sizeof(T)), "missing data are not found");
  }
  // The same numbers, stored with the first dimension innermost.
  std::vector<int> order, moved;
  for (size_t d = 1; d <= dims.size(); ++d) {
    order.push_back(static_cast<int>(d % dims.size()));
    moved.push_back(dims[d % dims.size()]);
  }
  const size_t rows = size / static_cast<size_t>(dims[0]);
  std::vector<T> turned(size);
  for (size_t i = 0; i < size; ++i) {
    turned[i % rows * static_cast<size_t>(dims[0]) + i / rows] = dense[i];
  }
  for (int csr = 0; csr < 1 << dims.size(); ++csr) {
    fuzz::Arena arena;
    tflite::Tensor tensor = stored(moved, turned, csr, &arena);
    tensor.dims = arena.ints(dims);
    tensor.sparsity->traversal_order = arena.ints(order);
    check(lcnn::well_formed(tensor, sizeof(T)), "another order is refused");
    check(read<T>(tensor, size) == dense, "other values in another order");
    tensor.sparsity->traversal_order = arena.ints(std::vector<int>(dims.size(), 0));
    check(dims.size() == 1 || !lcnn::well_formed(tensor, sizeof(T)), "no order is accepted");
  }
}

// Every number of the metadata becomes a wrong one in turn.
void test_damage(std::mt19937* random) {
  const std::vector<int> dims = {3, 2, 4};
  std::vector<int8_t> dense(24);
  for (int8_t& value : dense) value = static_cast<int8_t>((*random)() % 3);
  for (int csr = 0; csr < 8; ++csr) {
    for (int which = 0; which < 200; ++which) {
      for (int to : {-1, 0, 1, 2, 5, 100, 1 << 30, -2147483647 - 1, 2147483647}) {
        fuzz::Arena arena;
        tflite::Tensor tensor = stored(dims, dense, csr, &arena);
        std::vector<int*> numbers;
        tflite::Sparsity& sparsity = *tensor.sparsity;
        const auto add = [&](tflite::IntArray* array) {
          for (int i = 0; array != nullptr && i < array->size; ++i) {
            numbers.push_back(array->data + i);
          }
        };
        add(sparsity.traversal_order);
        add(tensor.dims);
        for (int d = 0; d < 3; ++d) {
          tflite::DimensionMetadata& level = sparsity.dimensions[d];
          numbers.push_back(reinterpret_cast<int*>(&level.format));
          numbers.push_back(&level.dense_size);
          add(level.segments);
          add(level.indices);
        }
        if (which >= static_cast<int>(numbers.size())) break;
        *numbers[which] = to;
        // What is still well formed is read within its memory.
        if (lcnn::well_formed(tensor, 1)) {
          read<int8_t>(tensor, static_cast<size_t>(lcnn::elements(tensor)));
        }
      }
    }
  }
}

}  // namespace

int main() {
  std::mt19937 random(1);
  for (int one_in : {1, 2, 5, 1000}) {
    for (const std::vector<int>& dims : std::vector<std::vector<int>>{
             {1}, {7}, {3, 5}, {4, 1, 6}, {5, 3, 3, 8}, {2, 1, 1, 1}}) {
      test_storage<int8_t>(dims, one_in, &random);
      test_storage<float>(dims, one_in, &random);
    }
  }
  test_damage(&random);
  if (failures != 0) return 1;
  std::printf("every storage is read\n");
  return 0;
}
