// LiteRT, as far as a delegate sees it, with a model of the fuzzer's bytes.
#pragma once

#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <memory>
#include <set>
#include <vector>

#include "model.h"

namespace fuzz {

using tflite::Context;

// Told when the delegate calls the runtime (true), and when it is back: a test makes only the
// delegate's allocations fail.
inline void (*on_runtime)(bool inside) = nullptr;

struct Inside {
  Inside() {
    if (on_runtime != nullptr) on_runtime(true);
  }
  ~Inside() {
    if (on_runtime != nullptr) on_runtime(false);
  }
};

struct Outside {
  Outside() {
    if (on_runtime != nullptr) on_runtime(false);
  }
  ~Outside() {
    if (on_runtime != nullptr) on_runtime(true);
  }
};

// Layers with more multiplications are not run: the fuzzer would wait for them.
constexpr double kMostWork = 1 << 20;

// LiteRT, as far as a delegate sees it.
class Runtime : private Model {
 public:
  explicit Runtime(Reader* in) : Model(in) { publish(); }

  ~Runtime() {
    for (Fused& fused : fused_) {
      if (fused.registration.free != nullptr) {
        fused.registration.free(&context_, fused.node.user_data);
      }
    }
  }

  Context* context() { return &context_; }

  // What AllocateTensors and Invoke do to the nodes of the delegate. Whether they ran.
  bool run() {
    if (!fused_.empty() && in_.seldom(8)) mutate_shape();
    bool small = work_ < kMostWork;
    for (size_t i = 0; i < context_.tensors_size; ++i) {
      if (context_.tensors[i].bytes > static_cast<size_t>(kMostBytes)) small = false;
    }
    for (Fused& fused : fused_) {
      const Outside outside;
      if (fused.registration.prepare(&context_, &fused.node) != tflite::kOk) return false;
    }
    if (!small) return false;
    // A delegate's node finds memory for its inputs and outputs, and for no other tensor.
    std::set<int> visible;
    for (const Fused& fused : fused_) {
      for (const IntArray* list : {fused.node.inputs, fused.node.outputs}) {
        visible.insert(list->data, list->data + list->size);
      }
    }
    for (int tensor : visible) {
      if (!exists(tensor)) continue;
      Tensor& t = context_.tensors[tensor];
      if (t.data != nullptr) continue;
      t.data = arena_.bytes(t.bytes);
      auto* bytes = static_cast<uint8_t*>(t.data);
      for (size_t i = 0; i < t.bytes; ++i) bytes[i] = static_cast<uint8_t>(37 * i + 11 * seed_);
    }
    for (int times = 0; times < 2; ++times) {
      const Outside outside;
      for (Fused& fused : fused_) fused.registration.invoke(&context_, &fused.node);
    }
    return true;
  }

  size_t kernels() const { return fused_.size(); }

  // What a profiler shows of the kernels.
  std::string profile() const {
    std::string names;
    for (const Fused& fused : fused_) {
      names += fused.registration.profiling_string(&context_, &fused.node);
    }
    return names;
  }

  // All that the kernels have written.
  std::vector<uint8_t> outputs() const {
    std::vector<uint8_t> bytes;
    for (const Fused& fused : fused_) {
      for (int i = 0; i < fused.node.outputs->size; ++i) {
        const Tensor& t = context_.tensors[fused.node.outputs->data[i]];
        const auto* data = static_cast<const uint8_t*>(t.data);
        if (data != nullptr) bytes.insert(bytes.end(), data, data + t.bytes);
      }
    }
    return bytes;
  }

 private:
  struct Fused {
    Node node{};
    Registration registration{};
    std::vector<int> nodes;
  };

  // The tensors that a run of nodes exchanges with the rest.
  struct Partition {
    std::vector<int> nodes, inputs, outputs;
  };

  // A caller that resizes an input between the delegate and the first run.
  void mutate_shape() {
    Tensor& t = context_.tensors[some_tensor()];
    t.bytes = static_cast<size_t>(in_.byte());
    t.data = nullptr;
  }

  void publish() {
    context_tensors_.reset(new Tensor[tensors_.size()]);
    std::copy(tensors_.begin(), tensors_.end(), context_tensors_.get());
    context_.tensors = context_tensors_.get();
    context_.tensors_size = tensors_.size();
    context_.impl = this;
    context_.get_execution_plan = [](Context* context, IntArray** plan) {
      const Inside inside;
      // The memory of the last answer is gone, as it is in LiteRT after some calls.
      Runtime& self = of(context);
      self.plan_memory_ = std::make_unique<Arena>();
      *plan = self.plan_memory_->ints(self.plan_);
      return tflite::kOk;
    };
    context_.get_node_and_registration = [](Context* context, int index, Node** node,
                                            Registration** registration) {
      Runtime& self = of(context);
      if (index < 0 || static_cast<size_t>(index) >= self.nodes_.size()) return tflite::kError;
      *node = &self.nodes_[static_cast<size_t>(index)];
      *registration = &self.registrations_[static_cast<size_t>(index)];
      return tflite::kOk;
    };
    context_.report_error = report_error;
    split_ = in_.byte();
    context_.preview_delegate_partitioning = [](Context* context, const IntArray* nodes,
                                                tflite::DelegateParams** partitions, int* count) {
      const Inside inside;
      Runtime& self = of(context);
      if (self.split_ == 255) return tflite::kError;
      const std::vector<Partition> found = self.partitions(*nodes);
      self.preview_memory_ = std::make_unique<Arena>();
      auto* params = static_cast<tflite::DelegateParams*>(
          self.preview_memory_->bytes(sizeof(tflite::DelegateParams) * found.size()));
      for (size_t i = 0; i < found.size(); ++i) {
        params[i].nodes_to_replace = self.preview_memory_->ints(found[i].nodes);
        params[i].input_tensors = self.preview_memory_->ints(found[i].inputs);
        params[i].output_tensors = self.preview_memory_->ints(found[i].outputs);
      }
      *partitions = params;
      *count = static_cast<int>(found.size());
      return tflite::kOk;
    };
    context_.replace_node_subsets_with_delegate_kernels =
        [](Context* context, Registration registration, const IntArray* nodes,
           tflite::Delegate* delegate) {
          const Inside inside;
          Runtime& self = of(context);
          for (const Partition& partition : self.partitions(*nodes)) {
            Arena memory;
            tflite::DelegateParams params{};
            params.delegate = delegate;
            params.nodes_to_replace = memory.ints(partition.nodes);
            params.input_tensors = memory.ints(partition.inputs);
            params.output_tensors = memory.ints(partition.outputs);
            Fused fused;
            fused.registration = registration;
            fused.node.inputs = self.arena_.ints(partition.inputs);
            fused.node.outputs = self.arena_.ints(partition.outputs);
            fused.node.delegate = delegate;
            {
              const Outside outside;
              fused.node.user_data =
                  registration.init(context, reinterpret_cast<const char*>(&params), 0);
            }
            self.fused_.push_back(fused);
          }
          return tflite::kOk;
        };
  }

  // Runs of nodes that follow each other in the plan, as LiteRT finds them; or, to see what the
  // delegate makes of less, each node alone.
  std::vector<Partition> partitions(const IntArray& nodes) const {
    const std::set<int> wanted(nodes.data, nodes.data + nodes.size);
    std::vector<Partition> found;
    bool open = false;
    for (int index : plan_) {
      if (wanted.count(index) == 0) {
        // Its inputs are constants: LiteRT runs it before all others.
        const int builtin = registrations_[static_cast<size_t>(index)].builtin_code;
        if (builtin != tflite::kDensify) open = false;
        continue;
      }
      if (!open || split_ % 8 == 7) found.emplace_back();
      open = true;
      found.back().nodes.push_back(index);
    }
    for (Partition& partition : found) {
      const std::set<int> inside(partition.nodes.begin(), partition.nodes.end());
      std::set<int> written, read, outside;
      for (size_t i = 0; i < nodes_.size(); ++i) {
        const bool in = inside.count(static_cast<int>(i)) > 0;
        for (int j = 0; j < nodes_[i].inputs->size; ++j) {
          (in ? read : outside).insert(nodes_[i].inputs->data[j]);
        }
        for (int j = 0; in && j < nodes_[i].outputs->size; ++j) {
          written.insert(nodes_[i].outputs->data[j]);
        }
      }
      for (int t : read) {
        if (written.count(t) == 0) partition.inputs.push_back(t);
      }
      for (int t : written) {
        if (outside.count(t) > 0 || outputs_.count(t) > 0) partition.outputs.push_back(t);
      }
    }
    return found;
  }

  bool exists(int tensor) const {
    return tensor >= 0 && static_cast<size_t>(tensor) < context_.tensors_size;
  }

  // Formats the message, so that one that does not fit its arguments is seen.
  static void report_error(Context*, const char* format, ...) {
    char text[256];
    va_list arguments;
    va_start(arguments, format);
    std::vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
  }

  static Runtime& of(Context* context) { return *static_cast<Runtime*>(context->impl); }

  std::vector<Fused> fused_;
  Context context_{};
  std::unique_ptr<Tensor[]> context_tensors_;
  std::unique_ptr<Arena> plan_memory_, preview_memory_;
  int split_ = 0;
};

}  // namespace fuzz
