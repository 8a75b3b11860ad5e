// Which layers of a graph the delegate runs.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "buffer.h"
#include "layer.h"
#include "options.h"
#include "tflite.h"

namespace lcnn {

// A tensor as it was when the delegate was attached.
struct TensorShape {
  std::vector<int> dims;
  size_t bytes = 0;

  bool of(const tflite::Tensor& tensor) const;
};

// A layer that the delegate runs, or what lies between layers, with all the memory that it needs.
struct Claim {
  std::string name;  // of its output
  std::vector<int> nodes, densify;
  std::vector<int> inputs;
  int output;
  std::vector<TensorShape> input_shapes;
  TensorShape output_shape;
  std::unique_ptr<Operation> operation;
  // Its output, where only claims of the same kernel read it: LiteRT keeps no memory for that.
  Buffer<char> inner;
};

using Claims = std::vector<std::shared_ptr<Claim>>;

// The layers to run, and what lies between them; a line in `lines` of each layer that could be run,
// and of each neighbor that is. What there is no memory for is left to LiteRT. Throws
// std::bad_alloc.
Claims make_claims(tflite::Context* context, const Options& options, int threads,
                   std::string* lines);

std::vector<int> nodes_of(const Claims& claims);

// Numbers in the form that LiteRT takes them.
std::vector<int> int_array(const std::vector<int>& numbers);

inline const tflite::IntArray* as_array(const std::vector<int>& array) {
  return reinterpret_cast<const tflite::IntArray*>(array.data());
}

}  // namespace lcnn
