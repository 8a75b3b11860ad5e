"""Fine-tuning an LCNN: sizes that go from loose to tight, and dictionary rows that died."""

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import rebuild
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers


class _Bound(keras.constraints.Constraint):
    """At most s lookups per position, in these dictionary rows only."""

    def __init__(self, s, rows, inner):
        self.s = s
        self.rows = np.asarray(rows, np.float32)[:, None]
        self.inner = inner

    def __call__(self, w):
        w = w if self.inner is None else self.inner(w)
        return sparsity.top_s(w * ops.cast(self.rows, w.dtype), self.s)


class Tighten(keras.callbacks.Callback):
    """Holds each layer to its own lookups and dictionary rows, from loose to tight.

    In epoch 0 a layer may have `loose` times the lookups and rows that it may have from epoch
    `epochs` on; between, each epoch keeps the same share. The rows that stay are those with the
    largest product of the norms of the row of D and of its slice of P. Like `TopS` it acts inside
    the training step, right after the optimizer's update.

    Args:
        sizes: layer name -> (k, s) in the end.
        loose_lookups, loose_rows: the factors of epoch 0, >= 1.
        epochs: the epoch from which the sizes are those of the end.

    Raises:
        ValueError: a factor below 1; and when training begins, a layer that the model lacks.
    """

    def __init__(self, sizes, loose_lookups=1.0, loose_rows=1.0, epochs=1):
        super().__init__()
        if loose_lookups < 1 or loose_rows < 1 or epochs < 1:
            raise ValueError(
                f"Sizes go down over at least one epoch, from at least those of the end, not by "
                f"{loose_lookups} and {loose_rows} over {epochs}."
            )
        self.sizes = dict(sizes)
        self.factors = (loose_rows, loose_lookups)
        self.epochs = epochs
        self._layers = []
        self._inner = []
        self._bounds = None

    def bounds(self, name, dictionary_size, epoch):
        """(k, s) of a layer in this epoch."""
        left = max(0.0, 1 - epoch / self.epochs)
        k, s = (
            round(size * factor**left)
            for size, factor in zip(self.sizes[name], self.factors, strict=True)
        )
        k = min(k, dictionary_size)
        return k, min(s, k)

    def on_train_begin(self, logs=None):
        found = {layer.name: layer for layer in lookup_layers(self.model)}
        missing = sorted(set(self.sizes) - set(found))
        if missing:
            raise ValueError(f"Model {self.model.name} has no lookup layer {', '.join(missing)}.")
        self._layers = [found[name] for name in self.sizes]
        self._inner = [layer.coefficients.constraint for layer in self._layers]
        self._bounds = None

    def on_epoch_begin(self, epoch, logs=None):
        bounds = [self.bounds(x.name, x.dictionary_size, epoch) for x in self._layers]
        if bounds == self._bounds:
            return
        self._bounds = bounds
        for layer, inner, (k, s) in zip(self._layers, self._inner, bounds, strict=True):
            constraint = _Bound(s, _strongest(layer, k), inner)
            layer.coefficients.assign(constraint(layer.coefficients))
            layer.coefficients.constraint = constraint
        # The compiled step holds the constraint that it was traced with.
        self.model.make_train_function(force=True)

    def on_train_end(self, logs=None):
        for layer, inner in zip(self._layers, self._inner, strict=True):
            layer.coefficients.constraint = inner
        self.model.make_train_function(force=True)


def _slices(layer):
    """(norms of the rows of D, norms of their slices of delta(P)), each (k,)."""
    dictionary = np.asarray(ops.convert_to_numpy(layer.dictionary), np.float64)
    coefficients = np.asarray(ops.convert_to_numpy(layer.sparse_coefficients()), np.float64)
    others = tuple(i for i in range(coefficients.ndim) if i != coefficients.ndim - 2)
    return np.linalg.norm(dictionary, axis=0), np.sqrt((coefficients**2).sum(axis=others))


def _strongest(layer, k):
    """Which k dictionary rows of a layer give most, as booleans (dictionary_size,)."""
    rows, slices = _slices(layer)
    order = np.argsort(-rows * slices, kind="stable")
    kept = np.zeros(len(order), bool)
    kept[order[:k]] = True
    return kept


class ReviveRows(keras.callbacks.Callback):
    """After each epoch a dictionary row that no lookup uses takes over half of the busiest one's.

    It becomes a copy of that row, and every other lookup of it moves over: the layer computes the
    same, and the two rows go their own ways from there. Before the last epoch only.
    """

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 < self.params["epochs"]:
            for layer in lookup_layers(self.model):
                revive(layer)


def revive(layer):
    """Splits the busiest rows of a lookup layer into its dead ones; the number of these."""
    dictionary = np.array(ops.convert_to_numpy(layer.dictionary))
    coefficients = np.array(ops.convert_to_numpy(layer.sparse_coefficients()))
    by_row = np.moveaxis(coefficients, -2, 0)
    dead = [i for i in range(len(by_row)) if not by_row[i].any()]
    revived = 0
    for row in dead:
        uses = (by_row != 0).reshape(len(by_row), -1).sum(axis=1)
        busiest = int(uses.argmax())
        if uses[busiest] < 2:
            break
        places = np.argwhere(by_row[busiest])[::2]
        for place in map(tuple, places):
            by_row[(row, *place)] = by_row[(busiest, *place)]
            by_row[(busiest, *place)] = 0
        dictionary[:, row] = dictionary[:, busiest]
        revived += 1
    if revived:
        layer.dictionary.assign(dictionary)
        layer.coefficients.assign(coefficients)
    return revived


def drop_rows(model):
    """A copy of an LCNN without the dictionary rows that no lookup uses. It computes the same.

    Args:
        model: functional or Sequential.

    Returns:
        A new model, not compiled; a layer without any lookup keeps one row.
    """
    lookup = lookup_layers(model)
    used = {}
    for layer in lookup:
        # A shared dictionary keeps what any of its layers uses.
        kept = _slices(layer)[1] > 0
        used[id(layer.dictionary)] = used.get(id(layer.dictionary), False) | kept

    def rows(layer):
        found = np.flatnonzero(used[id(layer.dictionary)])
        return found if found.size else np.array([0])

    def smaller(layer):
        shrinks = id(getattr(layer, "dictionary", None)) in used
        return {"dictionary_size": len(rows(layer))} if shrinks else {}

    dropped, copies = rebuild.clone(model, changes=smaller)
    rebuild.copy_weights(pair for pair in copies if pair[0] not in lookup)
    for layer, copy in copies:
        if layer in lookup:
            copy.dictionary.assign(ops.take(layer.dictionary, rows(layer), axis=-1))
            copy.coefficients.assign(ops.take(layer.sparse_coefficients(), rows(layer), axis=-2))
            if layer.use_bias:
                copy.bias.assign(layer.bias)
    return dropped
