// Whether the runtime's structs are those of tflite.h.
#pragma once

#include "tflite.h"

namespace lcnn {

// Why they do not look it, in words that follow "its"; nullptr if they do.
const char* check_runtime(tflite::Context* context);

}  // namespace lcnn
