#pragma once

#include <memory>

#include "layer.h"
#include "packing.h"

namespace lcnn {

std::unique_ptr<Layer> make_registers(const Spec<int8_t>& spec, const Kernels& kernels,
                                      PackedLookups<int8_t> lookups);
std::unique_ptr<Layer> make_registers(const Spec<float>& spec, const Kernels& kernels,
                                      PackedLookups<float> lookups);

}  // namespace lcnn
