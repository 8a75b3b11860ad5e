"""The programs of native/tests: what the library does not show, each allocation failing in turn.

They are built with the library's sources, which takes a minute.
"""

import pathlib
import shutil
import subprocess

import pytest

NATIVE = pathlib.Path(__file__).resolve().parents[2] / "native"
PROGRAMS = ("allocations", "attach", "denormals", "elementwise", "packing", "sharing", "sparse")
PROGRAMS += ("threads",)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("cmake") is None, reason="no cmake"),
]


def run(*command, seconds=600):
    done = subprocess.run(
        [str(word) for word in command],
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    folder = tmp_path_factory.mktemp("build")
    options = ("-DLCNN_TESTS=ON", "-DCMAKE_BUILD_TYPE=None", "-DCMAKE_CXX_FLAGS=-O1")
    run("cmake", "-S", NATIVE, "-B", folder, *options)
    # It builds targets_*_test.cpp too, which say whether kernels keep their instructions.
    run("cmake", "--build", folder, "--parallel", "2")
    return folder


@pytest.mark.parametrize("program", PROGRAMS)
def test_program(build, program):
    run(build / f"{program}_test", seconds=300)


def test_all_programs_are_run():
    assert {path.stem for path in NATIVE.glob("tests/*.cpp")} == {
        *(f"{program}_test" for program in PROGRAMS),
        *(f"targets_{kernels}_test" for kernels in ("avx2", "avx512", "neon")),
    }


def test_random_layers(build):
    executions = int(run(build / "fuzz_layer_random", 30).split()[0])
    assert executions > 1000
