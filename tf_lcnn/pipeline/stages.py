"""The folder of a compression: what is finished stands there whole, and a second call goes on."""

import hashlib
import json
import pathlib

import numpy as np

from tf_lcnn import files

MARK = "stages.json"


class Stages:
    """A folder of finished stages.

    Args:
        folder: is made if it is not there.
        mark: what the stages are of, as text; see `fingerprint`.

    Raises:
        ValueError: the folder has stages of something else.
    """

    def __init__(self, folder, mark):
        self.folder = pathlib.Path(folder)
        path = self.folder / MARK
        if path.is_file():
            try:
                there = json.loads(path.read_text(encoding="utf-8"))["mark"]
            except (ValueError, KeyError, TypeError):
                there = None
            if there != mark:
                raise ValueError(
                    f"{self.folder} holds the compression of another model, other images, labels "
                    "or settings: take another folder."
                )
        elif self.folder.is_dir() and any(self.folder.iterdir()):
            raise ValueError(
                f"{self.folder} is not empty, and no compression: take another folder."
            )
        else:
            self.folder.mkdir(parents=True, exist_ok=True)
            files.write(path, json.dumps({"mark": mark}) + "\n")

    def __truediv__(self, name):
        return self.folder / name

    def once(self, name, make):
        """What make() returns, as JSON has it; of an earlier call, where it is finished.

        Args:
            name: of the file that keeps it.
            make: function of nothing -> plain Python types.
        """
        path = self.folder / name
        if path.is_file():
            return json.loads(path.read_text(encoding="utf-8"))
        found = make()
        files.write(path, json.dumps(found, indent=1) + "\n")
        return found

    def weights(self, name, model, make):
        """Gives a model the weights that make() leaves it with, of this call or an earlier one.

        Args:
            name: of the file that keeps them.
            model: of the shapes that the file has.
            make: function of nothing; it changes the model, and returns plain Python types.

        Returns:
            what make() returned.
        """
        path = self.folder / name
        if path.is_file():
            with np.load(path) as kept:
                model.set_weights([kept[str(i)] for i in range(len(model.weights))])
                return json.loads(str(kept["found"]))
        found = make()
        arrays = {str(i): array for i, array in enumerate(model.get_weights())}
        with files.replacing(path) as beside, open(beside, "wb") as file:
            np.savez(file, found=json.dumps(found), **arrays)
        return found


def fingerprint(model, arrays, *settings):
    """A hash of a model's weights, of arrays (or None) and of settings (plain Python types)."""
    digest = hashlib.sha256(json.dumps(settings).encode())
    for array in (*model.get_weights(), *(x for x in arrays if x is not None)):
        digest.update(str(array.shape).encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
