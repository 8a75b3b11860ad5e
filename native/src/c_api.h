/* One lookup layer at a time, without a model around it: for tests, timings and other runtimes. */
#ifndef LCNN_C_API_H_
#define LCNN_C_API_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define LCNN_EXPORT __attribute__((visibility("default")))

/* Changes with the functions and options of c_api.h and delegate.h. */
#define LCNN_ABI 3
LCNN_EXPORT int lcnn_abi(void); /* of the library */
/* What native/sources.py makes of the sources that the library was built from; "" if the build did
 * not say. */
LCNN_EXPORT const char* lcnn_sources(void);

/* A layer is run by one thread at a time. */
typedef struct LcnnLayer LcnnLayer;

/* A float32 layer. NULL where this processor has no such kernels or they no such form; where the
 * sizes contradict each other or are beyond all reason; where constants are not finite or sums
 * leave int32; where threads are not 1 to 64; and where there is no memory for it.
 *
 * kernels: "avx512", "avx2", "neondot", "neon", "portable"; NULL for the fastest that run here.
 * form: "registers", "planes"; NULL for the one that is predicted to be fastest.
 * shape: batch, in_h, in_w, m, stride_h and stride_w of the dictionary stage, h, w, k (of S), kh,
 *   kw, stride_h, stride_w, dilation_h, dilation_w, pad_top, pad_left, out_h, out_w, n: 20 numbers.
 * dictionary: k x m; NULL where S is X.  s_bias: k.
 * coefficients: n x kh x kw x k; zeros cost nothing.  y_bias: n.
 * limits: lowest and highest of S, then of Y. */
LCNN_EXPORT LcnnLayer* lcnn_layer_f32(const char* kernels, const char* form, int threads,
                                      const int32_t* shape, const float* dictionary,
                                      const float* s_bias, const float* coefficients,
                                      const float* y_bias, const float* limits);

/* An int8 layer. s_scale, y_scale: input scale * weight scale / output scale, below 1, per row of D
 * and per filter; biases are int32 in units of input * weight scale; zero_points: of X, S and Y. */
LCNN_EXPORT LcnnLayer* lcnn_layer_s8(const char* kernels, const char* form, int threads,
                                     const int32_t* shape, const int8_t* dictionary,
                                     const float* s_scale, const int32_t* s_bias,
                                     const int8_t* coefficients, const float* y_scale,
                                     const int32_t* y_bias, const int32_t* zero_points,
                                     const int32_t* limits);

/* x: batch x in_h x in_w x m; y: batch x out_h x out_w x n. */
LCNN_EXPORT void lcnn_layer_run(LcnnLayer* layer, const void* x, void* y);
LCNN_EXPORT const char* lcnn_layer_kernel(const LcnnLayer* layer);
LCNN_EXPORT double lcnn_layer_seconds(const LcnnLayer* layer); /* predicted, on one thread */
LCNN_EXPORT size_t lcnn_layer_bytes(const LcnnLayer* layer);
LCNN_EXPORT void lcnn_layer_free(LcnnLayer* layer);

/* Seconds that a multiplication of the runtime's own dense convolution is taken to need here, in
 * float32, or in int8 if that is not zero: what lcnn_layer_seconds compares with. */
LCNN_EXPORT double lcnn_dense_seconds(int int8);

#ifdef __cplusplus
}
#endif

#endif
