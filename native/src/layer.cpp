#include "layer.h"

#include <algorithm>
#include <cstring>

#include "packing.h"
#include "planes.h"
#include "rates.h"
#include "registers.h"

namespace lcnn {
namespace {

constexpr const char* kRegisters = "registers";
constexpr const char* kPlanes = "planes";

double pixels_of(const Shape& s) { return static_cast<double>(s.batch) * s.out_h * s.out_w; }

// Of the dictionary stage and the call, which all forms share.
double shared_seconds(const Shape& s, bool dictionary, const Rates& rates) {
  const double values = static_cast<double>(s.batch) * s.h * s.w * s.k;
  return (dictionary ? values * s.m : values) * rates.dictionary + rates.call;
}

double registers_seconds(const Shape& s, double per_pixel, const Rates& rates) {
  return pixels_of(s) * (per_pixel + s.n * rates.output);
}

double planes_seconds(const Shape& s, size_t lookups, const Rates& rates) {
  return pixels_of(s) *
         (static_cast<double>(lookups) * rates.plane + s.n * rates.plane_output);
}

bool wanted(const char* form, const char* name) {
  return form == nullptr || std::strcmp(form, name) == 0;
}

// The windows that need the least time; wide ones take several registers to permute.
template <typename T>
PackedLookups<T> best_windows(const Spec<T>& spec, const Kernels& kernels) {
  const Rates& rates = lcnn::rates(kernels, sizeof(T) == 1);
  const int* windows = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  PackedLookups<T> best;
  for (int i = 0; i < kWindows && windows[i] > 0; ++i) {
    PackedLookups<T> packed = pack_lookups(spec, kernels, i, rates);
    if (best.window == 0 || packed.seconds < best.seconds) best = std::move(packed);
  }
  return best;
}

// What a layer takes on this machine.
template <typename T>
double predicted(const Spec<T>& spec, const Kernels& kernels, const PackedLookups<T>& lookups) {
  const Rates rates = measured_rates(kernels, sizeof(T) == 1);
  const int* windows = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  const auto window = std::find(windows, windows + kWindows, lookups.window) - windows;
  double per_pixel = 0;
  for (const PackedBlock<T>& block : lookups.blocks) {
    per_pixel += static_cast<double>(block.step.size()) * rates.step[window] +
                 static_cast<double>(block.full_step.size()) * rates.full_step;
  }
  return registers_seconds(spec.shape, per_pixel, rates) +
         shared_seconds(spec.shape, !spec.dictionary.empty(), rates);
}

template <typename T>
std::unique_ptr<Layer> registers_layer(const Spec<T>& spec, const Kernels& kernels,
                                       PackedLookups<T> lookups) {
  const double seconds = predicted(spec, kernels, lookups);
  std::string name = std::string(kernels.name) + " registers " + std::to_string(lookups.window);
  std::unique_ptr<Layer> layer = make_registers(spec, kernels, std::move(lookups));
  layer->kernel = std::move(name);
  layer->seconds = seconds;
  return layer;
}

}  // namespace

bool poisons(const Spec<float>& spec) {
  const Shape& s = spec.shape;
  const float infinity = std::numeric_limits<float>::infinity();
  const size_t all = static_cast<size_t>(s.n) * s.kh * s.kw * s.k;
  return spec.values.s_lowest == -infinity && spec.values.s_highest == infinity &&
         spec.coefficients.size() < all;
}

double least_seconds(const Shape& shape, bool dictionary, size_t lookups, const Kernels& kernels,
                     bool int8) {
  const Rates rates = measured_rates(kernels, int8);
  const int* windows = int8 ? kernels.windows_s8 : kernels.windows_f32;
  double step = rates.step[0];
  for (int i = 1; i < kWindows && windows[i] > 0; ++i) step = std::min(step, rates.step[i]);
  if (rates.full_step > 0) step = std::min(step, rates.full_step);
  const int per_step = kernels.filters_per_block() * (int8 ? terms<int8_t>() : terms<float>());
  double seconds =
      registers_seconds(shape, static_cast<double>(lookups) / per_step * step, rates);
  if (!int8) seconds = std::min(seconds, planes_seconds(shape, lookups, rates));
  return seconds + shared_seconds(shape, dictionary, rates);
}

std::unique_ptr<Layer> make_layer(const Spec<int8_t>& spec, const Kernels& kernels,
                                  const char* form) {
  if (!wanted(form, kRegisters)) return nullptr;
  return registers_layer(spec, kernels, best_windows(spec, kernels));
}

std::unique_ptr<Layer> make_layer(const Spec<float>& spec, const Kernels& kernels,
                                  const char* form) {
  const Rates& rates = lcnn::rates(kernels, false);
  const double shared = shared_seconds(spec.shape, !spec.dictionary.empty(), rates);
  const double planes = planes_seconds(spec.shape, spec.coefficients.size(), rates) + shared;
  if (wanted(form, kRegisters)) {
    PackedLookups<float> lookups = best_windows(spec, kernels);
    const double seconds = registers_seconds(spec.shape, lookups.seconds, rates) + shared;
    if (form != nullptr || seconds <= planes) {
      return registers_layer(spec, kernels, std::move(lookups));
    }
  }
  if (!wanted(form, kPlanes)) return nullptr;
  const Rates measured = measured_rates(kernels, false);
  std::unique_ptr<Layer> layer = make_planes(spec, kernels);
  layer->kernel = std::string(kernels.name) + " planes";
  layer->seconds = planes_seconds(spec.shape, spec.coefficients.size(), measured) +
                   shared_seconds(spec.shape, !spec.dictionary.empty(), measured);
  return layer;
}

}  // namespace lcnn
