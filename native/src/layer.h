// One lookup layer: what it computes (Spec), and its fastest form on this processor (Layer).
#pragma once

#include <cstdint>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "kernels.h"
#include "pool.h"
#include "shape.h"

namespace lcnn {

// A coefficient of P that is not zero: filter, kernel row and column, dictionary row.
template <typename T>
struct Coefficient {
  int filter, r, c, i;
  T value;
};

template <typename T>
struct Quantized {};  // float32 has none

template <>
struct Quantized<int8_t> {
  int32_t x_zero = 0, s_zero = 0, y_zero = 0;
  std::vector<float> s_scale, y_scale;      // per dictionary row and filter: input * weight / output
  std::vector<int32_t> s_bias, y_bias;      // in units of input * weight
  int32_t s_lowest = -128, s_highest = 127;  // the activation, and int8
  int32_t y_lowest = -128, y_highest = 127;
};

struct Float {
  std::vector<float> s_bias, y_bias;
  float s_lowest = -std::numeric_limits<float>::infinity();
  float s_highest = std::numeric_limits<float>::infinity();
  float y_lowest = -std::numeric_limits<float>::infinity();
  float y_highest = std::numeric_limits<float>::infinity();
};

template <>
struct Quantized<float> : Float {};

// Y = act(P * act(X.D)) (LCNN, equations 4 and 5). Without `dictionary` S is X: a convolution with
// sparse weights.
template <typename T>
struct Spec {
  Shape shape;
  std::vector<T> dictionary;  // k x m
  std::vector<Coefficient<T>> coefficients;
  Quantized<T> values;
};

// Whether infinities of S become NaN: LiteRT multiplies them by coefficients of zero, where a layer
// has such. An activation of S keeps them from some values; then they stay as they are.
bool poisons(const Spec<float>& spec);

// What the delegate runs in place of some nodes of a graph.
class Operation {
 public:
  virtual ~Operation() = default;
  // Allocates all that `run_on` needs on at most this many threads, once. Throws std::bad_alloc.
  virtual void prepare(int threads) = 0;
  virtual void run_on(const void* const* inputs, void* y, Pool& pool) noexcept = 0;
  // Bytes that it holds, as packed weights and what it computes on the way, prepared or not.
  virtual size_t bytes() const = 0;

  std::string kernel;   // its form, e.g. "avx512 registers 64"
  double seconds = 0;   // predicted, on one thread
};

class Layer : public Operation {
 public:
  virtual void run(const void* x, void* y, Pool& pool) noexcept = 0;
  void run_on(const void* const* inputs, void* y, Pool& pool) noexcept final {
    run(inputs[0], y, pool);
  }
};

// A bound below what any form of a layer takes, known before its weights are packed.
double least_seconds(const Shape& shape, bool dictionary, size_t lookups, const Kernels& kernels,
                     bool int8);

// The fastest form of a layer. `form` asks for one: "registers", "planes", or nullptr for the one
// that is predicted to be fastest. nullptr if there is none of that name.
std::unique_ptr<Layer> make_layer(const Spec<int8_t>& spec, const Kernels& kernels,
                                  const char* form = nullptr);
std::unique_ptr<Layer> make_layer(const Spec<float>& spec, const Kernels& kernels,
                                  const char* form = nullptr);

}  // namespace lcnn
