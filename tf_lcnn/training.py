"""What a training run needs around `model.fit`: optimisers, schedules, its directory, resuming."""

import csv
import io
import math
import pathlib
import zipfile

import keras

from tf_lcnn import files, sparsity
from tf_lcnn.layers import lookup_layers

# The paper's learning rates (section 4): (the epoch from which it holds, rate / first rate).
PAPER_SCHEDULES = {
    "alexnet": ((0, 1.0), (18, 0.5), (29, 0.1), (43, 0.05), (52, 0.01)),
    "resnet": ((0, 1.0), (7, 0.3), (16, 0.1), (25, 0.03), (30, 0.01)),
}
SCHEDULES = ("constant", "cosine", *PAPER_SCHEDULES)
OPTIMIZERS = ("sgd", "adam", "adamw")

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


def learning_rate(schedule, first, updates_per_epoch, epochs):
    """The learning rate as a function of the optimiser's updates.

    Args:
        schedule: "constant"; "cosine" (to 0 over all epochs); "alexnet" or "resnet", the steps
            of the LCNN paper.
        first: the rate at the start.

    Raises:
        ValueError: unknown schedule.
    """
    if schedule == "constant":
        return first
    if schedule == "cosine":
        steps = max(1, updates_per_epoch * epochs)
        return keras.optimizers.schedules.CosineDecay(first, steps)
    if schedule not in PAPER_SCHEDULES:
        raise ValueError(f"Unknown schedule {schedule!r}: {', '.join(SCHEDULES)}.")
    steps = PAPER_SCHEDULES[schedule]
    boundaries = [epoch * updates_per_epoch - 1 for epoch, _ in steps[1:]]
    values = [first * factor for _, factor in steps]
    return keras.optimizers.schedules.PiecewiseConstantDecay(boundaries, values)


def optimizer(name, rate, momentum=0.9, weight_decay=0.0, parts=1):
    """A Keras optimiser.

    Args:
        name: "sgd", "adam" or "adamw".
        rate: number or schedule, see `learning_rate`.
        momentum: of SGD.
        weight_decay: decoupled, as in Keras: each update shrinks kernels, dictionaries and
            coefficients by rate * weight_decay. Biases and batch normalisation are spared.
        parts: gradient accumulation steps.

    Raises:
        ValueError: unknown name.
    """
    shared = {
        "weight_decay": weight_decay or None,
        "gradient_accumulation_steps": parts if parts > 1 else None,
    }
    if name == "sgd":
        made = keras.optimizers.SGD(rate, momentum=momentum, **shared)
    elif name == "adam":
        made = keras.optimizers.Adam(rate, **shared)
    elif name == "adamw":
        # AdamW insists on a number.
        made = keras.optimizers.AdamW(rate, **{**shared, "weight_decay": weight_decay})
    else:
        raise ValueError(f"Unknown optimiser {name!r}: {', '.join(OPTIMIZERS)}.")
    if weight_decay:
        made.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return made


class WeightDecayUntil(keras.callbacks.Callback):
    """Switches weight decay off from this epoch on, as the paper's ResNet schedule does."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_begin(self, epoch, logs=None):
        if epoch >= self.epoch and self.model.optimizer.weight_decay:
            self.model.optimizer.weight_decay = 0.0
            # The compiled step holds the value that it was traced with.
            self.model.make_train_function(force=True)


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with a FloatingPointError as soon as the loss is not finite."""

    def __init__(self):
        super().__init__()
        self._epoch = 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise FloatingPointError(
                f"The loss is {loss} in epoch {self._epoch + 1}, batch {batch + 1}: training "
                "stopped. A lower learning rate may help."
            )


class PlainLog(keras.callbacks.Callback):
    """A line per epoch, for output that is not a terminal."""

    def on_epoch_end(self, epoch, logs=None):
        figures = ("loss", "accuracy", "val_loss", "val_accuracy", "mean_s", "max_s", "speedup")
        shown = [f"{name} {logs[name]:.4g}" for name in figures if name in logs]
        print(f"epoch {epoch + 1}/{self.params['epochs']}: {', '.join(shown)}", flush=True)


class Checkpoint(keras.callbacks.Callback):
    """Saves model and optimiser after each epoch, so that a killed run can go on.

    The file is written beside its place and then renamed: at any moment there is a whole one or
    none. The threshold is applied to the coefficients first, so that the run goes on from
    exactly what is saved.
    """

    def __init__(self, run_dir):
        super().__init__()
        self.path = pathlib.Path(run_dir) / CHECKPOINT

    def on_epoch_end(self, epoch, logs=None):
        for layer in lookup_layers(self.model):
            layer.coefficients.assign(sparsity.threshold(layer.coefficients, layer.epsilon))
        save_model(self.model, self.path)


def save_model(model, path):
    """Saves a .keras file, never a half-written one."""
    with files.replacing(path) as beside:
        model.save(beside)


def load_model(path, images=None):
    """Loads a .keras file.

    Args:
        path: the file.
        images: a `data.DataSet` that the model has to fit.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, no Keras model that can be loaded here, or its input
            or classes are not those of the images.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No model file {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged, or no .keras file.")
    try:
        model = keras.models.load_model(path)
    except Exception as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error
    if images is not None:
        refuse_mismatch(model, images, path)
    return model


def refuse_mismatch(model, images, name):
    """Raises ValueError unless input and classes of a model are those of a `data.DataSet`."""
    shapes = (*images.image_shape, len(images.class_names))
    if (*model.input_shape[1:], model.output_shape[-1]) != shapes:
        raise ValueError(
            f"{name} takes images {model.input_shape[1:]} of {model.output_shape[-1]} classes, "
            f"but {images.name} has {images.image_shape} and {len(images.class_names)}."
        )


def load_checkpoint(run_dir, images, updates_per_epoch):
    """The model of an interrupted run, with its optimiser, and the epochs it has behind it.

    Raises:
        FileNotFoundError: there is no checkpoint.
        ValueError: see `load_model`; or the model holds no optimiser.
    """
    path = pathlib.Path(run_dir) / CHECKPOINT
    if not path.is_file():
        raise FileNotFoundError(f"Nothing to resume: no {path}.")
    model = load_model(path, images)
    if model.optimizer is None:
        raise ValueError(f"{path} was saved without its optimiser: nothing to resume.")
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
