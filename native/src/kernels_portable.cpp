// The reference: plain loops that any processor runs, and that the other kernels are tested against.
#include "kernels.h"

namespace lcnn {
namespace {

constexpr int kLanes = 8;

void dictionary_s8(const int8_t* x, ptrdiff_t stride, uint8_t* const* s, int pixels,
                   const Dictionary<int8_t>& d, const Requantize& to) {
  const int quads = (d.m + 3) / 4;
  for (int p = 0; p < pixels; ++p) {
    for (int row = 0; row < d.k; ++row) {
      const int8_t* values =
          d.values + (static_cast<size_t>(row / kLanes) * quads * kLanes + row % kLanes) * 4;
      int32_t sum = to.bias[row];
      for (int c = 0; c < d.m; ++c) sum += values[c / 4 * kLanes * 4 + c % 4] * x[p * stride + c];
      s[p][row] = static_cast<uint8_t>(requantized(sum, row, to));
    }
  }
}

void dictionary_f32(const float* x, ptrdiff_t stride, float* const* s, int pixels,
                    const Dictionary<float>& d, const Activate& to) {
  for (int p = 0; p < pixels; ++p) {
    for (int row = 0; row < d.k; ++row) {
      const float* values =
          d.values + static_cast<size_t>(row / kLanes) * d.m * kLanes + row % kLanes;
      float sum = to.bias[row];
      for (int c = 0; c < d.m; ++c) sum += values[static_cast<size_t>(c) * kLanes] * x[p * stride + c];
      s[p][row] = activated(sum, to);
    }
  }
}

void lookup_s8(const uint8_t* const* rows, int step, int pixels, int, const Lookups<int8_t>& l,
               const Requantize& to, int8_t* y, size_t n, int filters) {
  for (int p = 0; p < pixels; ++p) {
    for (int lane = 0; lane < filters; ++lane) {
      int32_t sum = to.bias[lane];
      for (int g = 0; g < l.steps; ++g) {
        const int8_t* table = reinterpret_cast<const int8_t*>(rows[l.step[g].row]) +
                              l.step[g].offset + static_cast<ptrdiff_t>(p) * step;
        for (int t = 0; t < 4; ++t) {
          const size_t at = (static_cast<size_t>(g) * kLanes + lane) * 4 + t;
          sum += l.coefficient[at] * table[l.index[at]];
        }
      }
      for (int g = 0; g < l.full_steps; ++g) {
        const int8_t* table = reinterpret_cast<const int8_t*>(rows[l.full_step[g].row]) +
                              l.full_step[g].offset + static_cast<ptrdiff_t>(p) * step;
        for (int t = 0; t < 4; ++t) {
          sum += l.full_coefficient[(static_cast<size_t>(g) * kLanes + lane) * 4 + t] * table[t];
        }
      }
      y[p * n + lane] = static_cast<int8_t>(requantized(sum, lane, to));
    }
  }
}

void lookup_f32(const float* const* rows, int step, int pixels, int, const Lookups<float>& l,
                const Activate& to, float* y, size_t n, int filters) {
  for (int p = 0; p < pixels; ++p) {
    for (int lane = 0; lane < filters; ++lane) {
      float sum = to.bias[lane];
      for (int g = 0; g < l.steps; ++g) {
        const float* table =
            rows[l.step[g].row] + l.step[g].offset + static_cast<ptrdiff_t>(p) * step;
        const size_t at = static_cast<size_t>(g) * kLanes + lane;
        sum += l.coefficient[at] * table[l.index[at]];
      }
      for (int g = 0; g < l.full_steps; ++g) {
        sum += l.full_coefficient[static_cast<size_t>(g) * kLanes + lane] *
               rows[l.full_step[g].row][l.full_step[g].offset + static_cast<ptrdiff_t>(p) * step];
      }
      y[p * n + lane] = activated(sum, to);
    }
  }
}

void planes_f32(const float* origin, int vectors, const Planes& planes, const Activate& to,
                int filters, float* y) {
  const int pixels = vectors * kPortable.vector_f32;
  for (int j = 0; j < filters; ++j) {
    for (int p = 0; p < pixels; ++p) {
      float sum = to.bias[j];
      for (int e = planes.first[j]; e < planes.first[j + 1]; ++e) {
        sum += planes.value[e] * origin[planes.offset[e] + p];
      }
      y[static_cast<size_t>(j) * pixels + p] = activated(sum, to);
    }
  }
}

void transpose_f32(const float* from, size_t stride, float* const* to, int rows, int columns) {
  for (int column = 0; column < columns; ++column) {
    if (to[column] == nullptr) continue;
    for (int row = 0; row < rows; ++row) to[column][row] = from[row * stride + column];
  }
}

}  // namespace

const Kernels kPortable = {
    "portable",
    kLanes,
    false,
    {128, 0, 0},
    {32, 0, 0},
    4,
    dictionary_s8,
    dictionary_f32,
    lookup_s8,
    lookup_f32,
    planes_f32,
    transpose_f32,
    &kPortableElementwise,
};

}  // namespace lcnn
