// The kernels of kernels_avx2.cpp for processors with AVX-VNNI's dot product of bytes.
#define LCNN_AVX_VNNI
#include "kernels_avx2.cpp"
