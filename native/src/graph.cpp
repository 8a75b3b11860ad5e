#include "graph.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lcnn {
namespace {

using tflite::Builtin;
using tflite::Tensor;

// More than any layer has that is worth it; beyond, a file is broken or hostile. They also keep
// what the layers count in int below its end, and what they allocate in proportion to the file.
constexpr int64_t kMostElements = int64_t{1} << 27;
constexpr int64_t kMostStrip = int64_t{1} << 25;  // of S, held at once
constexpr int64_t kMostEmpty = int64_t{1} << 20;  // kernel positions that few weights may cover
constexpr int kMostReach = 1 << 9;

bool constant(const Tensor& tensor) {
  return tensor.data != nullptr && (tensor.allocation_type == tflite::kMmapRo ||
                                    tensor.allocation_type == tflite::kPersistentRo);
}

// The number of elements of a tensor of plausible shape; 0 for others.
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

struct GraphNode {
  int index;
  const tflite::Node* node;
  int builtin;
};

class Graph {
 public:
  explicit Graph(tflite::Context* context) : context_(context) {
    producer_.assign(context->tensors_size, -1);
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
        if (valid(node->outputs->data[i])) {
          producer_[node->outputs->data[i]] = static_cast<int>(nodes.size());
        }
      }
      for (int i = 0; i < node->inputs->size; ++i) {
        if (valid(node->inputs->data[i])) ++readers_[node->inputs->data[i]];
      }
      nodes.push_back({index, node, registration->builtin_code});
    }
  }

  bool valid(int tensor) const {
    return tensor >= 0 && static_cast<size_t>(tensor) < context_->tensors_size;
  }
  const Tensor& tensor(int index) const { return context_->tensors[index]; }
  // Position in `nodes` of the node that writes a tensor, or -1.
  int producer(int tensor) const { return producer_[tensor]; }
  int readers(int tensor) const { return readers_[tensor]; }

  std::vector<GraphNode> nodes;

 private:
  tflite::Context* context_;
  std::vector<int> producer_, readers_;
};

// Values of a constant that may be stored sparse, each with its place in the dense tensor.
template <typename T>
struct Values {
  std::vector<std::pair<int64_t, T>> nonzero;
  int64_t size = 0;
};

bool identity(const tflite::IntArray* order, int rank) {
  if (order == nullptr || order->size != rank) return false;
  for (int i = 0; i < rank; ++i) {
    if (order->data[i] != i) return false;
  }
  return true;
}

// Reads sparse storage level by level (schema.fbs, SparsityParameters): each level turns the
// positions of the one above into positions of its own. False if the metadata contradict
// themselves, the tensor's shape, or the size of its data.
template <typename T>
bool read_sparse(const Tensor& tensor, Values<T>* values) {
  const tflite::Sparsity& sparsity = *tensor.sparsity;
  const int rank = tensor.dims->size;
  if (sparsity.dimensions == nullptr || sparsity.dimensions_size != rank ||
      !identity(sparsity.traversal_order, rank) ||
      (sparsity.block_map != nullptr && sparsity.block_map->size != 0)) {
    return false;
  }
  std::vector<int64_t> place = {0};  // in the dense tensor, by position
  for (int d = 0; d < rank; ++d) {
    const tflite::DimensionMetadata& level = sparsity.dimensions[d];
    const int size = tensor.dims->data[d];
    std::vector<int64_t> next;
    if (level.format == tflite::kDense) {
      if (level.dense_size != size) return false;
      // What the file has for these positions bounds the memory that they take here.
      int64_t wanted = static_cast<int64_t>(place.size()) * size;
      int last = d + 1;
      for (; last < rank && sparsity.dimensions[last].format == tflite::kDense; ++last) {
        wanted *= tensor.dims->data[last];
        if (wanted > kMostElements) return false;
      }
      const tflite::IntArray* segments = last < rank ? sparsity.dimensions[last].segments : nullptr;
      const int64_t held = last == rank          ? static_cast<int64_t>(tensor.bytes / sizeof(T))
                           : segments != nullptr ? segments->size - int64_t{1}
                                                 : 0;
      if (wanted > held) return false;
      next.reserve(place.size() * size);
      for (int64_t p : place) {
        for (int i = 0; i < size; ++i) next.push_back(p * size + i);
      }
    } else if (level.format == tflite::kSparseCsr) {
      const tflite::IntArray *segments = level.segments, *indices = level.indices;
      if (segments == nullptr || indices == nullptr || indices->size < 0 ||
          segments->size != static_cast<int64_t>(place.size()) + 1 || segments->data[0] != 0) {
        return false;
      }
      for (size_t p = 0; p < place.size(); ++p) {
        const int first = segments->data[p], last = segments->data[p + 1];
        if (last < first || last > indices->size) return false;
        for (int i = first; i < last; ++i) {
          const int index = indices->data[i];
          if (index < 0 || index >= size || (i > first && index <= indices->data[i - 1])) {
            return false;
          }
          next.push_back(place[p] * size + index);
        }
      }
    } else {
      return false;
    }
    if (static_cast<int64_t>(next.size()) > kMostElements) return false;
    place = std::move(next);
  }
  if (tensor.bytes / sizeof(T) < place.size()) return false;
  const T* data = static_cast<const T*>(tensor.data);
  for (size_t p = 0; p < place.size(); ++p) {
    if (data[p] != 0) values->nonzero.emplace_back(place[p], data[p]);
  }
  return true;
}

// The weights of a node, a constant or a DENSIFY of one.
template <typename T>
bool read_weights(const Graph& graph, int tensor, tflite::Type type, Values<T>* values) {
  const int producer = graph.producer(tensor);
  int stored = tensor;
  if (producer >= 0) {
    const GraphNode& node = graph.nodes[producer];
    if (node.builtin != Builtin::kDensify || node.node->inputs->size != 1 ||
        !graph.valid(node.node->inputs->data[0])) {
      return false;
    }
    stored = node.node->inputs->data[0];
  }
  const Tensor& source = graph.tensor(stored);
  values->size = elements(source);
  if (source.type != type || !constant(source) || values->size == 0 ||
      elements(graph.tensor(tensor)) != values->size) {
    return false;
  }
  for (int i = 0; i < source.dims->size; ++i) {
    if (source.dims->size != graph.tensor(tensor).dims->size ||
        source.dims->data[i] != graph.tensor(tensor).dims->data[i]) {
      return false;
    }
  }
  if (source.sparsity != nullptr) return producer >= 0 && read_sparse(source, values);
  if (source.bytes / sizeof(T) < static_cast<size_t>(values->size)) return false;
  const T* data = static_cast<const T*>(source.data);
  for (int64_t i = 0; i < values->size; ++i) {
    if (data[i] != 0) values->nonzero.emplace_back(i, data[i]);
  }
  return true;
}

template <typename T>
bool read_bias(const Graph& graph, const tflite::Node& node, tflite::Type type, int n,
               std::vector<T>* bias) {
  bias->assign(n, 0);
  if (node.inputs->size < 3 || node.inputs->data[2] == -1) return true;
  if (!graph.valid(node.inputs->data[2])) return false;
  const Tensor& tensor = graph.tensor(node.inputs->data[2]);
  if (tensor.type != type || !constant(tensor) || elements(tensor) != n ||
      tensor.bytes / sizeof(T) < static_cast<size_t>(n) || tensor.sparsity != nullptr) {
    return false;
  }
  const T* data = static_cast<const T*>(tensor.data);
  bias->assign(data, data + n);
  return true;
}

// Scales of a tensor: one, or one per index of its first dimension; empty if it has none.
std::vector<float> scales(const Tensor& tensor, int channels, int32_t* zero_point) {
  if (tensor.quantization.type != tflite::kAffine || tensor.quantization.params == nullptr) {
    return {};
  }
  const auto& affine = *static_cast<const tflite::AffineQuantization*>(tensor.quantization.params);
  if (affine.scale == nullptr || affine.zero_point == nullptr || affine.scale->size < 1) return {};
  const int size = affine.scale->size;
  if (affine.zero_point->size != size && affine.zero_point->size != 1) return {};
  if (size != 1 && (size != channels || affine.quantized_dimension != 0)) return {};
  std::vector<float> found(channels);
  for (int i = 0; i < channels; ++i) {
    found[i] = affine.scale->data[size == 1 ? 0 : i];
    if (!(found[i] > 0) || !std::isfinite(found[i])) return {};
  }
  *zero_point = affine.zero_point->data[0];
  for (int i = 1; i < affine.zero_point->size; ++i) {
    if (affine.zero_point->data[i] != *zero_point) return {};
  }
  return *zero_point < -128 || *zero_point > 127 ? std::vector<float>() : found;
}

bool limits_of(tflite::Activation activation, float* lowest, float* highest) {
  *lowest = -std::numeric_limits<float>::infinity();
  *highest = std::numeric_limits<float>::infinity();
  switch (activation) {
    case tflite::kNone: return true;
    case tflite::kRelu: *lowest = 0; return true;
    case tflite::kReluN1To1: *lowest = -1; *highest = 1; return true;
    case tflite::kRelu6: *lowest = 0; *highest = 6; return true;
    default: return false;
  }
}

int32_t quantized_limit(float limit, float scale, int32_t zero_point) {
  const float x = std::nearbyintf(limit / scale) + static_cast<float>(zero_point);
  return static_cast<int32_t>(std::min(127.0f, std::max(-128.0f, x)));
}

// One node as a convolution: a fully connected one is 1x1 over its rows.
template <typename T>
struct Convolution {
  int position = -1;
  int input = -1, output = -1;
  int batch = 1, in_h = 1, in_w = 1, m = 1, kh = 1, kw = 1, out_h = 1, out_w = 1, n = 1;
  int stride_h = 1, stride_w = 1, dilation_h = 1, dilation_w = 1, pad_top = 0, pad_left = 0;
  tflite::Activation activation = tflite::kNone;
  Values<T> weights;  // n x kh x kw x m
  std::vector<float> float_bias;
  std::vector<int32_t> int_bias;
  std::vector<float> scale;  // input * weight / output
  int32_t in_zero = 0, out_zero = 0;
  float out_scale = 0;
};

bool padded(tflite::Padding padding, int in, int kernel, int stride, int dilation, int out,
            int* before) {
  const int64_t reach = static_cast<int64_t>(kernel - 1) * dilation + 1;
  if (stride < 1 || dilation < 1 || stride > kMostReach || dilation > kMostReach ||
      reach > kMostReach) {
    return false;
  }
  if (padding == tflite::kSame) {
    if (out != (in + stride - 1) / stride) return false;
    *before = static_cast<int>(std::max<int64_t>(0, (out - 1LL) * stride + reach - in) / 2);
    return true;
  }
  *before = 0;
  return padding == tflite::kValid && reach <= in && out == (in - reach) / stride + 1;
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
    if (!std::isfinite(conv->scale.back())) return false;
  }
  return true;
}

// Whether no sum leaves int32, with zero points and the offset of unsigned activations in its bias.
bool sums_fit(const Convolution<int8_t>& conv) {
  std::vector<int64_t> sums(conv.int_bias.begin(), conv.int_bias.end());
  for (int64_t& sum : sums) sum = std::abs(sum);
  const int64_t per_filter = conv.weights.size / conv.n;
  for (const auto& [place, value] : conv.weights.nonzero) {
    sums[place / per_filter] += 512 * std::abs(static_cast<int64_t>(value));
  }
  return std::all_of(sums.begin(), sums.end(),
                     [](int64_t sum) { return sum <= std::numeric_limits<int32_t>::max(); });
}

bool sums_fit(const Convolution<float>&) { return true; }

// Whether S of one image and its padding, and the weights once they are packed, are of sizes that
// can be meant.
template <typename T>
bool plausible(const Convolution<T>& conv) {
  // Kernels take filters, and channels of a dictionary, in groups.
  const int64_t positions = (conv.n + int64_t{63}) / 64 * 64 * conv.kh * conv.kw;
  const int64_t nonzero = static_cast<int64_t>(conv.weights.nonzero.size());
  if (positions * ((conv.m + int64_t{3}) / 4 * 4) > 4 * kMostElements ||
      (positions > kMostEmpty && nonzero * 64 < positions)) {
    return false;
  }
  const int64_t columns = std::max<int64_t>(
      static_cast<int64_t>(conv.pad_left) + conv.in_w,
      static_cast<int64_t>(conv.out_w) * conv.stride_w + conv.kw * conv.dilation_w);
  const int64_t rows = static_cast<int64_t>(conv.kh) * conv.dilation_h + conv.stride_h;
  return columns * rows * conv.m <= kMostStrip;
}

template <typename T>
bool read_convolution(const Graph& graph, int position, Convolution<T>* conv) {
  const tflite::Type type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
  const GraphNode& at = graph.nodes[position];
  const tflite::Node& node = *at.node;
  if ((at.builtin != Builtin::kConv2D && at.builtin != Builtin::kFullyConnected) ||
      node.builtin_data == nullptr || node.inputs->size < 2 || node.outputs->size != 1 ||
      !graph.valid(node.inputs->data[0]) || !graph.valid(node.inputs->data[1]) ||
      !graph.valid(node.outputs->data[0])) {
    return false;
  }
  conv->position = position;
  conv->input = node.inputs->data[0];
  conv->output = node.outputs->data[0];
  const Tensor &x = graph.tensor(conv->input), &y = graph.tensor(conv->output);
  const Tensor& w = graph.tensor(node.inputs->data[1]);
  const int64_t in = elements(x), out = elements(y), weights = elements(w);
  if (x.type != type || y.type != type || w.type != type || in == 0 || out == 0 || weights == 0 ||
      constant(y)) {
    return false;
  }
  const int* shape = w.dims->data;
  conv->n = shape[0];
  conv->m = shape[w.dims->size - 1];
  if (at.builtin == Builtin::kConv2D) {
    const auto& params = *static_cast<const tflite::ConvParams*>(node.builtin_data);
    if (x.dims->size != 4 || y.dims->size != 4 || w.dims->size != 4) return false;
    conv->batch = x.dims->data[0];
    conv->in_h = x.dims->data[1];
    conv->in_w = x.dims->data[2];
    conv->kh = shape[1];
    conv->kw = shape[2];
    conv->out_h = y.dims->data[1];
    conv->out_w = y.dims->data[2];
    conv->stride_h = params.stride_height;
    conv->stride_w = params.stride_width;
    conv->dilation_h = params.dilation_height_factor;
    conv->dilation_w = params.dilation_width_factor;
    conv->activation = params.activation;
    if (x.dims->data[3] != conv->m || y.dims->data[0] != conv->batch ||
        y.dims->data[3] != conv->n ||
        !padded(params.padding, conv->in_h, conv->kh, conv->stride_h, conv->dilation_h,
                conv->out_h, &conv->pad_top) ||
        !padded(params.padding, conv->in_w, conv->kw, conv->stride_w, conv->dilation_w,
                conv->out_w, &conv->pad_left)) {
      return false;
    }
  } else {
    const auto& params = *static_cast<const tflite::FullyConnectedParams*>(node.builtin_data);
    if (w.dims->size != 2 || params.weights_format != 0 || in % conv->m != 0 ||
        out != in / conv->m * conv->n) {
      return false;
    }
    conv->in_w = conv->out_w = static_cast<int>(in / conv->m);
    conv->activation = params.activation;
  }
  float lowest, highest;
  if (!limits_of(conv->activation, &lowest, &highest)) return false;
  const bool bias = sizeof(T) == 1
                        ? read_bias(graph, node, tflite::kInt32, conv->n, &conv->int_bias)
                        : read_bias(graph, node, tflite::kFloat32, conv->n, &conv->float_bias);
  return bias && read_quantization(graph, node, conv) &&
         read_weights(graph, node.inputs->data[1], type, &conv->weights) && plausible(*conv) &&
         sums_fit(*conv);
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

// The layer of a convolution, with the one before it as its dictionary stage if there is one.
template <typename T>
Spec<T> spec_of(const Convolution<T>* dictionary, const Convolution<T>& conv) {
  Spec<T> spec;
  const Convolution<T>& first = dictionary != nullptr ? *dictionary : conv;
  Shape& s = spec.shape;
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
    spec.dictionary.resize(static_cast<size_t>(s.k) * s.m);
    for (const auto& [place, value] : dictionary->weights.nonzero) spec.dictionary[place] = value;
    set_outputs(*dictionary, true, &spec);
  } else if constexpr (sizeof(T) == 1) {
    spec.values.x_zero = conv.in_zero;
  }
  set_outputs(conv, false, &spec);
  spec.coefficients.reserve(conv.weights.nonzero.size());
  for (const auto& [place, value] : conv.weights.nonzero) {
    const int i = static_cast<int>(place % s.k), c = static_cast<int>(place / s.k % s.kw);
    const int r = static_cast<int>(place / s.k / s.kw % s.kh);
    spec.coefficients.push_back({static_cast<int>(place / s.k / s.kw / s.kh), r, c, i, value});
  }
  return spec;
}

// Whether a layer's input has the pixels and channels that the one before it writes: a fully
// connected one may read them as rows of another length.
template <typename T>
bool follows(const Convolution<T>& conv, const Convolution<T>& before) {
  return conv.batch == before.batch && conv.in_h == before.out_h && conv.in_w == before.out_w &&
         conv.m == before.n;
}

template <typename T>
void find(const Graph& graph, std::vector<Match>* matches) {
  for (size_t position = 0; position < graph.nodes.size(); ++position) {
    Convolution<T> conv, dictionary;
    if (!read_convolution(graph, static_cast<int>(position), &conv)) continue;
    const int before = graph.producer(conv.input);
    const bool pair = before >= 0 && graph.readers(conv.input) == 1 &&
                      graph.nodes[before].builtin == graph.nodes[position].builtin &&
                      read_convolution(graph, before, &dictionary) && dictionary.kh == 1 &&
                      dictionary.kw == 1 && follows(conv, dictionary);
    // A convolution of its own pays only where most weights are zero.
    const int64_t nonzero = static_cast<int64_t>(conv.weights.nonzero.size());
    if (!pair && nonzero * 2 > conv.weights.size) continue;
    Match match;
    match.int8 = sizeof(T) == 1;
    match.input = pair ? dictionary.input : conv.input;
    match.output = conv.output;
    if (const char* name = graph.tensor(conv.output).name) match.name = name;
    for (const Convolution<T>* part : {&dictionary, &conv}) {
      if (part == &dictionary && !pair) continue;
      match.nodes.push_back(graph.nodes[part->position].index);
      const int weights = graph.nodes[part->position].node->inputs->data[1];
      const int producer = graph.producer(weights);
      if (producer >= 0 && graph.readers(weights) == 1) {
        match.densify.push_back(graph.nodes[producer].index);
      }
    }
    if constexpr (sizeof(T) == 1) {
      match.s8 = spec_of(pair ? &dictionary : nullptr, conv);
    } else {
      match.f32 = spec_of(pair ? &dictionary : nullptr, conv);
    }
    matches->push_back(std::move(match));
  }
}

}  // namespace

std::string check_runtime(tflite::Context* context) {
  if (context == nullptr || context->get_execution_plan == nullptr ||
      context->get_node_and_registration == nullptr || context->report_error == nullptr ||
      context->replace_node_subsets_with_delegate_kernels == nullptr ||
      context->preview_delegate_partitioning == nullptr) {
    return "its context lacks functions";
  }
  if (context->tensors_size > (size_t{1} << 24) ||
      (context->tensors_size > 0 && context->tensors == nullptr)) {
    return "its context has no plausible tensors";
  }
  for (size_t i = 0; i < context->tensors_size; ++i) {
    const Tensor& tensor = context->tensors[i];
    if (tensor.type < 0 || tensor.type > tflite::kLastType || tensor.allocation_type < 0 ||
        tensor.allocation_type > tflite::kLastAllocation) {
      return "tensor " + std::to_string(i) + " has no plausible type";
    }
    const int64_t count = elements(tensor);
    if (tensor.type == tflite::kFloat32 && constant(tensor) && tensor.sparsity == nullptr &&
        count > 0 && tensor.bytes != static_cast<size_t>(count) * 4) {
      return "tensor " + std::to_string(i) + " has another size than its shape";
    }
  }
  tflite::IntArray* plan = nullptr;
  if (context->get_execution_plan(context, &plan) != tflite::kOk || plan == nullptr ||
      plan->size < 0 || plan->size > (1 << 24)) {
    return "it has no plausible execution plan";
  }
  const std::vector<int> order(plan->data, plan->data + plan->size);
  for (int index : order) {
    tflite::Node* node = nullptr;
    tflite::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) != tflite::kOk ||
        node == nullptr || registration == nullptr || node->inputs == nullptr ||
        node->outputs == nullptr || node->inputs->size < 0 || node->outputs->size < 0) {
      return "node " + std::to_string(index) + " has no plausible inputs and outputs";
    }
    for (const tflite::IntArray* list : {node->inputs, node->outputs}) {
      for (int i = 0; i < list->size; ++i) {
        if (list->data[i] < -1 ||
            (list->data[i] >= 0 && static_cast<size_t>(list->data[i]) >= context->tensors_size)) {
          return "node " + std::to_string(index) + " has no plausible inputs and outputs";
        }
      }
    }
  }
  return "";
}

std::vector<Match> find_layers(tflite::Context* context) {
  const Graph graph(context);
  std::vector<Match> matches;
  find<int8_t>(graph, &matches);
  find<float>(graph, &matches);
  return matches;
}

}  // namespace lcnn
