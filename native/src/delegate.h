/* The delegate, as LiteRT loads it: Python's load_delegate(), or on Android the pointer that
 * tflite_plugin_create_delegate returns, as a native delegate handle. */
#ifndef LCNN_DELEGATE_H_
#define LCNN_DELEGATE_H_

#include <stddef.h>

#include "c_api.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A delegate may serve several interpreters, on several threads: with more than one thread of its
 * own it runs one of them at a time. In the child of a fork it has one thread.
 *
 * Options, by key:
 *   threads       1 to 64; default 1
 *   min_speedup   claim a layer only if it is predicted to be this much faster; default 1.05
 *   force         1: claim every layer that can be
 *   kernels       see c_api.h; default: the fastest
 * NULL where an option is wrong; report_error says which. */
LCNN_EXPORT void* tflite_plugin_create_delegate(const char* const* keys, const char* const* values,
                                                size_t count, void (*report_error)(const char*));
LCNN_EXPORT void tflite_plugin_destroy_delegate(void* delegate);

/* What the delegate that this thread attached last has claimed and left, a line per layer, of all
 * subgraphs of the model. Valid until this thread attaches a delegate again, or ends. */
LCNN_EXPORT const char* lcnn_delegate_report(void);

#ifdef __cplusplus
}
#endif

#endif
