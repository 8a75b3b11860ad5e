"""The weights of an LCNN from those of its trained parent, layer by layer: `transcribe`.

Each layer is coded (`sparse_coding.code`) so that on real images its output is that of the
parent's layer, given the input that the layers coded before it produce. So a layer corrects some
of the errors of the layers in front.
"""

import dataclasses
import math

import keras
import numpy as np

from tf_lcnn import checks
from tf_lcnn.compression import activations, sparse_coding
from tf_lcnn.compression.store import Store, fingerprint
from tf_lcnn.graph import folding, intercept
from tf_lcnn.graph.trace import own_weights, sublayers, trace
from tf_lcnn.layers import family

# Weights that few patches tell apart stay near the parent's: relative to the mean moment.
RIDGE = 1e-2

# Above this many rows or columns of a moment or Gram matrix (a gigabyte of float64 is 11,585) a
# layer is coded vector by vector, with the moment of its channels alone.
JOINT_LIMIT = 6000


@dataclasses.dataclass(frozen=True)
class LayerError:
    """What coding lost in one layer: relative errors, 0 for none.

    Attributes:
        name: of the layer.
        dictionary_size, lookups: k and s.
        weight_error: norm of W - D.P over the norm of W.
        output_error: root mean square of the layer's output minus the parent's, over the root
            mean square of the parent's (without their means where a bias or batch normalization
            sets them); the errors of the layers in front are in it.
    """

    name: str
    dictionary_size: int
    lookups: int
    weight_error: float
    output_error: float


def table(errors):
    """The lines of a table of LayerErrors."""
    width = max([5, *(len(layer.name) for layer in errors)])
    lines = [f"{'layer':{width}}     k   s  weight error  output error"]
    for layer in errors:
        lines.append(
            f"{layer.name:{width}}  {layer.dictionary_size:4}  {layer.lookups:2}  "
            f"{layer.weight_error:12.4f}  {layer.output_error:12.4f}"
        )
    return "\n".join(lines)


def transcribe(parent, lcnn, pairs, lookups, images, seed=0, cache=None, report=None):
    """Gives the lookup layers of an LCNN the weights that follow its parent best.

    Args:
        parent: the trained model.
        lcnn: the model of equal layers; its lookup layers are set, in the order in which they
            run, and so are the moving means of batch normalizations right behind them.
        pairs: (parent's layer, LCNN's layer) for each lookup layer.
        lookups: s for each layer's name.
        images: a few hundred inputs as the model takes them, in any form that `checks.inputs`
            takes.
        seed: of dictionaries and sampled positions.
        cache: folder that keeps each layer as it is done, so that a second call goes on after
            an interruption; None keeps nothing.
        report: called with each LayerError as it is done.

    Returns:
        list of LayerError, in the order in which the layers run.

    Raises:
        ValueError: no images or images of another shape, weights or activations that are not
            finite, or a cache of another model, plan, seed or other images.
    """
    images = calibration_images(parent, images)
    checks.whole_number(seed, "The seed", least=0)
    refuse_unusable_weights(parent)
    shape = images.shape[1:]
    counts, calls = activations.call_counts(parent, shape), trace(lcnn, shape)
    order = {key: i for i, key in enumerate(counts)}
    pairs = sorted(
        (pair for pair in pairs if id(pair[0]) in counts), key=lambda pair: order[id(pair[0])]
    )
    store = None
    if cache is not None:
        sizes = [[copy.name, copy.dictionary_size, lookups[copy.name]] for _, copy in pairs]
        store = Store(cache, fingerprint(parent, images, sizes, seed))
    errors = []
    for number, (layer, copy) in enumerate(pairs):
        offsets = _Offsets(copy, folding.normalizations(copy, calls))
        coded = store and store.get(number, _CODED)
        if coded is None:
            twins = (
                activations.sample(model, twin, images, counts[id(layer)], seed + number)
                for model, twin in ((lcnn, copy), (parent, layer))
            )
            coded = _code_pair(layer, copy, lookups[copy.name], twins, offsets, seed + number)
            if store:
                store.put(number, coded)
        family.of(copy).set_lookups(copy, coded["dictionary"], coded["coefficients"])
        offsets.add(coded["shift"])
        errors.append(
            LayerError(
                copy.name,
                copy.dictionary_size,
                lookups[copy.name],
                float(coded["weight_error"]),
                float(coded["output_error"]),
            )
        )
        if report is not None:
            report(errors[-1])
    return errors


def calibration_images(model, images):
    """The images as one float32 array; ValueError unless the model can be run on them."""
    if images is None:
        raise ValueError("No calibration images: a few hundred inputs of the model are needed.")
    return checks.inputs(images, checks.input_shape(model), "calibration images")


def refuse_unusable_weights(model):
    """Raises ValueError where a layer's weights have NaN or infinity in them."""
    for layer in sublayers(model):
        if any(not np.isfinite(keras.ops.convert_to_numpy(w)).all() for w in own_weights(layer)):
            raise ValueError(f"The weights of layer {layer.name} have NaN or infinity in them.")


class _Offsets:
    """What can correct a constant error of a layer's output: its bias, or normalizations behind.

    Attributes:
        of_call: for each call of the layer the number of the variable that corrects it; empty if
            a call has none.
    """

    def __init__(self, layer, normalizations):
        self._bias = layer.bias if layer.use_bias else None
        self._means = []
        self.of_call = [0] * len(normalizations)
        if self._bias is None:
            self.of_call = []
            if normalizations and None not in normalizations:
                different = list({id(x): x for x in normalizations}.values())
                self._means = [x.moving_mean for x in different]
                self.of_call = [
                    next(i for i, x in enumerate(different) if x is y) for y in normalizations
                ]

    def add(self, shift):
        """Adds to the layer's output, (variables, n) or, for one variable, (n,)."""
        shift = np.atleast_2d(shift).astype(np.float32)
        if self._bias is not None:
            self._bias.assign(self._bias + shift[0])
        for mean, offset in zip(self._means, shift, strict=bool(self._means)):
            mean.assign(mean - offset)


def flat_kernel(layer):
    """The weights of a layer that lookups can replace, as (taps, m, n), float64."""
    return family.either(layer).kernel(layer)


_CODED = ("dictionary", "coefficients", "shift", "weight_error", "output_error")


def _code_pair(layer, copy, s, twins, offsets, seed):
    """The arrays `_CODED` of one layer.

    Args:
        layer, copy: the parent's and the LCNN's.
        s: lookups.
        twins: what the copy sees in the LCNN and the layer in the parent, see
            `activations.sample`.
        offsets: an _Offsets.
    """
    weights = flat_kernel(layer)
    groups = Groups(layer)
    seen = activations.moments(
        ((mine, groups.product(theirs)) for mine, theirs in zip(*twins, strict=True)),
        offsets.of_call,
    )
    if not (np.isfinite(seen.patches).all() and np.isfinite(seen.cross).all()):
        raise ValueError(f"Layer {layer.name} computes NaN or infinity on the calibration images.")
    codes, lost = [], seen.target_power
    shift = seen.target_means.copy()
    for rows, filters in groups.parts:
        moment, cross = seen.patches[rows, rows], seen.cross[rows, filters]
        target = _target(moment, cross, weights[..., filters])
        code = code_layer(target, moment, copy.dictionary_size, s, seed)
        codes.append(code)
        coded = code.kernel.reshape(len(moment), -1)
        lost += float(np.einsum("in,in->", coded, moment @ coded) - 2 * (coded * cross).sum())
        shift[:, filters] -= seen.patch_means[:, rows] @ coded
    kernel = np.concatenate([code.kernel for code in codes], axis=-1)
    power = seen.target_power
    return {
        "dictionary": np.concatenate([code.dictionary for code in codes]),
        "coefficients": np.concatenate([code.coefficients for code in codes], axis=-1),
        # What the output's mean lacks.
        "shift": shift,
        "weight_error": np.linalg.norm(kernel - weights) / max(np.linalg.norm(weights), 1e-300),
        "output_error": math.sqrt(max(lost, 0.0) / power) if power else 0.0,
    }


class Groups:
    """The groups of a layer's channels; one, for most layers.

    Attributes:
        parts: for each group, slices of the rows of its patches and of its filters.
    """

    def __init__(self, layer):
        weights = flat_kernel(layer)
        taps, m, n = weights.shape
        count = family.either(layer).groups(layer)
        self.parts = [
            (slice(g * taps * m, (g + 1) * taps * m), slice(g * n // count, (g + 1) * n // count))
            for g in range(count)
        ]
        self._flat = weights.reshape(taps * m, n).astype(np.float32)

    def product(self, patches, flat=None):
        """The layer's output at patches, without bias; with other weights (taps*m, n) theirs."""
        flat = self._flat if flat is None else flat
        outputs = [patches[:, rows] @ flat[:, filters] for rows, filters in self.parts]
        return outputs[0] if len(outputs) == 1 else np.concatenate(outputs, axis=-1)


def code_layer(weights, moment, k, s, seed, rounds=sparse_coding.ROUNDS):
    """The Code of a layer (taps, m, n), by all kernel positions at once where they are not many."""
    taps, m, n = weights.shape
    s = min(s, k)
    if not moment.any():
        # The layer sees nothing but zeros, or always the same: any metric is as good.
        moment = np.eye(taps * m)
    if taps * max(m, k) <= JOINT_LIMIT:
        return sparse_coding.code(weights, moment, k, s, seed, rounds)
    channels = np.einsum("amab->mb", moment.reshape(taps, m, taps, m)) / taps
    vectors = np.moveaxis(weights, 1, 0).reshape(1, m, taps * n)
    code = sparse_coding.code(vectors, channels, k, s, seed, rounds)
    coefficients = np.moveaxis(code.coefficients.reshape(k, taps, n), 0, 1)
    return sparse_coding.Code(code.dictionary, coefficients, code.error)


def _target(moment, cross, weights):
    """The dense weights that would follow the parent best from the inputs as they are now."""
    ridge = RIDGE * np.trace(moment) / len(moment) + 1e-300
    flat = weights.reshape(len(moment), -1)
    wanted = np.linalg.solve(moment + ridge * np.eye(len(moment)), cross + ridge * flat)
    return wanted.reshape(weights.shape)


def reestimate(model, images):
    """Sets the statistics of batch normalization to those of these images, in order of depth.

    Nothing is trained: the mean over batches of what each BatchNormalization sees, all other
    layers as at inference. Layers that are not trainable keep theirs.

    Args:
        model: a built Keras model; its moving means and variances change.
        images: inputs in any form that `checks.batches` takes; an array is taken in batches of a
            hundred, others as they come.

    Raises:
        ValueError: there are no images, or see `checks.batches`.
    """
    normalizations = [
        layer
        for layer in sublayers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    momenta = [layer.momentum for layer in normalizations]
    batches = checks.batches(images, checks.input_shape(model), "calibration images")
    try:
        # Only these run as in training: dropout, for one, does not.
        with intercept.calls(dict.fromkeys(normalizations, _call_training)):
            for seen, (inputs, _) in enumerate(batches):
                for layer in normalizations:
                    # A running mean over all batches, each of the same weight.
                    layer.momentum = seen / (seen + 1)
                model(inputs, training=False)
    finally:
        for layer, momentum in zip(normalizations, momenta, strict=True):
            layer.momentum = momentum


def _call_training(call, inputs, training=None, mask=None):
    return call(inputs, training=True, mask=mask)
