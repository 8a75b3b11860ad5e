"""The directory of a run: its files, an earlier run in its place, resuming."""

import csv
import io
import os
import pathlib
import shutil

import keras
import numpy as np

from tf_lcnn import files
from tf_lcnn.layers.lookup import raw_coefficients
from tf_lcnn.models.saving import load_model, read_enclosed, save_model
from tf_lcnn.tasks import restoration

CHECKPOINT = "checkpoint.keras"
MODEL = "model.keras"
LOG = "log.csv"
USED_FLAGS = "flags.cfg"
PLAN = "plan.json"
RESULT = "result.json"
# What a run writes into its directory.
RUN_FILES = (
    *(CHECKPOINT, MODEL, LOG, USED_FLAGS, PLAN, RESULT),
    *("model.tflite", "profile.json", "profile.csv"),
    *("parent.tflite", "report.html", "report.json"),
    restoration.FIGURES,
)
TENSORBOARD = "tensorboard"
RUN_FOLDERS = (TENSORBOARD, restoration.PICTURES)


class RunDirectory:
    """Where a run writes.

    A run that replaces another begins in a directory beside it, NAME.new. When it has something
    to show, a checkpoint or a model, `settle` puts it in the other's place; before that the
    earlier run is as it was, and killed at any moment one of the two is whole.

    Args:
        path: of the directory.
        overwrite: whether a run may be there, to be replaced.
        resume: whether the run that is there goes on.

    Attributes:
        path: where files of the run belong now.

    Raises:
        FileExistsError: there is an earlier run, and overwrite was not asked for.
    """

    def __init__(self, path, overwrite=False, resume=False):
        self._final = pathlib.Path(os.path.realpath(path))
        self._old = self._final.with_name(f"{self._final.name}.old")
        self.path = self._final
        if self._old.exists() and not self._final.exists():
            # Killed between the two renames of `settle`.
            self._old.rename(self._final)
        if not (overwrite or resume):
            refuse_earlier_run(self._final)
        elif overwrite and holds_run(self._final):
            self.path = self._final.with_name(f"{self._final.name}.new")
            _clear(self.path)
        self.path.mkdir(parents=True, exist_ok=True)
        for name in RUN_FILES:
            files.remove_partial(self.path / name)

    def __truediv__(self, name):
        return self.path / name

    def settle(self):
        """Puts a run that replaces another in its place. Files that are no run's stay there."""
        if self.path == self._final:
            return
        self._final.rename(self._old)
        self.path.rename(self._final)
        self.path = self._final
        _clear(self._old, keep=True)
        for path in self._old.iterdir():
            path.rename(self._final / path.name)
        self._old.rmdir()

    def discard(self):
        """Removes what a run that failed has begun beside an earlier one, which stays."""
        if self.path != self._final:
            _clear(self.path)


def holds_run(path):
    """Whether a directory holds anything."""
    return path.exists() and any(path.iterdir())


def refuse_earlier_run(path):
    """Raises FileExistsError where the directory of a run holds files."""
    if holds_run(pathlib.Path(path)):
        raise FileExistsError(
            f"{path} holds an earlier run: --overwrite replaces it, --resume goes on with it, "
            "--run_dir takes another place."
        )


def _clear(path, keep=False):
    """Removes the files of a run, and the directory where nothing else is in it and not `keep`."""
    if not path.exists():
        return
    for name in RUN_FILES:
        (path / name).unlink(missing_ok=True)
    for name in RUN_FOLDERS:
        shutil.rmtree(path / name, ignore_errors=True)
    if not keep and not any(path.iterdir()):
        path.rmdir()


# In a checkpoint: the sums that the metrics of its epoch have come to.
_SUMS = "sums.npz"


def save_checkpoint(run_dir, model, sums=()):
    """Saves a model and its optimizer, to go on from, whole or not at all.

    It holds the coefficients as they are trained, so that a run that goes on from it is the
    unbroken one.

    Args:
        run_dir: a directory.
        model: compiled; its optimizer is built.
        sums: arrays, the values of the model's metrics in an epoch that is not over.
    """
    packed = io.BytesIO()
    np.savez(packed, *sums)
    with raw_coefficients():
        save_model(model, run_dir / CHECKPOINT, {_SUMS: packed.getvalue()} if sums else None)


def load_checkpoint(run_dir, images, updates_per_epoch):
    """The model of an interrupted run, with its optimizer, and what it has behind it.

    Returns:
        the model; full epochs; updates in the epoch that is not over; and the `sums` that it was
        saved with.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: see `load_model`; or the model holds no optimizer.
    """
    path = pathlib.Path(run_dir) / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"Nothing to resume: no {path}.")
    model = load_model(path, images)
    if model.optimizer is None:
        raise ValueError(f"{path} was saved without its optimizer: nothing to resume.")
    updates = int(keras.ops.convert_to_numpy(model.optimizer.iterations))
    stored = read_enclosed(path, _SUMS)
    sums = () if stored is None else tuple(np.load(io.BytesIO(stored)).values())
    return model, *divmod(updates, updates_per_epoch), sums


def write_flags(run_dir, used):
    """Writes the flags of a run (absl Flag objects) as a flagfile that repeats it."""
    # A repetition of the run is not to overwrite it.
    kept = (flag for flag in used if flag.name not in ("overwrite", "resume"))
    lines = [flag.serialize() for flag in kept if flag.value is not None]
    files.write(run_dir / USED_FLAGS, "\n".join(lines) + "\n")


def trim_log(run_dir, epoch):
    """Drops the rows of log.csv from this epoch on: a resumed run writes them again.

    Raises:
        ValueError: the file is no log of a run; it is left as it is.
    """
    path = pathlib.Path(run_dir) / LOG
    if not path.is_file() or not path.stat().st_size:
        return
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    try:
        at = header.index("epoch")
        kept = [row for row in rows if row and int(row[at]) < epoch]
    except (ValueError, IndexError):
        raise ValueError(
            f"{path} is no log of a run, with a number in a column epoch: move it away."
        ) from None
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *kept])
    files.write(path, text.getvalue())
