#include "tensors.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace lcnn {

using tflite::Tensor;

std::vector<float> scales(const Tensor& tensor, int channels, int32_t* zero_point) {
  if (tensor.quantization.type != tflite::kAffine || tensor.quantization.params == nullptr) {
    return {};
  }
  const auto& affine = *static_cast<const tflite::AffineQuantization*>(tensor.quantization.params);
  if (affine.scale == nullptr || affine.zero_point == nullptr || affine.scale->size < 1) return {};
  const int size = affine.scale->size;
  if (affine.zero_point->size != size && affine.zero_point->size != 1) return {};
  if (size != 1 && (size != channels || affine.quantized_dimension != 0)) return {};
  std::vector<float> scale(channels);
  for (int i = 0; i < channels; ++i) {
    scale[i] = affine.scale->data[size == 1 ? 0 : i];
    if (!(scale[i] > 0) || !std::isfinite(scale[i])) return {};
  }
  *zero_point = affine.zero_point->data[0];
  for (int i = 1; i < affine.zero_point->size; ++i) {
    if (affine.zero_point->data[i] != *zero_point) return {};
  }
  if (*zero_point < -128 || *zero_point > 127) return {};
  return scale;
}

bool limits_of(tflite::Activation activation, float* lowest, float* highest) {
  *lowest = -std::numeric_limits<float>::infinity();
  *highest = std::numeric_limits<float>::infinity();
  switch (activation) {
    case tflite::kNone: return true;
    case tflite::kRelu: *lowest = 0; return true;
    case tflite::kReluN1To1: *lowest = -1; *highest = 1; return true;
    case tflite::kRelu6: *lowest = 0; *highest = 6; return true;
    default: return false;
  }
}

int32_t quantized_limit(float limit, float scale, int32_t zero_point) {
  const float x = std::nearbyintf(limit / scale) + static_cast<float>(zero_point);
  return static_cast<int32_t>(std::min(127.0f, std::max(-128.0f, x)));
}

bool padded(tflite::Padding padding, int in, int kernel, int stride, int dilation, int out,
            int* before) {
  if (stride < 1 || dilation < 1) return false;
  const int64_t reach = static_cast<int64_t>(kernel - 1) * dilation + 1;
  if (padding == tflite::kSame) {
    if (out != (in - 1) / stride + 1) return false;
    const int64_t both = std::max<int64_t>(0, (out - int64_t{1}) * stride + reach - in);
    *before = static_cast<int>(both / 2);
    return both / 2 <= std::numeric_limits<int>::max();
  }
  *before = 0;
  return padding == tflite::kValid && reach <= in && out == (in - reach) / stride + 1;
}

}  // namespace lcnn
