"""One lookup layer -> stock LiteRT ops, several ways.

`sparse`: a 1x1 convolution with D, then a convolution with P, which the file stores sparse.
`gather`: a 1x1 convolution with D, then gathers of whole planes of S, scaled and summed: the
literal inference of equation 5. `folded`: one dense convolution with W = D.P.
"""

import dataclasses
import functools

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.graph import folding, padding
from tf_lcnn.layers import sparsity

LOWERINGS = ("sparse", "gather", "folded")


@dataclasses.dataclass(frozen=True)
class Constants:
    """What a lookup layer is on the phone: arrays, and where they apply.

    Dictionary rows without a lookup are gone, a batch normalization that follows is folded into
    coefficients and bias.

    Attributes:
        name: of the layer.
        dictionary: D, (m, k).
        coefficients: P, (kh, kw, k, n); (1, 1, k, n) for a dense layer.
        bias: (n,).
        strides, padding, dilation: of the lookup stage, or of a 1x1 layer's dictionary stage.
        activation: a function.
        input_size: (height, width) of the input; a dense layer's is one row.
        dictionary_positions, positions: of S and of the output.
        dense: whether the layer is a dense one.
        rows_dropped: dictionary rows that no lookup used.
    """

    name: str
    dictionary: np.ndarray
    coefficients: np.ndarray
    bias: np.ndarray
    strides: tuple
    padding: str
    dilation: tuple
    activation: callable
    input_size: tuple
    dictionary_positions: int
    positions: int
    dense: bool
    rows_dropped: int

    @property
    def k(self):
        return self.dictionary.shape[1]

    @property
    def stage_strides(self):
        """Strides of the dictionary stage and of the lookup stage."""
        one_by_one = self.coefficients.shape[:2] == (1, 1)
        return (self.strides, (1, 1)) if one_by_one else ((1, 1), self.strides)

    @functools.cached_property
    def lookups(self):
        """The largest number of lookups per kernel position and filter."""
        return int((self.coefficients != 0).sum(axis=-2).max())

    @property
    def kernel(self):
        """W = D.P, (kh, kw, m, n)."""
        return self.dictionary @ self.coefficients


def constants(call, batch_normalization=None):
    """The Constants of a traced call of a lookup layer.

    Args:
        call: a `graph.trace.Call` of it.
        batch_normalization: a BatchNormalization on the layer's channels to fold in.
    """
    layer = call.layer
    dictionary, coefficients = (
        np.asarray(keras.ops.convert_to_numpy(x), np.float32)
        for x in (layer.dictionary, layer.sparse_coefficients())
    )
    # A dense layer's P has no kernel positions.
    dense = coefficients.ndim == 2
    if dense:
        coefficients = coefficients[None, None]
    bias = np.zeros(coefficients.shape[-1], np.float32)
    if layer.use_bias:
        bias = np.asarray(keras.ops.convert_to_numpy(layer.bias), np.float32)
    if batch_normalization is not None:
        scale, offset = folding.affine(batch_normalization)
        coefficients, bias = coefficients * scale, bias * scale + offset
    used = np.flatnonzero((coefficients != 0).any(axis=(0, 1, 3)))
    if not used.size:
        # A stage needs a row, even if no lookup does.
        used = np.array([0])
    dictionary_positions, positions = layer.stage_positions((1, *call.input_shape))
    return Constants(
        name=layer.name,
        dictionary=dictionary[:, used],
        coefficients=coefficients[:, :, used],
        bias=bias,
        strides=(1, 1) if dense else layer.strides,
        padding="VALID" if dense else layer.padding.upper(),
        dilation=(1, 1) if dense else layer.dilation_rate,
        activation=layer.activation,
        input_size=(1, dictionary_positions) if dense else tuple(call.input_shape[:2]),
        dictionary_positions=dictionary_positions,
        positions=positions,
        dense=dense,
        rows_dropped=dictionary.shape[1] - len(used),
    )


def apply(layer, x, lowering):
    """The output of a lookup layer (Constants) for x, in the ops of this lowering.

    Raises:
        ValueError: unknown lowering.
    """
    if lowering not in LOWERINGS:
        raise ValueError(f"Unknown lowering {lowering!r}: {', '.join(LOWERINGS)}.")
    if not layer.dense:
        return layer.activation(_convolve(layer, x, lowering) + layer.bias)
    # LiteRT unpacks sparse int8 weights for convolutions only, so a dense layer leaves as one.
    rows = tf.reshape(x, (1, 1, -1, x.shape[-1]))
    y = layer.activation(_convolve(layer, rows, lowering) + layer.bias)
    if None not in x.shape:
        return tf.reshape(y, (*x.shape[:-1], layer.bias.size))
    return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [layer.bias.size]], axis=0))


def _convolve(layer, x, lowering):
    where = {"dilations": layer.dilation, "padding": layer.padding}
    if lowering == "folded":
        return tf.nn.conv2d(x, layer.kernel, layer.strides, **where)
    first, then = layer.stage_strides
    s = tf.nn.conv2d(x, layer.dictionary[None, None], first, "VALID")
    if lowering == "sparse":
        return tf.nn.conv2d(s, layer.coefficients, then, **where)
    return _gather_planes(layer, s, then)


def windows(layer, size):
    """Where the lookup stage of a layer reads S of this size.

    Returns:
        (height, width) of the output, and for each of them the zeros before and after S.
    """
    kernel = layer.coefficients.shape[:2]
    axes = zip(size, kernel, layer.stage_strides[1], layer.dilation, strict=True)
    sizes = [padding.axis(*numbers, layer.padding) for numbers in axes]
    return [count for count, *_ in sizes], [tuple(zeros) for _, *zeros in sizes]


def _gather_planes(layer, s, strides):
    """Equation 5: for each kernel position a gather of whole planes, scaled and summed."""
    indices, values = sparsity.to_lookups(layer.coefficients)
    kh, kw, n, lookups = indices.shape
    out, zeros = windows(layer, s.shape[1:3])
    planes = tf.pad(tf.transpose(s[0], (2, 0, 1)), ((0, 0), *zeros))
    y = None
    for r in range(kh):
        for c in range(kw):
            if not values[r, c].any():
                continue
            top, left = r * layer.dilation[0], c * layer.dilation[1]
            rows = slice(top, top + (out[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (out[1] - 1) * strides[1] + 1, strides[1])
            shifted = planes[:, rows, columns]
            for t in range(lookups):
                term = tf.gather(shifted, indices[r, c, :, t]) * values[r, c, :, t, None, None]
                y = term if y is None else y + term
    if y is None:
        return tf.zeros((1, *out, n))
    return tf.transpose(y, (1, 2, 0))[None]
