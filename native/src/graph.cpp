#include "graph.h"

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

namespace lcnn {
namespace {

// Whether a layer's input has the pixels and channels that the one before it writes: a fully
// connected one may read them as rows of another length.
template <typename T>
bool follows(const Convolution<T>& conv, const Convolution<T>& before) {
  return conv.batch == before.batch && conv.in_h == before.out_h && conv.in_w == before.out_w &&
         conv.m == before.n;
}

// The convolution that makes a layer's S, if a lookup layer begins there; null if none does.
template <typename T>
std::unique_ptr<Convolution<T>> dictionary_of(const Graph& graph, const Convolution<T>& conv) {
  const int before = graph.producer(conv.input);
  if (before < 0 || before >= conv.position || graph.readers(conv.input) != 1 ||
      graph.nodes[before].builtin != graph.nodes[conv.position].builtin) {
    return nullptr;
  }
  auto dictionary = std::make_unique<Convolution<T>>();
  if (!read_convolution(graph, before, dictionary.get()) || dictionary->kh != 1 ||
      dictionary->kw != 1 || !follows(conv, *dictionary)) {
    return nullptr;
  }
  return dictionary;
}

// Whether the dictionary stage makes zeros of zeros: all activations keep them.
template <typename T>
bool keeps_zeros(const Convolution<T>& dictionary) {
  const auto none = [](const auto& bias) {
    return std::all_of(bias.begin(), bias.end(), [](auto x) { return x == 0; });
  };
  return none(dictionary.int_bias) && none(dictionary.float_bias);
}

// Takes the zeros that a PAD puts around the layer's input, if one does, as the layer's own padding,
// and reads what the PAD reads. The position of the PAD, or -1.
template <typename T>
int take_zeros(const Graph& graph, Stages<T>* stages) {
  Convolution<T> *dictionary = stages->dictionary.get(), &lookup = stages->lookup;
  Convolution<T>& first = dictionary != nullptr ? *dictionary : lookup;
  const int before = graph.producer(first.input);
  Zeros zeros;
  if (before < 0 || before >= first.position || graph.readers(first.input) != 1 ||
      !read_zeros<T>(graph, before, &zeros)) {
    return -1;
  }
  if (dictionary != nullptr &&
      (dictionary->stride_h != 1 || dictionary->stride_w != 1 || !keeps_zeros(*dictionary))) {
    return -1;
  }
  const auto move = [&](int sign) {
    const int rows = sign * (zeros.top + zeros.bottom), columns = sign * (zeros.left + zeros.right);
    if (dictionary != nullptr) {
      dictionary->in_h -= rows;
      dictionary->in_w -= columns;
    }
    lookup.in_h -= rows;
    lookup.in_w -= columns;
    lookup.pad_top += sign * zeros.top;
    lookup.pad_left += sign * zeros.left;
  };
  move(1);
  if (!plausible(shape_of(dictionary, lookup), dictionary != nullptr)) {
    move(-1);
    return -1;
  }
  first.input = zeros.input;
  return before;
}

// False where no layer ends with the node at `position`.
template <typename T>
bool match(const Graph& graph, int position, Match* match) {
  Stages<T> stages;
  Convolution<T>& conv = stages.lookup;
  if (!read_convolution(graph, position, &conv)) return false;
  stages.dictionary = dictionary_of(graph, conv);
  const int pad = take_zeros(graph, &stages);
  match->shape = shape_of(stages.dictionary.get(), conv);
  const bool pair = stages.dictionary != nullptr;
  // A convolution of its own pays only where most weights are zero.
  if ((!pair && conv.nonzero * 2 > conv.size()) || !plausible(match->shape, pair) ||
      !worthwhile(match->shape, conv.nonzero)) {
    return false;
  }
  match->input = pair ? stages.dictionary->input : conv.input;
  match->output = conv.output;
  match->lookups = static_cast<size_t>(conv.nonzero);
  if (const char* name = graph.tensor(conv.output).name) match->name = name;
  match->pads = pad >= 0;
  if (match->pads) match->nodes.push_back(graph.nodes[pad].index);
  const Convolution<T>* const both[] = {stages.dictionary.get(), &conv};
  for (const Convolution<T>* stage : both) {
    if (stage == nullptr) continue;
    const GraphNode& node = graph.nodes[stage->position];
    match->nodes.push_back(node.index);
    if (stage->densify >= 0 && graph.readers(node.node->inputs->data[1]) == 1) {
      match->densify.push_back(graph.nodes[stage->densify].index);
    }
  }
  match->stages = std::move(stages);
  return true;
}

}  // namespace

bool finite_constants(const tflite::Context& context) {
  for (size_t i = 0; i < context.tensors_size; ++i) {
    const tflite::Tensor& tensor = context.tensors[i];
    if (tensor.type != tflite::kFloat32 || !constant(tensor)) continue;
    const char* data = static_cast<const char*>(tensor.data);
    const size_t count = tensor.bytes / sizeof(float);
    bool finite = true;
    for (size_t j = 0; j < count; ++j) {
      uint32_t bits;
      std::memcpy(&bits, data + j * sizeof(float), sizeof(bits));
      finite &= (bits & 0x7f800000u) != 0x7f800000u;
    }
    if (!finite) return false;
  }
  return true;
}

std::vector<Match> find_layers(tflite::Context* context, bool finite) {
  const Graph graph(context);
  std::vector<Match> matches;
  for (size_t i = 0; i < graph.nodes.size(); ++i) {
    try {
      const int position = static_cast<int>(i);
      Match found;
      if (match<int8_t>(graph, position, &found) ||
          (finite && match<float>(graph, position, &found))) {
        matches.push_back(std::move(found));
      }
    } catch (const std::bad_alloc&) {
      continue;
    }
  }
  return matches;
}

}  // namespace lcnn
