// The kernels' instructions are theirs alone: what follows them in a file is built for any
// processor.
#if defined(__AVX512F__)
#error "build this for any processor"
#endif

#include "../src/kernels_avx512.cpp"

#if defined(__AVX512F__)
#error "kernels_avx512.cpp leaves its target behind"
#endif
