#include "options.h"

#include <cstdlib>
#include <cstring>

namespace lcnn {

std::string set_option(Options* options, const std::string& key, const char* value) {
  char* end = nullptr;
  if (key == "threads") {
    const long threads = std::strtol(value, &end, 10);
    if (*value == 0 || *end != 0 || threads < 1 || threads > kMostThreads) {
      return std::string("threads=") + value + ": 1 to " + std::to_string(kMostThreads) + " work";
    }
    options->threads = static_cast<int>(threads);
  } else if (key == "min_speedup") {
    options->min_speedup = std::strtod(value, &end);
    if (*value == 0 || *end != 0 || !(options->min_speedup >= 0)) {
      return std::string("min_speedup=") + value + ": a number from 0 on works";
    }
  } else if (key == "force") {
    options->force = std::strcmp(value, "1") == 0;
    if (!options->force && std::strcmp(value, "0") != 0) {
      return std::string("force=") + value + ": 0 and 1 work";
    }
  } else if (key == "kernels") {
    options->kernels = kernels(value);
    if (options->kernels == nullptr) {
      return std::string("kernels=") + value + ": this processor has " + kernels()->name +
             " and portable";
    }
  } else {
    return "unknown option " + key + ": threads, min_speedup, force and kernels exist";
  }
  return "";
}

}  // namespace lcnn
