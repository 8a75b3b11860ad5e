// A form of lookups that permutes less, on the clock: if a filter uses the same rows of the
// dictionary at all kernel positions, its rows are permuted once per pixel, and dot products follow.
//
//     g++ -O3 -std=c++17 -Inative/src benchmarks/latency/shared_supports.cpp
//         native/src/kernels_avx2.cpp -o shared_supports && ./shared_supports
//
// AVX2, int8, 3x3, 64 filters, rows of 28 pixels: 8 shared lookups per filter against 4 free ones at
// each position, which have about the same error. The dot products are those of the delegate's own
// kernel.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <random>
#include <vector>

// The parts of the kernel, which are its own.
#define kAvx2 kAvx2Probe
#include "kernels_avx2.cpp"
#undef kAvx2

#pragma GCC push_options
#pragma GCC target("avx2,fma")

namespace lcnn {
namespace {

constexpr int kFilters = 64, kTaps = 9, kShared = 8, kPixels = 28, kColumns = kPixels + 2;
constexpr int kRegisters = kFilters * kShared / 32;  // per pixel, of permuted rows
constexpr int kTile = 7;

// The rows of S that each filter uses, four bytes for each of 8 filters to a register.
template <int Tables>
void permute(const uint8_t* s, int k, int pixels, const uint8_t* index, uint8_t* to) {
  for (int r = 0; r < kRegisters; ++r) {
    const __m256i i = load(index + 32 * r);
    __m256i at[Tables];
    for (int t = 0; t < Tables; ++t) {
      at[t] = _mm256_add_epi8(_mm256_xor_si256(i, _mm256_set1_epi8(t * 16)),
                              _mm256_set1_epi8(0x70));
    }
    for (int p = 0; p < pixels; ++p) {
      const uint8_t* from = s + p * k;
      __m256i x = _mm256_shuffle_epi8(load_table(from), at[0]);
      for (int t = 1; t < Tables; ++t) {
        x = _mm256_or_si256(x, _mm256_shuffle_epi8(load_table(from + 16 * t), at[t]));
      }
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + (p * kRegisters + r) * 32), x);
    }
  }
}

void dot(const uint8_t* const* rows, const int8_t* coefficient, const Requantize& to, int8_t* y) {
  const Requantizer<Avx2, false> requantize(to);
  for (int p = 0; p < kPixels; p += kTile) {
    for (int block = 0; block < kFilters / 8; ++block) {
      __m256i sum[kTile][1];
      repeat<kTile>([&](auto q) { sum[q][0] = load(to.bias + 8 * block); });
      const int8_t* c = coefficient + block * kTaps * 2 * 32;
      for (int tap = 0; tap < kTaps; ++tap) {
        for (int half = 0; half < 2; ++half, c += 32) {
          const Signed by(load(c));
          const uint8_t* at =
              rows[tap / 3] + ((p + tap % 3) * kRegisters + 2 * block + half) * 32;
          repeat<kTile>([&](auto q) {
            sum[q][0] = by.add(sum[q][0], load(at));
            at += kRegisters * 32;
          });
        }
      }
      requantize.store(sum, to.scale + 8 * block,
                       [&](auto q, auto) { return y + (p + q) * kFilters + 8 * block; },
                       [&](auto) { return 8; });
    }
  }
}

template <typename Run>
double microseconds(const Run& run) {
  std::vector<double> times;
  for (int i = 0; i < 300; ++i) {
    const auto start = std::chrono::steady_clock::now();
    for (int j = 0; j < 10; ++j) run();
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    times.push_back(1e5 * took.count());
  }
  std::sort(times.begin(), times.end());
  return times[times.size() / 2];
}

template <int Tables>
void compare(int k) {
  std::mt19937 random(0);
  std::vector<uint8_t> s(3 * kColumns * k + 512), index(kTaps * kFilters * 4 + 512);
  std::vector<uint8_t> shared_index(kFilters * kShared + 512), permuted[3];
  std::vector<int8_t> c(kTaps * kFilters * kShared + 512), y(kPixels * kFilters + 512);
  std::vector<int32_t> bias(kFilters + 64);
  std::vector<float> scale(kFilters + 64, 0.003f);
  for (auto& x : s) x = static_cast<uint8_t>(random());
  for (auto& x : c) x = static_cast<int8_t>(random() % 255 - 127);
  for (auto& x : index) x = static_cast<uint8_t>(random() % k);
  for (auto& x : shared_index) x = static_cast<uint8_t>(random() % k);
  for (auto& rows : permuted) rows.resize(kColumns * kRegisters * 32 + 512);
  const uint8_t* rows[3] = {s.data(), s.data() + kColumns * k, s.data() + 2 * kColumns * k};
  std::vector<Step> steps;
  for (int tap = 0; tap < kTaps; ++tap) steps.push_back({tap / 3, tap % 3 * k});
  const Requantize to{bias.data(), scale.data(), 0, -128, 127};
  const double free = microseconds([&] {
    for (int block = 0; block < kFilters; block += 8) {
      const size_t at = static_cast<size_t>(block) * kTaps * 4;
      lookup_s8(rows, k, kPixels, 16 * Tables,
                {kTaps, steps.data(), index.data() + at, c.data() + at, 0, nullptr, nullptr},
                {bias.data() + block, scale.data() + block, 0, -128, 127}, y.data() + block,
                kFilters, 8);
    }
  });
  // Each row of pixels is permuted once, and read by the three rows of outputs around it.
  const double shared = microseconds([&] {
    permute<Tables>(rows[0], k, kColumns, shared_index.data(), permuted[0].data());
    const uint8_t* three[3] = {permuted[0].data(), permuted[1].data(), permuted[2].data()};
    dot(three, c.data(), to, y.data());
  });
  std::printf("k=%3d  4 free %6.2f us  8 shared %6.2f us  free / shared %.2f\n", k, free, shared,
              free / shared);
}

}  // namespace
}  // namespace lcnn

#pragma GCC pop_options

int main() {
  std::printf("A row of 28 outputs of 64 filters, lookup stage alone\n");
  lcnn::compare<1>(16);
  lcnn::compare<2>(32);
  lcnn::compare<4>(64);
}
