"""What coding each layer of a trained model, in each size, costs the model's output."""

import contextlib

import keras
import numpy as np

from tf_lcnn.compression import activations, coding, sparse_coding
from tf_lcnn.compression.store import Store, fingerprint
from tf_lcnn.layers import family

# Rounds of the coding that is run through the model.
_ROUNDS = 2
_PATCHES = 8_000

# An error below this is none: the size codes the layer exactly.
_ROUNDING = 1e-9

# fingerprint -> table, of the last calls: a second budget for the same model asks again.
_KEPT = {}
_MOST_KEPT = 4


def sensitivity(model, layers, sizes, lookups, images, seed=0, *, cache=None, progress=None):
    """What coding each layer in each size costs the output of the model.

    Args:
        model: trained; it is not changed.
        layers: name -> layer, those to ask about.
        sizes: the dictionary sizes k to try, where they are smaller than the weight vectors.
        lookups: the s to try.
        images: float32 (count, ...) real inputs.
        seed: of the coding.
        cache, progress: see `planner.plan`.

    Returns:
        name -> {(k, s): error}: the mean square that this layer's coding alone, all others
        dense, adds to the model's output, as a share of the output's power about its mean; 0 for
        (None, None).

    Raises:
        ValueError: the model's output is the same for all images, or not finite.
    """
    mark = fingerprint(model, images, sorted(layers), list(sizes), list(lookups), seed)
    if mark in _KEPT:
        return _KEPT[mark]
    store = None if cache is None else Store(cache, mark, "errors")
    counts = activations.call_counts(model, images.shape[1:])
    clean = _outputs(model, images)
    power = float(((clean - clean.mean(axis=0)) ** 2).sum())
    # Outputs that differ by rounding alone are the same.
    if not (np.isfinite(power) and power > 1e-9 * (clean**2).sum()):
        raise ValueError(
            f"{model.name} gives the same output for all {len(images)} calibration images, or NaN: "
            "what coding does to it cannot be told; take several real inputs."
        )
    table = {}
    for number, (name, layer) in enumerate(layers.items()):
        if progress is not None:
            progress(name, number, len(layers))
        names = ("k", "s", "error")
        rows = store and store.get(number, names)
        if rows is None:
            seen = _Seen(model, layer, images, counts[id(layer)], seed)
            rows = dict(zip(names, _errors(seen, sizes, lookups, clean, power), strict=True))
            if store:
                store.put(number, rows)
        errors = zip(rows["k"], rows["s"], rows["error"], strict=True)
        table[name] = {(None, None): 0.0, **{(int(k), int(s)): float(e) for k, s, e in errors}}
    while len(_KEPT) >= _MOST_KEPT:
        _KEPT.pop(next(iter(_KEPT)))
    _KEPT[mark] = table
    return table


class _Seen:
    """A layer of a model, what it sees, and the images that it sees it on."""

    def __init__(self, model, layer, images, calls, seed):
        self.model, self.layer, self.images, self.seed = model, layer, images, seed
        self.weights = coding.flat_kernel(layer)
        self.groups = coding.Groups(layer)
        patches = activations.sample(model, layer, images, calls, seed, patches=_PATCHES)
        # Constant errors are corrected by a bias or batch normalization behind.
        self.moments = activations.moments(
            ((x, self.groups.product(x)) for x in patches), of_call=[0] * calls
        )

    def parts(self):
        """(weights, moment) of each group."""
        for rows, filters in self.groups.parts:
            yield self.weights[..., filters], self.moments.patches[rows, rows]


def _errors(seen, sizes, lookups, clean, power):
    """Columns k, s and error, for the sizes that the layer can have."""
    vectors = family.replacing(seen.layer).weight_vectors(seen.layer)
    lost = {}
    for k in (k for k in sizes if k < vectors):
        by_group = [
            sparse_coding.errors(weights, _metric(moment), k, lookups, seen.seed)
            for weights, moment in seen.parts()
        ]
        lost.update({(k, s): np.mean([group[s] for group in by_group]) for s in by_group[0]})
    telling = [size for size, error in lost.items() if error > _ROUNDING]
    if telling:
        # The errors of all sizes differ in strength more than in kind: one of them, of middle
        # strength, tells what they do to the output.
        k, s = sorted(telling, key=lost.get)[len(telling) // 2]
        codes = [
            coding.code_layer(weights, moment, k, s, seen.seed, _ROUNDS)
            for weights, moment in seen.parts()
        ]
        coded = np.concatenate([code.kernel for code in codes], axis=-1)
        shift = _output_shift(seen, coded, clean)
        scale = shift / power / lost[k, s]
        lost = {size: scale * error for size, error in lost.items()}
    ks, ss = zip(*lost, strict=True) if lost else ((), ())
    return np.array(ks, int), np.array(ss, int), np.array(list(lost.values()), float)


def _metric(moment):
    # A layer that sees nothing but constants: any metric is as good.
    return moment if moment.any() else np.eye(len(moment))


def _outputs(model, images):
    rows = [
        keras.ops.convert_to_numpy(model(batch, training=False))
        for batch in activations.batches(images)
    ]
    return np.concatenate(rows).astype(np.float64)


def _output_shift(seen, coded, clean):
    """Sum of squares by which the model's output moves with these weights in the layer."""
    layer, kind = seen.layer, family.replacing(seen.layer)
    difference = (coded - seen.weights).reshape(-1, coded.shape[-1])
    constant = seen.groups.product(seen.moments.patch_means, difference)[0].astype(np.float32)
    trained = layer.get_weights()
    try:
        with _shifted(layer, -constant):
            kind.set_kernel(layer, coded)
            return float(((_outputs(seen.model, seen.images) - clean) ** 2).sum())
    finally:
        layer.set_weights(trained)


@contextlib.contextmanager
def _shifted(layer, offset):
    """Within this context the layer adds an offset per filter before its activation."""
    activation = layer.activation
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        offset = offset.reshape(-1, *[1] * len(layer.kernel_size))
    layer.activation = lambda x: activation(x + keras.ops.cast(offset, x.dtype))
    try:
        yield
    finally:
        layer.activation = activation
