"""The native kernels for ARM64, cross-built, under qemu: with the dot product and without."""

import os
import pathlib
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(ROOT / "tools" / "arm64.sh")
COMPILER = "aarch64-linux-gnu-g++"
QEMU = "qemu-aarch64-static"


def run(*command, **options):
    return subprocess.run(
        [str(word) for word in command], capture_output=True, text=True, timeout=900, **options
    )


def missing():
    """Why this cannot run here, or None."""
    if shutil.which(COMPILER) is None:
        return f"{COMPILER} is missing: apt-get install g++-aarch64-linux-gnu"
    try:
        answer = run(TOOL, "check")
    except OSError as error:
        return f"{TOOL}: {error}"
    return answer.stderr.strip() if answer.returncode else None


WHY_NOT = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
]


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    path = tmp_path_factory.mktemp("native") / "liblcnn_delegate.so"
    answer = run(
        COMPILER, "-std=c++17", "-O3", "-fPIC", "-shared", "-fvisibility=hidden",
        "-static-libstdc++", "-static-libgcc", *sorted((ROOT / "native" / "src").glob("*.cpp")),
        "-o", path, "-lpthread",
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr
    return path


@pytest.fixture(scope="module")
def python():
    """The ARM64 Python of tools/arm64.sh, and the environment that it needs."""
    names = ("PYTHONHOME", "PYTHONPATH", "PYTHONNOUSERSITE")
    program = f"import os, sys; print(sys.executable, *map(os.environ.get, {names}), sep='\\n')"
    answer = run(TOOL, "python", "-c", program)
    assert answer.returncode == 0, answer.stderr
    path, *values = answer.stdout.splitlines()
    return path, os.environ | dict(zip(names, values, strict=True))


@pytest.mark.parametrize(
    ("processor", "kernels"),
    [("cortex-a76", ["neondot", "neon", "portable"]), ("cortex-a53", ["neon", "portable"])],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_kernels_on_arm64(processor, kernels, library, python):
    path, environment = python
    root = pathlib.Path(path).parents[2]
    script = ROOT / "tests" / "support" / "native_layers.py"
    answer = run(
        QEMU, "-cpu", processor, "-L", root, path, script, library, *kernels, env=environment
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.endswith(" checks\n")
