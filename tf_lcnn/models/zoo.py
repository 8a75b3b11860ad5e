"""Trained weights that come with the project, by name: the folder zoo/ of a checkout."""

import hashlib
import pathlib

import keras

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "zoo"


def names():
    """The names that `load` knows, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.keras"))


def path(name):
    """The file of these weights, its checksum verified.

    Raises:
        FileNotFoundError: there are none of this name; the message lists those that there are.
        ValueError: the file is not the one that was trained.
    """
    if name not in names():
        there = ", ".join(names()) or "nothing: it comes with a checkout of the project"
        raise FileNotFoundError(f"No weights {name!r} in {FOLDER}, which has {there}.")
    file = FOLDER / f"{name}.keras"
    lines = (FOLDER / "SHA256SUMS").read_text(encoding="utf-8").split("\n")
    expected = dict(reversed(line.split(maxsplit=1)) for line in lines if line)
    if hashlib.sha256(file.read_bytes()).hexdigest() != expected.get(file.name):
        raise ValueError(f"{file} is damaged: it has not the checksum in {FOLDER / 'SHA256SUMS'}.")
    return file


def load(name):
    """The trained model of this name, not compiled. Raises as `path` does."""
    return keras.models.load_model(path(name), compile=False)
