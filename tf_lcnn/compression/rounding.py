"""int8 in the loop: a model that rounds while it trains, as LiteRT will when it runs.

    with rounding.rounded(lcnn, images):
        model = keras.Model(lcnn.inputs, lcnn.outputs)
        model.compile(optimizer, loss)
        model.fit(...)

D and P have a scale per filter, without an offset; S and the outputs of layers one scale and
offset each, from the range that they take on real images. Batch normalization does not change
what P is rounded to, for it scales whole filters; where all of P has one scale, what is rounded is
P times it. What becomes one operator in LiteRT is rounded once: a convolution, its batch
normalization and its ReLU. Gradients pass as if nothing were rounded, and stop where a value is
clipped. The kernels of layers that stayed dense are rounded in formats below int8 alone
(`layers.levels`), the input of the model is not.

Source: Jacob et al., "Quantization and training of neural networks for efficient
integer-arithmetic-only inference", CVPR 2018.
"""

import contextlib
import functools

import keras
import numpy as np
from keras import layers as kl
from keras import ops

from tf_lcnn.compression import activations
from tf_lcnn.graph import folding, intercept
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import family, levels
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.layers.lookup import with_bias

# They hand values on, so these are on the grid already.
_KEEPING = (
    *(kl.MaxPooling1D, kl.MaxPooling2D, kl.MaxPooling3D, kl.GlobalMaxPooling2D),
    *(kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D, kl.Cropping2D),
    *(kl.Flatten, kl.Reshape, kl.Permute, kl.Dropout, kl.InputLayer, kl.UpSampling2D),
)


def on_grid(x, low, high):
    """x rounded to the 256 values of an int8 tensor whose range is low to high, and zero.

    Args:
        x: tensor.
        low, high: floats.
    """
    low, high = min(low, 0.0), max(high, 0.0)
    scale = (high - low) / 255
    if not scale:
        return x
    offset = round(-128 - low / scale)
    least, most = (-128 - offset) * scale, (127 - offset) * scale
    inside = ops.clip(x, least, most)
    return inside + ops.stop_gradient(ops.round(inside / scale) * scale - inside)


class StageRounding:
    """Rounds both stages of a lookup layer; `LookupLayer.rounding` takes one.

    Args:
        low, high: the range of S.
        format: a `levels.Format`.
        normalization: the BatchNormalization that the file folds into the layer, or None.
    """

    def __init__(self, low, high, format, normalization):
        self.low, self.high = low, high
        self.format, self.normalization = format, normalization

    def weights(self, dictionary, coefficients):
        sizes = levels.filter_sizes(self.format, self.normalization)
        return levels.lookups_on_grid(dictionary, coefficients, self.format, sizes)

    def looked_up(self, s):
        return on_grid(s, self.low, self.high)


class _Watch:
    """In the place of a StageRounding: sees S, and rounds nothing."""

    def __init__(self):
        self.low = self.high = 0.0
        self.rows = 0.0

    def weights(self, dictionary, coefficients):
        return dictionary, coefficients

    def looked_up(self, s):
        values = np.asarray(ops.convert_to_numpy(s))
        self.low, self.high = min(self.low, values.min()), max(self.high, values.max())
        self.rows = np.maximum(self.rows, np.abs(values.reshape(-1, values.shape[-1])).max(axis=0))
        return s


@contextlib.contextmanager
def rounded(model, images, quantize="int8"):
    """Within this context the model's layers, and models that share them, compute as in int8.

    The dictionary rows are scaled first until all channels of S have one range, as the export
    scales them, or all rows one scale where D has one in the file; that changes nothing of what the
    layers compute. A model has to be compiled anew inside, for a compiled one does not change.

    Args:
        model: an LCNN with one input.
        images: float32 array (count, ...) of real inputs; ranges are those that they give.
        quantize: one of `levels.FORMATS`, for the weights.
    """
    layers = [x for x in lookup_layers(model) if _channels_last(x)]
    calls = trace(model, images.shape[1:])
    formats, folded = levels.layer_formats(calls, quantize), folding.folded(calls)
    formats = {layer: levels.FORMATS[name] for layer, name in formats.items()}
    of_layers = [formats.get(layer, levels.FORMATS["int8"]) for layer in layers]
    equalize(model, layers, images, of_layers)
    ends = list(dict.fromkeys(call.layer for call in calls if _is_rounded(call, calls)))
    stages, outputs = _ranges(model, layers, ends, images)
    rounds = {
        end: functools.partial(_rounded_call, *r) for end, r in zip(ends, outputs, strict=True)
    }
    kernels = {
        layer: functools.partial(_narrow_call, layer, format, folded.get(layer))
        for layer, format in formats.items()
        if format.kernel < 255 and layer not in layers
    }
    try:
        for layer, (low, high), format in zip(layers, stages, of_layers, strict=True):
            layer.rounding = StageRounding(low, high, format, folded.get(layer))
        with intercept.calls(kernels), intercept.calls(rounds):
            yield
    finally:
        for layer in layers:
            layer.rounding = None


def keep(model, input_shape, quantize):
    """Gives a model the weights that `rounded` has computed with, where they have few levels.

    Rounding them once more changes nothing. Dictionaries that layers share stay as they are: the
    layers may have different formats.

    Args:
        model: as in `rounded`.
        input_shape: of one input, without the batch.
        quantize: one of `levels.NARROW`.
    """
    calls = trace(model, input_shape)
    folded = folding.folded(calls)
    sharing = [x for x in lookup_layers(model) if x.dictionary_owner is not None]
    shared = {*sharing, *(x.dictionary_owner for x in sharing)}
    for layer, name in levels.layer_formats(calls, quantize).items():
        if name not in levels.NARROW:
            continue
        format = levels.FORMATS[name]
        sizes = levels.filter_sizes(format, folded.get(layer))
        if family.of(layer) is None:
            layer.kernel.assign(levels.on_grid(layer.kernel.value, format.kernel, sizes))
            continue
        dictionary, coefficients = levels.lookups_on_grid(
            layer.dictionary.value, layer.sparse_coefficients(), format, sizes
        )
        if layer not in shared:
            layer.dictionary.assign(dictionary)
        layer.coefficients.assign(coefficients)


def _rounded_call(low, high, run, *args, **kwargs):
    return on_grid(run(*args, **kwargs), low, high)


def _narrow_call(layer, format, normalization, run, inputs, **_):
    """A dense layer or a 2-D convolution with its kernel in few levels."""
    sizes = levels.filter_sizes(format, normalization)
    kernel = levels.on_grid(ops.cast(layer.kernel, layer.compute_dtype), format.kernel, sizes)
    product = layer.convolution_op if isinstance(layer, kl.Conv2D) else ops.matmul
    outputs = with_bias(layer, product(inputs, kernel))
    return outputs if layer.activation is None else layer.activation(outputs)


def _channels_last(layer):
    return getattr(layer, "data_format", "channels_last") == "channels_last"


def _is_rounded(call, calls):
    """Whether what a call computes is a tensor of its own in LiteRT, with values of its own."""
    layer = call.layer
    if not isinstance(layer, keras.Layer) or isinstance(layer, _KEEPING):
        return False
    if call.output_shape is None:
        return False
    takers = [other for other in calls if other.source is call]
    if call.uses != 1 or len(takers) != 1:
        return True
    following = takers[0].layer
    relu = isinstance(following, kl.ReLU) or (
        isinstance(following, kl.Activation) and following.activation is keras.activations.relu
    )
    plain = folding.is_linear(layer) or isinstance(layer, (kl.BatchNormalization, kl.Add))
    return not (folding.follows_alone(takers[0]) or (relu and plain))


def _watching(model, layers, images, see=None):
    """A _Watch per layer, after a run on the images."""
    watches = [_Watch() for _ in layers]
    try:
        for layer, watch in zip(layers, watches, strict=True):
            layer.rounding = watch
        with intercept.calls(see or {}):
            for batch in activations.batches(images):
                model(batch, training=False)
    finally:
        for layer in layers:
            layer.rounding = None
    return watches


def equalize(model, layers, images, formats):
    """Scales dictionary rows until all channels of S have the same range; see `lite.ranges`.

    Where D has one scale in the file, all rows get one.

    Args:
        model: the model of the layers.
        layers: lookup layers, channels_last.
        images: float32 array (count, ...).
        formats: the `levels.Format` of each layer.
    """
    watches = _watching(model, layers, images)
    for layer, watch, format in zip(layers, watches, formats, strict=True):
        rows = np.asarray(watch.rows, np.float32)
        dictionary = np.array(ops.convert_to_numpy(layer.dictionary))
        # Rows of several groups, or that layers share, are scaled by the export alone.
        if layer.groups > 1 or layer.dictionary_owner is not None or rows.ndim == 0:
            continue
        if format.per_tensor:
            rows = ops.convert_to_numpy(levels.row_scales(layer.dictionary.value, format))
        scale = np.where(rows > 0, rows / rows.max(initial=1e-30), 1.0).astype(np.float32)
        # As before, D and P are alike in size.
        middle = np.exp(np.log(scale).mean())
        layer.dictionary.assign(dictionary / (scale / middle))
        coefficients = np.array(ops.convert_to_numpy(layer.sparse_coefficients()))
        layer.coefficients.assign(coefficients * (scale / middle)[:, None])


def _ranges(model, layers, ends, images):
    """Ranges of S of the layers, and of the outputs of the ends: two lists of (low, high)."""
    seen = {end: [0.0, 0.0] for end in ends}

    def see(found, run, *args, **kwargs):
        outputs = run(*args, **kwargs)
        values = np.asarray(ops.convert_to_numpy(outputs))
        found[0], found[1] = min(found[0], values.min()), max(found[1], values.max())
        return outputs

    watches = _watching(
        model, layers, images, {end: functools.partial(see, seen[end]) for end in ends}
    )
    pairs = [(float(watch.low), float(watch.high)) for watch in watches]
    return pairs, [(float(low), float(high)) for low, high in (seen[end] for end in ends)]
