// One node of a graph as a convolution, if it is one that a layer can take.
#pragma once

#include <cstdint>
#include <limits>
#include <vector>

#include "layer.h"
#include "sparse.h"
#include "tflite.h"

namespace lcnn {

struct GraphNode {
  int index;  // the runtime's
  const tflite::Node* node;
  int builtin;
};

// Which nodes write and read the tensors of a graph.
class Graph {
 public:
  explicit Graph(tflite::Context* context);

  bool valid(int tensor) const {
    return tensor >= 0 && static_cast<size_t>(tensor) < context_->tensors_size;
  }
  const tflite::Tensor& tensor(int index) const { return context_->tensors[index]; }
  // Position in `nodes` of the node that writes a tensor, or -1.
  int producer(int tensor) const { return producer_[tensor]; }
  // Whether several nodes write it: which value a reader sees depends on when it runs.
  bool written_twice(int tensor) const { return writers_[tensor] > 1; }
  int readers(int tensor) const { return readers_[tensor]; }

  std::vector<GraphNode> nodes;  // in the order in which they run

 private:
  tflite::Context* context_;
  std::vector<int> producer_, writers_, readers_;
};

// A tensor that a node computes at each run, of a type and as many bytes as that needs.
bool computed(const Graph& graph, int tensor, tflite::Type type);

// A node as a convolution: a fully connected one is 1x1 over its rows. Weights are counted, not
// copied: most dense layers are none of ours.
template <typename T>
struct Convolution {
  int position = -1;  // among the graph's nodes
  int input = -1, output = -1;
  int densify = -1;  // position of the node that makes the weights dense, or -1
  int batch = 1, in_h = 1, in_w = 1, m = 1, kh = 1, kw = 1, out_h = 1, out_w = 1, n = 1;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
  tflite::Activation activation = tflite::kNone;
  const tflite::Tensor* weights = nullptr;  // n x kh x kw x m, as they are stored
  int64_t nonzero = 0;                      // of them
  std::vector<float> float_bias;
  std::vector<int32_t> int_bias;
  std::vector<float> scale;  // input * weight / output
  int32_t in_zero = 0, out_zero = 0;
  float out_scale = 0;

  int64_t size() const { return int64_t{n} * kh * kw * m; }
};

// False for a node that is no such convolution, that contradicts itself, or that LiteRT would
// refuse, which it then does.
template <typename T>
bool read_convolution(const Graph& graph, int position, Convolution<T>* conv);

// A PAD of zeros around the map: what it takes, and how many rows and columns it adds.
struct Zeros {
  int input = -1;
  int top = 0, bottom = 0, left = 0, right = 0;
};

// False for a node that is no such PAD.
template <typename T>
bool read_zeros(const Graph& graph, int position, Zeros* zeros);

// The sizes of a layer, with the convolution before it as its dictionary stage if there is one.
template <typename T>
Shape shape_of(const Convolution<T>* dictionary, const Convolution<T>& conv);

// The layer, with all of its weights.
template <typename T>
Spec<T> spec_of(const Convolution<T>* dictionary, const Convolution<T>& conv);

// A 1x1 convolution as a dictionary stage alone, with all of its weights: S is the output.
template <typename T>
Spec<T> pointwise_spec_of(const Convolution<T>& conv);

}  // namespace lcnn
