"""One name for the sources of the delegate, which the library is built with and asked for.

Also in CMakeLists.txt, for builds without Python.
"""

import hashlib
import pathlib

FOLDER = pathlib.Path(__file__).resolve().with_name("src")


def digest(folder=FOLDER):
    """SHA-256, in hexadecimal, of the names and contents of all files."""
    lines = (
        f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n"
        for path in sorted(folder.iterdir())
        if path.suffix in (".cpp", ".h")
    )
    return hashlib.sha256("".join(lines).encode()).hexdigest()
