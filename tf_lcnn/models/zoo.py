"""Trained weights that come with the project, by name: the folder zoo/.

A checkout has all of them, an installed package those that were trained here.
"""

import hashlib
import re

import keras

from tf_lcnn import places

FOLDER = places.ZOO
SUMS = "SHA256SUMS"


def names():
    """The names that `load` knows, sorted.

    Raises:
        ValueError: see `path`.
    """
    return sorted(name.removesuffix(".keras") for name in _checksums() if (FOLDER / name).is_file())


def path(name):
    """The file of these weights, its checksum verified.

    Raises:
        FileNotFoundError: there are none of this name; the message lists those that there are.
        ValueError: the file is not the one that was trained, or is another one than the
            project's; or the list of checksums is damaged.
    """
    file = FOLDER / f"{name}.keras"
    if name not in names():
        if file.is_file():
            raise ValueError(
                f"{file} has no checksum in {SUMS}: it is a file of your own, which "
                "models.saving.load_model reads."
            )
        there = ", ".join(names()) or "nothing"
        raise FileNotFoundError(
            f"No weights {name!r} in {FOLDER}, which has {there}; all of them come "
            "with a checkout of the project."
        )
    if hashlib.sha256(file.read_bytes()).hexdigest() != _checksums()[file.name]:
        raise ValueError(f"{file} is damaged: it does not have the checksum in {FOLDER / SUMS}.")
    return file


def _checksums():
    """File name -> checksum of the .keras files, as `sha256sum` writes them."""
    sums = FOLDER / SUMS
    if not sums.is_file():
        return {}
    checksums = {}
    for number, line in enumerate(sums.read_text(encoding="utf-8").splitlines(), start=1):
        match = re.fullmatch(r"([0-9a-f]{64}) [ *](\S.*)", line.rstrip())
        if line.strip() and match is None:
            raise ValueError(f"{sums}, line {number}: {line!r} is no checksum and file name.")
        if match is not None and match[2].endswith(".keras"):
            checksums[match[2]] = match[1]
    return checksums


def load(name):
    """The trained model of this name, not compiled. Raises as `path` does."""
    return keras.models.load_model(path(name), compile=False)
