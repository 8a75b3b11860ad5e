// What of a model's graph a delegate can take: lookup layers, and convolutions with sparse weights.
#pragma once

#include <string>
#include <vector>

#include "layer.h"
#include "tflite.h"

namespace lcnn {

// A layer of the graph: some nodes that one kernel replaces.
struct Match {
  std::vector<int> nodes;    // that its kernel replaces
  std::vector<int> densify;  // DENSIFY nodes whose outputs only these read
  int input = -1, output = -1;  // tensors
  bool int8 = false;
  Spec<int8_t> s8;
  Spec<float> f32;

  const Shape& shape() const { return int8 ? s8.shape : f32.shape; }
  size_t lookups() const {
    return int8 ? s8.coefficients.size() : f32.coefficients.size();
  }
  bool has_dictionary() const { return int8 ? !s8.dictionary.empty() : !f32.dictionary.empty(); }
  const char* name = "";  // of the output tensor
};

// Why the structs of this runtime do not look as expected; empty if they do.
std::string check_runtime(tflite::Context* context);

// The layers of the graph, in the order in which they run. What does not match exactly, or has
// weights that are not as their metadata say, is left to the runtime.
std::vector<Match> find_layers(tflite::Context* context);

}  // namespace lcnn
