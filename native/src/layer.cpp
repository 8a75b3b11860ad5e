#include "layer.h"

#include <cstring>

#include "packing.h"
#include "planes.h"
#include "registers.h"

namespace lcnn {
namespace {

constexpr const char* kRegisters = "registers";
constexpr const char* kPlanes = "planes";

double dictionary_work(const Shape& s, size_t dictionary) {
  const double pixels = static_cast<double>(s.batch) * s.h * s.w;
  return dictionary == 0 ? pixels * s.k : pixels * s.m * s.k;
}

bool wanted(const char* form, const char* name) {
  return form == nullptr || std::strcmp(form, name) == 0;
}

// The windows that need the least time; wide ones take several registers to permute.
template <typename T>
PackedLookups<T> best_windows(const Spec<T>& spec, const Kernels& kernels) {
  const int* windows = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  PackedLookups<T> best;
  for (int i = 0; i < kWindows && windows[i] > 0; ++i) {
    PackedLookups<T> packed = pack_lookups(spec, kernels, i);
    if (best.window == 0 || packed.seconds < best.seconds) best = std::move(packed);
  }
  return best;
}

}  // namespace

std::unique_ptr<Layer> make_layer(const Spec<int8_t>& spec, const Kernels& kernels,
                                  const char* form) {
  if (!wanted(form, kRegisters)) return nullptr;
  const Shape& s = spec.shape;
  const Rates& rates = kernels.s8;
  PackedLookups<int8_t> lookups = best_windows(spec, kernels);
  const double seconds = lookups.seconds;
  const double pixels = static_cast<double>(s.batch) * s.out_h * s.out_w;
  const std::string name =
      std::string(kernels.name) + " registers " + std::to_string(lookups.window);
  std::unique_ptr<Layer> layer = make_registers(spec, kernels, std::move(lookups));
  layer->kernel = name;
  layer->seconds = seconds * pixels + pixels * s.n * rates.output +
                   dictionary_work(s, spec.dictionary.size()) * rates.dictionary + rates.call;
  return layer;
}

std::unique_ptr<Layer> make_layer(const Spec<float>& spec, const Kernels& kernels,
                                  const char* form) {
  const Shape& s = spec.shape;
  const Rates& rates = kernels.f32;
  const double pixels = static_cast<double>(s.batch) * s.out_h * s.out_w;
  const double shared = dictionary_work(s, spec.dictionary.size()) * rates.dictionary + rates.call;
  std::unique_ptr<Layer> best;
  if (wanted(form, kRegisters)) {
    PackedLookups<float> lookups = best_windows(spec, kernels);
    const double seconds = lookups.seconds * pixels + pixels * s.n * rates.output + shared;
    const double planes = pixels * spec.coefficients.size() * rates.plane +
                          pixels * s.n * rates.plane_output + shared;
    if (form != nullptr || seconds <= planes) {
      const std::string name =
          std::string(kernels.name) + " registers " + std::to_string(lookups.window);
      best = make_registers(spec, kernels, std::move(lookups));
      best->kernel = name;
      best->seconds = seconds;
      return best;
    }
  }
  if (wanted(form, kPlanes)) {
    best = make_planes(spec, kernels);
    best->kernel = std::string(kernels.name) + " planes";
    best->seconds = pixels * spec.coefficients.size() * rates.plane +
                    pixels * s.n * rates.plane_output + shared;
  }
  return best;
}

}  // namespace lcnn
