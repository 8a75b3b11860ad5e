"""A folder that keeps what minutes were spent on, so that an interrupted call goes on there."""

import hashlib
import json
import pathlib
import zipfile

import numpy as np

from tf_lcnn import files


def fingerprint(model, images, *settings):
    """A hash of a model's weights, of images and of settings (plain Python types)."""
    digest = hashlib.sha256(json.dumps([*settings, images.shape]).encode())
    for array in (*model.get_weights(), images):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Store:
    """A folder of numbered sets of arrays that belong together.

    Args:
        folder: is made if it is not there.
        mark: `fingerprint` of what the arrays are of.
        kind: of arrays; one folder may hold several kinds.

    Raises:
        ValueError: the folder has arrays of this kind with another mark, or with none.
    """

    def __init__(self, folder, mark, kind="layer"):
        self.folder = pathlib.Path(folder)
        self.kind = kind
        path = self.folder / ("fingerprint.txt" if kind == "layer" else f"{kind}-fingerprint.txt")
        there = path.read_text(encoding="utf-8").strip() if path.is_file() else None
        if there != mark and (there is not None or any(self.folder.glob(f"{kind}[0-9]*.npz"))):
            raise ValueError(
                f"{self.folder} holds {kind} files of another model, plan, seed or other images: "
                "take another cache folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write(path, mark + "\n")

    def _path(self, number):
        return self.folder / f"{self.kind}{number:03}.npz"

    def get(self, number, names):
        """The arrays of these names; None where they are missing, damaged or not finite."""
        try:
            with np.load(self._path(number)) as stored:
                arrays = {name: stored[name] for name in names}
        except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile):
            return None
        return arrays if all(np.isfinite(x).all() for x in arrays.values()) else None

    def put(self, number, arrays):
        with files.replacing(self._path(number)) as beside, open(beside, "wb") as file:
            np.savez(file, **arrays)
