"""Callbacks of a run of train.py: weight decay, NaN, the log and checkpoints."""

import math

import keras
import numpy as np

from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.deep_lookup import has_table
from tf_lcnn.training.run_directory import RunDirectory, save_checkpoint


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
    """Ends training with a FloatingPointError where the loss is not finite, in the same epoch.

    And after an epoch in which a scale of a layer with a table became zero, or no number: its
    activations, or weights, then all have one index.
    """

    # Keras need not wait for the loss of a step before it begins the next one.
    async_safe = True

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
    """Saves model and optimizer after each epoch, and within it, so that a killed run can go on.

    The file is written beside its place and then renamed: at any moment there is a whole one or
    none.

    Args:
        directory: a `run_directory.RunDirectory`, which is settled with the first checkpoint, or
            a path.
        batches: within an epoch after so many, whole updates of the optimizer; None: not there.
    """

    def __init__(self, directory, batches=None):
        super().__init__()
        self.directory = directory
        self.batches = batches
        self._begins = True

    def on_epoch_begin(self, epoch, logs=None):
        self._begins = True

    # Before the next batch, not after the last one: that would be after the epoch.
    def on_train_batch_begin(self, batch, logs=None):
        begins, self._begins = self._begins, False
        if begins or not self.batches or batch % self.batches:
            return
        sums = [keras.ops.convert_to_numpy(x) for x in self.model.metrics_variables]
        # Nothing goes on from a loss that is no number; `StopOnNaN` ends the run.
        if all(np.isfinite(x).all() for x in sums):
            self._save(sums)

    def on_epoch_end(self, epoch, logs=None):
        self._save()

    def _save(self, sums=()):
        save_checkpoint(self.directory, self.model, sums)
        if isinstance(self.directory, RunDirectory):
            self.directory.settle()


class Whole(keras.callbacks.CallbackList):
    """Callbacks of a training in one or two calls of `fit`, which are one training to them.

    A training that goes on within an epoch takes two, for in Keras all epochs of a call have
    equally many batches: the rest of that epoch, then the other epochs.

    Args:
        callbacks: a list.
        model: that is trained.
        calls: of `fit`, how many will follow.
        done: batches of the first epoch that were trained on before.
        sums: the values of the model's metrics after them.
        params: of `keras.callbacks.CallbackList`; "epochs" and "steps" are of the whole training.
    """

    def __init__(self, callbacks, model, calls, done=0, sums=(), **params):
        shown = bool(params["verbose"])
        super().__init__(callbacks, add_history=True, add_progbar=shown, model=model, **params)
        self._to_begin = self._to_end = calls
        self._calls, self._done, self._sums = calls, done, sums

    def on_train_begin(self, logs=None):
        if self._to_begin == self._calls:
            super().on_train_begin(logs)
        self._to_begin -= 1

    def on_train_end(self, logs=None):
        self._to_end -= 1
        if not self._to_end:
            super().on_train_end(logs)

    def on_epoch_begin(self, epoch, logs=None):
        if self._sums:
            for variable, value in zip(self.model.metrics_variables, self._sums, strict=True):
                variable.assign(value)
        super().on_epoch_begin(epoch, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._done, self._sums = 0, ()
        super().on_epoch_end(epoch, logs)

    def on_train_batch_begin(self, batch, logs=None):
        super().on_train_batch_begin(batch + self._done, logs)

    def on_train_batch_end(self, batch, logs=None):
        super().on_train_batch_end(batch + self._done, logs)
