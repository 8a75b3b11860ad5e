"""Callbacks of a run of train.py: weight decay, NaN, the log and checkpoints."""

import math

import keras

from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.deep_lookup import has_table
from tf_lcnn.layers.lookup import raw_coefficients
from tf_lcnn.models.saving import save_model
from tf_lcnn.training.run_directory import CHECKPOINT, RunDirectory


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


# A scale of a table below this has collapsed: nothing is left that it would tell apart.
_LEAST_SCALE = 1e-12


class StopOnNaN(keras.callbacks.Callback):
    """Ends training with a FloatingPointError as soon as the loss is not finite.

    And after an epoch in which a scale of a layer with a table became zero, or no number: its
    activations, or weights, then all have one index.
    """

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

    def on_epoch_end(self, epoch, logs=None):
        for layer in filter(has_table, sublayers(self.model)):
            for of, scale in zip(("activations", "weights"), layer.scales, strict=True):
                value = float(keras.ops.convert_to_numpy(scale))
                if not (math.isfinite(value) and value > _LEAST_SCALE):
                    raise FloatingPointError(
                        f"The scale of {of} in layer {layer.name} is {value:g} after epoch "
                        f"{epoch + 1}: training stopped. A lower learning rate may help."
                    )


class PlainLog(keras.callbacks.Callback):
    """A line per epoch, for output that is not a terminal."""

    def on_epoch_end(self, epoch, logs=None):
        taught = ("loss", "accuracy", "psnr")
        figures = (*taught, *(f"val_{name}" for name in taught), "mean_s", "max_s", "speedup")
        shown = [f"{name} {logs[name]:.4g}" for name in figures if name in logs]
        print(f"epoch {epoch + 1}/{self.params['epochs']}: {', '.join(shown)}", flush=True)


class Checkpoint(keras.callbacks.Callback):
    """Saves model and optimizer after each epoch, so that a killed run can go on.

    The file is written beside its place and then renamed: at any moment there is a whole one or
    none. It holds the coefficients as they are trained, so that a run that goes on from it is
    the unbroken one.

    Args:
        directory: a `run_directory.RunDirectory`, which is settled with the first checkpoint, or
            a path.
    """

    def __init__(self, directory):
        super().__init__()
        self.directory = directory

    def on_epoch_end(self, epoch, logs=None):
        with raw_coefficients():
            save_model(self.model, self.directory / CHECKPOINT)
        if isinstance(self.directory, RunDirectory):
            self.directory.settle()
