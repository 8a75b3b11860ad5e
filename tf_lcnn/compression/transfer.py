"""Dictionaries from one LCNN in another, and training of the coefficients alone.

    transfer_dictionaries(shallow, deep)
    freeze_dictionaries(deep)
    more = add_classes(model, 5)

Source: the LCNN paper, sections 4.2 (few-shot: frozen dictionaries, new coefficients) and 4.3
(few-iteration: dictionaries of a shallow net in a deep one).
"""

import fnmatch

import keras
import numpy as np
from keras import ops

from tf_lcnn import checks
from tf_lcnn.graph import rebuild
from tf_lcnn.layers import family
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.layers.family import lookup_layers

MATCHES = ("order", "best")


def transfer_dictionaries(source, target, match="order"):
    """Copies dictionaries from the lookup layers of one model into those of another.

    Args:
        source, target: built models. The dictionaries of `target` change, nothing else.
        match: "order", the layers of both in the order of definition, those of `target` that are
            more than those of `source` of a size taking its last one of that size; "best", for
            each layer of `target` the dictionary of equal size whose vectors best span the
            layer's own kernel; or a dict, name or pattern with * and ? of layers of `target` ->
            name of a layer of `source`, other layers staying as they are.

    Returns:
        dict: layer of `target` -> layer of `source` that it got its dictionary from, by name.

    Raises:
        ValueError: unknown match, a name or pattern that fits no layer, or no dictionary of the
            size (m, k) of a layer.
    """
    given, taking = _lookup_layers(source), _lookup_layers(target)
    if isinstance(match, dict):
        pairs = _by_name(source, target, given, taking, match)
    elif match in MATCHES:
        pick = _next_in_order if match == "order" else _best
        pairs = [
            (layer, pick(_of_size(given, layer, source), layer, i))
            for layer, i in _numbered(taking)
        ]
    else:
        raise ValueError(f"Unknown match {match!r}: {' or '.join(MATCHES)}, or a dict of names.")
    for layer, origin in pairs:
        _refuse_size(layer, origin)
    for layer, origin in pairs:
        layer.dictionary.assign(ops.convert_to_numpy(origin.dictionary))
    return {layer.name: origin.name for layer, origin in pairs}


def _lookup_layers(model):
    """The lookup layers of a built model; ValueError if there are none, or it is not built."""
    if not isinstance(model, keras.Model):
        raise ValueError(f"A Keras model is needed, not {model!r}.")
    layers = lookup_layers(model)
    if not layers:
        raise ValueError(f"{model.name} has no lookup layer, so no dictionary.")
    if not all(layer.built for layer in layers):
        raise ValueError(f"{model.name} is not built: call it on an input first.")
    return layers


def _by_name(source, target, given, taking, rules):
    by_name = {layer.name: layer for layer in given}
    pairs = {}
    for pattern, name in rules.items():
        if name not in by_name:
            raise ValueError(
                f"{source.name} has no lookup layer {name!r}; it has: {', '.join(by_name)}."
            )
        fitting = [layer for layer in taking if fnmatch.fnmatchcase(layer.name, pattern)]
        if not fitting:
            there = ", ".join(layer.name for layer in taking)
            raise ValueError(f"{pattern!r} fits no lookup layer of {target.name}: {there}.")
        for layer in fitting:
            pairs.setdefault(layer.name, (layer, by_name[name]))
    return list(pairs.values())


def _numbered(layers):
    """(layer, how many of its size come before it)."""
    counts = {}
    for layer in layers:
        size = tuple(layer.dictionary.shape)
        yield layer, counts.get(size, 0)
        counts[size] = counts.get(size, 0) + 1


def _of_size(given, layer, source):
    size = tuple(layer.dictionary.shape)
    fitting = [other for other in given if tuple(other.dictionary.shape) == size]
    if not fitting:
        there = sorted({tuple(other.dictionary.shape) for other in given})
        raise ValueError(
            f"{source.name} has no dictionary of (m, k) = {size} for layer {layer.name}; it has: "
            f"{', '.join(map(str, there))}."
        )
    return fitting


def _next_in_order(fitting, layer, number):
    return fitting[min(number, len(fitting) - 1)]


def _best(fitting, layer, number):
    kernel = np.asarray(ops.convert_to_numpy(layer.kernel), np.float64)
    vectors = np.moveaxis(kernel, -2, 0).reshape(kernel.shape[-2], -1)

    def missed(other):
        rows = np.asarray(ops.convert_to_numpy(other.dictionary), np.float64)
        return np.linalg.norm(vectors - rows @ (np.linalg.pinv(rows) @ vectors))

    return min(fitting, key=missed)


def _refuse_size(layer, origin):
    mine, theirs = tuple(layer.dictionary.shape), tuple(origin.dictionary.shape)
    if mine != theirs:
        raise ValueError(
            f"The dictionary of {origin.name} is of (m, k) = {theirs}, that of {layer.name} of "
            f"{mine}."
        )


def freeze_dictionaries(model):
    """From now on training leaves the dictionaries of a model as they are.

    Compile the model after this, as after any change of what is trained.

    Raises:
        ValueError: the model has no lookup layer, or is not built.
    """
    for layer in _lookup_layers(model):
        layer.dictionary.trainable = False


class _Support(keras.constraints.Constraint):
    """Only these places may differ from zero."""

    holds_lookups = True

    def __init__(self, places, inner):
        self.places = places
        self.inner = inner

    def __call__(self, w):
        w = w if self.inner is None else self.inner(w)
        return w * ops.cast(self.places, w.dtype)


def freeze_support(model):
    """From now on training moves only the lookups that there are: zeros of P stay zeros.

    It holds for this model in memory; one that is loaded from a file has to be told again. Compile
    the model after this.

    Raises:
        ValueError: the model has no lookup layer, or is not built.
    """
    for layer in _lookup_layers(model):
        places = np.asarray(ops.convert_to_numpy(layer.sparse_coefficients())) != 0
        layer.coefficients.constraint = _Support(places, layer.coefficients.constraint)


def classifier(model):
    """The dense layer, with lookups or without, that makes the classes of a model.

    Raises:
        ValueError: no such layer is the last one with weights.
    """
    layers = [layer for layer in getattr(model, "layers", ()) if layer.weights]
    if not layers or family.plain_type(layers[-1]) not in (keras.layers.Dense, LookupDense):
        last = f"{layers[-1].name} ({type(layers[-1]).__name__})" if layers else "none"
        raise ValueError(
            f"{getattr(model, 'name', model)} does not end in a Dense or LookupDense layer: the "
            f"last layer with weights is {last}."
        )
    return layers[-1]


def add_classes(model, n):
    """A copy of a classifier that has n more classes, behind those that it has.

    The outputs of the classes that were there are as they were, and so are all other weights. A new
    class has what the initializers of the layer draw: in a LookupDense all k coefficients, on the
    same dictionary.

    Args:
        model: a built functional or Sequential model that ends in a Dense or LookupDense layer,
            with an activation behind it or not. It is not changed.
        n: how many, >= 1.

    Raises:
        ValueError: another model, or another n.
    """
    n = checks.whole_number(n, "n, the new classes,")
    rebuild.refuse_other_models(model)
    last = classifier(model)
    units = last.units
    copy, pairs = rebuild.clone(
        model, changes=lambda layer: {"units": units + n} if layer is last else {}
    )
    rebuild.copy_weights([(layer, other) for layer, other in pairs if layer is not last])
    larger = dict(pairs)[last]
    for mine, theirs in zip(last.weights, larger.weights, strict=True):
        values = ops.convert_to_numpy(mine)
        if mine.shape != theirs.shape:
            new = ops.convert_to_numpy(theirs)[..., units:]
            values = np.concatenate([values, new], axis=-1)
        theirs.assign(values)
    return copy
