"""One lookup layer -> stock LiteRT ops, several ways.

`sparse`: a 1x1 convolution with D, then a convolution with P, which the file stores sparse.
`gather`: a 1x1 convolution with D, then gathers of whole planes of S, scaled and summed: the
literal inference of equation 5. `folded`: one dense convolution with W = D.P.

What is around these convolutions, and which ones they are, is the `Form` of a layer's family; see
`forms`.
"""

import dataclasses
import functools
import math

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.graph import folding, padding
from tf_lcnn.layers import family, sparsity

LOWERINGS = ("sparse", "gather", "folded")


class Form:
    """How the layers of a family are lowered; this one is a plain 2-D convolution's.

    Attributes:
        lowerings: those that its layers have.
        native: whether the native delegate knows its two convolutions.
        int8: whether LiteRT has its convolutions in int8.
    """

    lowerings = LOWERINGS
    native = True
    int8 = True

    def sizes(self, layer, call):
        """strides, padding, dilation and input_size of its `Constants`, as a dict."""
        return {
            "strides": tuple(layer.strides),
            "padding": layer.padding.upper(),
            "dilation": tuple(layer.dilation_rate),
            "input_size": tuple(call.input_shape[:-1]),
        }

    def kernel_shape(self, taps):
        """The kernel positions (..., ) of P as the convolutions take it."""
        return tuple(taps)

    def before(self, constants, x):
        """What the dictionary stage reads, of the layer's input."""
        return x

    def after(self, constants, x, y):
        """The layer's output, of its input and of what the lookup stage computes."""
        return y

    def one_by_one(self, constants, x, kernel, strides):
        """The dictionary stage."""
        return tf.nn.conv2d(x, kernel[None, None], strides, "VALID")

    def convolve(self, constants, x, kernel, strides):
        """The lookup stage, with P, or the whole layer, with W = D.P."""
        where = {"dilations": constants.dilation, "padding": constants.padding}
        return tf.nn.conv2d(x, kernel, strides, **where)


_FORMS = {}


def register(layer_class, make):
    """Says how layers with lookups of this class are lowered: `make` gives the Form of a layer."""
    _FORMS[layer_class] = make


def form_of(layer):
    """The Form of a layer with lookups, or of the Keras layer that it replaces.

    Raises:
        ValueError: no form is registered for its family.
    """
    kind = family.either(layer)
    if kind is None or kind.layer not in _FORMS:
        raise ValueError(f"Layer {layer.name} ({type(layer).__name__}) has no lowering to LiteRT.")
    return _FORMS[kind.layer](layer)


@dataclasses.dataclass(frozen=True)
class Constants:
    """What a lookup layer is on the phone: arrays, and where they apply.

    Dictionary rows without a lookup are gone, a batch normalization that follows is folded into
    coefficients and bias.

    Attributes:
        name: of the layer.
        dictionary: D, (m, k); with groups (m, groups * k), the rows of each group in turn.
        coefficients: P, (kernel positions..., k, n); (1, 1, k, n) for a dense layer.
        bias: (n,).
        strides, padding, dilation: of the lookup stage, or of a 1x1 layer's dictionary stage.
        activation: a function.
        input_size: (height, width) of what the dictionary stage reads; a dense layer's is one row.
        dictionary_positions, positions: of S (of all groups), and where lookups are made.
        rows_dropped: dictionary rows that no lookup used.
        form: a Form.
        groups: of channels.
        fixed: weights of the layer that are neither, as its Form takes them.
        layer: whose settings its Form asks for; None for constants of no layer.
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
    rows_dropped: int = 0
    form: Form = dataclasses.field(default_factory=Form)
    groups: int = 1
    fixed: tuple = ()
    layer: object = None

    @property
    def k(self):
        return self.coefficients.shape[-2]

    @property
    def taps(self):
        """How many kernel positions there are."""
        return math.prod(self.coefficients.shape[:-2])

    @property
    def stage_strides(self):
        """Strides of the dictionary stage and of the lookup stage."""
        ones = (1,) * len(self.strides)
        return (self.strides, ones) if self.taps == 1 else (ones, self.strides)

    @functools.cached_property
    def lookups(self):
        """The largest number of lookups per kernel position and filter."""
        return int((self.coefficients != 0).sum(axis=-2).max())

    @property
    def kernel(self):
        """W = D.P, (kernel positions..., m, n)."""
        return np.concatenate(
            [
                dictionary @ coefficients
                for dictionary, coefficients in zip(
                    np.split(self.dictionary, self.groups, axis=-1),
                    np.split(self.coefficients, self.groups, axis=-1),
                    strict=True,
                )
            ],
            axis=-1,
        )


def constants(call, batch_normalization=None):
    """The Constants of a traced call of a lookup layer.

    Args:
        call: a `graph.trace.Call` of it.
        batch_normalization: a BatchNormalization on the layer's channels to fold in.

    Raises:
        ValueError: its family has no lowering.
    """
    layer, kind = call.layer, family.of(call.layer)
    form, groups = form_of(layer), kind.groups(layer)
    dictionary, coefficients = (
        np.asarray(keras.ops.convert_to_numpy(x), np.float32)
        for x in (layer.dictionary, layer.sparse_coefficients())
    )
    coefficients = coefficients.reshape(
        (*form.kernel_shape(coefficients.shape[:-2]), *coefficients.shape[-2:])
    )
    bias = np.zeros(coefficients.shape[-1], np.float32)
    if layer.use_bias:
        bias = np.asarray(keras.ops.convert_to_numpy(layer.bias), np.float32)
    if batch_normalization is not None:
        scale, offset = folding.affine(batch_normalization)
        coefficients, bias = coefficients * scale, bias * scale + offset
    used = np.flatnonzero((coefficients != 0).reshape(-1, *coefficients.shape[-2:]).any((0, 2)))
    if not used.size:
        # A stage needs a row, even if no lookup does.
        used = np.array([0])
    stages = kind.stages(layer, call)
    by_group = np.split(dictionary, groups)
    return Constants(
        name=layer.name,
        dictionary=np.concatenate([rows[:, used] for rows in by_group], axis=-1),
        coefficients=coefficients[..., used, :],
        bias=bias,
        activation=layer.activation,
        dictionary_positions=layer.stage_positions((1, *call.input_shape))[0] * groups,
        positions=stages.positions,
        rows_dropped=dictionary.shape[1] - len(used),
        form=form,
        groups=groups,
        fixed=tuple(
            np.asarray(keras.ops.convert_to_numpy(w), np.float32) for w in kind.fixed_weights(layer)
        ),
        layer=layer,
        **form.sizes(layer, call),
    )


def apply(constants, x, lowering):
    """The output of a lookup layer (Constants) for x, in the ops of this lowering.

    Raises:
        ValueError: unknown lowering.
    """
    if lowering not in LOWERINGS:
        raise ValueError(f"Unknown lowering {lowering!r}: {', '.join(LOWERINGS)}.")
    y = _convolve(constants, constants.form.before(constants, x), lowering)
    return constants.form.after(constants, x, constants.activation(y + constants.bias))


def _convolve(constants, x, lowering):
    form = constants.form
    if lowering == "folded":
        return form.convolve(constants, x, constants.kernel, constants.strides)
    first, then = constants.stage_strides
    s = form.one_by_one(constants, x, constants.dictionary, first)
    if lowering == "sparse":
        return form.convolve(constants, s, constants.coefficients, then)
    return _gather_planes(constants, s, then)


def windows(constants, size):
    """Where the lookup stage of a layer reads S of this size.

    Returns:
        (height, width) of the output, and for each of them the zeros before and after S.
    """
    kernel = constants.coefficients.shape[:2]
    axes = zip(size, kernel, constants.stage_strides[1], constants.dilation, strict=True)
    sizes = [padding.axis(*numbers, constants.padding) for numbers in axes]
    return [count for count, *_ in sizes], [tuple(zeros) for _, *zeros in sizes]


def _gather_planes(constants, s, strides):
    """Equation 5: for each kernel position a gather of whole planes, scaled and summed."""
    indices, values = sparsity.to_lookups(constants.coefficients)
    kh, kw, n, lookups = indices.shape
    out, zeros = windows(constants, s.shape[1:3])
    planes = tf.pad(tf.transpose(s[0], (2, 0, 1)), ((0, 0), *zeros))
    y = None
    for r in range(kh):
        for c in range(kw):
            if not values[r, c].any():
                continue
            top, left = r * constants.dilation[0], c * constants.dilation[1]
            rows = slice(top, top + (out[0] - 1) * strides[0] + 1, strides[0])
            columns = slice(left, left + (out[1] - 1) * strides[1] + 1, strides[1])
            shifted = planes[:, rows, columns]
            for t in range(lookups):
                term = tf.gather(shifted, indices[r, c, :, t]) * values[r, c, :, t, None, None]
                y = term if y is None else y + term
    if y is None:
        return tf.zeros((1, *out, n))
    return tf.transpose(y, (1, 2, 0))[None]
