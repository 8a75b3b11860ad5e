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
bool has_avx_vnni() {
#if defined(LCNN_EMULATED)
  return true;
#endif
  // Not __builtin_cpu_supports: older compilers do not know its name.
  unsigned a = 0, b = 0, c = 0, d = 0;
  return __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0 && (a >> 4 & 1) != 0;
}
#endif

bool runs(const Kernels& kernels) {
#if defined(__x86_64__)
  if (&kernels == &kAvx512) {
#if defined(LCNN_EMULATED)
    return true;
#endif
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq") &&
           __builtin_cpu_supports("avx512vbmi") && __builtin_cpu_supports("avx512vnni");
  }
  if (&kernels == &kAvx2 || &kernels == &kAvxVnni) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           (&kernels == &kAvx2 || has_avx_vnni());
  }
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
