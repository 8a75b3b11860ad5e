// The kernels' instructions are theirs alone: what follows them in a file is built for any
// processor.
#if defined(__ARM_FEATURE_DOTPROD)
#error "build this for any processor"
#endif

#include "../src/kernels_neondot.cpp"

#if defined(__ARM_FEATURE_DOTPROD)
#error "kernels_neondot.cpp leaves its target behind"
#endif
