// Every allocation that the library asks for fails once: each is an error code or a layer left to
// LiteRT, and nothing that it had is lost. Runs allocate nothing.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <new>
#include <random>
#include <string>
#include <vector>

#include "../fuzz/runtime.h"
#include "../src/c_api.h"
#include "../src/delegate.h"

#if defined(__GNUC__) && !defined(__clang__)
// It sees through one of two functions that belong together.
#pragma GCC diagnostic ignored "-Wmismatched-new-delete"
#endif

namespace {

std::atomic<bool> watched{false};
std::atomic<long> count{0};   // of allocations, while they are watched
std::atomic<long> failing{-1};  // which of them fails

void* allocate(size_t size, size_t alignment) {
  if (watched.load() && count.fetch_add(1) == failing.load()) return nullptr;
  size = std::max<size_t>(size, 1);
  return alignment == 0 ? std::malloc(size)
                        : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

// Counts what is allocated while it is in scope; the n-th allocation fails.
class Watch {
 public:
  explicit Watch(long n) {
    count = 0;
    failing = n;
    watched = true;
  }
  ~Watch() { watched = false; }
  bool failed() const { return failing.load() >= 0 && count.load() > failing.load(); }
};

int failures = 0;

void check(bool passed, const std::string& what) {
  if (passed) return;
  ++failures;
  std::printf("FAILED: %s\n", what.c_str());
}

// ------------------------------------------------------------------------------ the C functions

struct Small {
  std::vector<int32_t> shape = {1, 5, 6, 5, 1, 1, 5, 6, 9, 3, 3, 1, 1, 1, 1, 1, 1, 5, 6, 7};
  std::vector<float> d = std::vector<float>(9 * 5, 0.5f), p = std::vector<float>(7 * 9 * 9);
  std::vector<float> scale = std::vector<float>(9, 0.5f);
  std::vector<float> bias = std::vector<float>(9, 1), x = std::vector<float>(5 * 6 * 5, 1);
  std::vector<float> y = std::vector<float>(5 * 6 * 7), limits = {-9, 9, -99, 99};
  std::vector<int8_t> d8 = std::vector<int8_t>(9 * 5, 3), p8 = std::vector<int8_t>(7 * 9 * 9);
  std::vector<int32_t> bias8 = std::vector<int32_t>(9, 1), zero = {1, 2, 3};
  std::vector<int32_t> limits8 = {-128, 127, -128, 127};

  Small() {
    for (size_t i = 0; i < p.size(); i += 4) p[i] = 0.25f * static_cast<float>(i % 7), p8[i] = 5;
  }

  LcnnLayer* make(const std::string& form, int threads) {
    if (form == "int8") {
      return lcnn_layer_s8(nullptr, nullptr, threads, shape.data(), d8.data(), scale.data(),
                           bias8.data(), p8.data(), scale.data(), bias8.data(), zero.data(),
                           limits8.data());
    }
    return lcnn_layer_f32(nullptr, form.c_str(), threads, shape.data(), d.data(), bias.data(),
                          p.data(), bias.data(), limits.data());
  }
};

void test_layers(const std::string& form, int threads) {
  Small small;
  const std::string what = form + " on " + std::to_string(threads) + " threads";
  for (long n = 0;; ++n) {
    const std::string name = form;
    LcnnLayer* layer;
    bool failed;
    {
      const Watch watch(n);
      layer = small.make(name, threads);
      failed = watch.failed();
    }
    check(failed || layer != nullptr, what + ": no layer");
    // Sorting asks for memory that it can do without.
    if (layer == nullptr && failed) continue;
    if (layer == nullptr) return;
    {
      const Watch watch(-1);
      for (int i = 0; i < 2; ++i) lcnn_layer_run(layer, small.x.data(), small.y.data());
    }
    check(count == 0, what + ": a run allocates");
    lcnn_layer_free(layer);
    if (failed) continue;
    check(n > 10, what + ": hardly anything was allocated");
    return;
  }
}

// ------------------------------------------------------------------------------------ delegates

void* create(const char* threads) {
  const char* keys[] = {"force", "threads"};
  const char* values[] = {"1", threads};
  return tflite_plugin_create_delegate(keys, values, 2, nullptr);
}

struct Attached {
  bool failed = false, ran = false;  // an allocation; the kernels
  size_t kernels = 0;
  long allocations = 0;
  std::vector<uint8_t> outputs;
};

// Attaches a delegate to a model and runs it, while the n-th of its allocations fails.
Attached attach(const std::vector<uint8_t>& bytes, const char* threads, long n) {
  Attached result;
  fuzz::Reader in(bytes.data(), bytes.size());
  void* handle;
  {
    const Watch watch(n);
    handle = create(threads);
    result.failed = watch.failed();
  }
  if (handle == nullptr) {
    check(result.failed, "no delegate");
    return result;
  }
  const long before = count;
  {
    fuzz::Runtime runtime(&in);
    auto* delegate = static_cast<tflite::Delegate*>(handle);
    tflite::Status status;
    {
      const Watch watch(n < 0 ? n : n - before);
      status = delegate->prepare(runtime.context(), delegate);
      result.failed = result.failed || watch.failed();
    }
    check(status == tflite::kOk, "a model fails for want of memory");
    check(std::strlen(lcnn_delegate_report()) < 100000, "the report is none");
    result.allocations = before + count;
    result.kernels = runtime.kernels();
    count = 0;
    failing = -1;
    result.ran = runtime.run();
    check(count == 0, "a run allocates");
    result.outputs = runtime.outputs();
  }
  tflite_plugin_destroy_delegate(handle);
  return result;
}

void test_delegates() {
  std::mt19937 random(3);
  size_t kernels = 0, models = 0;
  for (int model = 0; model < 40; ++model) {
    std::vector<uint8_t> bytes(64);
    // Some are plain: what the fuzzer makes of zeros.
    for (uint8_t& byte : bytes) byte = random() % 3 == 0 ? static_cast<uint8_t>(random()) : 0;
    const char* threads = model % 4 == 0 ? "3" : "1";
    const Attached whole = attach(bytes, threads, -1);
    if (whole.allocations > 700) continue;
    kernels += whole.kernels;
    ++models;
    for (long n = 0; n < whole.allocations; ++n) {
      const Attached part = attach(bytes, threads, n);
      check(part.kernels <= whole.kernels + 3, "more is claimed for want of memory");
    }
    check(attach(bytes, threads, -1).outputs == whole.outputs, "another result after failures");
  }
  check(kernels >= 10 && models >= 10, "few models have layers");
}

}  // namespace

void* operator new(size_t size) { return or_throw(allocate(size, 0)); }
void* operator new[](size_t size) { return or_throw(allocate(size, 0)); }
void* operator new(size_t size, const std::nothrow_t&) noexcept { return allocate(size, 0); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return allocate(size, 0); }
void* operator new(size_t size, std::align_val_t to) {
  return or_throw(allocate(size, static_cast<size_t>(to)));
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, size_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { std::free(memory); }

int main() {
  fuzz::on_runtime = [](bool inside) { watched = !inside; };
  for (const char* form : {"int8", "registers", "planes"}) {
    for (int threads : {1, 3}) test_layers(form, threads);
  }
  test_delegates();
  if (failures != 0) return 1;
  std::printf("every allocation failed once\n");
  return 0;
}
