"""C++ of the benchmarks, built where it is needed."""

import pathlib
import subprocess


def build(sources, to, *options, compiler="g++"):
    """Builds sources to a path, unless it is newer than all that lies beside them; returns it.

    Raises:
        ValueError: the compiler's first error.
    """
    folder = pathlib.Path(sources[0]).parent
    newest = max(file.stat().st_mtime for file in folder.iterdir())
    if pathlib.Path(to).exists() and pathlib.Path(to).stat().st_mtime > newest:
        return to
    command = [compiler, "-std=c++17", "-O3", *options, *sources, "-o", to]
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if "error" in line]
        raise ValueError(f"{compiler} failed on {folder}: {(errors or [done.stderr])[0]}")
    return to
