// What tensors and parameters of a graph mean: scales, activations, padding.
#pragma once

#include <cstdint>
#include <vector>

#include "tflite.h"

namespace lcnn {

// Scales of a tensor: one, or one per index of its first dimension; empty if it has none.
std::vector<float> scales(const tflite::Tensor& tensor, int channels, int32_t* zero_point);

// False for an activation that kernels do not have.
bool limits_of(tflite::Activation activation, float* lowest, float* highest);

// A limit of an activation as int8.
int32_t quantized_limit(float limit, float scale, int32_t zero_point);

// The zeros before a direction of a map; false where its sizes contradict each other.
bool padded(tflite::Padding padding, int in, int kernel, int stride, int dilation, int out,
            int* before);

}  // namespace lcnn
