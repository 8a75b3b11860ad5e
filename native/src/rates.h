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

// Those of kernels, in int8 or float32, on the machine where they were measured. By these the form
// of a layer is chosen, so that it is the same wherever and whenever the layer is made.
const Rates& rates(const Kernels& kernels, bool int8);

// Those of this machine, measured in about a millisecond when they are first asked for: what a layer
// is predicted to take, and whether the runtime would be faster. Of what is not ours, the runtime's
// dense convolution, the table's share of the dictionary stage is taken: they use the same
// instructions, but for processors with AMX.
Rates measured_rates(const Kernels& kernels, bool int8);

// How many channels the runtime's dense convolution takes at once at each kernel position; fewer of
// them take as long.
int dense_channels(bool int8);

}  // namespace lcnn
