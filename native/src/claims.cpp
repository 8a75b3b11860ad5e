#include "claims.h"

#include <algorithm>
#include <cstdio>
#include <new>
#include <set>
#include <utility>

#include "graph.h"
#include "neighbors.h"
#include "rates.h"

namespace lcnn {
namespace {

// Tensors between the layers of a node may take this many bytes. LiteRT lets such tensors share
// memory; this does not, and a model that needs more is broken or hostile.
constexpr size_t kMostInner = size_t{1} << 30;

// What a call of one of the runtime's own operators costs beside its multiplications, in seconds.
constexpr double kStockCall = 2e-6;

// More coefficients than this, of which most are not zero, are a dense layer's: no form of lookups
// gains anything there, and finding that out would take several times their memory.
constexpr size_t kMostDense = size_t{1} << 16;

constexpr const char* kNoMemory = "there is no memory for it";

double up_to(int size, int group) { return (size + group - 1) / group * group; }

// What the runtime's own operators would take. Theirs work in whole groups of channels in int8, and
// fetch each kernel position by a pointer, which takes as long as a channel in float32: much of the
// time of a convolution with three.
double stock_seconds(const Match& match, const Kernels& kernels) {
  const Shape& s = match.shape;
  const Rates rates = measured_rates(kernels, match.int8());
  const int channels = dense_channels(match.int8()), filters = 16;
  const double per_tap = match.int8() ? up_to(s.k, channels) : s.k + 1.0;
  double work = static_cast<double>(s.batch) * s.out_h * s.out_w * s.kh * s.kw * per_tap *
                up_to(s.n, filters);
  double seconds = kStockCall;
  if (match.has_dictionary()) {
    work += static_cast<double>(s.batch) * s.h * s.w * up_to(s.m, channels) * up_to(s.k, filters);
    seconds += kStockCall;
  }
  return seconds + work * rates.dense;
}

// What could be claimed, and what is told of it.
struct Candidate {
  std::shared_ptr<Claim> claim;  // null where it is left
  std::string description, verdict;
  bool neighbor = false;  // whether it is none of the layers, but lies between them
};

std::string description(const Match& match) {
  const Shape& s = match.shape;
  char text[512];
  std::snprintf(text, sizeof(text), "%.200s: %s %dx%d, k=%d, %zu lookups, %d filters, %dx%d map%s",
                match.name, match.int8() ? "int8" : "float32", s.kh, s.kw, s.k, match.lookups, s.n,
                s.out_h, s.out_w, match.pads ? ", with its PAD" : "");
  return text;
}

std::string prediction(const char* kernel, double seconds, double stock) {
  char text[128];
  std::snprintf(text, sizeof(text), "%s, predicted %.1f us against %.1f us", kernel, 1e6 * seconds,
                1e6 * stock);
  return text;
}

TensorShape shape_of(const tflite::Tensor& tensor) {
  return {{tensor.dims->data, tensor.dims->data + tensor.dims->size}, tensor.bytes};
}

std::shared_ptr<Claim> claim_of(const char* name, std::vector<int> nodes, std::vector<int> inputs,
                                int output, std::unique_ptr<Operation> operation,
                                const tflite::Context& context) {
  auto claim = std::make_shared<Claim>();
  claim->name = name;
  claim->nodes = std::move(nodes);
  claim->inputs = std::move(inputs);
  claim->output = output;
  for (int input : claim->inputs) claim->input_shapes.push_back(shape_of(context.tensors[input]));
  claim->output_shape = shape_of(context.tensors[output]);
  claim->operation = std::move(operation);
  return claim;
}

// Whether a match has the tensors that its sizes ask for.
bool has_room(const Match& match, const tflite::Context& context) {
  const Shape& s = match.shape;
  const size_t size = match.int8() ? 1 : sizeof(float), batch = static_cast<size_t>(s.batch);
  return context.tensors[match.input].bytes == size * batch * s.in_h * s.in_w * s.m &&
         context.tensors[match.output].bytes == size * batch * s.out_h * s.out_w * s.n;
}

// The runtime's threads; one where it was told of none.
double threads_of(const tflite::Context& context) {
  return std::max(1, context.recommended_num_threads);
}

Candidate choose(const Match& match, const tflite::Context& context, const Options& options,
                 int threads) {
  Candidate candidate{nullptr, description(match), kNoMemory};
  const Kernels& kernels = *options.kernels;
  const Shape& s = match.shape;
  if (!options.force && match.lookups > kMostDense &&
      match.lookups * 2 > static_cast<size_t>(s.n) * s.kh * s.kw * s.k) {
    candidate.verdict = "its weights are dense";
    return candidate;
  }
  const double stock = stock_seconds(match, kernels) / threads_of(context);
  const double least = least_seconds(match.shape, match.has_dictionary(), match.lookups, kernels,
                                     match.int8()) / threads;
  if (!options.force && stock < options.min_speedup * least) {
    candidate.verdict = prediction("any kernel", least, stock);
    return candidate;
  }
  try {
    std::unique_ptr<Layer> layer = std::visit(
        [&](const auto& stages) { return make_layer(stages.spec(), kernels); }, match.stages);
    const double seconds = layer->seconds / threads;
    candidate.verdict = prediction(layer->kernel.c_str(), seconds, stock);
    if (!options.force && stock < options.min_speedup * seconds) return candidate;
    layer->prepare(threads);
    candidate.claim = claim_of(match.name, match.nodes, {match.input}, match.output,
                               std::move(layer), context);
    candidate.claim->densify = match.densify;
  } catch (const std::bad_alloc&) {
    candidate.verdict = kNoMemory;
  }
  return candidate;
}

// A 1x1 convolution that takes longer here than in the runtime, or that there is no memory for, is
// left to it. The others take no longer than the runtime's.
Candidate choose(const Neighbor& neighbor, const tflite::Context& context, const Options& options,
                 int threads) {
  const std::string description =
      std::string(neighbor.name) + ": " + (neighbor.int8 ? "int8 " : "float32 ") + neighbor.what;
  Candidate candidate{nullptr, description, "", true};
  const Kernels& kernels = *options.kernels;
  try {
    std::unique_ptr<Operation> operation = neighbor.make(kernels);
    candidate.verdict = operation->kernel;
    const Rates rates = measured_rates(kernels, neighbor.int8);
    const double stock = kStockCall + neighbor.multiplications * rates.dense / threads_of(context);
    if (!options.force && operation->seconds / threads > stock) return candidate;
    operation->prepare(threads);
    candidate.claim = claim_of(neighbor.name, {neighbor.node}, neighbor.inputs, neighbor.output,
                               std::move(operation), context);
  } catch (const std::bad_alloc&) {
    // Nothing is told of a neighbor that is left.
  }
  return candidate;
}

// Whether the delegate writes one of a neighbor's inputs, and reads its output.
bool lies_between(const Neighbor& neighbor, const std::set<int>& written,
                  const std::set<int>& read) {
  return read.count(neighbor.output) > 0 &&
         std::any_of(neighbor.inputs.begin(), neighbor.inputs.end(),
                     [&](int tensor) { return written.count(tensor) > 0; });
}

// The neighbors between claimed layers, or between such neighbors. No graph has a cycle: going on
// to neighbors of neighbors ends at layers on both sides.
std::vector<Neighbor> between(const std::vector<Candidate>& layers,
                              std::vector<Neighbor> neighbors) {
  for (;;) {
    std::set<int> written, read;
    for (const Candidate& layer : layers) {
      if (layer.claim == nullptr) continue;
      written.insert(layer.claim->output);
      read.insert(layer.claim->inputs.begin(), layer.claim->inputs.end());
    }
    for (const Neighbor& neighbor : neighbors) {
      written.insert(neighbor.output);
      read.insert(neighbor.inputs.begin(), neighbor.inputs.end());
    }
    const auto last = std::remove_if(
        neighbors.begin(), neighbors.end(),
        [&](const Neighbor& neighbor) { return !lies_between(neighbor, written, read); });
    if (last == neighbors.end()) return neighbors;
    neighbors.erase(last, neighbors.end());
  }
}

// Adds what runs between the layers.
void choose_neighbors(tflite::Context* context, const Options& options, int threads, bool finite,
                      std::vector<Candidate>* candidates) {
  std::vector<Neighbor> free;
  std::set<int> taken;
  for (const Candidate& candidate : *candidates) {
    if (candidate.claim == nullptr) continue;
    taken.insert(candidate.claim->nodes.begin(), candidate.claim->nodes.end());
  }
  if (taken.empty()) return;
  for (Neighbor& neighbor : find_neighbors(context, finite)) {
    if (taken.count(neighbor.node) == 0) free.push_back(std::move(neighbor));
  }
  for (const Neighbor& neighbor : between(*candidates, std::move(free))) {
    candidates->push_back(choose(neighbor, *context, options, threads));
  }
}

std::vector<Candidate> choose_all(tflite::Context* context, const Options& options, int threads,
                                  std::string* lines) {
  const bool finite = finite_constants(*context);
  if (!finite) *lines += "left all float32 layers: a constant of the model is no finite number\n";
  std::vector<Match> matches = find_layers(context, finite);
  std::stable_sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
    return a.has_dictionary() > b.has_dictionary();
  });
  std::vector<Candidate> candidates;
  std::set<int> taken;
  for (const Match& match : matches) {
    const bool free = std::none_of(match.nodes.begin(), match.nodes.end(),
                                   [&](int node) { return taken.count(node) > 0; });
    if (!free || !has_room(match, *context)) continue;
    candidates.push_back(choose(match, *context, options, threads));
    if (candidates.back().claim != nullptr) taken.insert(match.nodes.begin(), match.nodes.end());
  }
  choose_neighbors(context, options, threads, finite, &candidates);
  return candidates;
}

Claims claims_of(const std::vector<Candidate>& candidates) {
  Claims claims;
  for (const Candidate& candidate : candidates) {
    if (candidate.claim != nullptr) claims.push_back(candidate.claim);
  }
  return claims;
}

void leave(Candidate* candidate, const char* why) {
  candidate->claim = nullptr;
  candidate->verdict = why;
}

// The tensors that the kernels of these claims would show to other nodes; false if LiteRT does not
// say.
bool visible_tensors(tflite::Context* context, const Claims& claims, std::set<int>* visible) {
  tflite::DelegateParams* partitions = nullptr;
  int count = 0;
  const std::vector<int> nodes = int_array(nodes_of(claims));
  if (context->preview_delegate_partitioning(context, as_array(nodes), &partitions, &count) !=
      tflite::kOk) {
    return false;
  }
  visible->clear();
  for (int p = 0; p < count; ++p) {
    const tflite::IntArray& list = *partitions[p].output_tensors;
    visible->insert(list.data, list.data + list.size);
  }
  return true;
}

// Whether nodes outside see what the nodes of a claim write, beside its output.
bool seen_inside(tflite::Context* context, const Claim& claim, const std::set<int>& visible) {
  for (int index : claim.nodes) {
    tflite::Node* node = nullptr;
    tflite::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) != tflite::kOk) {
      return true;
    }
    for (int i = 0; i < node->outputs->size; ++i) {
      const int tensor = node->outputs->data[i];
      if (tensor != claim.output && visible.count(tensor) > 0) return true;
    }
  }
  return false;
}

// Makes sure that the nodes of each layer run together, with what is between them to themselves.
// LiteRT keeps nodes of a kind in one piece where it can, but a DENSIFY that is not claimed may have
// to run between the two convolutions: then it is claimed too. What remains in view, an S that is an
// output of the model, is left to LiteRT. Whether nothing changed.
bool keep_together(tflite::Context* context, const std::set<int>& visible,
                   std::vector<Candidate>* candidates) {
  bool same = true;
  for (Candidate& candidate : *candidates) {
    Claim* claim = candidate.claim.get();
    if (claim == nullptr || !seen_inside(context, *claim, visible)) continue;
    same = false;
    claim->nodes.insert(claim->nodes.end(), claim->densify.begin(), claim->densify.end());
    if (std::exchange(claim->densify, {}).empty()) leave(&candidate, "its S is needed outside");
  }
  return same;
}

// Gives memory to outputs that LiteRT will have none for. Whether there was enough for all.
bool make_room(const std::set<int>& visible, std::vector<Candidate>* candidates) {
  bool enough = true;
  size_t sum = 0;
  for (Candidate& candidate : *candidates) {
    Claim* claim = candidate.claim.get();
    if (claim == nullptr) continue;
    claim->inner = Buffer<char>();
    if (visible.count(claim->output) > 0) continue;
    const size_t bytes = claim->output_shape.bytes;
    try {
      if (bytes > kMostInner - sum) throw std::bad_alloc();
      claim->inner = Buffer<char>(bytes);
      sum += bytes;
    } catch (const std::bad_alloc&) {
      leave(&candidate, kNoMemory);
      enough = false;
    }
  }
  return enough;
}

}  // namespace

bool TensorShape::of(const tflite::Tensor& tensor) const {
  return tensor.bytes == bytes && tensor.dims != nullptr &&
         tensor.dims->size == static_cast<int>(dims.size()) &&
         std::equal(dims.begin(), dims.end(), tensor.dims->data);
}

Claims make_claims(tflite::Context* context, const Options& options, int threads,
                   std::string* lines) {
  std::vector<Candidate> candidates = choose_all(context, options, threads, lines);
  Claims claims = claims_of(candidates);
  // Each turn but the last takes a node or a claim: it ends.
  for (std::set<int> visible; !claims.empty(); claims = claims_of(candidates)) {
    if (!visible_tensors(context, claims, &visible)) {
      for (Candidate& candidate : candidates) leave(&candidate, "LiteRT does not say what it needs");
      claims.clear();
      break;
    }
    if (keep_together(context, visible, &candidates) && make_room(visible, &candidates)) break;
  }
  for (const Candidate& candidate : candidates) {
    const bool claimed = candidate.claim != nullptr;
    if (candidate.neighbor && !claimed) continue;
    *lines += (candidate.neighbor ? "between " : claimed ? "claimed " : "left ") +
              candidate.description + "; " + candidate.verdict + "\n";
  }
  return claims;
}

std::vector<int> nodes_of(const Claims& claims) {
  std::set<int> nodes;
  for (const auto& claim : claims) nodes.insert(claim->nodes.begin(), claim->nodes.end());
  return {nodes.begin(), nodes.end()};
}

std::vector<int> int_array(const std::vector<int>& numbers) {
  std::vector<int> array = {static_cast<int>(numbers.size())};
  array.insert(array.end(), numbers.begin(), numbers.end());
  return array;
}

}  // namespace lcnn
