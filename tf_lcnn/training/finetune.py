"""Fine-tuning an LCNN: sizes that go from loose to tight, and dictionary rows that died."""

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import rebuild
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.training.callbacks import Bound, own_constraint


class _SizeBound(Bound):
    """At most s lookups per position, in these dictionary rows only."""

    def __init__(self, s, rows, inner):
        super().__init__(inner)
        self.s = s
        self.rows = np.asarray(rows, np.float32)[:, None]

    def bound(self, w):
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
        by_name = {layer.name: layer for layer in lookup_layers(self.model)}
        missing = sorted(set(self.sizes) - set(by_name))
        if missing:
            raise ValueError(f"Model {self.model.name} has no lookup layer {', '.join(missing)}.")
        self._layers = [by_name[name] for name in self.sizes]
        self._inner = [own_constraint(layer.coefficients) for layer in self._layers]
        self._bounds = None

    def on_epoch_begin(self, epoch, logs=None):
        bounds = [self.bounds(x.name, x.dictionary_size, epoch) for x in self._layers]
        if bounds == self._bounds:
            return
        self._bounds = bounds
        for layer, inner, (k, s) in zip(self._layers, self._inner, bounds, strict=True):
            constraint = _SizeBound(s, _strongest(layer, k), inner)
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
    same, and the two rows go their own ways from there. Before the last epoch only. A dictionary
    that layers share is looked at as one, and a frozen one stays as it is.
    """

    def on_epoch_end(self, epoch, logs=None):
        if epoch + 1 < self.params["epochs"]:
            sharing = {}
            for layer in lookup_layers(self.model):
                sharing.setdefault(id(layer.dictionary), []).append(layer)
            for layers in sharing.values():
                revive(*layers)


def revive(*layers):
    """Splits the busiest rows of a dictionary into its dead ones.

    Args:
        layers: all layers that share the dictionary; one, where it is not shared.

    Returns:
        how many rows were revived; 0 for a dictionary that is not trained.
    """
    if not layers[0].dictionary.trainable:
        return 0
    dictionary = np.array(ops.convert_to_numpy(layers[0].dictionary))
    coefficients = [np.array(ops.convert_to_numpy(x.sparse_coefficients())) for x in layers]
    # By row, the lookups of all layers in turn; a view of each, to be written to.
    views = [np.moveaxis(array, -2, 0) for array in coefficients]
    uses = sum((view != 0).reshape(len(view), -1).sum(axis=1) for view in views)
    revived = 0
    for row in np.flatnonzero(uses == 0):
        busiest = int(uses.argmax())
        if uses[busiest] < 2:
            break
        # Every other one, counted through all layers.
        number = 0
        for view in views:
            for place in map(tuple, np.argwhere(view[busiest])):
                if number % 2 == 0:
                    view[(row, *place)], view[(busiest, *place)] = view[(busiest, *place)], 0
                    uses[row] += 1
                    uses[busiest] -= 1
                number += 1
        dictionary[:, row] = dictionary[:, busiest]
        revived += 1
    if revived:
        layers[0].dictionary.assign(dictionary)
        for layer, array in zip(layers, coefficients, strict=True):
            layer.coefficients.assign(array)
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
        kept_rows = np.flatnonzero(used[id(layer.dictionary)])
        return kept_rows if kept_rows.size else np.array([0])

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
