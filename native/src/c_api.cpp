#include "c_api.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>

#include "layer.h"
#include "options.h"
#include "pool.h"
#include "rates.h"

struct LcnnLayer {
  std::unique_ptr<lcnn::Layer> layer;
  lcnn::Pool pool;

  LcnnLayer(std::unique_ptr<lcnn::Layer> of, int threads) : layer(std::move(of)), pool(threads) {
    layer->prepare(pool.threads());
  }
};

namespace {

static_assert(sizeof(lcnn::Shape) == 20 * sizeof(int32_t), "lcnn_layer_* document 20 numbers");

// The coefficients of P that are not zero.
template <typename T>
std::vector<lcnn::Coefficient<T>> nonzero(const lcnn::Shape& s, const T* p) {
  std::vector<lcnn::Coefficient<T>> coefficients;
  for (int j = 0; j < s.n; ++j) {
    for (int r = 0; r < s.kh; ++r) {
      for (int c = 0; c < s.kw; ++c) {
        for (int i = 0; i < s.k; ++i, ++p) {
          if (*p != 0) coefficients.push_back({j, r, c, i, *p});
        }
      }
    }
  }
  return coefficients;
}

// False where the sizes are not plausible: then nothing is read.
template <typename T>
bool read_stages(const int32_t* shape, const T* dictionary, const T* p, lcnn::Spec<T>* spec) {
  std::memcpy(static_cast<void*>(&spec->shape), shape, sizeof(lcnn::Shape));
  const lcnn::Shape& s = spec->shape;
  if (!lcnn::plausible(s, dictionary != nullptr)) return false;
  if (dictionary != nullptr) {
    spec->dictionary.assign(dictionary, dictionary + static_cast<size_t>(s.k) * s.m);
  }
  spec->coefficients = nonzero(s, p);
  return lcnn::worthwhile(s, static_cast<int64_t>(spec->coefficients.size()));
}

bool finite(const std::vector<float>& values) {
  return std::all_of(values.begin(), values.end(), [](float x) { return std::isfinite(x); });
}

bool valid(const lcnn::Spec<float>& spec) {
  const lcnn::Quantized<float>& to = spec.values;
  return to.s_lowest <= to.s_highest && to.y_lowest <= to.y_highest && finite(to.s_bias) &&
         finite(to.y_bias) && finite(spec.dictionary) &&
         std::all_of(spec.coefficients.begin(), spec.coefficients.end(),
                     [](const auto& p) { return std::isfinite(p.value); });
}

bool in_int8(int32_t lowest, int32_t highest) {
  return lowest >= -128 && lowest <= highest && highest <= 127;
}

bool usable(const std::vector<float>& scales) {
  return std::all_of(scales.begin(), scales.end(), lcnn::usable_scale);
}

bool sums_fit(const std::vector<int32_t>& bias, const std::vector<int64_t>& weights) {
  for (size_t i = 0; i < weights.size(); ++i) {
    if (!lcnn::sum_fits(bias[i], weights[i])) return false;
  }
  return true;
}

bool valid(const lcnn::Spec<int8_t>& spec) {
  const lcnn::Shape& s = spec.shape;
  const lcnn::Quantized<int8_t>& to = spec.values;
  for (int32_t zero_point : {to.x_zero, to.s_zero, to.y_zero}) {
    if (!in_int8(zero_point, zero_point)) return false;
  }
  std::vector<int64_t> rows(to.s_bias.size()), filters(s.n);
  for (size_t i = 0; i < spec.dictionary.size(); ++i) {
    rows[i / s.m] += std::abs(int64_t{spec.dictionary[i]});
  }
  for (const auto& p : spec.coefficients) filters[p.filter] += std::abs(int64_t{p.value});
  return in_int8(to.s_lowest, to.s_highest) && in_int8(to.y_lowest, to.y_highest) &&
         usable(to.s_scale) && usable(to.y_scale) && sums_fit(to.s_bias, rows) &&
         sums_fit(to.y_bias, filters);
}

template <typename T>
LcnnLayer* layer_of(const lcnn::Spec<T>& spec, const char* kernels, const char* form, int threads) {
  const lcnn::Kernels* of = lcnn::kernels(kernels);
  if (of == nullptr || threads < 1 || threads > lcnn::kMostThreads || !valid(spec)) return nullptr;
  std::unique_ptr<lcnn::Layer> layer = lcnn::make_layer(spec, *of, form);
  return layer == nullptr ? nullptr : new LcnnLayer(std::move(layer), threads);
}

}  // namespace

LcnnLayer* lcnn_layer_f32(const char* kernels, const char* form, int threads, const int32_t* shape,
                          const float* dictionary, const float* s_bias, const float* coefficients,
                          const float* y_bias, const float* limits) try {
  lcnn::Spec<float> spec;
  if (!read_stages(shape, dictionary, coefficients, &spec)) return nullptr;
  const lcnn::Shape& s = spec.shape;
  if (dictionary != nullptr) spec.values.s_bias.assign(s_bias, s_bias + s.k);
  spec.values.y_bias.assign(y_bias, y_bias + s.n);
  spec.values.s_lowest = limits[0];
  spec.values.s_highest = limits[1];
  spec.values.y_lowest = limits[2];
  spec.values.y_highest = limits[3];
  return layer_of(spec, kernels, form, threads);
} catch (const std::exception&) {
  return nullptr;
}

LcnnLayer* lcnn_layer_s8(const char* kernels, const char* form, int threads, const int32_t* shape,
                         const int8_t* dictionary, const float* s_scale, const int32_t* s_bias,
                         const int8_t* coefficients, const float* y_scale, const int32_t* y_bias,
                         const int32_t* zero_points, const int32_t* limits) try {
  lcnn::Spec<int8_t> spec;
  if (!read_stages(shape, dictionary, coefficients, &spec)) return nullptr;
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
} catch (const std::exception&) {
  return nullptr;
}

void lcnn_layer_run(LcnnLayer* layer, const void* x, void* y) {
  layer->layer->run(x, y, layer->pool);
}

const char* lcnn_layer_kernel(const LcnnLayer* layer) { return layer->layer->kernel.c_str(); }

double lcnn_layer_seconds(const LcnnLayer* layer) { return layer->layer->seconds; }

size_t lcnn_layer_bytes(const LcnnLayer* layer) { return layer->layer->bytes(); }

void lcnn_layer_free(LcnnLayer* layer) { delete layer; }

double lcnn_dense_seconds(int int8) {
  return lcnn::measured_rates(*lcnn::kernels(), int8 != 0).dense;
}
