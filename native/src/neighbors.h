// What lies between lookup layers: sums, 1x1 convolutions and maximum pooling. Run by the delegate
// too, it keeps a network from being handed to the runtime and back between two layers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "elementwise.h"
#include "layer.h"
#include "tflite.h"

namespace lcnn {

// A node of the graph that could run with the lookup layers around it.
struct Neighbor {
  int node = -1;
  std::vector<int> inputs;  // tensors, without constants
  int output = -1;
  const char* name = "";    // of the output tensor
  std::string what;         // it is, and its size
  bool int8 = false;
  // A 1x1 convolution's multiplications, as the runtime counts them in; 0 for the others.
  double multiplications = 0;
  // Throws std::bad_alloc. The constants are still the runtime's: it copies them.
  std::function<std::unique_ptr<Operation>(const Kernels&)> make;
};

// In the order in which they run. What does not match exactly, and what there is no memory to look
// at, is left to the runtime. float32 only if `finite`.
std::vector<Neighbor> find_neighbors(tflite::Context* context, bool finite);

// Operations on `count` elements, or on maps.
std::unique_ptr<Operation> make_sum(const SumS8& sum, size_t count, const Kernels& kernels);
std::unique_ptr<Operation> make_sum(float lowest, float highest, size_t count,
                                    const Kernels& kernels);

struct PoolShape {
  int batch, in_h, in_w, channels, out_h, out_w;
  int kh, kw, stride_h, stride_w, pad_top, pad_left;
};
std::unique_ptr<Operation> make_max_pool(const PoolShape& shape, int8_t lowest, int8_t highest,
                                         const Kernels& kernels);

// A 1x1 convolution is a dictionary stage alone: `spec` has one, and no lookups.
std::unique_ptr<Operation> make_pointwise(const Spec<int8_t>& spec, const Kernels& kernels);
std::unique_ptr<Operation> make_pointwise(const Spec<float>& spec, const Kernels& kernels);

}  // namespace lcnn
