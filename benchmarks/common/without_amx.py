"""Runs a command to which Linux grants no AMX tiles: XNNPACK then takes its AVX-512 kernels.

    python -m benchmarks.common.without_amx python -m benchmarks.latency.delegate --only=layers

A process has to ask for AMX's registers before it uses them (arch_prctl, ARCH_REQ_XCOMP_PERM), and
XNNPACK does without them where it is refused. So one processor shows what it is with AMX and what
it is without. The filter (seccomp) holds for the command and all that it starts. x86-64 Linux.
"""

import ctypes
import os
import platform
import struct
import sys

# From Linux's headers: prctl.h, seccomp.h, filter.h, unistd_64.h, asm/prctl.h.
_SET_NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 38, 22, 2
_LOAD, _JUMP_IF_EQUAL, _RETURN = 0x20, 0x15, 0x06
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050001  # Refused with EPERM.
_ARCH_PRCTL, _REQUEST_PERMISSION = 158, 0x1023
# Where the number of a system call and the low half of its first argument stand.
_NUMBER, _ARGUMENT = 0, 16

# (code, instructions to skip if true, if false, constant)
_PROGRAM = (
    (_LOAD, 0, 0, _NUMBER),
    (_JUMP_IF_EQUAL, 0, 3, _ARCH_PRCTL),
    (_LOAD, 0, 0, _ARGUMENT),
    (_JUMP_IF_EQUAL, 0, 1, _REQUEST_PERMISSION),
    (_RETURN, 0, 0, _REFUSE),
    (_RETURN, 0, 0, _ALLOW),
)


class _Filter(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("instructions", ctypes.c_void_p)]


def main(command):
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        sys.exit("Only Linux on x86-64 grants AMX tiles, or refuses them.")
    if not command:
        sys.exit("A command is needed: python -m benchmarks.common.without_amx COMMAND ...")
    instructions = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *x) for x in _PROGRAM))
    program = _Filter(len(_PROGRAM), ctypes.addressof(instructions))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(
        _SET_SECCOMP, _FILTER, ctypes.byref(program)
    ):
        sys.exit(f"Linux takes no filter: {os.strerror(ctypes.get_errno())}.")
    os.execvp(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
