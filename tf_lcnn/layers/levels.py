"""Weights in few levels: what they are rounded to, in training and in the file alike.

A format says how many levels weights have on either side of zero. Each filter, and each row of a
dictionary, has a scale of its own. "int8" and "int4" have whole multiples of that scale up to 127
and 7; in "ternary" the dictionary has -1, 0 and 1 times it, and what is left is as in "int4".

Source of the ternary scale and threshold: Li, Zhang and Liu, "Ternary weight networks", 2016
(arXiv 1605.04711), section 2.
"""

import dataclasses

from keras import layers as kl
from keras import ops

from tf_lcnn.layers import family


@dataclasses.dataclass(frozen=True)
class Format:
    """The largest multiple of their scale that weights have.

    Attributes:
        dictionary, coefficients: of D and P.
        kernel: of the kernels of layers that stay dense, all but the first.
    """

    dictionary: int
    coefficients: int
    kernel: int


FORMATS = {
    "int8": Format(127, 127, 127),
    "int4": Format(7, 7, 7),
    "ternary": Format(1, 7, 7),
}

# Those that LiteRT has in less than a byte.
NARROW = tuple(name for name, x in FORMATS.items() if x.coefficients < 127)

# Share of the mean magnitude below which a ternary weight is zero.
_TERNARY_THRESHOLD = 0.7


def on_grid(w, largest=127):
    """Weights rounded to whole multiples of the scale of their filter, at most `largest` of them.

    Gradients pass as if nothing were rounded.

    Args:
        w: tensor (..., filters).
        largest: 1 for ternary weights.
    """
    axes = tuple(range(len(w.shape) - 1))
    magnitude = ops.abs(w)
    if largest == 1:
        mean = ops.mean(magnitude, axis=axes, keepdims=True)
        kept = ops.cast(magnitude > _TERNARY_THRESHOLD * mean, w.dtype)
        count = ops.maximum(ops.sum(kept, axis=axes, keepdims=True), 1)
        rounded = kept * ops.sign(w) * (ops.sum(kept * magnitude, axis=axes, keepdims=True) / count)
        return w + ops.stop_gradient(rounded - w)
    peak = ops.max(magnitude, axis=axes, keepdims=True)
    scale = ops.stop_gradient(ops.where(peak > 0, peak / largest, ops.ones_like(peak)))
    return w + ops.stop_gradient(ops.round(w / scale) * scale - w)


def narrow_layers(calls):
    """The layers of traced calls whose weights a narrow format is for, in their order.

    All with lookups or with the kernel of a 2-D convolution or a dense layer, but for the first:
    of an image's three channels it makes all the rest, and it is small.
    """
    weighted = [x.layer for x in calls if family.of(x.layer) or _has_kernel(x.layer)]
    return list(dict.fromkeys(x for x in weighted if x is not weighted[0]))


def _has_kernel(layer):
    return family.plain_type(layer) in (kl.Conv2D, kl.Dense) and not family.changed(layer)
