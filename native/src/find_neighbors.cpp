#include <cmath>
#include <cstdio>
#include <limits>
#include <new>
#include <utility>

#include "convolution.h"
#include "neighbors.h"
#include "sparse.h"
#include "tensors.h"

namespace lcnn {
namespace {

using tflite::Tensor;

bool same_shape(const Tensor& a, const Tensor& b) {
  if (a.dims == nullptr || b.dims == nullptr || a.dims->size != b.dims->size) return false;
  for (int i = 0; i < a.dims->size; ++i) {
    if (a.dims->data[i] != b.dims->data[i]) return false;
  }
  return true;
}

// Inputs and output of a node of `count` inputs; false where one is not computed.
bool connect(const Graph& graph, const GraphNode& node, int count, tflite::Type type,
             Neighbor* neighbor) {
  if (node.node->builtin_data == nullptr || node.node->inputs->size != count ||
      node.node->outputs->size != 1) {
    return false;
  }
  neighbor->node = node.index;
  neighbor->inputs.assign(node.node->inputs->data, node.node->inputs->data + count);
  neighbor->output = node.node->outputs->data[0];
  for (int tensor : neighbor->inputs) {
    if (!computed(graph, tensor, type)) return false;
  }
  if (!computed(graph, neighbor->output, type)) return false;
  if (const char* name = graph.tensor(neighbor->output).name) neighbor->name = name;
  neighbor->int8 = type == tflite::kInt8;
  return true;
}

std::string size_of(const Tensor& tensor) {
  std::string text;
  for (int i = 1; i < tensor.dims->size; ++i) {
    text += (i > 1 ? "x" : "") + std::to_string(tensor.dims->data[i]);
  }
  return text;
}

// The limits of an activation as int8; false where the tensor has no scale.
bool int8_limits(const Tensor& y, tflite::Activation activation, float* scale, int32_t* zero_point,
                 int32_t* lowest, int32_t* highest) {
  const std::vector<float> of_y = scales(y, 1, zero_point);
  float low, high;
  if (of_y.empty() || !limits_of(activation, &low, &high)) return false;
  *scale = of_y[0];
  *lowest = quantized_limit(low, *scale, *zero_point);
  *highest = quantized_limit(high, *scale, *zero_point);
  return true;
}

bool read_sum(const Graph& graph, const GraphNode& node, tflite::Type type, Neighbor* neighbor) {
  if (node.builtin != tflite::kAdd || !connect(graph, node, 2, type, neighbor)) return false;
  const Tensor& a = graph.tensor(neighbor->inputs[0]);
  const Tensor& b = graph.tensor(neighbor->inputs[1]);
  const Tensor& y = graph.tensor(neighbor->output);
  if (!same_shape(a, y) || !same_shape(b, y)) return false;
  const auto activation = static_cast<const tflite::AddParams*>(node.node->builtin_data)->activation;
  const size_t count = static_cast<size_t>(elements(y));
  neighbor->what = "sum of " + size_of(y);
  if (type == tflite::kFloat32) {
    float lowest, highest;
    if (!limits_of(activation, &lowest, &highest)) return false;
    neighbor->make = [=](const Kernels& kernels) {
      return make_sum(lowest, highest, count, kernels);
    };
    return true;
  }
  SumS8 sum;
  float y_scale;
  int32_t a_zero, b_zero;
  const std::vector<float> a_scale = scales(a, 1, &a_zero), b_scale = scales(b, 1, &b_zero);
  if (a_scale.empty() || b_scale.empty() ||
      !int8_limits(y, activation, &y_scale, &sum.zero_point, &sum.lowest, &sum.highest) ||
      !sum_of_scales(a_scale[0], a_zero, b_scale[0], b_zero, y_scale, &sum)) {
    return false;
  }
  neighbor->make = [=](const Kernels& kernels) { return make_sum(sum, count, kernels); };
  return true;
}

// int8 only: of a NaN and a number, what a maximum is depends on the order of its operands.
bool read_max_pool(const Graph& graph, const GraphNode& node, Neighbor* neighbor) {
  if (node.builtin != tflite::kMaxPool2D || !connect(graph, node, 1, tflite::kInt8, neighbor)) {
    return false;
  }
  const Tensor& x = graph.tensor(neighbor->inputs[0]);
  const Tensor& y = graph.tensor(neighbor->output);
  if (x.dims->size != 4 || y.dims->size != 4) return false;
  const auto& params = *static_cast<const tflite::PoolParams*>(node.node->builtin_data);
  const int *in = x.dims->data, *out = y.dims->data;
  PoolShape s{in[0],  in[1],  in[2], in[3], out[1], out[2], params.filter_height,
              params.filter_width, params.stride_height, params.stride_width, 0, 0};
  constexpr int kMostReach = 1 << 9;
  if (out[0] != in[0] || out[3] != in[3] || s.kh < 1 || s.kw < 1 || s.kh > kMostReach ||
      s.kw > kMostReach ||
      !padded(params.padding, s.in_h, s.kh, s.stride_h, 1, s.out_h, &s.pad_top) ||
      !padded(params.padding, s.in_w, s.kw, s.stride_w, 1, s.out_w, &s.pad_left)) {
    return false;
  }
  int32_t x_zero, y_zero, lowest, highest;
  float y_scale;
  const std::vector<float> x_scale = scales(x, 1, &x_zero);
  if (x_scale.empty() ||
      !int8_limits(y, params.activation, &y_scale, &y_zero, &lowest, &highest) ||
      x_scale[0] != y_scale || x_zero != y_zero) {
    return false;
  }
  neighbor->what = "maximum of " + std::to_string(s.kh) + "x" + std::to_string(s.kw) + " to " +
                   size_of(y);
  neighbor->make = [=](const Kernels& kernels) {
    return make_max_pool(s, static_cast<int8_t>(lowest), static_cast<int8_t>(highest), kernels);
  };
  return true;
}

bool has_one_tap(const Graph& graph, const tflite::Node& node) {
  if (node.inputs->size < 2 || !graph.valid(node.inputs->data[1])) return false;
  const tflite::IntArray* dims = graph.tensor(node.inputs->data[1]).dims;
  return dims != nullptr && dims->size == 4 && dims->data[1] == 1 && dims->data[2] == 1;
}

template <typename T>
bool read_pointwise(const Graph& graph, int position, Neighbor* neighbor) {
  const GraphNode& node = graph.nodes[position];
  // Looked at first: reading a convolution goes through all of its weights.
  if (node.builtin != tflite::kConv2D || !has_one_tap(graph, *node.node)) return false;
  auto conv = std::make_shared<Convolution<T>>();
  // Kernels read channels in groups, and must not reach beyond the tensor.
  const int group = sizeof(T) == 1 ? 4 : 1;
  if (!read_convolution(graph, position, conv.get()) || conv->m % group != 0) {
    return false;
  }
  const tflite::Type type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
  if (!computed(graph, conv->input, type) || !computed(graph, conv->output, type)) return false;
  if (!plausible(shape_of<T>(nullptr, *conv), false)) return false;
  neighbor->node = node.index;
  neighbor->inputs = {conv->input};
  neighbor->output = conv->output;
  if (const char* name = graph.tensor(conv->output).name) neighbor->name = name;
  neighbor->int8 = sizeof(T) == 1;
  neighbor->what = "1x1, " + std::to_string(conv->m) + " to " +
                   size_of(graph.tensor(conv->output));
  neighbor->multiplications = static_cast<double>(conv->batch) * conv->out_h * conv->out_w *
                              conv->m * conv->n;
  neighbor->make = [conv](const Kernels& kernels) {
    return make_pointwise(pointwise_spec_of(*conv), kernels);
  };
  return true;
}

}  // namespace

std::vector<Neighbor> find_neighbors(tflite::Context* context, bool finite) {
  const Graph graph(context);
  std::vector<Neighbor> neighbors;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    const int position = static_cast<int>(i);
    const GraphNode& node = graph.nodes[i];
    try {
      Neighbor found;
      if (read_sum(graph, node, tflite::kInt8, &found) || read_max_pool(graph, node, &found) ||
          read_pointwise<int8_t>(graph, position, &found) ||
          (finite && (read_sum(graph, node, tflite::kFloat32, &found) ||
                      read_pointwise<float>(graph, position, &found)))) {
        neighbors.push_back(std::move(found));
      }
    } catch (const std::bad_alloc&) {
      continue;
    }
  }
  return neighbors;
}

}  // namespace lcnn
