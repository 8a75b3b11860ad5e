// What a cycle of this processor can do at most, from registers: reads of a table that are added, and
// multiplications that are added. x86-64 and Linux.
//
//   rates      prints lines of "name per-cycle"; what the processor has not is left out
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>

namespace {

constexpr int kTimes = 20000, kTries = 200;
// Of a try's time, what this thread has to have had the processor.
constexpr double kLeastShare = 0.97;

double seconds(clockid_t clock) {
  timespec time;
  clock_gettime(clock, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

// The fewest seconds that one of kTimes runs of a body took.
template <typename Body>
double fastest(Body body) {
  double best = 1;
  for (int i = 0; i < kTries; ++i) {
    const double wall = seconds(CLOCK_MONOTONIC), own = seconds(CLOCK_THREAD_CPUTIME_ID);
    for (int j = 0; j < kTimes; ++j) body();
    const double took = seconds(CLOCK_MONOTONIC) - wall;
    if (seconds(CLOCK_THREAD_CPUTIME_ID) - own >= kLeastShare * took) best = std::min(best, took);
  }
  return best / kTimes;
}

// Of four vectors of pixels at a time: the first read of a group, each next one, and the widening of
// run.h: all in 16 bits, the high bytes, and their sum.
#define FOUR(X) X("0", "4", "10") X("1", "5", "11") X("2", "6", "12") X("3", "7", "13")
#define FIRST_512(all, high, sum) "vpermb %%zmm15, %%zmm15, %%zmm" sum "\n"
#define NEXT_512(all, high, sum) \
  "vpermb %%zmm15, %%zmm15, %%zmm14\nvpaddb %%zmm14, %%zmm" sum ", %%zmm" sum "\n"
#define WIDEN_512(all, high, sum)                                                      \
  "vpaddw %%zmm" sum ", %%zmm" all ", %%zmm" all "\nvpsrlw $8, %%zmm" sum ", %%zmm" sum \
  "\nvpaddw %%zmm" sum ", %%zmm" high ", %%zmm" high "\n"
#define FIRST_256(all, high, sum) "vpshufb %%ymm15, %%ymm15, %%ymm" sum "\n"
#define NEXT_256(all, high, sum) \
  "vpshufb %%ymm15, %%ymm15, %%ymm14\nvpaddb %%ymm14, %%ymm" sum ", %%ymm" sum "\n"
#define WIDEN_256(all, high, sum)                                                      \
  "vpaddw %%ymm" sum ", %%ymm" all ", %%ymm" all "\nvpsrlw $8, %%ymm" sum ", %%ymm" sum \
  "\nvpaddw %%ymm" sum ", %%ymm" high ", %%ymm" high "\n"
#define NEXT_2(N) FOUR(N)
#define NEXT_4(N) FOUR(N) FOUR(N) FOUR(N)
#define NEXT_8(N) NEXT_4(N) NEXT_4(N) FOUR(N)
#define NEXT_16(N) NEXT_8(N) NEXT_8(N) FOUR(N)

// Ten accumulators: more than latency times throughput.
#define TEN(X) X("0") X("1") X("2") X("3") X("4") X("5") X("6") X("7") X("8") X("9")
#define VNNI_512(i) "vpdpbusd %%zmm15, %%zmm15, %%zmm" i "\n"
#define VNNI_256(i) "%{vex%} vpdpbusd %%ymm15, %%ymm15, %%ymm" i "\n"
#define WORDS_256(i) \
  "vpmaddwd %%ymm15, %%ymm15, %%ymm14\nvpaddd %%ymm14, %%ymm" i ", %%ymm" i "\n"
#define BYTES_256(i) \
  "vpmaddubsw %%ymm15, %%ymm15, %%ymm14\nvpaddw %%ymm14, %%ymm" i ", %%ymm" i "\n"
#define TILES(i) "tdpbssd %%tmm6, %%tmm7, %%tmm" i "\n"

#define REGISTERS                                                                            \
  "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
      "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"
#define RATE(name, work, code)                                                  \
  std::printf("%s %.1f\n", name,                                                \
              (work) * cycle / fastest([] { asm volatile(code ::: REGISTERS); }))

void print_avx2(double cycle) {
  RATE("reads-avx2-alone", 4 * 32, FOUR(FIRST_256));
  RATE("reads-avx2-1", 4 * 32, FOUR(FIRST_256) FOUR(WIDEN_256));
  RATE("reads-avx2-2", 8 * 32, FOUR(FIRST_256) NEXT_2(NEXT_256) FOUR(WIDEN_256));
  RATE("reads-avx2-4", 16 * 32, FOUR(FIRST_256) NEXT_4(NEXT_256) FOUR(WIDEN_256));
  RATE("reads-avx2-8", 32 * 32, FOUR(FIRST_256) NEXT_8(NEXT_256) FOUR(WIDEN_256));
  RATE("reads-avx2-16", 64 * 32, FOUR(FIRST_256) NEXT_16(NEXT_256) FOUR(WIDEN_256));
  RATE("dense-avx2-words", 10 * 16, TEN(WORDS_256));
  RATE("dense-avx2-bytes", 10 * 32, TEN(BYTES_256));
}

void print_avx512(double cycle) {
  RATE("reads-avx512-alone", 4 * 64, FOUR(FIRST_512));
  RATE("reads-avx512-1", 4 * 64, FOUR(FIRST_512) FOUR(WIDEN_512));
  RATE("reads-avx512-2", 8 * 64, FOUR(FIRST_512) NEXT_2(NEXT_512) FOUR(WIDEN_512));
  RATE("reads-avx512-4", 16 * 64, FOUR(FIRST_512) NEXT_4(NEXT_512) FOUR(WIDEN_512));
  RATE("reads-avx512-8", 32 * 64, FOUR(FIRST_512) NEXT_8(NEXT_512) FOUR(WIDEN_512));
  RATE("reads-avx512-16", 64 * 64, FOUR(FIRST_512) NEXT_16(NEXT_512) FOUR(WIDEN_512));
}

bool tiles_granted() {
  constexpr long kRequest = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
}

void print_amx(double cycle) {
  alignas(64) uint8_t config[64] = {1};
  for (int i = 0; i < 8; ++i) {
    config[16 + 2 * i] = 64;
    config[48 + i] = 16;
  }
  asm volatile("ldtilecfg %0" ::"m"(config));
  RATE("dense-amx", 6 * 16 * 16 * 64,
       TILES("0") TILES("1") TILES("2") TILES("3") TILES("4") TILES("5"));
  asm volatile("tilerelease");
}

bool has(const char* flag) {
  // What GCC 12's __builtin_cpu_supports has no name for.
  char line[8192];
  bool found = false;
  if (FILE* file = std::fopen("/proc/cpuinfo", "r")) {
    while (!found && std::fgets(line, sizeof(line), file)) {
      char* word = line;
      for (char* end = line; *end != 0; word = end) {
        while (*word == ' ' || *word == '\t' || *word == '\n') ++word;
        end = word;
        while (*end != 0 && *end != ' ' && *end != '\t' && *end != '\n') ++end;
        const char* at = flag;
        const char* c = word;
        while (c != end && *at == *c) ++at, ++c;
        if (end != word && c == end && *at == 0) found = true;
      }
    }
    std::fclose(file);
  }
  return found;
}

}  // namespace

int main() {
  // Three cycles each, one after the other, on every x86-64 of the last fifteen years.
  uint64_t x = 1;
  const double cycle = fastest([&x] {
                         asm volatile("imulq $3, %0, %0\nimulq $3, %0, %0\nimulq $3, %0, %0\n"
                                      "imulq $3, %0, %0\nimulq $3, %0, %0\nimulq $3, %0, %0"
                                      : "+r"(x));
                       }) /
                       18;
  std::printf("gigahertz %.2f\n", 1e-9 / cycle);
  if (has("avx2")) print_avx2(cycle);
  if (has("avx_vnni")) RATE("dense-avxvnni", 10 * 32, TEN(VNNI_256));
  if (has("avx512vbmi")) print_avx512(cycle);
  if (has("avx512_vnni")) RATE("dense-avx512vnni", 10 * 64, TEN(VNNI_512));
  if (has("amx_int8") && tiles_granted()) print_amx(cycle);
  return 0;
}
