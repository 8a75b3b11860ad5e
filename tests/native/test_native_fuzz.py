"""The delegate survives hostile models, and its kernels compute what plain loops do: some seconds
of the programs of native/fuzz.

Building it takes minutes, so it runs only where LCNN_FUZZ=1 asks for it.
"""

import os
import pathlib
import shutil
import subprocess

import pytest

NATIVE = pathlib.Path(__file__).resolve().parents[2] / "native"
SECONDS = 30
TARGETS = ("fuzz_graph", "fuzz_layer")


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """Where the fuzz targets are, built with Clang."""
    if os.environ.get("LCNN_FUZZ") != "1":
        pytest.skip("building the fuzz target takes minutes: LCNN_FUZZ=1 runs this")
    clang, cmake = shutil.which("clang++"), shutil.which("cmake")
    if clang is None or cmake is None:
        pytest.skip("libFuzzer needs clang++ and cmake")
    folder = tmp_path_factory.mktemp("fuzz")
    probe = folder / "probe.cpp"
    probe.write_text(
        "#include <cstddef>\n#include <cstdint>\n"
        'extern "C" int LLVMFuzzerTestOneInput(const uint8_t*, size_t) { return 0; }\n'
    )
    command = [
        clang,
        "-fsanitize=fuzzer,address,undefined",
        str(probe),
        "-o",
        str(folder / "probe"),
    ]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("this clang++ has no libFuzzer")
    # Optimizing more takes longer than the run.
    options = [f"-DCMAKE_CXX_COMPILER={clang}", "-DCMAKE_BUILD_TYPE=None", "-DLCNN_FUZZ=ON"]
    build = folder / "build"
    for step in (
        [cmake, "-S", str(NATIVE), "-B", str(build), *options],
        [cmake, "--build", str(build), "--target", *TARGETS, "--parallel", "2"],
    ):
        run = subprocess.run(step, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
    return build


@pytest.mark.parametrize("target", TARGETS)
def test_fuzz(build, target, tmp_path):
    corpus = NATIVE / "fuzz" / "corpus" / target
    run = subprocess.run(
        [
            str(build / target),
            # What is new goes to the first folder.
            str(tmp_path),
            *([str(corpus)] if corpus.is_dir() else []),
            f"-max_total_time={SECONDS}",
            # Long inputs from the start: short ones are all the same plain model.
            "-max_len=300",
            "-len_control=0",
            "-seed=1",
            "-timeout=60",
            "-rss_limit_mb=2560",
            "-malloc_limit_mb=1024",
            "-print_final_stats=1",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    executed = [line for line in run.stderr.splitlines() if "number_of_executed_units" in line]
    assert int(executed[0].split()[-1]) > 10, run.stderr[-4000:]
