#include "runtime_check.h"

#include <vector>

#include "sparse.h"

namespace lcnn {
namespace {

constexpr const char* kFunctions = "context lacks functions";
constexpr const char* kTensors = "tensors have no plausible number";
constexpr const char* kType = "tensors have types that are not known";
constexpr const char* kSize = "tensors have other sizes than their shapes";
constexpr const char* kPlan = "execution plan is not plausible";
constexpr const char* kNode = "nodes have no plausible inputs and outputs";

bool plausible(const tflite::IntArray* list, size_t tensors) {
  if (list == nullptr || list->size < 0) return false;
  for (int i = 0; i < list->size; ++i) {
    if (list->data[i] < -1 ||
        (list->data[i] >= 0 && static_cast<size_t>(list->data[i]) >= tensors)) {
      return false;
    }
  }
  return true;
}

}  // namespace

const char* check_runtime(tflite::Context* context) {
  if (context == nullptr || context->get_execution_plan == nullptr ||
      context->get_node_and_registration == nullptr || context->report_error == nullptr ||
      context->replace_node_subsets_with_delegate_kernels == nullptr ||
      context->preview_delegate_partitioning == nullptr) {
    return kFunctions;
  }
  if (context->tensors_size > (size_t{1} << 24) ||
      (context->tensors_size > 0 && context->tensors == nullptr)) {
    return kTensors;
  }
  for (size_t i = 0; i < context->tensors_size; ++i) {
    const tflite::Tensor& tensor = context->tensors[i];
    if (tensor.type < 0 || tensor.type > tflite::kLastType || tensor.allocation_type < 0 ||
        tensor.allocation_type > tflite::kLastAllocation) {
      return kType;
    }
    const int64_t count = elements(tensor);
    if (tensor.type == tflite::kFloat32 && constant(tensor) && tensor.sparsity == nullptr &&
        count > 0 && tensor.bytes != static_cast<size_t>(count) * 4) {
      return kSize;
    }
  }
  tflite::IntArray* plan = nullptr;
  if (context->get_execution_plan(context, &plan) != tflite::kOk || plan == nullptr ||
      plan->size < 0 || plan->size > (1 << 24)) {
    return kPlan;
  }
  // The plan's memory is the runtime's, and changes under later calls.
  const std::vector<int> order(plan->data, plan->data + plan->size);
  for (int index : order) {
    tflite::Node* node = nullptr;
    tflite::Registration* registration = nullptr;
    if (context->get_node_and_registration(context, index, &node, &registration) != tflite::kOk ||
        node == nullptr || registration == nullptr ||
        !plausible(node->inputs, context->tensors_size) ||
        !plausible(node->outputs, context->tensors_size)) {
      return kNode;
    }
  }
  return nullptr;
}

}  // namespace lcnn
