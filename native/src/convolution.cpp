#include "convolution.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>

#include "tensors.h"

namespace lcnn {
namespace {

using tflite::Tensor;

// The weights of a node, a constant or a DENSIFY of one; nullptr if they are neither.
template <typename T>
const Tensor* stored_weights(const Graph& graph, int tensor, int position, tflite::Type type,
                             int* densify) {
  if (graph.written_twice(tensor)) return nullptr;
  const int producer = graph.producer(tensor);
  int stored = tensor;
  if (producer >= 0) {
    const GraphNode& node = graph.nodes[producer];
    if (producer >= position || node.builtin != tflite::kDensify || node.node->inputs->size != 1 ||
        !graph.valid(node.node->inputs->data[0])) {
      return nullptr;
    }
    stored = node.node->inputs->data[0];
    if (graph.producer(stored) >= 0) return nullptr;
    *densify = producer;
  }
  const Tensor &source = graph.tensor(stored), &dense = graph.tensor(tensor);
  if (source.type != type || !well_formed(source, sizeof(T)) ||
      (source.sparsity != nullptr && producer < 0) || elements(dense) != elements(source) ||
      dense.dims->size != source.dims->size ||
      !std::equal(dense.dims->data, dense.dims->data + dense.dims->size, source.dims->data)) {
    return nullptr;
  }
  return &source;
}

// Whether the zero point of a bias is zero: LiteRT refuses others.
bool plain_bias(const Tensor& tensor) {
  if (tensor.params.zero_point != 0) return false;
  if (tensor.quantization.type != tflite::kAffine || tensor.quantization.params == nullptr) {
    return true;
  }
  const auto& affine = *static_cast<const tflite::AffineQuantization*>(tensor.quantization.params);
  const tflite::IntArray* zero = affine.zero_point;
  return zero == nullptr || std::all_of(zero->data, zero->data + std::max(0, zero->size),
                                        [](int point) { return point == 0; });
}

template <typename T>
bool read_bias(const Graph& graph, const tflite::Node& node, tflite::Type type, int n,
               std::vector<T>* bias) {
  bias->assign(n, 0);
  if (node.inputs->size < 3 || node.inputs->data[2] == -1) return true;
  const int index = node.inputs->data[2];
  if (!graph.valid(index) || graph.producer(index) >= 0) return false;
  const Tensor& tensor = graph.tensor(index);
  if (tensor.type != type || tensor.sparsity != nullptr || elements(tensor) != n ||
      !well_formed(tensor, sizeof(T)) || !plain_bias(tensor)) {
    return false;
  }
  const T* data = static_cast<const T*>(tensor.data);
  bias->assign(data, data + n);
  return true;
}

template <typename T>
bool read_quantization(const Graph& graph, const tflite::Node& node, Convolution<T>* conv) {
  if (sizeof(T) != 1) return true;
  int32_t weight_zero = 0;
  const std::vector<float> in = scales(graph.tensor(conv->input), 1, &conv->in_zero);
  const std::vector<float> out = scales(graph.tensor(conv->output), 1, &conv->out_zero);
  const std::vector<float> weight =
      scales(graph.tensor(node.inputs->data[1]), conv->n, &weight_zero);
  if (in.empty() || out.empty() || weight.empty() || weight_zero != 0) return false;
  conv->out_scale = out[0];
  for (float w : weight) {
    conv->scale.push_back(in[0] * w / out[0]);
    if (!usable_scale(conv->scale.back())) return false;
  }
  return true;
}

// Counts the weights; whether no sum leaves int32.
bool count_weights(Convolution<int8_t>* conv) {
  std::vector<int64_t> sums(conv->n);
  const int64_t per_filter = conv->size() / conv->n;
  for_each_nonzero<int8_t>(*conv->weights, [&](int64_t place, int8_t value) {
    ++conv->nonzero;
    sums[place / per_filter] += std::abs(static_cast<int64_t>(value));
  });
  for (int j = 0; j < conv->n; ++j) {
    if (!sum_fits(conv->int_bias[j], sums[j])) return false;
  }
  return true;
}

bool count_weights(Convolution<float>* conv) {
  for_each_nonzero<float>(*conv->weights, [&](int64_t, float) { ++conv->nonzero; });
  return true;
}

void set_outputs(const Convolution<float>& conv, bool of_dictionary, Spec<float>* spec) {
  Quantized<float>& to = spec->values;
  (of_dictionary ? to.s_bias : to.y_bias) = conv.float_bias;
  limits_of(conv.activation, of_dictionary ? &to.s_lowest : &to.y_lowest,
            of_dictionary ? &to.s_highest : &to.y_highest);
}

void set_outputs(const Convolution<int8_t>& conv, bool of_dictionary, Spec<int8_t>* spec) {
  Quantized<int8_t>& to = spec->values;
  float lowest, highest;
  limits_of(conv.activation, &lowest, &highest);
  const int32_t low = quantized_limit(lowest, conv.out_scale, conv.out_zero);
  const int32_t high = quantized_limit(highest, conv.out_scale, conv.out_zero);
  if (of_dictionary) {
    to.x_zero = conv.in_zero;
    to.s_zero = conv.out_zero;
    to.s_scale = conv.scale;
    to.s_bias = conv.int_bias;
    to.s_lowest = low;
    to.s_highest = high;
  } else {
    to.s_zero = conv.in_zero;
    to.y_zero = conv.out_zero;
    to.y_scale = conv.scale;
    to.y_bias = conv.int_bias;
    to.y_lowest = low;
    to.y_highest = high;
  }
}

// The sizes that a CONV_2D's tensors and parameters say; whether they fit each other.
template <typename T>
bool read_sizes(const tflite::ConvParams& params, const Tensor& x, const Tensor& w, const Tensor& y,
                Convolution<T>* conv) {
  if (x.dims->size != 4 || y.dims->size != 4 || w.dims->size != 4) return false;
  conv->batch = x.dims->data[0];
  conv->in_h = x.dims->data[1];
  conv->in_w = x.dims->data[2];
  conv->kh = w.dims->data[1];
  conv->kw = w.dims->data[2];
  conv->out_h = y.dims->data[1];
  conv->out_w = y.dims->data[2];
  conv->stride_h = params.stride_height;
  conv->stride_w = params.stride_width;
  conv->dilation_h = params.dilation_height_factor;
  conv->dilation_w = params.dilation_width_factor;
  conv->activation = params.activation;
  return x.dims->data[3] == conv->m && y.dims->data[0] == conv->batch &&
         y.dims->data[3] == conv->n &&
         padded(params.padding, conv->in_h, conv->kh, conv->stride_h, conv->dilation_h,
                conv->out_h, &conv->pad_top) &&
         padded(params.padding, conv->in_w, conv->kw, conv->stride_w, conv->dilation_w,
                conv->out_w, &conv->pad_left);
}

template <typename T>
bool read_sizes(const tflite::FullyConnectedParams& params, const Tensor& x, const Tensor& w,
                const Tensor& y, Convolution<T>* conv) {
  const int64_t in = elements(x);
  if (w.dims->size != 2 || params.weights_format != 0 || in % conv->m != 0 ||
      elements(y) != in / conv->m * conv->n) {
    return false;
  }
  conv->in_w = conv->out_w = static_cast<int>(in / conv->m);
  conv->activation = params.activation;
  return true;
}

}  // namespace

Graph::Graph(tflite::Context* context) : context_(context) {
  producer_.assign(context->tensors_size, -1);
  writers_.assign(context->tensors_size, 0);
  readers_.assign(context->tensors_size, 0);
  tflite::IntArray* plan = nullptr;
  if (context->get_execution_plan(context, &plan) != tflite::kOk) return;
  // The plan's memory is the runtime's, and changes under later calls.
  const std::vector<int> order(plan->data, plan->data + plan->size);
  for (int index : order) {
    tflite::Node* node = nullptr;
    tflite::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) != tflite::kOk) {
      continue;
    }
    for (int i = 0; i < node->outputs->size; ++i) {
      const int tensor = node->outputs->data[i];
      if (!valid(tensor)) continue;
      producer_[tensor] = static_cast<int>(nodes.size());
      ++writers_[tensor];
    }
    for (int i = 0; i < node->inputs->size; ++i) {
      if (valid(node->inputs->data[i])) ++readers_[node->inputs->data[i]];
    }
    nodes.push_back({index, node, registration->builtin_code});
  }
}

bool computed(const Graph& graph, int tensor, tflite::Type type) {
  if (!graph.valid(tensor) || graph.written_twice(tensor)) return false;
  const Tensor& t = graph.tensor(tensor);
  const size_t size = type == tflite::kInt8 ? 1 : sizeof(float);
  return t.type == type && !constant(t) && t.sparsity == nullptr && t.dims != nullptr &&
         elements(t) > 0 && t.bytes == size * static_cast<size_t>(elements(t));
}

template <typename T>
bool read_convolution(const Graph& graph, int position, Convolution<T>* conv) {
  const tflite::Type type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
  const GraphNode& at = graph.nodes[position];
  const tflite::Node& node = *at.node;
  const bool fully_connected = at.builtin == tflite::kFullyConnected;
  if ((at.builtin != tflite::kConv2D && !fully_connected) || node.builtin_data == nullptr ||
      node.inputs->size < 2 || node.outputs->size != 1 || !graph.valid(node.inputs->data[0]) ||
      !graph.valid(node.inputs->data[1]) || !graph.valid(node.outputs->data[0])) {
    return false;
  }
  conv->position = position;
  conv->input = node.inputs->data[0];
  conv->output = node.outputs->data[0];
  const Tensor &x = graph.tensor(conv->input), &y = graph.tensor(conv->output);
  const Tensor& w = graph.tensor(node.inputs->data[1]);
  if (x.type != type || y.type != type || w.type != type || elements(x) == 0 || elements(y) == 0 ||
      elements(w) == 0 || constant(y) || graph.written_twice(conv->input) ||
      graph.written_twice(conv->output)) {
    return false;
  }
  conv->n = w.dims->data[0];
  conv->m = w.dims->data[w.dims->size - 1];
  const void* params = node.builtin_data;
  float lowest, highest;
  if (!(fully_connected
            ? read_sizes(*static_cast<const tflite::FullyConnectedParams*>(params), x, w, y, conv)
            : read_sizes(*static_cast<const tflite::ConvParams*>(params), x, w, y, conv)) ||
      !limits_of(conv->activation, &lowest, &highest)) {
    return false;
  }
  conv->weights = stored_weights<T>(graph, node.inputs->data[1], position, type, &conv->densify);
  if (conv->weights == nullptr) return false;
  const bool bias = sizeof(T) == 1
                        ? read_bias(graph, node, tflite::kInt32, conv->n, &conv->int_bias)
                        : read_bias(graph, node, tflite::kFloat32, conv->n, &conv->float_bias);
  return bias && read_quantization(graph, node, conv) && count_weights(conv);
}

template <typename T>
bool read_zeros(const Graph& graph, int position, Zeros* zeros) {
  const tflite::Type type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
  const GraphNode& at = graph.nodes[position];
  const tflite::IntArray &from = *at.node->inputs, &to = *at.node->outputs;
  if (at.builtin != tflite::kPad || from.size != 2 || to.size != 1 ||
      !computed(graph, from.data[0], type) || !computed(graph, to.data[0], type) ||
      !graph.valid(from.data[1])) {
    return false;
  }
  const Tensor &x = graph.tensor(from.data[0]), &y = graph.tensor(to.data[0]);
  const Tensor& counts = graph.tensor(from.data[1]);
  if (x.dims->size != 4 || y.dims->size != 4 || counts.type != tflite::kInt32 ||
      counts.sparsity != nullptr || elements(counts) != 8 ||
      !well_formed(counts, sizeof(int32_t))) {
    return false;
  }
  const int32_t* count = static_cast<const int32_t*>(counts.data);  // before and after, by axis
  for (int axis = 0; axis < 4; ++axis) {
    const int64_t before = count[2 * axis], after = count[2 * axis + 1];
    const bool map = axis == 1 || axis == 2;
    if (before < 0 || after < 0 || (!map && before + after > 0) ||
        x.dims->data[axis] + before + after != y.dims->data[axis]) {
      return false;
    }
  }
  if (sizeof(T) == 1) {
    int32_t x_zero, y_zero;
    const std::vector<float> x_scale = scales(x, 1, &x_zero), y_scale = scales(y, 1, &y_zero);
    if (x_scale.empty() || x_scale != y_scale || x_zero != y_zero) return false;
  }
  *zeros = {from.data[0], count[2], count[3], count[4], count[5]};
  return true;
}

template <typename T>
Shape shape_of(const Convolution<T>* dictionary, const Convolution<T>& conv) {
  const Convolution<T>& first = dictionary != nullptr ? *dictionary : conv;
  Shape s;
  s.batch = first.batch;
  s.in_h = first.in_h;
  s.in_w = first.in_w;
  s.m = first.m;
  s.h = conv.in_h;
  s.w = conv.in_w;
  s.k = conv.m;
  s.kh = conv.kh;
  s.kw = conv.kw;
  s.stride_h = conv.stride_h;
  s.stride_w = conv.stride_w;
  s.dilation_h = conv.dilation_h;
  s.dilation_w = conv.dilation_w;
  s.pad_top = conv.pad_top;
  s.pad_left = conv.pad_left;
  s.out_h = conv.out_h;
  s.out_w = conv.out_w;
  s.n = conv.n;
  if (dictionary != nullptr) {
    s.dictionary_stride_h = dictionary->stride_h;
    s.dictionary_stride_w = dictionary->stride_w;
  }
  return s;
}

template <typename T>
Spec<T> spec_of(const Convolution<T>* dictionary, const Convolution<T>& conv) {
  Spec<T> spec;
  const Shape s = spec.shape = shape_of(dictionary, conv);
  if (dictionary != nullptr) {
    spec.dictionary.resize(static_cast<size_t>(s.k) * s.m);
    for_each_nonzero<T>(*dictionary->weights,
                        [&](int64_t place, T value) { spec.dictionary[place] = value; });
    set_outputs(*dictionary, true, &spec);
  } else if constexpr (sizeof(T) == 1) {
    spec.values.x_zero = conv.in_zero;
  }
  set_outputs(conv, false, &spec);
  spec.coefficients.reserve(conv.nonzero);
  for_each_nonzero<T>(*conv.weights, [&](int64_t place, T value) {
    const int i = static_cast<int>(place % s.k), c = static_cast<int>(place / s.k % s.kw);
    const int r = static_cast<int>(place / s.k / s.kw % s.kh);
    spec.coefficients.push_back({static_cast<int>(place / s.k / s.kw / s.kh), r, c, i, value});
  });
  return spec;
}

template <typename T>
Spec<T> pointwise_spec_of(const Convolution<T>& conv) {
  Spec<T> spec;
  Shape& s = spec.shape;
  s.batch = conv.batch;
  s.in_h = conv.in_h;
  s.in_w = conv.in_w;
  s.m = conv.m;
  s.dictionary_stride_h = conv.stride_h;
  s.dictionary_stride_w = conv.stride_w;
  s.h = conv.out_h;
  s.w = conv.out_w;
  s.k = conv.n;
  spec.dictionary.resize(static_cast<size_t>(s.k) * s.m);
  for_each_nonzero<T>(*conv.weights,
                      [&](int64_t place, T value) { spec.dictionary[place] = value; });
  set_outputs(conv, true, &spec);
  return spec;
}

template bool read_convolution(const Graph&, int, Convolution<int8_t>*);
template bool read_convolution(const Graph&, int, Convolution<float>*);
template bool read_zeros<int8_t>(const Graph&, int, Zeros*);
template bool read_zeros<float>(const Graph&, int, Zeros*);
template Shape shape_of(const Convolution<int8_t>*, const Convolution<int8_t>&);
template Shape shape_of(const Convolution<float>*, const Convolution<float>&);
template Spec<int8_t> spec_of(const Convolution<int8_t>*, const Convolution<int8_t>&);
template Spec<float> spec_of(const Convolution<float>*, const Convolution<float>&);
template Spec<int8_t> pointwise_spec_of(const Convolution<int8_t>&);
template Spec<float> pointwise_spec_of(const Convolution<float>&);

}  // namespace lcnn
