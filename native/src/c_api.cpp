#include "c_api.h"

#include <cstring>
#include <memory>

#include "layer.h"
#include "pool.h"

struct LcnnLayer {
  std::unique_ptr<lcnn::Layer> layer;
  lcnn::Pool pool;

  LcnnLayer(std::unique_ptr<lcnn::Layer> of, int threads) : layer(std::move(of)), pool(threads) {}
};

namespace {

static_assert(sizeof(lcnn::Shape) == 20 * sizeof(int32_t), "lcnn_layer_* document 20 numbers");

template <typename T>
lcnn::Spec<T> spec_of(const int32_t* shape, const T* dictionary, const T* coefficients) {
  lcnn::Spec<T> spec;
  std::memcpy(static_cast<void*>(&spec.shape), shape, sizeof(lcnn::Shape));
  const lcnn::Shape& s = spec.shape;
  if (dictionary != nullptr) {
    spec.dictionary.assign(dictionary, dictionary + static_cast<size_t>(s.k) * s.m);
  }
  for (int j = 0; j < s.n; ++j) {
    for (int r = 0; r < s.kh; ++r) {
      for (int c = 0; c < s.kw; ++c) {
        for (int i = 0; i < s.k; ++i, ++coefficients) {
          if (*coefficients != 0) spec.coefficients.push_back({j, r, c, i, *coefficients});
        }
      }
    }
  }
  return spec;
}

template <typename T>
LcnnLayer* layer_of(const lcnn::Spec<T>& spec, const char* kernels, const char* form, int threads) {
  const lcnn::Kernels* found = lcnn::kernels(kernels);
  if (found == nullptr) return nullptr;
  std::unique_ptr<lcnn::Layer> layer = lcnn::make_layer(spec, *found, form);
  return layer == nullptr ? nullptr : new LcnnLayer(std::move(layer), threads);
}

}  // namespace

LcnnLayer* lcnn_layer_f32(const char* kernels, const char* form, int threads, const int32_t* shape,
                          const float* dictionary, const float* s_bias, const float* coefficients,
                          const float* y_bias, const float* limits) {
  lcnn::Spec<float> spec = spec_of(shape, dictionary, coefficients);
  const lcnn::Shape& s = spec.shape;
  if (dictionary != nullptr) spec.values.s_bias.assign(s_bias, s_bias + s.k);
  spec.values.y_bias.assign(y_bias, y_bias + s.n);
  spec.values.s_lowest = limits[0];
  spec.values.s_highest = limits[1];
  spec.values.y_lowest = limits[2];
  spec.values.y_highest = limits[3];
  return layer_of(spec, kernels, form, threads);
}

LcnnLayer* lcnn_layer_s8(const char* kernels, const char* form, int threads, const int32_t* shape,
                         const int8_t* dictionary, const float* s_scale, const int32_t* s_bias,
                         const int8_t* coefficients, const float* y_scale, const int32_t* y_bias,
                         const int32_t* zero_points, const int32_t* limits) {
  lcnn::Spec<int8_t> spec = spec_of(shape, dictionary, coefficients);
  const lcnn::Shape& s = spec.shape;
  if (dictionary != nullptr) {
    spec.values.s_scale.assign(s_scale, s_scale + s.k);
    spec.values.s_bias.assign(s_bias, s_bias + s.k);
  }
  spec.values.y_scale.assign(y_scale, y_scale + s.n);
  spec.values.y_bias.assign(y_bias, y_bias + s.n);
  spec.values.x_zero = zero_points[0];
  spec.values.s_zero = zero_points[1];
  spec.values.y_zero = zero_points[2];
  spec.values.s_lowest = limits[0];
  spec.values.s_highest = limits[1];
  spec.values.y_lowest = limits[2];
  spec.values.y_highest = limits[3];
  return layer_of(spec, kernels, form, threads);
}

void lcnn_layer_run(LcnnLayer* layer, const void* x, void* y) {
  layer->layer->run(x, y, layer->pool);
}

const char* lcnn_layer_kernel(const LcnnLayer* layer) { return layer->layer->kernel.c_str(); }

double lcnn_layer_seconds(const LcnnLayer* layer) { return layer->layer->seconds; }

size_t lcnn_layer_bytes(const LcnnLayer* layer) { return layer->layer->bytes(); }

void lcnn_layer_free(LcnnLayer* layer) { delete layer; }
