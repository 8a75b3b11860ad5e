"""What a training run needs around `model.fit`: optimizers, schedules, its directory, resuming."""

import csv
import io
import pathlib

from tf_lcnn import files
from tf_lcnn.models.saving import load_model

CHECKPOINT = "checkpoint.keras"
MODEL = "model.keras"
LOG = "log.csv"
USED_FLAGS = "flags.cfg"
PLAN = "plan.json"
# What a run writes into its directory.
RUN_FILES = (
    *(CHECKPOINT, MODEL, LOG, USED_FLAGS, PLAN),
    *("model.tflite", "profile.json", "profile.csv"),
)


def load_checkpoint(run_dir, images, updates_per_epoch):
    """The model of an interrupted run, with its optimizer, and the epochs it has behind it.

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
    return model, int(model.optimizer.iterations) // updates_per_epoch


def write_flags(run_dir, used):
    """Writes the flags of a run (absl Flag objects) as a flagfile that repeats it."""
    # A repetition of the run is not to overwrite it.
    kept = (flag for flag in used if flag.name not in ("overwrite", "resume"))
    lines = [flag.serialize() for flag in kept if flag.value is not None]
    files.write(pathlib.Path(run_dir) / USED_FLAGS, "\n".join(lines) + "\n")


def refuse_earlier_run(run_dir):
    """Raises FileExistsError where the directory of a run holds files."""
    if run_dir.exists() and any(run_dir.iterdir()):
        raise FileExistsError(
            f"{run_dir} holds an earlier run: --overwrite replaces it, --resume goes on "
            "with it, --run_dir takes another place."
        )


def prepare_run_dir(run_dir, overwrite=False):
    """Makes the directory of a run, or clears what an earlier run left there.

    Only the files that a run writes are ever removed, and only with `overwrite`.

    Raises:
        FileExistsError: there are files, and overwrite was not asked for.
    """
    run_dir = pathlib.Path(run_dir)
    if overwrite:
        for name in RUN_FILES:
            (run_dir / name).unlink(missing_ok=True)
    else:
        refuse_earlier_run(run_dir)
    run_dir.mkdir(parents=True, exist_ok=True)


def trim_log(run_dir, epoch):
    """Drops the rows of log.csv from this epoch on: a resumed run writes them again."""
    path = pathlib.Path(run_dir) / LOG
    if not path.is_file():
        return
    with open(path, newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    kept = [row for row in rows if row and int(row[0]) < epoch]
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *kept])
    files.write(path, text.getvalue())
