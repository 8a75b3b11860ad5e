"""Makes the source archive and the wheels of a release in dist/: nobody needs a compiler then.

    pip install tf-lcnn[wheels] && python tools/wheels.py
    python tools/wheels.py --only=x86_64 --out=FOLDER

Linux on x86-64 and aarch64 gets the native delegate, built by Zig's Clang (`ziglang` on PyPI, which
is a cross-compiler with glibc's symbols of every version) against glibc 2.17: manylinux2014. Other
systems get a wheel without it. The flags are those of setup.py, and every wheel is built from the
unpacked source archive, which so proves to be whole. Each is read before it is kept: its tag, the
delegate in it, and the versions of glibc that this asks for. Nothing is uploaded.
"""

import argparse
import os
import pathlib
import re
import shlex
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
GLIBC = (2, 17)
# Machine -> its number in an ELF header.
MACHINES = {"x86_64": 62, "aarch64": 183}
PURE = "any"
LIBRARY = "tf_lcnn/runtime/liblcnn_delegate.so"
# What every wheel has beside the code.
INSIDE = (
    *("tf_lcnn/shipped/configs/classification/resnet_lcnn.cfg", "tf_lcnn/shipped/LICENSE"),
    *("tf_lcnn/shipped/export/web/index.html", "tf_lcnn/shipped/zoo/resnet20_cifar10.keras"),
)


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", default=ROOT / "dist", type=pathlib.Path, help="default: dist")
    parser.add_argument("--only", choices=[*MACHINES, PURE], help="one wheel, default: all")
    given = parser.parse_args(arguments)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    source = build(ROOT, out, "sdist")
    for machine in [given.only] if given.only else [*MACHINES, PURE]:
        print(made(wheel(source, out, machine)), flush=True)


def wheel(source, out, machine):
    """Builds the wheel of a machine, or the pure one, and reads it.

    Args:
        source: the source archive.
        out: the folder to write to.
        machine: a key of MACHINES, or PURE.

    Returns:
        its path.

    Raises:
        ValueError: it is not what it ought to be.
    """
    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(source) as archive:
            archive.extractall(folder, filter="data")
        (unpacked,) = pathlib.Path(folder).iterdir()
        if machine == PURE:
            built = build(unpacked, unpacked / "dist", "wheel", TF_LCNN_DELEGATE="0")
        else:
            tag = f"--plat-name={platform_tag(machine)}"
            built = build(
                *(unpacked, unpacked / "dist", "wheel", f"--config-setting=--build-option={tag}"),
                **compiler(machine, GLIBC),
            )
        check(built, machine)
        return pathlib.Path(shutil.copy(built, out))


def platform_tag(machine):
    return PURE if machine == PURE else f"manylinux_{GLIBC[0]}_{GLIBC[1]}_{machine}"


def compiler(machine, glibc):
    """The variables by which setuptools takes Zig's compiler for a machine.

    It compiles libc++ for what is linked, without a level as for debugging.
    """
    zig = f"{shlex.quote(sys.executable)} -m ziglang"
    target = f"-target {machine}-linux-gnu.{'.'.join(map(str, glibc))}"
    cxx, link = f"{zig} c++ {target}", f"{zig} c++ {target} -shared -O3 -s"
    return {
        **{"CC": f"{zig} cc {target}", "CXX": cxx, "LDSHARED": link, "LDCXXSHARED": link},
        # Not those of the Python that builds: setup.py has all flags.
        **{"CFLAGS": "-fPIC", "CXXFLAGS": "-fPIC", "LDFLAGS": ""},
    }


def build(folder, out, kind, *options, **environment):
    """Runs `python -m build`: the one new file in `out`."""
    command = [sys.executable, "-m", "build", f"--{kind}", f"--outdir={out}", *options, folder]
    done = subprocess.run(
        list(map(str, command)),
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        sys.exit(f"{done.stdout}\n{shlex.join(map(str, command))} failed, see above.")
    return out / re.findall(r"Successfully built (\S+)", done.stdout)[-1]


def check(path, machine):
    """Raises ValueError for a wheel that is not what it ought to be."""
    tag = f"py3-none-{platform_tag(machine)}"
    if not path.name.endswith(f"-{tag}.whl"):
        raise ValueError(f"{path.name} ought to end in {tag}.whl.")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        missing = [name for name in INSIDE if name not in names]
        if missing:
            raise ValueError(f"{path.name} lacks {', '.join(missing)}.")
        if (LIBRARY in names) != (machine != PURE):
            raise ValueError(f"{path.name}: whether {LIBRARY} is inside is not as it ought to be.")
        if machine != PURE:
            check_library(archive.read(LIBRARY), machine)


def check_library(content, machine):
    """Raises ValueError for a library of another machine, or that asks for a newer glibc."""
    (found,) = struct.unpack_from("<H", content, 18)
    if content[:4] != b"\x7fELF" or found != MACHINES[machine]:
        raise ValueError(f"{LIBRARY} is not for {machine}.")
    for version in set(re.findall(rb"\0GLIBC_([0-9.]+)(?=\0)", content)):
        if tuple(map(int, version.split(b"."))) > GLIBC:
            raise ValueError(f"{LIBRARY} asks for glibc {version.decode()}.")


def made(path):
    return f"{path}, {path.stat().st_size:,} bytes"


if __name__ == "__main__":
    main()
