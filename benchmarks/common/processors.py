"""What a processor would be without some of its instruction sets: older ones, shown on this one.

    python -m benchmarks.common.processors AVX2 python -m benchmarks.latency.delegate --only=layers

They are hidden from what asks (CPUID is made to fault, and answered), for a command and all that it
starts; libraries then take the kernels that they have for the older one. The clock, the caches and
what an instruction takes stay those of this processor. Linux on x86-64, with `cpuid_fault` among
the flags of /proc/cpuinfo; needs g++.
"""

import ctypes
import os
import pathlib
import subprocess
import sys
import tempfile

from benchmarks.common import compiling

# By name of an instruction set, its bits of CPUID's leaf 7, as hide.cpp takes them.
_BITS = {
    "amx": {2: (22, 24, 25), 3: (21,)},
    "avx512": {0: (16, 17, 21, 26, 27, 28, 30, 31), 1: (1, 6, 12, 14), 2: (2, 3, 8, 23), 3: (5,)},
    "avx512vnni": {1: (11,)},
    "avxvnni": {3: (4,), 4: (4, 10)},
}
# What a processor without some of them has, fastest first.
PROCESSORS = {
    "AMX": (),
    "AVX-512 VNNI": ("amx",),
    "AVX-VNNI": ("amx", "avx512", "avx512vnni"),
    "AVX-512": ("amx", "avx512vnni", "avxvnni"),
    "AVX2": ("amx", "avx512", "avx512vnni", "avxvnni"),
}
# Read by hide.cpp when it is loaded.
_VARIABLE = "LCNN_HIDDEN_BITS"


def _bits(processor):
    if processor not in PROCESSORS:
        raise ValueError(f"Unknown processor {processor!r}: {', '.join(PROCESSORS)}.")
    bits = [0] * 5
    for name in PROCESSORS[processor]:
        for register, places in _BITS[name].items():
            bits[register] |= sum(1 << place for place in places)
    return bits


def _library(folder):
    source = pathlib.Path(__file__).with_name("hide.cpp")
    return compiling.build([source], pathlib.Path(folder) / "hide.so", "-shared", "-fPIC")


def hide(folder, processor):
    """Makes this thread, and those that it starts, see a processor of PROCESSORS.

    Call it before a library asks.

    Args:
        folder: where what is built goes.

    Raises:
        ValueError: an unknown processor, or one that cannot hide what it has.
    """
    bits = _bits(processor)
    if not any(bits):
        return
    array = (ctypes.c_uint32 * 5)(*bits)
    if ctypes.CDLL(str(_library(folder))).hide_instructions(array):
        raise ValueError(f"{processor} cannot be shown here: CPUID does not fault (cpuid_fault).")


def main(arguments):
    """Runs a command that sees a processor; returns its status."""
    if len(arguments) < 2:
        return f"A processor ({', '.join(PROCESSORS)}) and a command are needed."
    processor, *command = arguments
    try:
        bits = _bits(processor)
        with tempfile.TemporaryDirectory() as folder:
            hidden = {
                "LD_PRELOAD": str(_library(folder)),
                _VARIABLE: " ".join(map(str, bits)),
            }
            if any(bits):
                # What was measured of this processor is not true of that one.
                cache = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
                hidden["XDG_CACHE_HOME"] = str(pathlib.Path(cache) / "tf_lcnn" / processor)
            return subprocess.run(command, env={**os.environ, **hidden}).returncode
    except (ValueError, OSError) as error:
        return str(error)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
