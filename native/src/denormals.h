// Denormal numbers are zeros while kernels run: processors take 50 to 100 times longer for them.
// XNNPACK sets the same for its threads.
#pragma once

#include <cstdint>

#if defined(__x86_64__)
#include <xmmintrin.h>
#endif

namespace lcnn {

// The processor's register of floating-point modes, and in it what makes denormals zeros.
#if defined(__x86_64__)
using FloatModes = uint32_t;
constexpr FloatModes kFlushDenormals = 0x8040;  // FTZ and DAZ of MXCSR
inline FloatModes float_modes() { return _mm_getcsr(); }
inline void set_float_modes(FloatModes modes) { _mm_setcsr(modes); }
#elif defined(__aarch64__)
using FloatModes = uint64_t;
constexpr FloatModes kFlushDenormals = uint64_t{1} << 24;  // FZ of FPCR
inline FloatModes float_modes() {
  FloatModes modes;
  asm volatile("mrs %0, fpcr" : "=r"(modes));
  return modes;
}
inline void set_float_modes(FloatModes modes) { asm volatile("msr fpcr, %0" : : "r"(modes)); }
#else
using FloatModes = uint32_t;
constexpr FloatModes kFlushDenormals = 0;
inline FloatModes float_modes() { return 0; }
inline void set_float_modes(FloatModes) {}
#endif

// Makes them zeros on this thread until it goes out of scope.
class FlushDenormals {
 public:
  FlushDenormals() : before_(float_modes()) { set_float_modes(before_ | kFlushDenormals); }
  ~FlushDenormals() { set_float_modes(before_); }
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

 private:
  FloatModes before_;
};

}  // namespace lcnn
