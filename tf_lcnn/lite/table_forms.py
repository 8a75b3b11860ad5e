"""How layers with tables leave for LiteRT: as convolutions of numbers that were looked up.

A table of rank r is the sum of r products of a number for the activation's index and one for the
weight's, so a layer is one convolution, or product, of r times the channels. Weights are looked up
here; in the file an activation becomes an index, and GATHER reads its r numbers.

In int8 the converter would round again at every step on the way to an index: the division by the
scale, the clip, the steps. FLOOR_DIV has no int8 form, so that one division of what the layer is
called on stays in float32, and the rest are whole numbers: nothing is rounded but the activation,
which is int8 before. GATHER reads int8 numbers, and the convolution is an int8 one.
"""

import dataclasses
import itertools

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.graph import intercept
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import deep_lookup
from tf_lcnn.layers.lookup import with_bias

# An entry may be so far off in a smaller rank: a step of int8 where the file is quantized, with
# what is looked up rounded to int8 too, else what float32 rounds.
_EIGHT_BITS = 1 / deep_lookup.TABLE_STEPS
_FLOAT32 = 1e-6


@dataclasses.dataclass(frozen=True)
class TableForm:
    """A layer with a table in a file.

    Attributes:
        layer: of `layers.deep_lookup`.
        rows: what an activation is looked up in, (activation_levels, rank).
        columns: what weights are, (weight_levels, rank), with rows . columns^T the table.
        error: the largest of an entry of the table; rounding to int8 is in it where the file is
            quantized.
        step: from one level of activations to the next.
    """

    layer: object
    rows: np.ndarray
    columns: np.ndarray
    error: float
    step: float

    @property
    def rank(self):
        return self.rows.shape[1]

    @property
    def has_middle(self):
        """Whether zero is a level."""
        return not self.layer.signed_input or self.layer.activation_levels % 2 == 1

    def as_dict(self):
        """What is to be known of it, in plain Python types."""
        return {
            "name": self.layer.name,
            "table": self.layer.table,
            "activation_levels": self.layer.activation_levels,
            "weight_levels": self.layer.weight_levels,
            "rank": self.rank,
            "largest_error": self.error,
        }

    def __str__(self):
        levels = f"{self.layer.activation_levels} x {self.layer.weight_levels}"
        return (
            f"{self.layer.name}: table {self.layer.table} of {levels}, rank {self.rank}, largest "
            f"error of an entry {self.error:.1e}"
        )


def of_model(model, quantize=None):
    """A TableForm for each layer of a model that has a table.

    A free table gets the smallest rank at which every entry is exact: to float32, or where the
    file is quantized to 8 bits, a step of 1/127, of which rounding to int8 takes a part.

    Args:
        quantize: see `converter.to_tflite`.
    """
    return [_form(x, quantize) for x in sublayers(model) if deep_lookup.has_table(x)]


def _form(layer, quantize):
    *factors, unit = layer.read_tables()
    rows, columns = (keras.ops.convert_to_numpy(x).astype(np.float64) for x in factors)
    columns = unit * columns
    candidates = [(rows, columns)]
    if layer.table == "free":
        candidates = itertools.chain(_smaller(rows @ columns.T), candidates)
    tolerance, rounded = (_EIGHT_BITS, _int8) if quantize else (_FLOAT32, np.asarray)
    for few, many in candidates:
        error = np.abs(rounded(few) @ rounded(many).T - rows @ columns.T).max()
        if error <= tolerance:
            break
    step = float(layer.scales[0]) * (2 if layer.signed_input else 1) / (layer.activation_levels - 1)
    return TableForm(layer, few, many, float(error), step)


def _smaller(table):
    """Yields (rows, columns) of each rank but the full one, nearest to the table by squares."""
    left, values, right = np.linalg.svd(table)
    for rank in range(1, len(values)):
        # Rows of one range: int8 has one scale for them.
        largest = np.abs(left[:, :rank]).max(axis=0)
        columns = (values[:rank] * largest)[:, None] * right[:rank]
        yield left[:, :rank] / largest, columns.T


def _int8(factor):
    """Rounded to 127 steps on either side of zero."""
    step = np.abs(factor).max() * _EIGHT_BITS
    return np.rint(factor / step) * step if step else factor


def lowered(forms, quantize=None):
    """Within this context the layers of these forms run as they will in the file."""
    return intercept.calls({form.layer: _call(form, quantize) for form in forms})


def _call(form, quantize):
    layer = form.layer
    of_activations, of_weights = layer.scales
    places = layer.places(layer.kernel, of_weights, layer.weight_levels, True)
    kernel = keras.ops.convert_to_numpy(deep_lookup.look_up(_float32(form.columns), places))
    kernel = kernel * float(of_activations * of_weights)

    def call(_, x, **__):
        looked_up = _rounded(form, x) if quantize else _exact(form, x)
        sums = _dense_sums if isinstance(layer, deep_lookup.DeepLookupDense) else layer.sums
        outputs = with_bias(layer, sums(looked_up, _float32(kernel)))
        return outputs if layer.activation is None else layer.activation(outputs)

    return call


def _dense_sums(looked_up, kernel):
    """A dense layer as a 1x1 convolution of one row.

    The weights of a table of full rank are mostly zeros, and are stored sparse; LiteRT unpacks
    sparse int8 weights for convolutions only.
    """
    *sizes, m, rank = looked_up.shape
    n = kernel.shape[1]
    kernel = tf.reshape(tf.transpose(kernel, (0, 2, 1)), (1, 1, m * rank, n))
    y = tf.nn.conv2d(tf.reshape(looked_up, (1, 1, -1, m * rank)), kernel, 1, "VALID")
    if None not in sizes:
        return tf.reshape(y, (*sizes, n))
    return tf.reshape(y, tf.concat([tf.shape(looked_up)[:-2], [n]], axis=0))


def _float32(array):
    return tf.constant(array, tf.float32)


def _exact(form, x):
    """What is looked up for x, (..., rank), by the very operations of Keras."""
    layer = form.layer
    places = layer.places(x, layer.scales[0], layer.activation_levels, layer.signed_input)
    return tf.gather(_float32(form.rows), tf.cast(tf.round(places), tf.int32))


def _rounded(form, x):
    """The same by half steps between levels, of which a division by FLOOR_DIV counts how many.

    A number halfway between two levels goes to the upper one.
    """
    levels, signed = form.layer.activation_levels, form.layer.signed_input
    lowest, offset = (1 - levels, levels) if signed else (0, 1)
    # The converter moves a division by one number to before a reshape, and then rounds to int8 what
    # comes of it. It does not where numbers differ, if by the last bit of float32.
    divisor = np.full(x.shape[-1], form.step / 2, np.float32)
    divisor[1:] = np.nextafter(divisor[1:], np.float32(0))
    halves = tf.cast(tf.math.floordiv(x, _float32(divisor)), tf.int32)
    highest = lowest + 2 * (levels - 1)
    places = tf.minimum(tf.maximum(halves, lowest), highest) - lowest
    return tf.gather(_float32(form.rows[(np.arange(lowest, highest + 1) + offset) // 2]), places)
