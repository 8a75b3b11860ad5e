// The kernels' instructions are theirs alone: what follows them in a file is built for any
// processor.
#if defined(__AVX2__)
#error "build this for any processor"
#endif

#include "../src/kernels_avx2.cpp"

#if defined(__AVX2__)
#error "kernels_avx2.cpp leaves its target behind"
#endif
