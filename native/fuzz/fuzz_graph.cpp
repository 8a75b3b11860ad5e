// Hostile models, for libFuzzer: the graph that LiteRT would hand to the delegate is built from the
// fuzzer's bytes. It begins as a plausible one (lookup pairs with and without DENSIFY, fully
// connected ones, lone sparse convolutions, sums and maxima between them, operators that are none of
// ours), then any field that a
// file can set is changed. Every array is allocated with exactly as many bytes as it says that it
// has, so AddressSanitizer sees what the delegate reads beyond.
//
// What a file cannot make LiteRT do is not tried: an array's size is always that of its memory, and
// the tensors that a kernel is run on have as many bytes as LiteRT says.
#include <cstring>
#include <string>
#include <vector>

#include "../src/delegate.h"
#include "../src/kernels.h"
#include "../src/tflite.h"
#include "runtime.h"

namespace {

// Options with any text for a value; threads stay few.
void try_options(fuzz::Reader* in) {
  static constexpr const char* kKeys[] = {"min_speedup", "force", "kernels", "thread", ""};
  const char* key = kKeys[in->below(5)];
  std::string value;
  for (int i = in->below(8); i > 0; --i) value += static_cast<char>(in->byte());
  const char* text = value.c_str();
  tflite_plugin_destroy_delegate(
      tflite_plugin_create_delegate(&key, &text, 1, [](const char*) {}));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static constexpr const char* kKernels[] = {"avx512",  "avxvnni", "avx2",
                                             "neondot", "neon",    "portable"};
  std::vector<const char*> here;
  for (const char* name : kKernels) {
    if (lcnn::kernels(name) != nullptr) here.push_back(name);
  }
  fuzz::Reader in(data, size);
  const int choice = in.byte();
  if (choice == 255) try_options(&in);
  const char* keys[] = {"kernels", "force", "threads"};
  const char* values[] = {here[static_cast<size_t>(choice) % here.size()],
                          choice % 16 == 15 ? "0" : "1", "1"};
  void* handle = tflite_plugin_create_delegate(keys, values, 3, nullptr);
  if (handle == nullptr) __builtin_trap();
  {
    fuzz::Runtime runtime(&in);
    auto* delegate = static_cast<tflite::Delegate*>(handle);
    if (delegate->prepare(runtime.context(), delegate) == tflite::kOk) runtime.run();
    // Read, so that a report that is no string is seen.
    if (std::strlen(lcnn_delegate_report()) == size_t(-1)) __builtin_trap();
  }
  tflite_plugin_destroy_delegate(handle);
  return 0;
}
