// The options of a delegate, by name; see delegate.h.
#pragma once

#include <string>

#include "kernels.h"

namespace lcnn {

struct Options {
  int threads = 1;
  double min_speedup = 1.05;
  bool force = false;
  const Kernels* kernels = nullptr;  // the fastest, until they are set
};

constexpr int kMostThreads = 64;

// What is wrong with an option, and what works; empty if it was set.
std::string set_option(Options* options, const std::string& key, const char* value);

}  // namespace lcnn
