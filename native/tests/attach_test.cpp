// What the delegate makes of a runtime that is none that it knows, and of graphs that LiteRT would
// not make: it claims nothing, and fails no load.
#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <utility>
#include <vector>

#include "../fuzz/runtime.h"
#include "../src/delegate.h"

namespace {

using tflite::Context;

int failures = 0;

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

int claimed() {
  int count = 0;
  for (const char* at = lcnn_delegate_report(); (at = std::strstr(at, "claimed ")) != nullptr;
       ++at) {
    ++count;
  }
  return count;
}

// A model of one or two lookup layers, float32, and a delegate that claims all that it can.
class Model {
 public:
  explicit Model(int layers = 1, bool int8 = false)
      : bytes_(12), in_((bytes_[1] = int8, bytes_[6] = static_cast<uint8_t>(layers - 1),
                         fuzz::Reader(bytes_.data(), bytes_.size()))), runtime(&in_) {
    const char* keys[] = {"force"};
    const char* values[] = {"1"};
    delegate_ = static_cast<tflite::Delegate*>(
        tflite_plugin_create_delegate(keys, values, 1, nullptr));
  }

  // Kernels and this end before the delegate does.
  static void end(void* delegate) { tflite_plugin_destroy_delegate(delegate); }

  tflite::Status attach() { return delegate_->prepare(runtime.context(), delegate_); }
  tflite::Delegate* delegate() { return delegate_; }
  Context& context() { return *runtime.context(); }

  tflite::Node& node(int index) {
    tflite::Node* node = nullptr;
    tflite::Registration* registration = nullptr;
    context().get_node_and_registration(runtime.context(), index, &node, &registration);
    return *node;
  }

 private:
  std::vector<uint8_t> bytes_;
  fuzz::Reader in_;
  tflite::Delegate* delegate_;

 public:
  fuzz::Runtime runtime;
};

// Attaches to a model after an edit, and looks at it.
template <typename Edit, typename Look>
void with(int layers, const Edit& edit, const Look& look) {
  tflite::Delegate* delegate;
  {
    Model model(layers);
    delegate = model.delegate();
    edit(model);
    check(model.attach() == tflite::kOk, "attaching fails");
    look(model);
  }
  Model::end(delegate);
}

void nothing(Model&) {}

void test_plain() {
  for (int layers : {1, 2}) {
    with(layers, nothing, [&](Model& model) {
      check(claimed() == layers, "a plain model is not claimed");
      check(model.runtime.run(), "a plain model does not run");
      const std::string profile = model.runtime.profile();
      check(std::count(profile.begin(), profile.end(), '(') == layers,
            "the profile does not name each layer: " + profile);
    });
  }
}

template <typename Edit>
void test_doubt(const char* what, const Edit& edit) {
  with(1, edit, [&](Model& model) {
    check(model.runtime.kernels() == 0, std::string(what) + ": something is claimed");
    check(std::strstr(lcnn_delegate_report(), "claimed nothing: ") != nullptr,
          std::string(what) + ": it is not said");
  });
}

void test_doubts() {
  test_doubt("no plan", [](Model& m) { m.context().get_execution_plan = nullptr; });
  test_doubt("no nodes", [](Model& m) { m.context().get_node_and_registration = nullptr; });
  test_doubt("no reports", [](Model& m) { m.context().report_error = nullptr; });
  test_doubt("no preview", [](Model& m) { m.context().preview_delegate_partitioning = nullptr; });
  test_doubt("no tensors", [](Model& m) { m.context().tensors = nullptr; });
  test_doubt("too many", [](Model& m) { m.context().tensors_size = size_t{1} << 40; });
  test_doubt("types", [](Model& m) {
    m.context().tensors[0].type = static_cast<tflite::Type>(99);
  });
  test_doubt("allocations", [](Model& m) {
    m.context().tensors[0].allocation_type = static_cast<tflite::Allocation>(-1);
  });
  test_doubt("sizes", [](Model& m) {
    // The bias of the last convolution, a dense float32 constant.
    tflite::Tensor& bias = m.context().tensors[m.node(2).inputs->data[2]];
    check(bias.data != nullptr, "there is no bias");
    bias.bytes -= 4;
  });
  test_doubt("inputs", [](Model& m) { m.node(1).inputs->data[0] = 1 << 20; });
  test_doubt("a failing plan", [](Model& m) {
    m.context().get_execution_plan = [](Context*, tflite::IntArray**) { return tflite::kError; };
  });
}

void test_shapes() {
  for (const bool output : {false, true}) {
    with(1, nothing, [&](Model& model) {
      const int last = model.node(2).outputs->data[0];
      tflite::Tensor& tensor = model.context().tensors[output ? last : 0];
      std::swap(tensor.dims->data[1], tensor.dims->data[3]);
      check(!model.runtime.run(), "another shape of as many bytes is taken");
    });
  }
}

// The nodes of a plain layer are D, DENSIFY and P, in this order.
void test_order() {
  with(1, [](Model& m) {
    m.context().get_execution_plan = [](Context*, tflite::IntArray** plan) {
      static struct { int size = 3; int data[3] = {2, 1, 0}; } reversed;
      *plan = reinterpret_cast<tflite::IntArray*>(&reversed);
      return tflite::kOk;
    };
  }, [](Model& model) {
    check(claimed() == 0 && model.runtime.kernels() == 0, "a layer is claimed against its order");
  });
}

void test_writers() {
  // The second layer's dictionary stage writes the first one's S, or its output.
  for (int node : {0, 2}) {
    with(2, [&](Model& m) {
      m.node(3).outputs->data[0] = m.node(node).outputs->data[0];
    }, [&](Model&) {
      check(claimed() == 0, "a tensor of two writers is claimed");
    });
  }
}

}  // namespace

int main() {
  test_plain();
  test_doubts();
  test_shapes();
  test_order();
  test_writers();
  if (failures != 0) return 1;
  std::printf("nothing is claimed in doubt\n");
  return 0;
}
