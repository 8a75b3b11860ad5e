// Hostile models, for libFuzzer: the graph that LiteRT would hand to the delegate is built from the
// fuzzer's bytes. It begins as a plausible one (lookup pairs with and without DENSIFY, fully
// connected ones, lone sparse convolutions, operators that are none of ours), then any field that a
// file can set is changed. Every array is allocated with exactly as many bytes as it says that it
// has, so AddressSanitizer sees what the delegate reads beyond.
//
// What a file cannot make LiteRT do is not tried: an array's size is always that of its memory, and
// the tensors that a kernel is run on have as many bytes as LiteRT says.
#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "../src/delegate.h"
#include "../src/kernels.h"
#include "../src/tflite.h"

namespace {

using tflite::Context;
using tflite::IntArray;
using tflite::Node;
using tflite::Registration;
using tflite::Status;
using tflite::Tensor;

// Constants larger than this are not made, and layers with more multiplications are not run: the
// fuzzer would wait for them.
constexpr int64_t kMostBytes = 1 << 18;
constexpr double kMostWork = 1 << 20;

// The fuzzer's bytes, and zeros where they end.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}

  int byte() { return data_ < end_ ? *data_++ : 0; }
  bool done() const { return data_ == end_; }
  // 0 to below n.
  int below(int n) { return n < 2 ? 0 : (n > 256 ? byte() * 256 + byte() : byte()) % n; }
  bool flag() { return (byte() & 1) != 0; }
  // Seldom, and never on zeros.
  bool seldom(int one_in) { return byte() % one_in == one_in - 1; }

  int32_t any32() {
    uint32_t x = 0;
    for (int i = 0; i < 4; ++i) x = x * 256 + static_cast<uint32_t>(byte());
    return static_cast<int32_t>(x);
  }

  // A number that code is likely to get wrong.
  int32_t hostile() {
    static constexpr int32_t kValues[] = {
        0, -1, 1, 2, 3, 4, 7, 8, 16, 17, 64, 127, 128, 255, 256, 257, 1000, 4095, 4096, 4097, 65535,
        65536, 1 << 20, 1 << 24, 1 << 28, (1 << 28) + 1, 1 << 30, 2147483647, -2147483647 - 1, -128};
    const int which = byte() % 32;
    return which < 30 ? kValues[which] : which == 30 ? byte() : any32();
  }

  float hostile_float() {
    static constexpr float kValues[] = {0,     -0.0f, 1,         -1,        1e-3f, 1e-20f,
                                        1e20f, 1e-45f, 3.4e38f, -3.4e38f, 0.5f,  -1e20f};
    const int which = byte() % 16;
    if (which < 12) return kValues[which];
    if (which == 12) return __builtin_inff();
    if (which == 13) return __builtin_nanf("");
    const int32_t bits = any32();
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }

 private:
  const uint8_t *data_, *end_;
};

// Memory of exact sizes, freed with the model.
class Arena {
 public:
  ~Arena() {
    for (void* memory : memory_) std::free(memory);
  }

  void* bytes(size_t size) {
    void* memory = std::calloc(1, size);
    memory_.push_back(memory);
    return memory;
  }

  IntArray* ints(const std::vector<int>& values) {
    auto* array = static_cast<IntArray*>(bytes(sizeof(int) * (values.size() + 1)));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(int) * values.size());
    return array;
  }

  tflite::FloatArray* floats(const std::vector<float>& values) {
    auto* array = static_cast<tflite::FloatArray*>(bytes(sizeof(float) * (values.size() + 1)));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(float) * values.size());
    return array;
  }

 private:
  std::vector<void*> memory_;
};

// LiteRT, as far as a delegate sees it.
class Runtime {
 public:
  explicit Runtime(Reader* in) : in_(*in) {
    build();
    const int mutations = in_.byte() % 16;
    // Half of the models stay as they are.
    for (int i = 8; i < mutations; ++i) mutate();
    publish();
  }

  ~Runtime() {
    for (Fused& fused : fused_) {
      if (fused.registration.free != nullptr) {
        fused.registration.free(&context_, fused.node.user_data);
      }
    }
  }

  Context* context() { return &context_; }
  bool replaced() const { return !fused_.empty(); }

  // What AllocateTensors and Invoke do to the nodes of the delegate.
  void run() {
    if (!fused_.empty() && in_.seldom(8)) mutate_shape();
    bool small = work_ < kMostWork;
    for (size_t i = 0; i < context_.tensors_size; ++i) {
      if (context_.tensors[i].bytes > static_cast<size_t>(kMostBytes)) small = false;
    }
    for (Fused& fused : fused_) {
      if (fused.registration.prepare(&context_, &fused.node) != tflite::kOk) return;
    }
    if (!small) return;
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
      for (Fused& fused : fused_) fused.registration.invoke(&context_, &fused.node);
    }
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

  // ------------------------------------------------------------------------- a plausible graph

  int tensor(tflite::Type type, const std::vector<int>& dims) {
    Tensor t{};
    t.type = type;
    t.dims = arena_.ints(dims);
    t.allocation_type = static_cast<tflite::Allocation>(2);  // kTfLiteArenaRw
    t.bytes = type == tflite::kInt8 ? 1 : 4;
    for (int d : dims) t.bytes *= static_cast<size_t>(std::max(0, d));
    t.name = "tensor";
    tensors_.push_back(t);
    return static_cast<int>(tensors_.size()) - 1;
  }

  void quantise(int index, int channels, bool weights) {
    std::vector<float> scales;
    std::vector<int> zeros;
    const int size = weights && in_.flag() ? channels : 1;
    for (int i = 0; i < size; ++i) {
      scales.push_back(weights ? 0.01f * static_cast<float>(1 + i % 5) : 0.05f);
      zeros.push_back(weights ? 0 : in_.byte() - 128);
    }
    auto* affine =
        static_cast<tflite::AffineQuantization*>(arena_.bytes(sizeof(tflite::AffineQuantization)));
    affine->scale = arena_.floats(scales);
    affine->zero_point = arena_.ints(zeros);
    affine->quantized_dimension = 0;
    tensors_[index].quantization.type = tflite::kAffine;
    tensors_[index].quantization.params = affine;
  }

  template <typename T>
  T value() {
    const int bits = in_.byte();
    // Weights of -128 and 127 too, and numbers that are no numbers.
    if constexpr (sizeof(T) == 1) {
      return static_cast<T>(bits);
    } else {
      return bits == 255 ? static_cast<T>(in_.hostile_float()) : static_cast<T>(bits - 128) / 64;
    }
  }

  // A constant: dense, or sparse with a DENSIFY behind it.
  template <typename T>
  int weights(const std::vector<int>& dims, int one_in, bool sparse) {
    const tflite::Type type = sizeof(T) == 1 ? tflite::kInt8 : tflite::kFloat32;
    int64_t count = 1;
    for (int d : dims) count *= d;
    std::vector<T> dense(static_cast<size_t>(count));
    // Few bytes make many weights: what they are matters less than where the zeros are.
    uint32_t state = static_cast<uint32_t>(in_.byte()) * 2654435761u + 1;
    const T first = value<T>(), second = value<T>();
    for (T& v : dense) {
      state = state * 1664525u + 1013904223u;
      if ((state >> 16) % static_cast<uint32_t>(one_in) == 0) {
        v = (state >> 30) % 2 != 0 ? first : second;
      }
    }
    const int stored = tensor(type, dims);
    Tensor& t = tensors_[stored];
    t.allocation_type = tflite::kMmapRo;
    std::vector<T> kept = dense;
    if (sparse) t.sparsity = compress(dims, &kept);
    t.bytes = kept.size() * sizeof(T);
    t.data = arena_.bytes(t.bytes);
    if (!kept.empty()) std::memcpy(t.data, kept.data(), t.bytes);
    if (sizeof(T) == 1) quantise(stored, dims[0], true);
    if (!sparse) return stored;
    const int out = tensor(type, dims);
    tensors_[out].quantization = tensors_[stored].quantization;
    node(tflite::kDensify, {stored}, {out}, nullptr);
    return out;
  }

  // Sparse storage, its levels dense or CSR as the bytes will. `values` becomes what is stored.
  template <typename T>
  tflite::Sparsity* compress(const std::vector<int>& dims, std::vector<T>* values) {
    const int rank = static_cast<int>(dims.size());
    auto* sparsity = static_cast<tflite::Sparsity*>(arena_.bytes(sizeof(tflite::Sparsity)));
    std::vector<int> order(static_cast<size_t>(rank));
    for (int d = 0; d < rank; ++d) order[static_cast<size_t>(d)] = d;
    sparsity->traversal_order = arena_.ints(order);
    int_arrays_.push_back(&sparsity->traversal_order);
    if (in_.seldom(8)) sparsity->block_map = arena_.ints({});
    sparsity->dimensions_size = rank;
    sparsity->dimensions = static_cast<tflite::DimensionMetadata*>(
        arena_.bytes(sizeof(tflite::DimensionMetadata) * static_cast<size_t>(rank)));
    std::vector<int64_t> places = {0};
    int64_t inner = static_cast<int64_t>(values->size());
    const int levels = in_.byte();
    for (int d = 0; d < rank; ++d) {
      const int size = dims[static_cast<size_t>(d)];
      inner /= size;
      tflite::DimensionMetadata& level = sparsity->dimensions[d];
      std::vector<int64_t> next;
      std::vector<int> segments = {0}, indices;
      // On zeros, what the converter writes: the last dimension CSR.
      const bool csr = ((levels >> d) & 1) != (d == rank - 1 ? 1 : 0);
      for (int64_t p : places) {
        for (int i = 0; i < size; ++i) {
          const int64_t place = p * size + i;
          const auto begin = values->begin() + place * inner;
          if (csr && std::all_of(begin, begin + inner, [](T v) { return v == 0; })) continue;
          next.push_back(place);
          indices.push_back(i);
        }
        segments.push_back(static_cast<int>(indices.size()));
      }
      level.format = csr ? tflite::kSparseCsr : tflite::kDense;
      if (csr) {
        level.segments = arena_.ints(segments);
        level.indices = arena_.ints(indices);
        int_arrays_.push_back(&level.segments);
        int_arrays_.push_back(&level.indices);
      } else {
        level.dense_size = size;
      }
      places = next;
    }
    std::vector<T> kept;
    for (int64_t p : places) kept.push_back((*values)[static_cast<size_t>(p)]);
    *values = kept;
    return sparsity;
  }

  template <typename T>
  int bias(int n) {
    if (in_.seldom(4)) return -1;
    const int index = tensor(sizeof(T) == 1 ? tflite::kInt32 : tflite::kFloat32, {n});
    Tensor& t = tensors_[index];
    t.allocation_type = tflite::kMmapRo;
    t.data = arena_.bytes(t.bytes);
    const int32_t fill = in_.seldom(16) ? in_.hostile() : in_.byte() - 128;
    const float floating = static_cast<float>(fill) / 64;
    for (int i = 0; i < n; ++i) {
      std::memcpy(static_cast<char*>(t.data) + 4 * i,
                  sizeof(T) == 1 ? static_cast<const void*>(&fill) : &floating, 4);
    }
    return index;
  }

  int node(int builtin, const std::vector<int>& inputs, const std::vector<int>& outputs,
           void* params) {
    Node n{};
    n.inputs = arena_.ints(inputs);
    n.outputs = arena_.ints(outputs);
    n.builtin_data = params;
    nodes_.push_back(n);
    Registration r{};
    r.builtin_code = builtin;
    registrations_.push_back(r);
    plan_.push_back(static_cast<int>(nodes_.size()) - 1);
    return plan_.back();
  }

  template <typename T>
  int convolution(int x, int n, int kh, int kw, int stride, int dilation, int one_in, bool sparse,
                  bool with_bias) {
    const std::vector<int> in = dims(x);
    const int w = weights<T>({n, kh, kw, in[3]}, one_in, sparse);
    const bool same = !in_.flag();
    const auto out = [&](int size, int kernel) {
      if (same) return (size + stride - 1) / stride;
      return std::max(0, size - (kernel - 1) * dilation - 1) / stride + 1;
    };
    const int y = tensor(tensors_[x].type, {in[0], out(in[1], kh), out(in[2], kw), n});
    if (sizeof(T) == 1) quantise(y, 1, false);
    auto* params = static_cast<tflite::ConvParams*>(arena_.bytes(sizeof(tflite::ConvParams)));
    params->padding = same ? tflite::kSame : tflite::kValid;
    params->stride_width = params->stride_height = stride;
    params->dilation_width_factor = params->dilation_height_factor = dilation;
    params->activation = static_cast<tflite::Activation>(in_.byte() % 4);
    std::vector<int> inputs = {x, w};
    if (with_bias) inputs.push_back(bias<T>(n));
    conv_params_.push_back(params);
    node(tflite::kConv2D, inputs, {y}, params);
    return y;
  }

  template <typename T>
  int fully_connected(int x, int n, int one_in, bool sparse) {
    const std::vector<int> in = dims(x);
    // Its rows need not be those of its input: all that follow one another make one, or a part.
    int m = in.back();
    if (in_.seldom(4)) m = m % 2 == 0 ? m / 2 : static_cast<int>(count(in)) / in[0];
    const int w = weights<T>({n, m}, one_in, sparse);
    std::vector<int> shape = in;
    shape.back() = n;
    if (m != in.back() || in_.flag()) shape = {static_cast<int>(count(in) / m), n};
    const int y = tensor(tensors_[x].type, shape);
    if (sizeof(T) == 1) quantise(y, 1, false);
    auto* params = static_cast<tflite::FullyConnectedParams*>(
        arena_.bytes(sizeof(tflite::FullyConnectedParams)));
    params->activation = static_cast<tflite::Activation>(in_.byte() % 4);
    node(tflite::kFullyConnected, {x, w, bias<T>(n)}, {y}, params);
    return y;
  }

  static int64_t count(const std::vector<int>& shape) {
    int64_t product = 1;
    for (int d : shape) product *= d;
    return product;
  }

  std::vector<int> dims(int index) const {
    const IntArray& array = *tensors_[index].dims;
    return {array.data, array.data + array.size};
  }

  // Keeps weights small enough to be made.
  int at_most(int n, int64_t others) const {
    return static_cast<int>(
        std::max<int64_t>(1, std::min<int64_t>(n, kMostBytes / 16 / std::max<int64_t>(1, others))));
  }

  template <typename T>
  int layer(int x) {
    static constexpr int kKernels[] = {3, 1, 5, 2, 7, 11, 4, 40};
    static constexpr int kSizes[] = {8, 16, 17, 1, 3, 32, 33, 64, 65, 128, 130, 15, 7, 4, 2, 9};
    const int kind = in_.byte() % 8;
    const int one_in = 1 << in_.below(6);
    const std::vector<int> in = dims(x);
    const int k = kSizes[in_.below(16)], n = kSizes[in_.below(16)];
    const bool sparse = !in_.flag();
    if (kind >= 5 || in.size() != 4) {
      const int s = fully_connected<T>(x, at_most(k, in.back()), 1, in_.seldom(8));
      if (kind == 7) return s;
      return fully_connected<T>(s, at_most(n, k), one_in, sparse);
    }
    const int kh = kKernels[in_.below(8)], kw = in_.seldom(4) ? kKernels[in_.below(8)] : kh;
    const int stride = 1 + in_.below(8) / 4 * (1 + in_.below(4)), dilation = 1 + in_.below(4) / 2;
    if (kind == 4) {  // a lone convolution
      return convolution<T>(x, at_most(n, int64_t{kh} * kw * in[3]), kh, kw, stride, dilation,
                            std::max(4, one_in), sparse, true);
    }
    const int s = convolution<T>(x, at_most(k, in[3]), 1, 1, 1 + in_.below(8) / 7, 1, 1,
                                 in_.seldom(8), in_.flag());
    return convolution<T>(s, at_most(n, int64_t{kh} * kw * k), kh, kw, stride, dilation, one_in,
                          sparse, true);
  }

  void build() {
    seed_ = in_.byte();
    const bool int8 = in_.flag();
    static constexpr int kMaps[] = {4, 1, 2, 7, 3, 16, 33, 5};
    static constexpr int kChannels[] = {8, 3, 16, 2, 1, 64, 5, 33};
    int x = tensor(int8 ? tflite::kInt8 : tflite::kFloat32,
                   {1 + in_.below(8) / 6, kMaps[in_.below(8)], kMaps[in_.below(8)],
                    kChannels[in_.below(8)]});
    if (int8) quantise(x, 1, false);
    const int layers = 1 + in_.below(4);
    for (int i = 0; i < layers; ++i) {
      if (in_.seldom(8)) {  // an operator between, of the runtime's
        const int y = tensor(tensors_[x].type, dims(x));
        tensors_[y].quantization = tensors_[x].quantization;
        node(in_.byte(), {x}, {y}, nullptr);
        x = y;
      }
      x = int8 ? layer<int8_t>(x) : layer<float>(x);
      if (count(dims(x)) > kMostBytes) break;
    }
    outputs_.insert(x);
    if (in_.seldom(8)) outputs_.insert(in_.below(static_cast<int>(tensors_.size())));
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& n = nodes_[i];
      if (n.inputs->size < 2) continue;
      const int w = n.inputs->data[1], y = n.outputs->data[0];
      work_ += static_cast<double>(count(dims(y))) * static_cast<double>(count(dims(w))) / dims(w)[0];
    }
  }

  // ------------------------------------------------------------------------------- what is wrong

  int some_tensor() { return in_.below(static_cast<int>(tensors_.size())); }
  int some_index() {
    return in_.seldom(4) ? in_.hostile() : some_tensor();
  }

  // Another value, or another length.
  IntArray* changed(const IntArray* array) {
    if (array == nullptr) return arena_.ints({in_.hostile()});
    std::vector<int> values(array->data, array->data + array->size);
    switch (in_.byte() % 6) {
      case 0: return nullptr;
      case 1: values.push_back(in_.hostile()); break;
      case 2: if (!values.empty()) values.pop_back(); break;
      default:
        if (!values.empty()) {
          int& v = values[static_cast<size_t>(in_.below(array->size))];
          v = in_.flag() ? in_.hostile() : v + in_.byte() % 5 - 2;
        }
    }
    return arena_.ints(values);
  }

  void set_bytes(Tensor* t, size_t bytes) {
    if (t->data != nullptr) {
      if (bytes > static_cast<size_t>(kMostBytes)) return;
      void* data = arena_.bytes(bytes);
      std::memcpy(data, t->data, std::min(bytes, t->bytes));
      t->data = data;
    }
    t->bytes = bytes;
  }

  void mutate() {
    Tensor& t = tensors_[some_tensor()];
    const int which = in_.byte() % 20;
    switch (which) {
      case 0: t.dims = changed(t.dims); break;
      case 1: {  // dims that fit the others', and are too large
        IntArray* dims = changed(t.dims);
        t.dims = dims;
        if (t.data == nullptr && dims != nullptr) {
          uint64_t bytes = t.type == tflite::kInt8 ? 1 : 4;
          for (int i = 0; i < dims->size; ++i) bytes *= static_cast<uint64_t>(dims->data[i]);
          t.bytes = bytes;
        }
        break;
      }
      case 2: set_bytes(&t, static_cast<size_t>(std::max(0, in_.hostile()))); break;
      case 3: set_bytes(&t, std::max<size_t>(4, t.bytes + static_cast<size_t>(in_.byte() % 9)) - 4); break;
      case 4: t.data = nullptr; break;
      case 5: t.type = static_cast<tflite::Type>(in_.seldom(4) ? in_.hostile() : in_.byte() % 20); break;
      case 6:
        // LiteRT says this of constants only, which have memory.
        t.allocation_type = static_cast<tflite::Allocation>(in_.byte() % 8);
        if (t.allocation_type == tflite::kMmapRo && t.data == nullptr) {
          set_bytes(&t, std::min<size_t>(t.bytes, kMostBytes));
          t.data = arena_.bytes(t.bytes);
        }
        break;
      case 7: {
        auto* affine = static_cast<tflite::AffineQuantization*>(t.quantization.params);
        if (affine == nullptr) break;
        if (affine->scale != nullptr && affine->scale->size > 0 && in_.flag()) {
          affine->scale->data[in_.below(affine->scale->size)] = in_.hostile_float();
        } else if (in_.flag()) {
          affine->zero_point = changed(affine->zero_point);
        } else {
          affine->scale = arena_.floats(std::vector<float>(static_cast<size_t>(in_.byte()), 0.1f));
        }
        break;
      }
      case 8:
        if (in_.flag()) t.quantization.params = nullptr; else t.quantization.type = in_.byte() % 3;
        break;
      case 9: {
        auto* affine = static_cast<tflite::AffineQuantization*>(t.quantization.params);
        if (affine != nullptr) affine->quantized_dimension = in_.hostile();
        break;
      }
      case 10:
        if (conv_params_.empty()) break;
        reinterpret_cast<int32_t*>(conv_params_[static_cast<size_t>(
            in_.below(static_cast<int>(conv_params_.size())))])[in_.byte() % 6] = in_.hostile();
        break;
      case 11:
      case 12:
      case 13:
        if (int_arrays_.empty()) break;
        {
          IntArray** array = int_arrays_[static_cast<size_t>(
              in_.below(static_cast<int>(int_arrays_.size())))];
          *array = changed(*array);
        }
        break;
      case 14: mutate_sparsity(&t); break;
      case 15: {
        Node& n = nodes_[static_cast<size_t>(in_.below(static_cast<int>(nodes_.size())))];
        IntArray*& list = in_.flag() ? n.outputs : n.inputs;
        if (in_.flag() || list == nullptr || list->size == 0) {
          list = changed(list);
        } else {
          list->data[in_.below(list->size)] = some_index();
        }
        break;
      }
      case 16: {
        Node& n = nodes_[static_cast<size_t>(in_.below(static_cast<int>(nodes_.size())))];
        if (in_.flag()) n.builtin_data = nullptr; else n.outputs = arena_.ints({some_index()});
        break;
      }
      case 17:
        registrations_[static_cast<size_t>(in_.below(static_cast<int>(nodes_.size())))].builtin_code =
            in_.flag() ? tflite::kConv2D : in_.byte();
        break;
      case 18: {
        int& at = plan_[static_cast<size_t>(in_.below(static_cast<int>(plan_.size())))];
        at = in_.flag() ? in_.hostile() : in_.below(static_cast<int>(nodes_.size()));
        break;
      }
      default:
        if (in_.flag()) outputs_.insert(some_tensor());
        else t.sparsity = tensors_[some_tensor()].sparsity;
    }
  }

  void mutate_sparsity(Tensor* t) {
    for (Tensor& other : tensors_) {
      if (t->sparsity == nullptr && other.sparsity != nullptr) t = &other;
    }
    if (t->sparsity == nullptr) return;
    tflite::Sparsity& s = *t->sparsity;
    switch (in_.byte() % 6) {
      case 0: s.dimensions = nullptr; break;
      case 1: s.block_map = arena_.ints({in_.byte() % 4}); break;
      case 2: {
        const int size = in_.byte() % 10;
        auto* dimensions = static_cast<tflite::DimensionMetadata*>(
            arena_.bytes(sizeof(tflite::DimensionMetadata) * static_cast<size_t>(size)));
        if (s.dimensions != nullptr) {
          for (int d = 0; d < std::min(size, s.dimensions_size); ++d) dimensions[d] = s.dimensions[d];
        }
        s.dimensions = dimensions;
        s.dimensions_size = size;
        break;
      }
      case 3: s.traversal_order = nullptr; break;
      default: {
        if (s.dimensions == nullptr || s.dimensions_size == 0) break;
        tflite::DimensionMetadata& d = s.dimensions[in_.below(s.dimensions_size)];
        if (in_.flag()) d.dense_size = in_.hostile();
        else d.format = static_cast<tflite::DimensionFormat>(in_.byte() % 4);
      }
    }
  }

  // A caller that resizes an input between the delegate and the first run.
  void mutate_shape() {
    Tensor& t = context_.tensors[some_tensor()];
    t.bytes = static_cast<size_t>(in_.byte());
    t.data = nullptr;
  }

  // --------------------------------------------------------------------- the runtime's functions

  void publish() {
    context_tensors_.reset(new Tensor[tensors_.size()]);
    std::copy(tensors_.begin(), tensors_.end(), context_tensors_.get());
    context_.tensors = context_tensors_.get();
    context_.tensors_size = tensors_.size();
    context_.impl = this;
    context_.get_execution_plan = [](Context* context, IntArray** plan) {
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
            fused.node.user_data =
                registration.init(context, reinterpret_cast<const char*>(&params), 0);
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
        if (registrations_[static_cast<size_t>(index)].builtin_code != tflite::kDensify) open = false;
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

  Reader& in_;
  Arena arena_;
  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
  std::vector<Registration> registrations_;
  std::vector<int> plan_;
  std::set<int> outputs_;
  std::vector<tflite::ConvParams*> conv_params_;
  std::vector<IntArray**> int_arrays_;
  std::vector<Fused> fused_;
  Context context_{};
  std::unique_ptr<Tensor[]> context_tensors_;
  std::unique_ptr<Arena> plan_memory_, preview_memory_;
  double work_ = 0;
  int seed_ = 0, split_ = 0;
};

// Options with any text for a value; threads stay few.
void try_options(Reader* in) {
  static constexpr const char* kKeys[] = {"min_speedup", "force", "kernels", "thread", ""};
  const char* key = kKeys[in->below(5)];
  std::string value;
  for (int i = in->below(8); i > 0; --i) value += static_cast<char>(in->byte());
  const char* text = value.c_str();
  tflite_plugin_destroy_delegate(
      tflite_plugin_create_delegate(&key, &text, 1, [](const char*) {}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr const char* kKernels[] = {"avx512", "avx2", "neondot", "neon", "portable"};
  std::vector<const char*> here;
  for (const char* name : kKernels) {
    if (lcnn::kernels(name) != nullptr) here.push_back(name);
  }
  Reader in(data, size);
  const int choice = in.byte();
  if (choice == 255) try_options(&in);
  const char* keys[] = {"kernels", "force", "threads"};
  const char* values[] = {here[static_cast<size_t>(choice) % here.size()],
                          choice % 16 == 15 ? "0" : "1", "1"};
  void* handle = tflite_plugin_create_delegate(keys, values, 3, nullptr);
  if (handle == nullptr) __builtin_trap();
  {
    Runtime runtime(&in);
    auto* delegate = static_cast<tflite::Delegate*>(handle);
    if (delegate->prepare(runtime.context(), delegate) == tflite::kOk) runtime.run();
    // Read, so that a report that is no string is seen.
    if (std::strlen(lcnn_delegate_report()) == size_t(-1)) __builtin_trap();
  }
  tflite_plugin_destroy_delegate(handle);
  return 0;
}
