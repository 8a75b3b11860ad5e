// What of a model's graph a delegate can take: lookup layers, and convolutions with sparse weights.
#pragma once

#include <memory>
#include <variant>
#include <vector>

#include "convolution.h"
#include "layer.h"
#include "tflite.h"

namespace lcnn {

// The convolutions of a layer.
template <typename T>
struct Stages {
  std::unique_ptr<Convolution<T>> dictionary;  // null where S is X
  Convolution<T> lookup;

  Spec<T> spec() const { return spec_of(dictionary.get(), lookup); }
};

// A layer of the graph: some nodes that one kernel replaces.
struct Match {
  std::vector<int> nodes;    // that its kernel replaces
  std::vector<int> densify;  // DENSIFY nodes whose outputs only these read
  int input = -1, output = -1;  // tensors
  const char* name = "";        // of the output tensor
  Shape shape;
  bool pads = false;  // a PAD is the first of the nodes
  size_t lookups = 0;
  // Its weights are still the runtime's: `spec` copies them.
  std::variant<Stages<int8_t>, Stages<float>> stages;

  bool int8() const { return stages.index() == 0; }
  bool has_dictionary() const {
    return std::visit([](const auto& of) { return of.dictionary != nullptr; }, stages);
  }
};

// The layers of the graph, in the order in which they run. What does not match exactly, or has
// weights that are not as their metadata say, is left to the runtime; so is what there is no memory
// to look at. float32 layers only if `finite`.
std::vector<Match> find_layers(tflite::Context* context, bool finite);

// Whether no float32 constant of the graph is a NaN or an infinity. Where LiteRT meets one it
// multiplies it by coefficients of zero too, and so gives more NaN than lookups do.
bool finite_constants(const tflite::Context& context);

}  // namespace lcnn
