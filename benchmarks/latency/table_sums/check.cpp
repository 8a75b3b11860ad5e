// Random layers on every kernel of this processor against plain loops, to the last bit.
//
//   check LAYERS SEED
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "table_sums.h"

namespace {

// Tables of any entries, of the largest, and with ranges that differ.
int8_t entry(int kind, std::mt19937& random) {
  const int any = static_cast<int>(random() % 256) - 128;
  if (kind == 0) return static_cast<int8_t>(any);
  if (kind == 1) return random() % 2 ? 127 : -128;
  return static_cast<int8_t>(any >> (random() % 8));
}

int check(int number, std::mt19937& random, const std::string& kernel) {
  const auto below = [&](int n) { return static_cast<int32_t>(random() % static_cast<unsigned>(n)); };
  const int kernel_height = 1 + below(3), kernel_width = 1 + below(4);
  const int levels = below(2) ? 16 : 2 + below(63), weight_levels = 1 + below(below(2) ? 16 : 256);
  // Sometimes many channels: sums beyond 16 bits.
  const int channels = 1 + below(below(8) ? 9 : 700);
  const int32_t shape[] = {kernel_height + below(9), kernel_width + below(40), channels, 1 + below(6),
                           kernel_height, kernel_width, levels, weight_levels};
  const int same = below(2), kind = below(3);
  std::vector<int8_t> table(static_cast<size_t>(levels * weight_levels));
  for (auto& value : table) value = entry(kind, random);
  std::vector<uint8_t> weights(static_cast<size_t>(shape[3] * kernel_height * kernel_width * channels));
  for (auto& value : weights) value = static_cast<uint8_t>(below(weight_levels));
  std::vector<uint8_t> activations(static_cast<size_t>(shape[0] * shape[1] * channels));
  for (auto& value : activations) value = static_cast<uint8_t>(below(levels));
  const size_t outputs = static_cast<size_t>(shape[0] * shape[1] * shape[3]);
  std::vector<int32_t> wanted(outputs), found(outputs);
  for (const auto& [name, sums] : {std::pair{"plain", &wanted}, std::pair{kernel.c_str(), &found}}) {
    TableSums* layer = table_sums_new(name, shape, same, table.data(), weights.data());
    if (layer == nullptr) {
      std::printf("layer %d: no %s\n", number, name);
      return 1;
    }
    table_sums_run(layer, activations.data(), sums->data());
    table_sums_free(layer);
  }
  if (wanted == found) return 0;
  std::printf("layer %d: %s differs; %dx%dx%d, %d filters %dx%d, %d x %d levels, same=%d, table %d\n",
              number, kernel.c_str(), shape[0], shape[1], channels, shape[3], kernel_height,
              kernel_width, levels, weight_levels, same, kind);
  return 1;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) {
    std::printf("usage: check LAYERS SEED\n");
    return 2;
  }
  std::mt19937 random(static_cast<unsigned>(std::atoi(arguments[2])));
  std::string names = table_sums_kernels();
  int wrong = 0;
  for (size_t end; (end = names.find(',')) != std::string::npos; names.erase(0, end + 1)) {
    const std::string kernel = names.substr(0, end);
    for (int i = 0; i < std::atoi(arguments[1]); ++i) wrong += check(i, random, kernel);
    std::printf("%s: %s layers\n", kernel.c_str(), arguments[1]);
  }
  return wrong == 0 ? 0 : 1;
}
