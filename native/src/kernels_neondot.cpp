// The kernels of kernels_neon.cpp for processors with NEON's dot product of bytes.
#define LCNN_NEON_DOT
#include "kernels_neon.cpp"
