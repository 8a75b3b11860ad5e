// The delegate: what LiteRT's load_delegate() finds in the library.
#include "delegate.h"

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <exception>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "claims.h"
#include "options.h"
#include "pool.h"
#include "report.h"
#include "runtime_check.h"
#include "tflite.h"

namespace lcnn {
namespace {

constexpr int kCpuBackendContext = 3;  // TfLiteExternalContextType: each interpreter has its own

std::atomic<uint64_t> delegates{0};

struct State {
  const uint64_t number = ++delegates;
  tflite::Delegate delegate{};
  Options options;
  std::unique_ptr<Pool> pool;
  Claims claims;  // of the graph that is being attached
};

// A claim of a kernel, and where it finds tensors that LiteRT keeps no memory for.
struct Run {
  std::shared_ptr<Claim> claim;
  // Per input, the claim that writes it if only this kernel reads it, or null.
  std::vector<const Claim*> sources;
  bool inner = false;  // whether only this kernel reads its output
};

constexpr size_t kMostInputs = 2;

// One node of the delegate: some claims, one after the other.
struct Kernel {
  State* state;
  std::vector<Run> runs;
  std::string names;  // of its layers, for LiteRT's profiler
};

// nullptr where there is not enough memory, or LiteRT has made other pieces than it said.
void* kernel_init(tflite::Context*, const char* buffer, size_t) try {
  const auto& params = *reinterpret_cast<const tflite::DelegateParams*>(buffer);
  auto* state = static_cast<State*>(params.delegate->data);
  const tflite::IntArray &nodes = *params.nodes_to_replace, &out = *params.output_tensors;
  auto kernel = std::make_unique<Kernel>();
  kernel->state = state;
  // The order of the nodes is one in which they can run.
  for (int i = 0; i < nodes.size; ++i) {
    for (const auto& claim : state->claims) {
      if (claim->nodes.front() != nodes.data[i]) continue;
      Run run;
      run.claim = claim;
      run.inner = std::find(out.data, out.data + out.size, claim->output) == out.data + out.size;
      if (run.inner && claim->inner.data() == nullptr) return nullptr;
      for (int input : claim->inputs) {
        const Claim* source = nullptr;
        for (const Run& before : kernel->runs) {
          if (before.inner && before.claim->output == input) source = before.claim.get();
        }
        run.sources.push_back(source);
      }
      kernel->names += (kernel->names.empty() ? "" : ", ") + claim->name + " (" +
                       claim->operation->kernel + ")";
      kernel->runs.push_back(std::move(run));
    }
  }
  return kernel.release();
} catch (const std::exception&) {
  return nullptr;
}

// What LiteRT's profiler shows beside the delegate's name.
const char* kernel_names(const tflite::Context*, const tflite::Node* node) {
  const auto* kernel = static_cast<const Kernel*>(node->user_data);
  return kernel != nullptr ? kernel->names.c_str() : "";
}

void kernel_free(tflite::Context*, void* kernel) { delete static_cast<Kernel*>(kernel); }

tflite::Status check_shape(tflite::Context* context, int tensor, const TensorShape& attached) {
  if (attached.of(context->tensors[tensor])) return tflite::kOk;
  context->report_error(context,
                        "lcnn delegate: tensor %d has another shape than when the delegate was "
                        "attached: resize the input first, or load without the delegate.",
                        tensor);
  return tflite::kError;
}

tflite::Status kernel_prepare(tflite::Context* context, tflite::Node* node) {
  if (node->user_data == nullptr) {
    context->report_error(context, "lcnn delegate: out of memory.");
    return tflite::kError;
  }
  for (const Run& run : static_cast<const Kernel*>(node->user_data)->runs) {
    const Claim& claim = *run.claim;
    for (size_t i = 0; i < claim.inputs.size(); ++i) {
      if (run.sources[i] == nullptr &&
          check_shape(context, claim.inputs[i], claim.input_shapes[i]) != tflite::kOk) {
        return tflite::kError;
      }
    }
    if (!run.inner && check_shape(context, claim.output, claim.output_shape) != tflite::kOk) {
      return tflite::kError;
    }
  }
  return tflite::kOk;
}

tflite::Status run_all(tflite::Context* context, const Kernel& kernel) {
  for (const Run& run : kernel.runs) {
    const Claim& claim = *run.claim;
    const void* inputs[kMostInputs] = {};
    for (size_t i = 0; i < claim.inputs.size(); ++i) {
      const Claim* source = run.sources[i];
      inputs[i] = source != nullptr ? source->inner.data() : context->tensors[claim.inputs[i]].data;
      if (inputs[i] == nullptr) return tflite::kError;
    }
    void* y = run.inner ? claim.inner.data() : context->tensors[claim.output].data;
    if (y == nullptr) return tflite::kError;
    claim.operation->run_on(inputs, y, *kernel.state->pool);
  }
  return tflite::kOk;
}

tflite::Status kernel_invoke(tflite::Context* context, tflite::Node* node) {
  const auto& kernel = *static_cast<const Kernel*>(node->user_data);
  Pool& pool = *kernel.state->pool;
  // Other interpreters may have this delegate, and other threads run them.
  if (pool.threads() == 1) return run_all(context, kernel);
  const Pool::Hold hold(pool);
  return run_all(context, kernel);
}

// In doubt about the runtime nothing is claimed, and none of it is called to say so.
void claim_nothing(const State& state, const tflite::Context* context,
                   const char* problem) {
  std::fprintf(stderr,
               "lcnn delegate: claims nothing, since this is no runtime that it knows: its %s.\n",
               problem);
  if (Report* report = Report::of_this_thread()) {
    report->set(state.number, nullptr, context,
                std::string("claimed nothing: this is no runtime that is known, its ") + problem +
                    "\n");
  }
}

tflite::Status attach(tflite::Context* context, tflite::Delegate* delegate) {
  auto* state = static_cast<State*>(delegate->data);
  if (const char* problem = check_runtime(context)) {
    claim_nothing(*state, context, problem);
    return tflite::kOk;
  }
  const Pool::Hold hold(*state->pool);
  std::string lines;
  state->claims = make_claims(context, state->options, state->pool->threads(), &lines);
  if (Report* report = Report::of_this_thread()) {
    const void* interpreter =
        context->get_external_context == nullptr
            ? nullptr
            : context->get_external_context(context, kCpuBackendContext);
    report->set(state->number, interpreter, context, std::move(lines));
  }
  if (state->claims.empty()) return tflite::kOk;
  tflite::Registration registration{};
  registration.init = kernel_init;
  registration.free = kernel_free;
  registration.prepare = kernel_prepare;
  registration.invoke = kernel_invoke;
  registration.profiling_string = kernel_names;
  registration.custom_name = "LcnnDelegate";
  registration.version = 1;
  const std::vector<int> nodes = int_array(nodes_of(state->claims));
  const tflite::Status status = context->replace_node_subsets_with_delegate_kernels(
      context, registration, as_array(nodes), delegate);
  state->claims.clear();  // The kernels have them.
  return status;
}

// A model that there is no memory for here still runs without the delegate.
tflite::Status prepare(tflite::Context* context, tflite::Delegate* delegate) try {
  return attach(context, delegate);
} catch (const std::exception&) {
  static_cast<State*>(delegate->data)->claims.clear();
  std::fputs("lcnn delegate: claims nothing, since there is no memory for it.\n", stderr);
  return tflite::kOk;
}

}  // namespace
}  // namespace lcnn

void* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                    size_t count, void (*report_error)(const char*)) try {
  auto state = std::make_unique<lcnn::State>();
  state->options.kernels = lcnn::kernels();
  for (size_t i = 0; i < count; ++i) {
    const std::string problem = lcnn::set_option(&state->options, keys[i], values[i]);
    if (!problem.empty()) {
      if (report_error != nullptr) report_error(("lcnn delegate: " + problem + ".").c_str());
      return nullptr;
    }
  }
  state->pool = std::make_unique<lcnn::Pool>(state->options.threads);
  state->delegate.data = state.get();
  state->delegate.prepare = lcnn::prepare;
  return &state.release()->delegate;
} catch (const std::exception&) {
  if (report_error != nullptr) report_error("lcnn delegate: out of memory.");
  return nullptr;
}

void tflite_plugin_destroy_delegate(void* delegate) {
  if (delegate == nullptr) return;
  delete static_cast<lcnn::State*>(static_cast<tflite::Delegate*>(delegate)->data);
}

const char* lcnn_delegate_report() {
  const lcnn::Report* report = lcnn::Report::of_this_thread();
  return report != nullptr ? report->text() : "";
}
