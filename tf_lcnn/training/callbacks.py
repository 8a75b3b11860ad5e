"""Keras callbacks that enforce and report the sparsity of lookup layers."""

import keras

from tf_lcnn.costs.counting import measure
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers

WHEN = ("batch", "epoch", "end")


def project(model, s):
    """Projects the coefficients of every lookup layer to top-s; small dictionaries keep all."""
    for layer in lookup_layers(model):
        kept = min(s, layer.dictionary_size)
        layer.coefficients.assign(sparsity.top_s(layer.coefficients, kept))


class Bound(keras.constraints.Constraint):
    """A bound that a callback puts on coefficients while it trains.

    Args:
        inner: the constraint that the variable already had, or None.
    """

    holds_lookups = True

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, w):
        return self.bound(w if self.inner is None else self.inner(w))

    def bound(self, w):
        """`w` within the bound."""
        raise NotImplementedError


def own_constraint(variable):
    """The constraint of a variable without any Bound; a `fit` that ended early leaves one."""
    constraint = variable.constraint
    while isinstance(constraint, Bound):
        constraint = constraint.inner
    return constraint


class _TopSBound(Bound):
    """The top-s projection."""

    def __init__(self, s, inner):
        super().__init__(inner)
        self.s = s

    def bound(self, w):
        return sparsity.top_s(w, self.s)


class TopS(keras.callbacks.Callback):
    """Keeps at most s lookups per kernel position and filter (LCNN paper, section 3.2).

    With when="batch" the projection runs inside the training step, right after the optimizer's
    update, so it holds after every step, whatever steps_per_execution and the backend. Note
    that entries it drops come back only by what one update adds to them; let the support form
    first: lower s by a schedule, or project once an epoch or at the end.

    A layer whose dictionary has fewer than s rows keeps all of them.

    Args:
        s: lookups per position in the end, >= 1.
        schedule: epoch -> lookups; while that is above s, it holds instead. See
            `sparsity.geometric_schedule`. It counts the epochs of the whole training, so a
            resumed run (initial_epoch) goes on where it was.
        when: "batch", after every step; "epoch", after every epoch, before its validation;
            "end", once after training (a schedule has no use then).

    Raises:
        ValueError: s < 1, unknown `when`, a schedule with when="end"; and when training
            begins, a model without lookup layers, or s larger than every dictionary.
    """

    def __init__(self, s, schedule=None, when="batch"):
        super().__init__()
        sparsity.check_lookups(s)
        if when not in WHEN:
            raise ValueError(f"Unknown when={when!r}: {', '.join(WHEN)}.")
        if when == "end" and schedule is not None:
            raise ValueError('TopS(when="end") projects once and has no use for a schedule.')
        self.s = s
        self.schedule = schedule
        self.when = when
        self._layers = []
        self._current = s

    def lookups(self, epoch):
        """The lookups per position that hold in this epoch."""
        return self.s if self.schedule is None else max(self.s, self.schedule(epoch))

    def on_train_begin(self, logs=None):
        self._layers = lookup_layers(self.model)
        if not self._layers:
            raise ValueError(f"TopS found no lookup layer in model {self.model.name}.")
        sparsity.check_lookups(self.s, max(layer.dictionary_size for layer in self._layers))
        # Forces the first epoch to set its projection.
        self._current = None
        for layer in self._layers:
            layer.coefficients.constraint = own_constraint(layer.coefficients)

    def on_epoch_begin(self, epoch, logs=None):
        current = self.lookups(epoch)
        if current == self._current:
            return
        self._current = current
        if self.when == "batch":
            self._constrain(current)

    def on_test_begin(self, logs=None):
        if self.when == "epoch" and self._layers:
            self._project()

    def on_epoch_end(self, epoch, logs=None):
        if self.when != "end":
            self._project()

    def on_train_end(self, logs=None):
        if self.when == "batch":
            self._constrain(None)
        self._project()

    def _constrain(self, s):
        for layer in self._layers:
            variable = layer.coefficients
            own = own_constraint(variable)
            bound = min(s, layer.dictionary_size) if s is not None else None
            variable.constraint = own if bound is None else _TopSBound(bound, own)
        # The compiled step holds the constraint that it was traced with.
        self.model.make_train_function(force=True)

    def _project(self):
        project(self.model, self._current or self.s)


class SparsityMonitor(keras.callbacks.Callback):
    """Puts what the model costs into `logs`, at the end of each epoch.

    For the net: density, mean_s, max_s, multiplications, speedup (of multiplications, against
    the dense twin, unpadded); for each lookup layer the same after its name and a slash. Put it
    after TopS and before the callbacks that read logs: TensorBoard, CSVLogger, ModelCheckpoint,
    EarlyStopping.

    Args:
        input_shape: shape of one input without the batch; needed only where the model does not
            know it. See `tf_lcnn.profile`.
    """

    def __init__(self, input_shape=None):
        super().__init__()
        self.input_shape = input_shape
        self._calls = None

    def on_epoch_end(self, epoch, logs=None):
        if logs is None:
            return
        if self._calls is None:
            # Shapes stay; only the coefficients change from epoch to epoch.
            self._calls = trace(self.model, self.input_shape)
        model = measure(self._calls, self.model.name)
        logs.update(_figures(model))
        for layer in model.layers:
            if layer.is_lookup:
                logs.update({f"{layer.name}/{k}": v for k, v in _figures(layer).items()})


def _figures(costs):
    return {
        "density": costs.density,
        "mean_s": costs.mean_s,
        "max_s": costs.max_s,
        "multiplications": costs.multiplications,
        "speedup": costs.speedup,
    }
