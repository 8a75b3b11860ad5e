"""Weights in few levels: what they are rounded to, in training and in the file alike.

A format says how many levels weights have. Each filter, and each row of a dictionary, has a scale
of its own. "int8" and "int4" have whole multiples of that scale up to 127 and 7; in "ternary" the
dictionary has -1, 0 and 1 times it, and what is left is as in "int4". In "binary" dictionaries and
kernels have -1 and 1 times it, P is as in "int4", and so is the last layer.

Sources: Li, Zhang and Liu, "Ternary weight networks", 2016 (arXiv 1605.04711), section 2, for the
ternary scale and threshold; Rastegari et al., "XNOR-Net", ECCV 2016, equation 6, for the binary
scale.
"""

import dataclasses

from keras import layers as kl
from keras import ops

from tf_lcnn.layers import family


@dataclasses.dataclass(frozen=True)
class Format:
    """How many levels weights have: 2 are -1 and 1, more are whole multiples of their scale.

    Attributes:
        dictionary, coefficients: of D and P.
        kernel: of the kernels of layers that stay dense, all but the first.
    """

    dictionary: int
    coefficients: int
    kernel: int


FORMATS = {
    "int8": Format(255, 255, 255),
    "int4": Format(15, 15, 15),
    "ternary": Format(3, 15, 15),
    "binary": Format(2, 15, 2),
}

# Those that LiteRT has in less than a byte.
NARROW = tuple(name for name, x in FORMATS.items() if x.coefficients < 255)

# Share of the mean magnitude below which a ternary weight is zero.
_TERNARY_THRESHOLD = 0.7


def on_grid(w, levels=255):
    """Weights rounded to so many levels, times a scale of their filter.

    Gradients pass as if nothing were rounded.

    Args:
        w: tensor (..., filters).
        levels: see `Format`.
    """
    axes = tuple(range(len(w.shape) - 1))
    magnitude = ops.abs(w)
    if levels == 2:
        mean = ops.mean(magnitude, axis=axes, keepdims=True)
        return w + ops.stop_gradient(ops.where(w >= 0, mean, -mean) - w)
    if levels == 3:
        mean = ops.mean(magnitude, axis=axes, keepdims=True)
        kept = ops.cast(magnitude > _TERNARY_THRESHOLD * mean, w.dtype)
        count = ops.maximum(ops.sum(kept, axis=axes, keepdims=True), 1)
        rounded = kept * ops.sign(w) * (ops.sum(kept * magnitude, axis=axes, keepdims=True) / count)
        return w + ops.stop_gradient(rounded - w)
    peak = ops.max(magnitude, axis=axes, keepdims=True)
    scale = ops.stop_gradient(ops.where(peak > 0, peak / ((levels - 1) // 2), ops.ones_like(peak)))
    return w + ops.stop_gradient(ops.round(w / scale) * scale - w)


def layer_formats(calls, quantize):
    """layer -> name of its format, of the layers of traced calls whose weights have one.

    Those are all with lookups or with the kernel of a 2-D convolution or a dense layer. The first
    has int8: of an image's three channels it makes all the rest, and it is small. The last has
    int4 in "binary": what it computes is the answer.

    Args:
        calls: see `graph.trace.trace`.
        quantize: one of `FORMATS`.
    """
    layers = weighted_layers(calls)
    formats = dict.fromkeys(layers, quantize)
    if quantize == "binary":
        formats.update(dict.fromkeys(layers[-1:], "int4"))
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
