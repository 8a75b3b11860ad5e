// The native side of LcnnDelegate.kt.
#include <jni.h>

#include <string>

#include "delegate.h"

extern "C" JNIEXPORT jlong JNICALL Java_com_example_lcnn_LcnnDelegate_create(JNIEnv*, jobject,
                                                                             jint threads) {
  const std::string value = std::to_string(threads);
  const char* keys[] = {"threads"};
  const char* values[] = {value.c_str()};
  return reinterpret_cast<jlong>(tflite_plugin_create_delegate(keys, values, 1, nullptr));
}

extern "C" JNIEXPORT void JNICALL Java_com_example_lcnn_LcnnDelegate_destroy(JNIEnv*, jobject,
                                                                             jlong handle) {
  tflite_plugin_destroy_delegate(reinterpret_cast<void*>(handle));
}
