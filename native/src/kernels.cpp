#include "kernels.h"

#include <cstring>

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

namespace lcnn {
namespace {

#if defined(__x86_64__)
// What the processor has and the system keeps over a switch of threads. Not by
// __builtin_cpu_supports: of what is younger older compilers do not know the name, and where the
// runtime library is Zig's it says no to everything.
struct Features {
  bool avx2 = false, avx_vnni = false, avx512 = false;
};

bool all_of(unsigned bits, unsigned wanted) { return (bits & wanted) == wanted; }

Features detect() {
  Features found;
  unsigned a = 0, b = 0, c = 0, d = 0;
  const unsigned kFma = 1u << 12, kXgetbv = 1u << 27, kAvx = 1u << 28;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0 || !all_of(c, kFma | kXgetbv | kAvx)) return found;
  unsigned kept = 0, high = 0;
  __asm__("xgetbv" : "=a"(kept), "=d"(high) : "c"(0));
  // Vectors of 128 and 256 bits; and of AVX-512 the masks and both halves of the registers.
  const unsigned kVectors = 0x06, kWideVectors = 0xe6;
  if (!all_of(kept, kVectors) || __get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return found;
  found.avx2 = all_of(b, 1u << 5);
  const unsigned kF = 1u << 16, kDq = 1u << 17, kBw = 1u << 30, kVl = 1u << 31;
  const unsigned kVbmi = 1u << 1, kVnni = 1u << 11;
  found.avx512 =
      all_of(kept, kWideVectors) && all_of(b, kF | kDq | kBw | kVl) && all_of(c, kVbmi | kVnni);
  found.avx_vnni = found.avx2 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && all_of(a, 1u << 4);
#if defined(LCNN_EMULATED)
  found.avx512 = true;
  found.avx_vnni = found.avx2;
#endif
  return found;
}

const Features kFeatures = detect();
#endif

bool runs(const Kernels& kernels) {
#if defined(__x86_64__)
  if (&kernels == &kAvx512) return kFeatures.avx512;
  if (&kernels == &kAvxVnni) return kFeatures.avx_vnni;
  if (&kernels == &kAvx2) return kFeatures.avx2;
#elif defined(__aarch64__)
  if (&kernels == &kNeonDot) return (getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0;
#endif
  (void)kernels;
  return true;
}

}  // namespace

const Kernels* kernels(const char* name) {
  static const Kernels* const kFastestFirst[] = {
#if defined(__x86_64__)
      &kAvx512, &kAvxVnni, &kAvx2,
#elif defined(__aarch64__)
      &kNeonDot, &kNeon,
#endif
      &kPortable,
  };
  for (const Kernels* candidate : kFastestFirst) {
    if (runs(*candidate) && (name == nullptr || std::strcmp(name, candidate->name) == 0)) {
      return candidate;
    }
  }
  return nullptr;
}

}  // namespace lcnn
