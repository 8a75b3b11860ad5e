// A model from the fuzzer's bytes: a plausible one, of which some fields are then changed.
#pragma once

#include <algorithm>
#include <set>
#include <vector>

#include "bytes.h"

namespace fuzz {

using tflite::Node;
using tflite::Registration;
using tflite::Tensor;

// Constants larger than this are not made: the fuzzer would wait for them.
constexpr int64_t kMostBytes = 1 << 18;

class Model {
 protected:
  explicit Model(Reader* in) : in_(*in) {
    build();
    const int mutations = in_.byte() % 16;
    // Half of the models stay as they are.
    for (int i = 8; i < mutations; ++i) mutate();
  }

  Reader& in_;
  Arena arena_;
  std::vector<Tensor> tensors_;
  std::vector<Node> nodes_;
  std::vector<Registration> registrations_;
  std::vector<int> plan_;
  std::set<int> outputs_;
  double work_ = 0;  // multiplications
  int seed_ = 0;

  int some_tensor() { return in_.below(static_cast<int>(tensors_.size())); }

 private:
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

  void quantize(int index, int channels, bool weights) {
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
    if (sizeof(T) == 1) quantize(stored, dims[0], true);
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

  // Zeros in memory that stays.
  int constant(tflite::Type type, const std::vector<int>& dims) {
    const int index = tensor(type, dims);
    Tensor& t = tensors_[index];
    t.allocation_type = tflite::kMmapRo;
    t.data = arena_.bytes(t.bytes);
    return index;
  }

  template <typename T>
  int bias(int n) {
    if (in_.seldom(4)) return -1;
    const int index = constant(sizeof(T) == 1 ? tflite::kInt32 : tflite::kFloat32, {n});
    const Tensor& t = tensors_[index];
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

  // Of an operator. The runtime reads them by what a node's operator is, and that may yet change:
  // there is memory for those of any.
  template <typename Params>
  Params* parameters() {
    return static_cast<Params*>(
        arena_.bytes(std::max({sizeof(tflite::ConvParams), sizeof(tflite::FullyConnectedParams),
                               sizeof(tflite::PoolParams), sizeof(tflite::AddParams)})));
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
    if (sizeof(T) == 1) quantize(y, 1, false);
    auto* params = parameters<tflite::ConvParams>();
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
    if (sizeof(T) == 1) quantize(y, 1, false);
    auto* params = parameters<tflite::FullyConnectedParams>();
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
    if (in_.seldom(4)) x = zeros_around(x);
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

  // The map with zeros around it, seldom with some in a wrong place.
  int zeros_around(int x) {
    std::vector<int> shape = dims(x);
    const int counts = constant(tflite::kInt32, {4, 2});
    char* const data = static_cast<char*>(tensors_[counts].data);
    for (int i = 0; i < 8; ++i) {
      const bool map = i / 2 == 1 || i / 2 == 2;
      const int32_t zeros = map || in_.seldom(32) ? in_.below(4) : 0;
      std::memcpy(data + 4 * i, &zeros, 4);
      shape[i / 2] += zeros;
    }
    const int y = tensor(tensors_[x].type, shape);
    tensors_[y].quantization = tensors_[x].quantization;
    node(tflite::kPad, {x, counts}, {y}, nullptr);
    return y;
  }

  // What may lie between layers: a sum with itself or an earlier tensor, or a maximum.
  int neighbor(int x) {
    const std::vector<int> shape = dims(x);
    const bool int8 = tensors_[x].type == tflite::kInt8;
    const auto activation = static_cast<tflite::Activation>(in_.byte() % 4);
    if (shape.size() == 4 && in_.flag()) {
      auto* params = parameters<tflite::PoolParams>();
      params->padding = tflite::kSame;
      params->filter_height = 1 + in_.below(4);
      params->filter_width = 1 + in_.below(4);
      const int stride = params->stride_height = params->stride_width = 1 + in_.below(3);
      params->activation = activation;
      const int y = tensor(tensors_[x].type, {shape[0], (shape[1] + stride - 1) / stride,
                                              (shape[2] + stride - 1) / stride, shape[3]});
      tensors_[y].quantization = tensors_[x].quantization;
      node(tflite::kMaxPool2D, {x}, {y}, params);
      return y;
    }
    int other = x;
    for (int i = 0; i < x && in_.flag(); ++i) {
      if (tensors_[i].type == tensors_[x].type && dims(i) == shape) other = i;
    }
    auto* params = parameters<tflite::AddParams>();
    params->activation = activation;
    const int y = tensor(tensors_[x].type, shape);
    if (int8) quantize(y, 1, false);
    node(tflite::kAdd, {x, other}, {y}, params);
    return y;
  }

  void build() {
    seed_ = in_.byte();
    const bool int8 = in_.flag();
    static constexpr int kMaps[] = {4, 1, 2, 7, 3, 16, 33, 5};
    static constexpr int kChannels[] = {8, 3, 16, 2, 1, 64, 5, 33};
    int x = tensor(int8 ? tflite::kInt8 : tflite::kFloat32,
                   {1 + in_.below(8) / 6, kMaps[in_.below(8)], kMaps[in_.below(8)],
                    kChannels[in_.below(8)]});
    if (int8) quantize(x, 1, false);
    const int layers = 1 + in_.below(4);
    for (int i = 0; i < layers; ++i) {
      if (in_.seldom(8)) {  // an operator between, of the runtime's
        const int y = tensor(tensors_[x].type, dims(x));
        tensors_[y].quantization = tensors_[x].quantization;
        node(in_.byte(), {x}, {y}, nullptr);
        x = y;
      }
      x = int8 ? layer<int8_t>(x) : layer<float>(x);
      if (in_.seldom(3)) x = neighbor(x);
      if (count(dims(x)) > kMostBytes) break;
    }
    outputs_.insert(x);
    if (in_.seldom(8)) outputs_.insert(in_.below(static_cast<int>(tensors_.size())));
    for (size_t i = 0; i < nodes_.size(); ++i) {
      const Node& n = nodes_[i];
      if (n.inputs->size < 2 || registrations_[i].builtin_code == tflite::kAdd) continue;
      const int w = n.inputs->data[1], y = n.outputs->data[0];
      work_ += static_cast<double>(count(dims(y))) * static_cast<double>(count(dims(w))) /
               dims(w)[0];
    }
  }

  // ------------------------------------------------------------------------------- what is wrong

  template <typename T>
  T& some(std::vector<T>* of) {
    return (*of)[static_cast<size_t>(in_.below(static_cast<int>(of->size())))];
  }

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
          v = in_.flag() ? in_.hostile() : static_cast<int>(int64_t{v} + in_.byte() % 5 - 2);
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
      case 3:
        set_bytes(&t, std::max<size_t>(4, t.bytes + static_cast<size_t>(in_.byte() % 9)) - 4);
        break;
      case 4: t.data = nullptr; break;
      case 5:
        t.type = static_cast<tflite::Type>(in_.seldom(4) ? in_.hostile() : in_.byte() % 20);
        break;
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
        reinterpret_cast<int32_t*>(some(&conv_params_))[in_.byte() % 6] = in_.hostile();
        break;
      case 11:
      case 12:
      case 13:
        if (int_arrays_.empty()) break;
        {
          IntArray** array = some(&int_arrays_);
          *array = changed(*array);
        }
        break;
      case 14: mutate_sparsity(&t); break;
      case 15: {
        Node& n = some(&nodes_);
        IntArray*& list = in_.flag() ? n.outputs : n.inputs;
        if (in_.flag() || list == nullptr || list->size == 0) {
          list = changed(list);
        } else {
          list->data[in_.below(list->size)] = some_index();
        }
        break;
      }
      case 16: {
        Node& n = some(&nodes_);
        if (in_.flag()) n.builtin_data = nullptr; else n.outputs = arena_.ints({some_index()});
        break;
      }
      case 17:
        some(&registrations_).builtin_code = in_.flag() ? tflite::kConv2D : in_.byte();
        break;
      case 18: {
        int& at = some(&plan_);
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
          std::copy_n(s.dimensions, std::min(size, s.dimensions_size), dimensions);
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

  std::vector<tflite::ConvParams*> conv_params_;
  std::vector<IntArray**> int_arrays_;  // those of sparse tensors
};

}  // namespace fuzz
