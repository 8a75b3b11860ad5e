// What kernels cost, for the choice between forms of a layer, and between them and the runtime.
#pragma once

#include "kernels.h"

namespace lcnn {

// Seconds, on a machine that has the kernels.
struct Rates {
  double dense;           // a multiplication of the runtime's own dense convolution
  double dictionary;      // a multiplication of the dictionary stage
  double step[kWindows];  // a step for a block of filters and a pixel, by window
  double output;          // a result
  double plane;           // a lookup and a pixel, on planes
  double plane_output;
  double call;            // a layer, whatever its size
  double full_step;       // a full step for a block of filters and a pixel; 0: there are none
};

// Those of kernels, in int8 or float32.
const Rates& rates(const Kernels& kernels, bool int8);

}  // namespace lcnn
