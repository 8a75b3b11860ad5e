// Hides instruction sets from what asks the processor, so that a library takes the kernels it has for
// an older one. Linux on x86-64 whose CPUID can be made to fault (a flag of /proc/cpuinfo: cpuid_fault).
#include <cpuid.h>
#include <dlfcn.h>
#include <signal.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

// Bits of leaf 7: ebx, ecx and edx of subleaf 0, eax and edx of subleaf 1.
uint32_t hidden[5];

// What others wanted for SIGSEGV after us, as Python's faulthandler does: theirs are other faults.
bool answering = false;
struct sigaction others {};

int real_sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  using Function = int (*)(int, const struct sigaction*, struct sigaction*);
  static const auto real = reinterpret_cast<Function>(dlsym(RTLD_NEXT, "sigaction"));
  return real(number, wanted, before);
}

long let_cpuid(bool run) {
  constexpr long kSetCpuid = 0x1012;
  return syscall(SYS_arch_prctl, kSetCpuid, run ? 1 : 0);
}

void answer(int signal_number, siginfo_t*, void* context) {
  auto* registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  const auto* at = reinterpret_cast<const uint8_t*>(registers[REG_RIP]);
  if (at[0] != 0x0f || at[1] != 0xa2) {
    // No CPUID: the fault comes again, for who else wanted it, or to end the process.
    answering = false;
    real_sigaction(signal_number, &others, nullptr);
    return;
  }
  const auto leaf = static_cast<uint32_t>(registers[REG_RAX]);
  const auto subleaf = static_cast<uint32_t>(registers[REG_RCX]);
  uint32_t a, b, c, d;
  let_cpuid(true);
  __cpuid_count(leaf, subleaf, a, b, c, d);
  let_cpuid(false);
  if (leaf == 7 && subleaf == 0) {
    b &= ~hidden[0];
    c &= ~hidden[1];
    d &= ~hidden[2];
  } else if (leaf == 7 && subleaf == 1) {
    a &= ~hidden[3];
    d &= ~hidden[4];
  }
  registers[REG_RAX] = a;
  registers[REG_RBX] = b;
  registers[REG_RCX] = c;
  registers[REG_RDX] = d;
  registers[REG_RIP] += 2;
}

}  // namespace

// For this thread and those that it starts; 0, or -1 where CPUID does not fault.
extern "C" int hide_instructions(const uint32_t bits[5]) {
  std::copy(bits, bits + 5, hidden);
  struct sigaction action {};
  action.sa_sigaction = answer;
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  if (real_sigaction(SIGSEGV, &action, &others) != 0) return -1;
  answering = let_cpuid(false) == 0;
  return answering ? 0 : -1;
}

// In place of the C library's where this is loaded before it: handlers of others wait behind ours.
extern "C" int sigaction(int number, const struct sigaction* wanted, struct sigaction* before) {
  if (number != SIGSEGV || !answering) return real_sigaction(number, wanted, before);
  if (before != nullptr) *before = others;
  if (wanted != nullptr) others = *wanted;
  return 0;
}

// As LD_PRELOAD has it loaded: the bits stand in the environment, and so they do for what is started.
__attribute__((constructor)) static void hide_by_environment() {
  const char* text = getenv("LCNN_HIDDEN_BITS");
  uint32_t bits[5];
  if (text == nullptr ||
      sscanf(text, "%u %u %u %u %u", bits, bits + 1, bits + 2, bits + 3, bits + 4) != 5) {
    return;
  }
  if (hide_instructions(bits) != 0) {
    fputs("CPUID does not fault on this processor (cpuid_fault): nothing is hidden.\n", stderr);
    _exit(1);
  }
}
