"""The wheel for x86-64: built here, installed where there is nothing else, and used.

It fetches a compiler and TensorFlow's wheels, and takes minutes.
"""

import importlib.util
import json
import os
import pathlib
import platform
import runpy
import subprocess
import sys
import venv
import zipfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[1]
TOOL = runpy.run_path(str(ROOT / "tools" / "wheels.py"))


def elf(machine, *versions):
    """The bytes that are looked at in a library of this machine."""
    names = b"".join(b"\0GLIBC_" + version for version in versions) + b"\0"
    return b"\x7fELF" + bytes(14) + TOOL["MACHINES"][machine].to_bytes(2, "little") + names


def test_a_library_of_another_machine_or_for_a_newer_glibc_is_refused():
    check = TOOL["check_library"]
    check(elf("x86_64", b"2.2.5", b"2.17"), "x86_64")
    for content, told in [
        (elf("aarch64", b"2.17"), "is not for x86_64"),
        (b"MZ" + bytes(40), "is not for x86_64"),
        (elf("x86_64", b"2.2.5", b"2.18", b"2.17"), "asks for glibc 2.18"),
    ]:
        with pytest.raises(ValueError, match=told):
            check(content, "x86_64")


HERE = platform.machine() == "x86_64" and sys.platform == "linux"
COMPILER = importlib.util.find_spec("ziglang") is not None


def of_wheel(test):
    """A slow test, where the wheel can be built and run."""
    test = pytest.mark.skipif(not HERE, reason="for Linux on x86-64")(test)
    test = pytest.mark.skipif(not COMPILER, reason='needs pip install "tf-lcnn[wheels]"')(test)
    return pytest.mark.slow(test)


def run(*command, **how):
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, check=False, **how
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Installed:
    """An environment with the wheel, in a folder of its own, in which no compiler is found."""

    def __init__(self, folder):
        run(sys.executable, ROOT / "tools" / "wheels.py", "--only=x86_64", f"--out={folder}")
        (self.wheel,) = folder.glob("*.whl")
        self.folder = folder / "elsewhere"
        self.folder.mkdir()
        self._programs = folder / "environment" / "bin"
        venv.create(self._programs.parent, with_pip=True)
        hidden = ("PATH", "PYTHONPATH", "TF_CPP_MIN_LOG_LEVEL", "CC", "CXX", "KERAS_BACKEND")
        kept = {name: value for name, value in os.environ.items() if name not in hidden}
        self._how = {"cwd": self.folder, "env": {**kept, "PATH": str(self._programs)}}
        wanted = f"{self.wheel}[litert]"
        self.run("python", "-m", "pip", "install", "-q", "--only-binary=:all:", wanted)

    def run(self, program, *arguments):
        return run(self._programs / program, *arguments, **self._how)

    def python(self, code):
        return self.run("python", "-c", code)


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    return Installed(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def trained(installed):
    """The output of a short run of the quickstart."""
    quick = ("--flagfile=resnet_lcnn.cfg", "--epochs=2", "--top_s_epochs=1", "--run_dir=run")
    return installed.run("tf-lcnn", "train", *quick)


@of_wheel
def test_its_tag_is_of_every_python_and_an_old_glibc(installed):
    assert installed.wheel.name.endswith("-py3-none-manylinux_2_17_x86_64.whl")


@of_wheel
def test_it_has_the_delegate_the_flagfiles_the_page_and_the_weights(installed):
    found = installed.python(
        "import json, shutil, tf_lcnn\n"
        "from tf_lcnn import places\n"
        "from tf_lcnn.models import zoo\n"
        "from tf_lcnn.runtime import native\n"
        "native.library()\n"
        "page = (places.PAGE / 'index.html').is_file()\n"
        "compilers = [shutil.which(name) for name in ('cc', 'gcc', 'g++', 'c++', 'clang++')]\n"
        "found = tf_lcnn.__file__, page, zoo.load('resnet20_cifar10').count_params(), compilers\n"
        "print(json.dumps(found))\n"
    )
    place, page, parameters, compilers = json.loads(found)
    assert "site-packages" in place and page and parameters > 200_000
    assert compilers == [None] * 5


@of_wheel
def test_the_quickstart_trains_counts_and_proves(installed, trained):
    assert "resnet20_lcnn: " in trained and "multiplications (unpadded count)" in trained
    assert "Saved run/model.tflite" in trained and "359 examples" in trained
    assert (installed.folder / "run" / "model.tflite").is_file()


@of_wheel
def test_its_commands_export_time_with_the_delegate_and_count(installed, trained):
    model = "run/model.keras"
    how = ("--quantize=int8", "--lowering=sparse", "--out=int8.tflite", "--nolayerwise")
    told = installed.run("tf-lcnn", "export", f"--model={model}", *how)
    assert "int8.tflite" in told
    told = installed.run("tf-lcnn", "benchmark", "int8.tflite", "--delegate", "--runs=3")
    assert "int8.tflite, delegate" in told
    assert "LookupConv2D" in installed.run("tf-lcnn", "profile", model)
    claims = installed.python(
        "from tf_lcnn.runtime.interpreter import Interpreter\n"
        "options = {'force': '1'}\n"
        "print(Interpreter('int8.tflite', delegate=options).claims)\n"
    )
    assert "claimed" in claims


@of_wheel
def test_the_delegate_runs_every_kernel_of_this_processor(installed, tmp_path):
    with zipfile.ZipFile(installed.wheel) as archive:
        library = archive.extract(TOOL["LIBRARY"], tmp_path)
    tests = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/native/test_native.py")
    run(sys.executable, *tests, cwd=ROOT, env={**os.environ, "LCNN_LIBRARY": library})


@of_wheel
def test_the_delegate_for_arm64_runs_its_kernels(tmp_path):
    qemu = ROOT / "tools" / "arm64.sh"
    answer = subprocess.run([qemu, "check"], capture_output=True, text=True, check=False)
    if answer.returncode:
        pytest.skip(answer.stderr.strip())
    run(sys.executable, ROOT / "tools" / "wheels.py", "--only=aarch64", f"--out={tmp_path}")
    (wheel,) = tmp_path.glob("*-py3-none-manylinux_2_17_aarch64.whl")
    with zipfile.ZipFile(wheel) as archive:
        library = archive.extract(TOOL["LIBRARY"], tmp_path)
    layers = ROOT / "tests" / "support" / "native_layers.py"
    told = run(qemu, "python", layers, library, "neondot", "neon", "portable")
    assert told.endswith(" checks\n")
