// A main for the fuzz targets without libFuzzer: every file of a corpus, then random changes of
// them; without a corpus random bytes.
//
//     fuzz_TARGET_random [SECONDS [SEED [CORPUS]]]
#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kRandomBytes = 40;
constexpr int kMostChanges = 8;

std::vector<Bytes> read(const char* folder) {
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    paths.push_back(entry.path());
  }
  // The order of a folder is any; one seed is to be one run.
  std::sort(paths.begin(), paths.end());
  std::vector<Bytes> inputs;
  for (const auto& path : paths) {
    std::ifstream file(path, std::ios::binary);
    inputs.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
  }
  return inputs;
}

}  // namespace

int main(int count, char** arguments) {
  const double seconds = count > 1 ? std::atof(arguments[1]) : 1;
  std::mt19937 random(count > 2 ? static_cast<unsigned>(std::atoi(arguments[2])) : 1);
  const auto below = [&](size_t limit) { return random() % limit; };
  const std::vector<Bytes> corpus = count > 3 ? read(arguments[3]) : std::vector<Bytes>();
  for (const Bytes& input : corpus) LLVMFuzzerTestOneInput(input.data(), input.size());
  long executions = static_cast<long>(corpus.size());
  for (const std::time_t start = std::time(nullptr); std::time(nullptr) < start + seconds;) {
    for (int i = 0; i < 100; ++i, ++executions) {
      Bytes input = corpus.empty() ? Bytes(kRandomBytes) : corpus[below(corpus.size())];
      if (corpus.empty()) {
        for (uint8_t& byte : input) byte = static_cast<uint8_t>(random());
      } else {
        for (size_t j = input.empty() ? 0 : 1 + below(kMostChanges); j > 0; --j) {
          input[below(input.size())] = static_cast<uint8_t>(random());
        }
      }
      LLVMFuzzerTestOneInput(input.data(), input.size());
    }
  }
  std::printf("%ld executions\n", executions);
  return 0;
}
