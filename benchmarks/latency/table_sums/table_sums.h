// Sums of table reads for a convolution: what a layer of deep_lookup.py computes in integers.
//
//   sums[pixel][filter] = sum over kernel positions and channels of T[activation][weight]
//
// Activations and weights are indices, T is int8, sums are int32 and exact. No multiplication.
#pragma once

#include <cstdint>

extern "C" {

typedef struct TableSums TableSums;

// The kernels that this processor runs, the fastest first, with commas; "plain" is the last.
const char* table_sums_kernels();

// A layer, or null: where the processor has no such kernel, or a number is out of bounds.
//   shape: height, width, channels, filters, kernel height and width, activation levels (2 to 64),
//          weight levels (1 to 256). The stride is 1.
//   same:  1 pads as "same" does, and what is padded is read from no table; 0 pads nothing. Other
//          strides and paddings: as a 1x1 convolution of patches.
//   table: activation levels x weight levels; weights: filters x kernel height x width x channels.
TableSums* table_sums_new(const char* kernel, const int32_t* shape, int same, const int8_t* table,
                          const uint8_t* weights);

// NHWC of one image on both sides. Indices that are no level give wrong sums.
void table_sums_run(TableSums*, const uint8_t* activations, int32_t* sums);

// Without bringing the image into planes and the sums out of them: what a network of such layers
// that hands on planes would run. Needs a run before it.
void table_sums_run_planes(TableSums*);

// Table entries that are added as bytes before they are widened, on average; 0 for "plain".
double table_sums_group(const TableSums*);

void table_sums_free(TableSums*);
}
