// The delegate: what LiteRT's load_delegate() finds in the library.
#include "delegate.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "graph.h"
#include "layer.h"
#include "pool.h"
#include "tflite.h"

namespace lcnn {
namespace {

// Tensors between the layers of a node may take this many bytes. LiteRT lets such tensors share
// memory; this does not, and a model that needs more is broken or hostile.
constexpr size_t kMostInner = size_t{1} << 30;

// What a call of one of the runtime's own operators costs beside its multiplications, in seconds.
constexpr double kStockCall = 2e-6;

struct Options {
  int threads = 1;
  double min_speedup = 1.05;
  bool force = false;
  const Kernels* kernels = nullptr;
};

// A layer that the delegate runs.
struct Claim {
  std::vector<int> nodes, densify;
  int input, output;
  size_t input_bytes, output_bytes;
  std::unique_ptr<Layer> layer;
};

struct State {
  tflite::Delegate delegate{};
  Options options;
  std::unique_ptr<Pool> pool;
  std::vector<std::shared_ptr<Claim>> claims;
};

thread_local std::string last_report;

double up_to(int size, int group) { return (size + group - 1) / group * group; }

// What the runtime's own operators would take. Theirs work in whole groups of channels, which is
// most of the time of an int8 convolution with three.
double stock_seconds(const Match& match, const Kernels& kernels) {
  const Shape& s = match.shape();
  const Rates& rates = match.int8 ? kernels.s8 : kernels.f32;
  const int channels = match.int8 ? 8 : 1, filters = 16;
  double work = static_cast<double>(s.batch) * s.out_h * s.out_w * s.kh * s.kw *
                up_to(s.k, channels) * up_to(s.n, filters);
  double seconds = kStockCall;
  if (match.has_dictionary()) {
    work += static_cast<double>(s.batch) * s.h * s.w * up_to(s.m, channels) * up_to(s.k, filters);
    seconds += kStockCall;
  }
  return seconds + work * rates.dense;
}

std::string line(const Match& match, const Layer& layer, double stock, bool claimed) {
  const Shape& s = match.shape();
  char text[512];
  std::snprintf(text, sizeof(text),
                "%s %.200s: %s %dx%d, k=%d, %zu lookups, %d filters, %dx%d map; %s, "
                "predicted %.1f us against %.1f us\n",
                claimed ? "claimed" : "left", match.name, match.int8 ? "int8" : "float32", s.kh,
                s.kw, s.k, match.lookups(), s.n, s.out_h, s.out_w, layer.kernel.c_str(),
                1e6 * layer.seconds, 1e6 * stock);
  return text;
}

// Nodes in the form that LiteRT takes them.
std::vector<int> int_array(const std::vector<int>& nodes) {
  std::vector<int> array = {static_cast<int>(nodes.size())};
  array.insert(array.end(), nodes.begin(), nodes.end());
  return array;
}

const tflite::IntArray* as_array(const std::vector<int>& array) {
  return reinterpret_cast<const tflite::IntArray*>(array.data());
}

std::vector<int> nodes_of(const std::vector<std::shared_ptr<Claim>>& claims) {
  std::set<int> nodes;
  for (const auto& claim : claims) nodes.insert(claim->nodes.begin(), claim->nodes.end());
  return {nodes.begin(), nodes.end()};
}

// Chooses what to run.
void choose(tflite::Context* context, State* state) {
  std::vector<Match> matches = find_layers(context);
  std::stable_sort(matches.begin(), matches.end(), [](const Match& a, const Match& b) {
    return a.has_dictionary() > b.has_dictionary();
  });
  std::set<int> taken;
  for (Match& match : matches) {
    const bool free = std::none_of(match.nodes.begin(), match.nodes.end(),
                                   [&](int node) { return taken.count(node) > 0; });
    if (!free) continue;
    std::unique_ptr<Layer> layer = match.int8 ? make_layer(match.s8, *state->options.kernels)
                                              : make_layer(match.f32, *state->options.kernels);
    const double stock = stock_seconds(match, *state->options.kernels);
    const bool claimed =
        state->options.force || stock >= state->options.min_speedup * layer->seconds;
    last_report += line(match, *layer, stock, claimed);
    if (!claimed) continue;
    taken.insert(match.nodes.begin(), match.nodes.end());
    const Shape& s = match.shape();
    const size_t size = match.int8 ? 1 : sizeof(float);
    auto claim = std::make_shared<Claim>();
    claim->nodes = match.nodes;
    claim->densify = match.densify;
    claim->input = match.input;
    claim->output = match.output;
    claim->input_bytes = size * s.batch * s.in_h * s.in_w * s.m;
    claim->output_bytes = size * s.batch * s.out_h * s.out_w * s.n;
    claim->layer = std::move(layer);
    state->claims.push_back(std::move(claim));
  }
}

// Makes sure that the nodes of each layer run together, with what is between them to themselves. LiteRT
// keeps nodes of a kind in one piece where it can, but a DENSIFY that is not claimed may have to run
// between the two convolutions: then it is claimed too. What remains in view, an S that is an output
// of the model, is left to LiteRT.
void keep_together(tflite::Context* context, State* state) {
  for (bool changed = true; changed && !state->claims.empty();) {
    changed = false;
    tflite::DelegateParams* partitions = nullptr;
    int count = 0;
    const std::vector<int> nodes = int_array(nodes_of(state->claims));
    if (context->preview_delegate_partitioning(context, as_array(nodes), &partitions, &count) !=
        tflite::kOk) {
      state->claims.clear();
      return;
    }
    std::set<int> outputs;
    for (int p = 0; p < count; ++p) {
      const tflite::IntArray& list = *partitions[p].output_tensors;
      outputs.insert(list.data, list.data + list.size);
    }
    for (const auto& claim : state->claims) outputs.erase(claim->output);
    const auto visible = [&](const std::shared_ptr<Claim>& claim) {
      for (int index : claim->nodes) {
        tflite::Node* node = nullptr;
        tflite::Registration* registration = nullptr;
        if (context->get_node_and_registration(context, index, &node, &registration) !=
            tflite::kOk) {
          return true;
        }
        for (int i = 0; i < node->outputs->size; ++i) {
          if (outputs.count(node->outputs->data[i]) > 0) return true;
        }
      }
      return false;
    };
    const auto gone = std::remove_if(
        state->claims.begin(), state->claims.end(), [&](const std::shared_ptr<Claim>& claim) {
          if (!visible(claim)) return false;
          changed = true;
          claim->nodes.insert(claim->nodes.end(), claim->densify.begin(), claim->densify.end());
          return std::exchange(claim->densify, {}).empty();
        });
    state->claims.erase(gone, state->claims.end());
  }
}

// One node of the delegate: some layers, one after the other.
struct Kernel {
  State* state;
  std::vector<std::shared_ptr<Claim>> claims;
  // Tensors between these layers, which LiteRT keeps no memory for.
  std::map<int, std::vector<char>> inner;
};

// nullptr where there is not enough memory.
void* kernel_init(tflite::Context*, const char* buffer, size_t) try {
  const auto& params = *reinterpret_cast<const tflite::DelegateParams*>(buffer);
  auto* state = static_cast<State*>(params.delegate->data);
  const tflite::IntArray &nodes = *params.nodes_to_replace, &out = *params.output_tensors;
  auto kernel = std::make_unique<Kernel>();
  kernel->state = state;
  for (const auto& claim : state->claims) {
    const auto end = nodes.data + nodes.size;
    if (std::find(nodes.data, end, claim->nodes.front()) != end) kernel->claims.push_back(claim);
  }
  // The order of the nodes is one in which they can run.
  std::sort(kernel->claims.begin(), kernel->claims.end(), [&](const auto& a, const auto& b) {
    const auto end = nodes.data + nodes.size;
    return std::find(nodes.data, end, a->nodes.front()) <
           std::find(nodes.data, end, b->nodes.front());
  });
  size_t inner = 0;
  for (const auto& claim : kernel->claims) {
    if (std::find(out.data, out.data + out.size, claim->output) == out.data + out.size) {
      inner += claim->output_bytes;
      if (inner > kMostInner) return nullptr;
      kernel->inner[claim->output].resize(claim->output_bytes);
    }
  }
  return kernel.release();
} catch (const std::exception&) {
  return nullptr;
}

void kernel_free(tflite::Context*, void* kernel) { delete static_cast<Kernel*>(kernel); }

tflite::Status kernel_prepare(tflite::Context* context, tflite::Node* node) {
  if (node->user_data == nullptr) {
    context->report_error(context, "lcnn delegate: out of memory.");
    return tflite::kError;
  }
  const auto& kernel = *static_cast<const Kernel*>(node->user_data);
  for (const auto& claim : kernel.claims) {
    for (const auto& [tensor, bytes] : {std::pair(claim->input, claim->input_bytes),
                                        std::pair(claim->output, claim->output_bytes)}) {
      if (kernel.inner.count(tensor) == 0 && context->tensors[tensor].bytes != bytes) {
        context->report_error(context,
                              "lcnn delegate: tensor %d has %d bytes, and had %d when the delegate "
                              "was attached: resize the input first, or load without the delegate.",
                              tensor, static_cast<int>(context->tensors[tensor].bytes),
                              static_cast<int>(bytes));
        return tflite::kError;
      }
    }
  }
  return tflite::kOk;
}

tflite::Status kernel_invoke(tflite::Context* context, tflite::Node* node) {
  auto& kernel = *static_cast<Kernel*>(node->user_data);
  const auto data = [&](int tensor) -> void* {
    const auto inner = kernel.inner.find(tensor);
    return inner != kernel.inner.end() ? inner->second.data() : context->tensors[tensor].data;
  };
  for (const auto& claim : kernel.claims) {
    void *x = data(claim->input), *y = data(claim->output);
    if (x == nullptr || y == nullptr) return tflite::kError;
    claim->layer->run(x, y, *kernel.state->pool);
  }
  return tflite::kOk;
}

tflite::Status prepare(tflite::Context* context, tflite::Delegate* delegate) {
  auto* state = static_cast<State*>(delegate->data);
  const std::string problem = check_runtime(context);
  if (!problem.empty()) {
    if (context != nullptr && context->report_error != nullptr) {
      context->report_error(context, "lcnn delegate: this is no runtime that it knows: %s.",
                            problem.c_str());
    }
    return tflite::kError;
  }
  last_report.clear();
  state->claims.clear();
  try {
    choose(context, state);
    keep_together(context, state);
  } catch (const std::exception&) {  // of memory that there is not
    context->report_error(context, "lcnn delegate: out of memory.");
    return tflite::kError;
  }
  if (state->claims.empty()) return tflite::kOk;
  tflite::Registration registration{};
  registration.init = kernel_init;
  registration.free = kernel_free;
  registration.prepare = kernel_prepare;
  registration.invoke = kernel_invoke;
  registration.custom_name = "LcnnDelegate";
  registration.version = 1;
  const std::vector<int> nodes = int_array(nodes_of(state->claims));
  return context->replace_node_subsets_with_delegate_kernels(context, registration, as_array(nodes),
                                                             delegate);
}

// Empty if the option was understood.
std::string set(Options* options, const std::string& key, const char* value) {
  char* end = nullptr;
  if (key == "threads") {
    const long threads = std::strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || threads < 1 || threads > 64) {
      return std::string("threads=") + value + ": 1 to 64 work";
    }
    options->threads = static_cast<int>(threads);
  } else if (key == "min_speedup") {
    options->min_speedup = std::strtod(value, &end);
    if (*value == 0 || *end != 0 || !(options->min_speedup >= 0)) {
      return std::string("min_speedup=") + value + ": a number from 0 on works";
    }
  } else if (key == "force") {
    options->force = std::strcmp(value, "1") == 0;
    if (!options->force && std::strcmp(value, "0") != 0) {
      return std::string("force=") + value + ": 0 and 1 work";
    }
  } else if (key == "kernels") {
    options->kernels = kernels(value);
    if (options->kernels == nullptr) {
      return std::string("kernels=") + value + ": this processor has " + kernels()->name +
             " and portable";
    }
  } else {
    return "unknown option " + key + ": threads, min_speedup, force and kernels exist";
  }
  return "";
}

}  // namespace
}  // namespace lcnn

void* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                    size_t count, void (*report_error)(const char*)) {
  auto state = std::make_unique<lcnn::State>();
  state->options.kernels = lcnn::kernels();
  for (size_t i = 0; i < count; ++i) {
    const std::string problem = lcnn::set(&state->options, keys[i], values[i]);
    if (!problem.empty()) {
      if (report_error != nullptr) report_error(("lcnn delegate: " + problem + ".").c_str());
      return nullptr;
    }
  }
  state->pool = std::make_unique<lcnn::Pool>(state->options.threads);
  state->delegate.data = state.get();
  state->delegate.prepare = lcnn::prepare;
  return &state.release()->delegate;
}

void tflite_plugin_destroy_delegate(void* delegate) {
  if (delegate == nullptr) return;
  delete static_cast<lcnn::State*>(static_cast<tflite::Delegate*>(delegate)->data);
}

const char* lcnn_delegate_report() { return lcnn::last_report.c_str(); }
