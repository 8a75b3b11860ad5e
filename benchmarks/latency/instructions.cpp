// What instructions.py runs: one 3x3 lookup layer with equal lookups for every filter and position.
//
//   instructions run KERNELS s8|f32 CHANNELS MAP DICTIONARY LOOKUPS
//       runs it once, through c_api.h; prints the kernel's name
//   instructions steps s8|f32 CHANNELS MAP DICTIONARY LOOKUPS LANES WINDOW SECONDS ...
//       packs its lookups for windows that cost SECONDS a step; prints the window that is chosen,
//       and its steps for a pixel
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <type_traits>
#include <vector>

#include "../../native/src/c_api.h"
#include "../../native/src/packing.h"

namespace {

constexpr int kKernel = 3;

struct Size {
  int channels, map, dictionary, lookups;
};

template <typename T>
std::vector<T> values(size_t size, std::mt19937* random) {
  std::vector<T> made(size);
  for (T& value : made) value = static_cast<T>(static_cast<int>((*random)() % 100) + 1);
  return made;
}

// n x 3 x 3 x k, with `lookups` values at each position.
template <typename T>
std::vector<T> coefficients(const Size& size, std::mt19937* random) {
  std::vector<T> p;
  std::vector<int> rows(static_cast<size_t>(size.dictionary));
  for (int i = 0; i < size.dictionary; ++i) rows[static_cast<size_t>(i)] = i;
  for (int position = 0; position < size.channels * kKernel * kKernel; ++position) {
    std::shuffle(rows.begin(), rows.end(), *random);
    std::vector<T> here(rows.size());
    for (int s = 0; s < size.lookups; ++s) {
      here[static_cast<size_t>(rows[static_cast<size_t>(s)])] = 1;
    }
    p.insert(p.end(), here.begin(), here.end());
  }
  return p;
}

template <typename T>
int run(const char* kernels, const Size& size) {
  std::mt19937 random(1);
  const int m = size.channels, k = size.dictionary, map = size.map;
  const std::vector<int32_t> shape = {1, map, map, m, 1, 1, map, map, k, kKernel, kKernel,
                                      1, 1,   1,   1, 1, 1, map, map, m};
  const size_t activations = static_cast<size_t>(map) * map * m;
  const auto x = values<T>(activations, &random);
  const auto dictionary = values<T>(static_cast<size_t>(k) * m, &random);
  const auto p = coefficients<T>(size, &random);
  std::vector<T> y(activations);
  LcnnLayer* layer;
  if constexpr (std::is_same_v<T, float>) {
    const std::vector<float> bias(static_cast<size_t>(std::max(m, k)));
    const float limits[] = {-1e30f, 1e30f, 0, 1e30f};
    layer = lcnn_layer_f32(kernels, nullptr, 1, shape.data(), dictionary.data(), bias.data(),
                           p.data(), bias.data(), limits);
  } else {
    const std::vector<int32_t> bias(static_cast<size_t>(std::max(m, k)));
    const std::vector<float> scale(bias.size(), 0.001f);
    const int32_t zero_points[] = {0, 0, 0}, limits[] = {-128, 127, -128, 127};
    layer = lcnn_layer_s8(kernels, nullptr, 1, shape.data(), dictionary.data(), scale.data(),
                          bias.data(), p.data(), scale.data(), bias.data(), zero_points, limits);
  }
  if (layer == nullptr) return 1;
  std::printf("%s\n", lcnn_layer_kernel(layer));
  lcnn_layer_run(layer, x.data(), y.data());
  lcnn_layer_free(layer);
  return 0;
}

template <typename T>
int steps(const Size& size, int lanes, char** windows, int count) {
  std::mt19937 random(1);
  lcnn::Spec<T> spec;
  spec.shape.k = size.dictionary;
  spec.shape.n = size.channels;
  spec.shape.kh = spec.shape.kw = kKernel;
  const auto p = coefficients<T>(size, &random);
  for (size_t at = 0; at < p.size(); ++at) {
    const int place = static_cast<int>(at), position = place / size.dictionary;
    if (p[at] == 0) continue;
    spec.coefficients.push_back({position / (kKernel * kKernel), position / kKernel % kKernel,
                                 position % kKernel, place % size.dictionary, p[at]});
  }
  lcnn::Kernels kernels{};
  kernels.lanes = lanes;
  auto& sizes = sizeof(T) == 1 ? kernels.windows_s8 : kernels.windows_f32;
  lcnn::Rates rates{};
  double best = 0;
  size_t fewest = 0;
  int chosen = 0;
  for (int i = 0; i < count / 2; ++i) {
    sizes[i] = std::atoi(windows[2 * i]);
    rates.step[i] = std::atof(windows[2 * i + 1]);
    const auto packed = lcnn::pack_lookups(spec, kernels, i, rates);
    if (chosen != 0 && packed.seconds >= best) continue;
    best = packed.seconds;
    chosen = packed.window;
    fewest = 0;
    for (const auto& block : packed.blocks) fewest += block.step.size();
  }
  std::printf("%d %zu\n", chosen, fewest);
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  const bool stepping = count > 1 && std::strcmp(arguments[1], "steps") == 0;
  const int at = stepping ? 2 : 3;
  if (count < at + 5) return 2;
  const bool int8 = std::strcmp(arguments[at], "s8") == 0;
  const Size size = {std::atoi(arguments[at + 1]), std::atoi(arguments[at + 2]),
                     std::atoi(arguments[at + 3]), std::atoi(arguments[at + 4])};
  if (stepping) {
    if (count < 10 || count > 14) return 2;
    const int lanes = std::atoi(arguments[7]);
    return int8 ? steps<int8_t>(size, lanes, arguments + 8, count - 8)
                : steps<float>(size, lanes, arguments + 8, count - 8);
  }
  return int8 ? run<int8_t>(arguments[2], size) : run<float>(arguments[2], size);
}
