"""Weights in few levels: what they are rounded to, in training and in the file alike.

A format says how many levels weights have. Each filter, and each row of a dictionary, has a scale
of its own. "int8" and "int4" have whole multiples of that scale up to 127 and 7; in "ternary" the
dictionary has -1, 0 and 1 times it, and what is left is as in "int4". In "binary" dictionaries and
kernels have -1 and 1 times it, P is as in "int4", and so is the last layer.

In the formats that end in "_per_tensor" all of D, all of P and all of a kernel have one scale, but
for those of the first layer. D loses nothing: the scales of its rows go into the slices of P. P
and kernels are rounded as the file has them, times the batch normalization that follows.

Sources: Li, Zhang and Liu, "Ternary weight networks", 2016 (arXiv 1605.04711), section 2, for the
ternary scale and threshold; Rastegari et al., "XNOR-Net", ECCV 2016, equation 6, for the binary
scale.
"""

import dataclasses

from keras import layers as kl
from keras import ops

from tf_lcnn.graph import folding
from tf_lcnn.layers import family


@dataclasses.dataclass(frozen=True)
class Format:
    """How many levels weights have: 2 are -1 and 1, more are whole multiples of their scale.

    Attributes:
        dictionary, coefficients: of D and P.
        kernel: of the kernels of layers that stay dense, all but the first.
        per_tensor: whether one scale is that of all rows and filters of a layer.
    """

    dictionary: int
    coefficients: int
    kernel: int
    per_tensor: bool = False


FORMATS = {
    "int8": Format(255, 255, 255),
    "int4": Format(15, 15, 15),
    "ternary": Format(3, 15, 15),
    "binary": Format(2, 15, 2),
    "int4_per_tensor": Format(15, 15, 15, per_tensor=True),
    "ternary_per_tensor": Format(3, 15, 15, per_tensor=True),
    "binary_per_tensor": Format(2, 15, 2, per_tensor=True),
}

# Those that LiteRT has in less than a byte.
NARROW = tuple(name for name, x in FORMATS.items() if x.coefficients < 255)

# Those whose last layer has more levels than the others.
BINARY = {"binary": "int4", "binary_per_tensor": "int4_per_tensor"}

# Share of the mean magnitude below which a ternary weight is zero.
_TERNARY_THRESHOLD = 0.7


def on_grid(w, levels=255, sizes=None):
    """Weights rounded to so many levels, times a scale of their filter.

    Gradients pass as if nothing were rounded.

    Args:
        w: tensor (..., filters).
        levels: see `Format`.
        sizes: what w is multiplied with in the file, where all filters have one scale there; None
            for a scale each.
    """
    if sizes is None:
        return w + ops.stop_gradient(_rounded(w, levels, tuple(range(len(w.shape) - 1))) - w)
    sizes = ops.cast(sizes, w.dtype)
    rounded = _rounded(w * sizes, levels, tuple(range(len(w.shape))))
    rounded = rounded / ops.where(sizes == 0, ops.ones_like(sizes), sizes)
    return w + ops.stop_gradient(rounded - w)


def lookups_on_grid(dictionary, coefficients, weights, sizes):
    """D and P in the levels of a Format.

    Args:
        dictionary, coefficients: tensors D (m, k) and P (..., k, n).
        weights: a Format.
        sizes: see `filter_sizes`.
    """
    rounded = on_grid(dictionary, weights.dictionary)
    if weights.per_tensor:
        sizes = row_scales(dictionary, weights)[:, None] * sizes
    return rounded, on_grid(coefficients, weights.coefficients, sizes)


def row_scales(dictionary, weights):
    """The scale of each row of a dictionary (m, k): (k,), 1 for a row of zeros."""
    scale = _scale(ops.abs(dictionary), weights.dictionary, (0,))[0]
    return ops.stop_gradient(ops.where(scale > 0, scale, ops.ones_like(scale)))


def filter_sizes(weights, normalization):
    """What a file has the filters of a layer multiplied with: (n,) or (1,); None if none need it.

    Args:
        weights: the layer's Format.
        normalization: the BatchNormalization that is folded into it, or None.
    """
    if not weights.per_tensor:
        return None
    return ops.ones((1,)) if normalization is None else folding.scale(normalization)


def _rounded(w, levels, axes):
    magnitude = ops.abs(w)
    scale = _scale(magnitude, levels, axes)
    if levels == 2:
        return ops.where(w >= 0, scale, -scale)
    if levels == 3:
        return _kept(magnitude, axes) * ops.sign(w) * scale
    return ops.round(w / ops.where(scale > 0, scale, ops.ones_like(scale))) * scale


def _scale(magnitude, levels, axes):
    """The scale of weights of these magnitudes, over these axes, which are kept."""
    if levels == 2:
        return ops.mean(magnitude, axis=axes, keepdims=True)
    if levels == 3:
        kept = _kept(magnitude, axes)
        count = ops.maximum(ops.sum(kept, axis=axes, keepdims=True), 1)
        return ops.sum(kept * magnitude, axis=axes, keepdims=True) / count
    return ops.max(magnitude, axis=axes, keepdims=True) / ((levels - 1) // 2)


def _kept(magnitude, axes):
    """1 where a ternary weight is not zero."""
    mean = ops.mean(magnitude, axis=axes, keepdims=True)
    return ops.cast(magnitude > _TERNARY_THRESHOLD * mean, magnitude.dtype)


def layer_formats(calls, quantize):
    """layer -> name of its format, of the layers of traced calls whose weights have one.

    Those are all with lookups or with the kernel of a 2-D convolution or a dense layer. The first
    has int8: of an image's three channels it makes all the rest, and it is small. The last has
    int4 where others are binary: what it computes is the answer.

    Args:
        calls: see `graph.trace.trace`.
        quantize: one of `FORMATS`.
    """
    layers = weighted_layers(calls)
    formats = dict.fromkeys(layers, quantize)
    if quantize in BINARY:
        formats.update(dict.fromkeys(layers[-1:], BINARY[quantize]))
    formats.update(dict.fromkeys(layers[:1], "int8"))
    return formats


def weighted_layers(calls):
    """The layers of traced calls with lookups or kernels, in their order."""
    weighted = [x.layer for x in calls if family.of(x.layer) or has_kernel(x.layer)]
    return list(dict.fromkeys(weighted))


def has_kernel(layer):
    """Whether a layer stays dense and has few levels in the narrow formats."""
    return family.plain_type(layer) in (kl.Conv2D, kl.Dense) and not family.changed(layer)


def is_pointwise(layer):
    """Whether LiteRT has a layer's kernel in 2 bits where levels are few: as FULLY_CONNECTED."""
    kind = family.plain_type(layer)
    return kind is kl.Dense or (
        kind is kl.Conv2D and layer.kernel_size == layer.strides == (1, 1) and layer.groups == 1
    )
