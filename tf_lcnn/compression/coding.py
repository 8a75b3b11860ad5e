"""The weights of an LCNN from those of its trained parent, layer by layer: `transcribe`.

Each layer is coded (`coding.code`) so that on real images its output is that of the parent's
layer, given the input that the layers coded before it leave to it. So a layer makes good for some
of the errors of the layers in front.
"""

import dataclasses
import hashlib
import json
import math
import pathlib

import keras
import numpy as np

from tf_lcnn import files
from tf_lcnn.compression import activations, sparse_coding
from tf_lcnn.graph import folding, intercept
from tf_lcnn.graph.trace import sublayers, trace
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
    width = max([5, *(len(each.name) for each in errors)])
    lines = [f"{'layer':{width}}     k   s  weight error  output error"]
    for each in errors:
        lines.append(
            f"{each.name:{width}}  {each.dictionary_size:4}  {each.lookups:2}  "
            f"{each.weight_error:12.4f}  {each.output_error:12.4f}"
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
        images: (count, ...) inputs as the model takes them, a few hundred.
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
    images = checked_images(parent, images)
    for layer, _ in pairs:
        for weights in layer.get_weights():
            if not np.isfinite(weights).all():
                raise ValueError(f"The weights of layer {layer.name} have NaN or infinity in them.")
    counts, normalizations = activations.call_counts(parent), _normalizations(lcnn)
    order = {key: i for i, key in enumerate(counts)}
    pairs = sorted(
        (pair for pair in pairs if id(pair[0]) in counts), key=lambda pair: order[id(pair[0])]
    )
    store = None
    if cache is not None:
        sizes = [[copy.name, copy.dictionary_size, lookups[copy.name]] for _, copy in pairs]
        store = _Store(cache, _fingerprint(parent, sizes, images, seed))
    errors = []
    for number, (layer, copy) in enumerate(pairs):
        kept = store and store.get(number)
        if kept is None:
            kept = _code_layer(
                *(parent, lcnn, layer, copy, normalizations.get(id(copy)), lookups[copy.name]),
                *(images, counts[id(layer)], seed + number),
            )
            if store:
                store.put(number, kept)
        _assign(copy, normalizations.get(id(copy)), kept)
        errors.append(
            LayerError(
                copy.name,
                copy.dictionary_size,
                lookups[copy.name],
                float(kept["weight_error"]),
                float(kept["output_error"]),
            )
        )
        if report is not None:
            report(errors[-1])
    return errors


def checked_images(model, images):
    """The images as float32, refused with ValueError unless the model can be run on them."""
    if images is None:
        raise ValueError("No calibration images: a few hundred inputs of the model are needed.")
    images = np.asarray(images, np.float32)
    shape = tuple(model.inputs[0].shape[1:])
    if not len(images):
        raise ValueError("No calibration images: coding trained weights needs a few hundred.")
    fits = images.ndim == len(shape) + 1 and all(
        wanted in (None, size) for wanted, size in zip(shape, images.shape[1:], strict=True)
    )
    if not fits:
        raise ValueError(
            f"The calibration images have shape {images.shape}, but {model.name} takes {shape} "
            "each, with one more axis in front."
        )
    if not np.isfinite(images).all():
        raise ValueError("The calibration images have NaN or infinity in them.")
    return images


def _normalizations(model):
    """id of a layer -> the BatchNormalization that alone takes its output."""
    calls = trace(model)
    return {id(call.follows): call.layer for call in calls if folding.follows_alone(call)}


def flat_kernel(layer):
    """The weights of a layer that lookups can replace, as (taps, m, n), float64."""
    return family.either(layer).kernel(layer)


def _code_layer(parent, lcnn, layer, copy, normalization, s, images, calls, seed):
    weights = flat_kernel(layer)
    taps, m, n = weights.shape
    flat = weights.reshape(taps * m, n).astype(np.float32)
    twins = (
        activations.sample(model, each, images, calls, seed)
        for model, each in ((lcnn, copy), (parent, layer))
    )
    seen = activations.moments(
        ((mine, theirs @ flat) for mine, theirs in zip(*twins, strict=True)),
        centered=layer.use_bias or normalization is not None,
    )
    if not (np.isfinite(seen.patches).all() and np.isfinite(seen.cross).all()):
        raise ValueError(f"Layer {layer.name} computes NaN or infinity on the calibration images.")
    found = code_layer(_target(seen, weights), seen.patches, copy.dictionary_size, s, seed)
    kernel = found.kernel
    coded = kernel.reshape(taps * m, n)
    lost = seen.target_power + float(
        np.einsum("in,in->", coded, seen.patches @ coded) - 2 * (coded * seen.cross).sum()
    )
    power = seen.target_power
    return {
        "dictionary": found.dictionary,
        "coefficients": found.coefficients,
        # What the output's mean lacks.
        "shift": seen.target_mean - seen.patch_mean @ coded,
        "weight_error": np.linalg.norm(kernel - weights) / max(np.linalg.norm(weights), 1e-300),
        "output_error": math.sqrt(max(lost, 0.0) / power) if power else 0.0,
    }


def code_layer(weights, moment, k, s, seed, rounds=sparse_coding.ROUNDS):
    """The Code of a layer (taps, m, n), by all kernel positions at once where they are not many."""
    taps, m, n = weights.shape
    s = min(s, k)
    if taps * max(m, k) <= JOINT_LIMIT:
        return sparse_coding.code(weights, moment, k, s, seed, rounds)
    channels = np.einsum("amab->mb", moment.reshape(taps, m, taps, m)) / taps
    vectors = np.moveaxis(weights, 1, 0).reshape(1, m, taps * n)
    found = sparse_coding.code(vectors, channels, k, s, seed, rounds)
    coefficients = np.moveaxis(found.coefficients.reshape(k, taps, n), 0, 1)
    return sparse_coding.Code(found.dictionary, coefficients, found.error)


def _target(seen, weights):
    """The dense weights that would follow the parent best from the inputs as they are now."""
    taps, m, n = weights.shape
    ridge = RIDGE * np.trace(seen.patches) / len(seen.patches) + 1e-300
    moment = seen.patches + ridge * np.eye(len(seen.patches))
    wanted = np.linalg.solve(moment, seen.cross + ridge * weights.reshape(taps * m, n))
    return wanted.reshape(taps, m, n)


def _assign(copy, normalization, kept):
    family.of(copy).set_lookups(copy, kept["dictionary"], kept["coefficients"])
    if copy.use_bias:
        copy.bias.assign(copy.bias + kept["shift"].astype(np.float32))
    elif normalization is not None:
        normalization.moving_mean.assign(
            normalization.moving_mean - kept["shift"].astype(np.float32)
        )


def _fingerprint(parent, sizes, images, seed):
    digest = hashlib.sha256(json.dumps([sizes, seed, images.shape]).encode())
    for array in (*parent.get_weights(), images):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class _Store:
    """A folder of coded layers, of one model, plan, seed and set of images."""

    def __init__(self, folder, fingerprint):
        self.folder = pathlib.Path(folder)
        mark = self.folder / "fingerprint.txt"
        if mark.is_file() and mark.read_text(encoding="utf-8").strip() != fingerprint:
            raise ValueError(
                f"{self.folder} holds coded layers of another model, plan, seed or other images: "
                "take another cache folder."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        files.write(mark, fingerprint + "\n")

    def _path(self, number):
        return self.folder / f"layer{number:03}.npz"

    def get(self, number):
        if not self._path(number).is_file():
            return None
        with np.load(self._path(number)) as arrays:
            return dict(arrays)

    def put(self, number, arrays):
        with files.replacing(self._path(number)) as beside, open(beside, "wb") as file:
            np.savez(file, **arrays)


def reestimate(model, batches):
    """Sets the statistics of batch normalization to those of these images, in order of depth.

    Nothing is trained: the mean over batches of what each BatchNormalization sees, all other
    layers as at inference. Layers that are not trainable keep theirs.

    Args:
        model: a built Keras model; its moving means and variances change.
        batches: iterable of inputs, at least one batch; of some hundred images each.

    Raises:
        ValueError: there is no batch.
    """
    found = [
        layer
        for layer in sublayers(model)
        if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    momenta = [layer.momentum for layer in found]
    seen = 0
    try:
        # Only these run as in training: dropout, for one, does not.
        with intercept.calls(dict.fromkeys(found, _call_training)):
            for images in batches:
                for layer in found:
                    # A running mean over all batches, each of the same weight.
                    layer.momentum = seen / (seen + 1)
                model(images, training=False)
                seen += 1
    finally:
        for layer, momentum in zip(found, momenta, strict=True):
            layer.momentum = momentum
    if not seen:
        raise ValueError("No images to re-estimate batch normalization on.")


def _call_training(call, inputs, training=None, mask=None):
    return call(inputs, training=True, mask=mask)
