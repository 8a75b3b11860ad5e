"""Older processors, shown on this one."""

import pathlib
import shutil
import subprocess
import sys

import pytest

from benchmarks.common import processors

CPU = pathlib.Path("/proc/cpuinfo")
FLAGS = CPU.read_text().split() if CPU.is_file() else []
# NumPy tells which instruction sets it found.
ASKS = "import numpy; numpy.show_runtime()"


def run(*command):
    program = [sys.executable, "-m", "benchmarks.common.processors", *command]
    return subprocess.run(program, capture_output=True, text=True)


@pytest.mark.skipif(
    not {"cpuid_fault", "avx512f", "avx2"} <= set(FLAGS) or shutil.which("g++") is None,
    reason="no CPUID that faults, no AVX-512 to hide, or no g++",
)
def test_what_is_hidden_is_not_found_by_what_a_command_starts():
    found = {}
    for processor in ("AMX", "AVX2"):
        asks = f'"{sys.executable}" -c "{ASKS}"; echo cache: $XDG_CACHE_HOME'
        done = run(processor, "sh", "-c", asks)
        assert done.returncode == 0, done.stderr
        # What is measured of it is kept apart.
        assert done.stdout.rstrip().endswith("AVX2") == (processor == "AVX2")
        found[processor] = done.stdout.partition("not_found")[0]
    assert "AVX512" in found["AMX"] or "X86_V4" in found["AMX"]
    assert "AVX512" not in found["AVX2"] and "X86_V4" not in found["AVX2"]


def test_a_processor_is_one_of_those_that_can_be_shown(tmp_path):
    with pytest.raises(ValueError, match="Unknown processor 'SSE2': AMX, AVX-512 VNNI"):
        processors.hide(tmp_path, "SSE2")
    # Nothing to hide, nothing to build.
    processors.hide(tmp_path, "AMX")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", [(), ("AVX2",), ("SSE2", "true")])
def test_a_wrong_command_ends_in_a_line(command):
    done = run(*command)
    assert done.returncode == 1 and "AVX-512 VNNI" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_the_status_is_that_of_the_command():
    assert run("AMX", "sh", "-c", "exit 7").returncode == 7
