#pragma once

#include <memory>

#include "layer.h"

namespace lcnn {

std::unique_ptr<Layer> make_planes(const Spec<float>& spec, const Kernels& kernels);

}  // namespace lcnn
