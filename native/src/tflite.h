// The few structs of LiteRT's C interface (tflite/core/c/common.h, builtin_op_data.h) that a
// delegate meets. Runtimes are shipped without headers; the layout of these has been stable for
// years, is asserted below for 64-bit processors, and is checked again when a delegate attaches
// (see graph.h).
#pragma once

#include <cstddef>
#include <cstdint>

namespace tflite {

enum Status : int { kOk = 0, kError = 1, kDelegateError = 2 };
enum Type : int { kNoType = 0, kFloat32 = 1, kInt32 = 2, kInt8 = 9, kLastType = 24 };
enum Allocation : int { kMmapRo = 1, kPersistentRo = 5, kLastAllocation = 8 };
enum Builtin : int {
  kAdd = 0,
  kConv2D = 3,
  kFullyConnected = 9,
  kMaxPool2D = 17,
  kPad = 34,
  kDensify = 124
};
enum Padding : int { kSame = 1, kValid = 2 };
enum Activation : int { kNone = 0, kRelu = 1, kReluN1To1 = 2, kRelu6 = 3 };
enum DimensionFormat : int { kDense = 0, kSparseCsr = 1 };
enum QuantizationType : int { kAffine = 1 };

struct IntArray {
  int size;
  int data[1];  // `size` of them
};

struct FloatArray {
  int size;
  float data[1];
};

struct AffineQuantization {
  FloatArray* scale;
  IntArray* zero_point;
  int32_t quantized_dimension;
};

struct DimensionMetadata {
  DimensionFormat format;
  int dense_size;
  IntArray* segments;
  IntArray* indices;
};

struct Sparsity {
  IntArray* traversal_order;
  IntArray* block_map;
  DimensionMetadata* dimensions;
  int dimensions_size;
};

struct Delegate;

struct Tensor {
  Type type;
  void* data;
  IntArray* dims;
  struct {
    float scale;
    int32_t zero_point;
  } params;
  Allocation allocation_type;
  size_t bytes;
  const void* allocation;
  const char* name;
  Delegate* delegate;
  int buffer_handle;
  bool data_is_stale;
  bool is_variable;
  struct {
    int type;
    void* params;
  } quantization;
  Sparsity* sparsity;
  const IntArray* dims_signature;
};

struct Node {
  IntArray* inputs;
  IntArray* outputs;
  IntArray* intermediates;
  IntArray* temporaries;
  void* user_data;
  void* builtin_data;
  const void* custom_initial_data;
  int custom_initial_data_size;
  Delegate* delegate;
  bool might_have_side_effect;
};

struct Context;

struct Registration {
  void* (*init)(Context* context, const char* buffer, size_t length);
  void (*free)(Context* context, void* buffer);
  Status (*prepare)(Context* context, Node* node);
  Status (*invoke)(Context* context, Node* node);
  const char* (*profiling_string)(const Context* context, const Node* node);
  int32_t builtin_code;
  const char* custom_name;
  int version;
  void* registration_external;
  void* (*async_kernel)(Context* context, Node* node);
  uint64_t inplace_operator;
};

struct Context {
  size_t tensors_size;
  Status (*get_execution_plan)(Context* context, IntArray** plan);
  Tensor* tensors;
  void* impl;
  Status (*resize_tensor)(Context* context, Tensor* tensor, IntArray* size);
  void (*report_error)(Context* context, const char* format, ...);
  Status (*add_tensors)(Context* context, int count, int* first);
  Status (*get_node_and_registration)(Context* context, int index, Node** node,
                                      Registration** registration);
  Status (*replace_node_subsets_with_delegate_kernels)(Context* context, Registration registration,
                                                       const IntArray* nodes, Delegate* delegate);
  int recommended_num_threads;
  void* (*get_external_context)(Context* context, int type);
  void (*set_external_context)(Context* context, int type, void* external);
  bool allow_fp32_relax_to_fp16;
  void* profiler;
  void* (*allocate_persistent_buffer)(Context* context, size_t bytes);
  Status (*allocate_buffer_for_eval)(Context* context, size_t bytes, void** data);
  Status (*request_scratch_buffer_in_arena)(Context* context, size_t bytes, int* index);
  void* (*get_scratch_buffer)(Context* context, int index);
  Status (*resize_tensor_explicit)(Context* context, Tensor* tensor, int dims, const int* shape);
  Status (*preview_delegate_partitioning)(Context* context, const IntArray* nodes,
                                          struct DelegateParams** partitions, int* count);
  // More follows, which a delegate of ours does not touch.
};

struct Delegate {
  void* data;
  Status (*prepare)(Context* context, Delegate* delegate);
  Status (*copy_from_buffer_handle)(Context* context, Delegate* delegate, int handle,
                                    Tensor* tensor);
  Status (*copy_to_buffer_handle)(Context* context, Delegate* delegate, int handle,
                                  Tensor* tensor);
  void (*free_buffer_handle)(Context* context, Delegate* delegate, int* handle);
  int64_t flags;
  void* opaque_delegate_builder;
};

// One run of nodes that become one node of the delegate's.
struct DelegateParams {
  Delegate* delegate;
  IntArray* nodes_to_replace;
  IntArray* input_tensors;
  IntArray* output_tensors;
};

struct ConvParams {
  Padding padding;
  int stride_width;
  int stride_height;
  Activation activation;
  int dilation_width_factor;
  int dilation_height_factor;
};

struct AddParams {
  Activation activation;
  bool pot_scale_int16;
};

struct PoolParams {
  Padding padding;
  int stride_width;
  int stride_height;
  int filter_width;
  int filter_height;
  Activation activation;
  // What the operator itself has computed follows.
};

struct FullyConnectedParams {
  Activation activation;
  int weights_format;
  bool keep_num_dims;
  bool asymmetric_quantize_inputs;
};

static_assert(sizeof(void*) == 8, "LiteRT's structs are known for 64-bit processors");
static_assert(offsetof(Tensor, data) == 8 && offsetof(Tensor, dims) == 16, "Tensor");
static_assert(offsetof(Tensor, params) == 24 && offsetof(Tensor, allocation_type) == 32, "Tensor");
static_assert(offsetof(Tensor, bytes) == 40 && offsetof(Tensor, name) == 56, "Tensor");
static_assert(offsetof(Tensor, buffer_handle) == 72 && offsetof(Tensor, is_variable) == 77, "Tensor");
static_assert(offsetof(Tensor, quantization) == 80 && offsetof(Tensor, sparsity) == 96, "Tensor");
static_assert(sizeof(Tensor) == 112, "Tensor");
static_assert(offsetof(Node, user_data) == 32 && offsetof(Node, builtin_data) == 40, "Node");
static_assert(offsetof(Node, delegate) == 64 && sizeof(Node) == 80, "Node");
static_assert(offsetof(Registration, builtin_code) == 40, "Registration");
static_assert(offsetof(Registration, custom_name) == 48, "Registration");
static_assert(offsetof(Registration, inplace_operator) == 80, "Registration");
static_assert(sizeof(Registration) == 88, "Registration");
static_assert(offsetof(Context, tensors) == 16 && offsetof(Context, report_error) == 40, "Context");
static_assert(offsetof(Context, replace_node_subsets_with_delegate_kernels) == 64, "Context");
static_assert(offsetof(Context, preview_delegate_partitioning) == 152, "Context");
static_assert(offsetof(Delegate, prepare) == 8 && offsetof(Delegate, flags) == 40, "Delegate");
static_assert(sizeof(Delegate) == 56, "Delegate");
static_assert(sizeof(DimensionMetadata) == 24 && sizeof(Sparsity) == 32, "Sparsity");
static_assert(sizeof(ConvParams) == 24, "ConvParams");

}  // namespace tflite
