"""The programs of native/tests: what the library does not show, each allocation failing in turn.

They are built with the library's sources, which takes a minute; and anew with the AVX-512 kernels
on SIMDe and the AVX-VNNI ones on AVX2, so that every x86-64 processor tests them.
"""

import pathlib
import platform
import shutil
import subprocess

import pytest
from support import native_layers

NATIVE = pathlib.Path(__file__).resolve().parents[2] / "native"
SIMDE = pathlib.Path("/usr/include/simde/x86/avx512.h")
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


@pytest.fixture(scope="module")
def emulated(tmp_path_factory):
    if platform.machine() != "x86_64" or not SIMDE.exists():
        pytest.skip("no x86-64, or no SIMDe: apt-get install libsimde-dev")
    folder = tmp_path_factory.mktemp("emulated")
    options = ("-DLCNN_TESTS=ON", "-DLCNN_EMULATE=ON", "-DCMAKE_BUILD_TYPE=None")
    run("cmake", "-S", NATIVE, "-B", folder, *options, "-DCMAKE_CXX_FLAGS=-O1")
    run("cmake", "--build", folder, "--parallel", "2")
    return folder


@pytest.mark.parametrize("kernels", ["avx512", "avxvnni"])
def test_emulated_kernels_against_the_reference(emulated, kernels):
    library = native_layers.Library(emulated / "liblcnn_delegate.so")
    assert kernels in library.available()
    for case in native_layers.grid():
        for dtype, forms in native_layers.FORMS.items():
            layer = native_layers.MAKE[dtype](case)
            for form in forms:
                native_layers.check(library, case, dtype, kernels, form, layer)


def test_emulated_kernels_against_portable_ones(emulated):
    """int8 to the last bit, on one to four threads."""
    run(emulated / "threads_test", seconds=300)


def test_emulated_kernels_on_random_layers(emulated):
    assert int(run(emulated / "fuzz_layer_random", 30).split()[0]) > 1000


def test_all_programs_are_run():
    assert {path.stem for path in NATIVE.glob("tests/*.cpp")} == {
        *(f"{program}_test" for program in PROGRAMS),
        *(f"targets_{kernels}_test" for kernels in ("avx2", "avx512", "neon")),
    }


def test_random_layers(build):
    executions = int(run(build / "fuzz_layer_random", 30).split()[0])
    assert executions > 1000


def test_hostile_models(build):
    """Those of the corpus, and random changes of them."""
    corpus = NATIVE / "fuzz" / "corpus" / "fuzz_graph"
    executions = int(run(build / "fuzz_graph_random", 30, 1, corpus).split()[0])
    assert executions > 1000
