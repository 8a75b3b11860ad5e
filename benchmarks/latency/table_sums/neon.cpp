// NEON: TBL reads 16 entries of one register, or 64 of four.
#if defined(__aarch64__)
#include <arm_neon.h>

#include "kernels.h"
#include "run.h"

namespace table_sums {
namespace {

struct Neon {
  static constexpr int kBytes = 16;
  using Bytes = uint8x16_t;

  static Bytes add(Bytes a, Bytes b) { return vaddq_u8(a, b); }

  struct Wide {
    uint16x8_t low, high;

    Wide() : low(vdupq_n_u16(0)), high(vdupq_n_u16(0)) {}

    void add(Bytes x) {
      low = vaddw_u8(low, vget_low_u8(x));
      high = vaddw_high_u8(high, x);
    }

    void add_to(int32_t* sums) const {
      add_eight(sums, low);
      add_eight(sums + 8, high);
    }

    static void add_eight(int32_t* sums, uint16x8_t x) {
      const int32x4_t first = vreinterpretq_s32_u32(vmovl_u16(vget_low_u16(x)));
      const int32x4_t second = vreinterpretq_s32_u32(vmovl_high_u16(x));
      vst1q_s32(sums, vaddq_s32(vld1q_s32(sums), first));
      vst1q_s32(sums + 4, vaddq_s32(vld1q_s32(sums + 4), second));
    }
  };
};

struct Neon16 : Neon {
  using Row = uint8x16_t;
  static Row load_row(const uint8_t* row) { return vld1q_u8(row); }
  static Bytes look_up(Row row, const uint8_t* at) { return vqtbl1q_u8(row, vld1q_u8(at)); }
};

struct Neon64 : Neon {
  using Row = uint8x16x4_t;
  static Row load_row(const uint8_t* row) { return vld1q_u8_x4(row); }
  static Bytes look_up(Row row, const uint8_t* at) { return vqtbl4q_u8(row, vld1q_u8(at)); }
};

bool runs() { return true; }

}  // namespace

const Kernel kNeon16 = {"neon", runs, Neon::kBytes, 16, run<Neon16>};
const Kernel kNeon64 = {"neon", runs, Neon::kBytes, 64, run<Neon64>};

}  // namespace table_sums
#endif
