// What hostile models are made from: the fuzzer's bytes, and memory of exact sizes.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <vector>

#include "../src/tflite.h"

namespace fuzz {

using tflite::IntArray;

// The fuzzer's bytes, and zeros where they end.
class Reader {
 public:
  Reader(const uint8_t* data, size_t size) : data_(data), end_(data + size) {}

  int byte() { return data_ < end_ ? *data_++ : 0; }
  // 0 to below n.
  int below(int n) { return n < 2 ? 0 : (n > 256 ? byte() * 256 + byte() : byte()) % n; }
  bool flag() { return (byte() & 1) != 0; }
  // Seldom, and never on zeros.
  bool seldom(int one_in) { return byte() % one_in == one_in - 1; }

  int32_t any32() {
    uint32_t x = 0;
    for (int i = 0; i < 4; ++i) x = x * 256 + static_cast<uint32_t>(byte());
    return static_cast<int32_t>(x);
  }

  // A number that code is likely to get wrong.
  int32_t hostile() {
    static constexpr int32_t kValues[] = {
        0,       -1,      2,       3,       4,             7,       8,          16,
        17,      64,      127,     128,     255,           256,     257,        511,
        512,     513,     1000,    4096,    65535,         65536,   1 << 20,    1 << 24,
        1 << 27, 1 << 28, 1 << 30, -128,    -2147483647 - 1, 2147483647};
    const int which = byte() % 32;
    return which < 30 ? kValues[which] : which == 30 ? byte() : any32();
  }

  float hostile_float() {
    static constexpr float kValues[] = {0,     -0.0f, 1,         -1,        1e-3f, 1e-20f,
                                        1e20f, 1e-45f, 3.4e38f, -3.4e38f, 0.5f,  -1e20f};
    const int which = byte() % 16;
    if (which < 12) return kValues[which];
    if (which == 12) return __builtin_inff();
    if (which == 13) return __builtin_nanf("");
    const int32_t bits = any32();
    float value;
    std::memcpy(&value, &bits, 4);
    return value;
  }

 private:
  const uint8_t *data_, *end_;
};

// Memory of exact sizes, freed with the model.
class Arena {
 public:
  ~Arena() {
    for (void* memory : memory_) std::free(memory);
  }

  void* bytes(size_t size) {
    void* memory = std::calloc(1, size);
    memory_.push_back(memory);
    return memory;
  }

  IntArray* ints(const std::vector<int>& values) {
    auto* array = static_cast<IntArray*>(bytes(sizeof(int) * (values.size() + 1)));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(int) * values.size());
    return array;
  }

  tflite::FloatArray* floats(const std::vector<float>& values) {
    auto* array = static_cast<tflite::FloatArray*>(bytes(sizeof(float) * (values.size() + 1)));
    array->size = static_cast<int>(values.size());
    if (!values.empty()) std::memcpy(array->data, values.data(), sizeof(float) * values.size());
    return array;
  }

 private:
  std::vector<void*> memory_;
};

}  // namespace fuzz
