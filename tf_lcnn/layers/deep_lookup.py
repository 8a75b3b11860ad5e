"""Layers of Deep Lookup Networks: a learned table in place of each multiplication.

Guo et al., "Deep Lookup Network", TPAMI, doi 10.1109/TPAMI.2025.3605660 (arXiv 2509.13662):

    o_K = sum over c of L(f_c, w_c; T) + b_K

over channels and kernel positions, where L reads a table T of `activation_levels` times
`weight_levels` entries in [-1, 1], one of each layer. An activation f and a weight w are divided by
trained scales, clipped, and rounded to indices; what the table says is scaled back.

A table of rank r is a sum of r products A[i, :] * B[j, :], so the layer is r convolutions of
activations that were looked up in A with weights that were looked up in B, exactly. That is how it
runs here, side by side in one convolution; a free table has as many as the smaller number of
levels. No tensor of positions times filters times channels is made.

Where the paper is silent, or was not at hand: the derivative by an index is the slope of the table
there (rounding has the derivative 1), and zeros of padding are read from no table and add nothing.
"""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn import checks
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.convolution import convolve
from tf_lcnn.layers.lookup import split_arguments, with_bias

TABLES = ("free", "separable", "low_rank")
FEWEST_LEVELS, MOST_LEVELS = 2, 256

# A scale begins so many standard deviations away: few values lie beyond.
_DEVIATIONS = 3.0

# An int8 table holds -127 to 127 for -1 to 1.
TABLE_STEPS = 127

# Examples of a batch in which uses of a table are counted: to count all takes as long as a
# convolution, and tells little more.
_COUNTED_EXAMPLES = 8

OWN_ARGUMENTS = (
    *("activation_levels", "weight_levels", "table", "table_rank", "signed_input"),
    *("monotone", "rescaled_gradient"),
)

_ARGUMENTS = """
    The arguments of its own:

    Args:
        activation_levels: how many indices activations have, 2 to 256; None makes this the plain
            Keras layer.
        weight_levels: how many weights have; by default as many.
        table: "free", every entry is trained; "separable", the product of a staircase over
            activations and one over weights; "low_rank", a sum of `table_rank` such products.
        table_rank: of a "low_rank" table.
        signed_input: whether activations are below zero too: they are then clipped to -scale and
            scale in place of 0 and scale.
        monotone: whether the table grows steadily, by running sums of a softmax; else its numbers
            are trained as they are, and kept within -1 and 1.
        rescaled_gradient: whether the gradient of an entry is divided by how often, over the
            mean, its index is read: entries that are read seldom learn as fast.

    Attributes:
        kernel, bias: variables as of the Keras layer.
        log_activation_scale, log_weight_scale: variables, logarithms of the scales; () each.
        integers: while it is True the table is rounded to int8, see `integer_table`.

    Raises:
        ValueError: at construction, for levels below 2 or above 256, an unknown table, a rank
            that is missing, of another table than "low_rank" or above the smaller number of
            levels, or what belongs to a table without `activation_levels`.
"""


def check_table(where, activation_levels=None, weight_levels=None, table="free", table_rank=None):
    """The weight levels that these arguments of a layer make; ValueError begins with `where`."""
    if activation_levels is None:
        if weight_levels is not None or table_rank is not None:
            raise ValueError(f"{where} weight_levels and table_rank need activation_levels.")
        return None
    if weight_levels is None:
        weight_levels = activation_levels
    levels = {"activation_levels": activation_levels, "weight_levels": weight_levels}
    for name, value in levels.items():
        checks.whole_number(value, f"{where} {name}", FEWEST_LEVELS, MOST_LEVELS)
    if table not in TABLES:
        raise ValueError(f"{where} unknown table={table!r}: {', '.join(TABLES)}.")
    if (table_rank is not None) != (table == "low_rank"):
        raise ValueError(f'{where} table="low_rank" needs a table_rank, and no other has one.')
    if table_rank is not None:
        most = min(activation_levels, weight_levels)
        checks.whole_number(table_rank, f"{where} table_rank", 1, most)
    return weight_levels


def staircase(steps, lowest):
    """Numbers that grow from `lowest` (0 or -1) to 1, by the softmax of steps (levels - 1, r)."""
    grown = ops.cumsum(ops.softmax(steps, axis=0), axis=0)
    grown = ops.concatenate([ops.zeros_like(grown[:1]), grown], axis=0)
    return grown if lowest == 0 else 2 * grown - 1


def look_up(table, places, counted=0):
    """Rows of a table (levels, r) at places of 0 to levels - 1, of any shape: (..., r).

    Places are rounded, half to even. The derivative by a place is the slope of the table. Where
    `counted` is not 0, the gradient of a row is rescaled by its uses, which are counted in so many
    entries of the first axis of places.
    """
    last = table.shape[0] - 1
    # What is no number gives an index of some kind, and by its place no number again.
    index = ops.clip(ops.cast(ops.round(ops.stop_gradient(places)), "int32"), 0, last)
    if counted:
        table = _by_use(table, index[:counted])
    above, below = (np.clip(np.arange(last + 1) + i, 0, last) for i in (1, -1))
    rise = ops.take(table, above, axis=0) - ops.take(table, below, axis=0)
    slopes = ops.stop_gradient(rise / ops.cast((above - below)[:, None], table.dtype))
    # Nothing, but for its derivative.
    moved = ops.expand_dims(places - ops.stop_gradient(places), -1)
    return ops.take(table, index, axis=0) + ops.take(slopes, index, axis=0) * moved


def _by_use(table, index):
    """The table, with the gradient of each row over its share of the uses, times levels."""
    levels = table.shape[0]
    flat = ops.reshape(index, (-1,))
    uses = ops.segment_sum(ops.ones_like(flat, dtype=table.dtype), flat, num_segments=levels)
    share = ops.expand_dims(ops.sum(uses) / (levels * ops.maximum(uses, 1)), -1)
    scaled = table * ops.stop_gradient(share)
    return scaled + ops.stop_gradient(table - scaled)


class DeepLookupLayer:
    """What the layers share; comes before the Keras layer among their bases."""

    def _construct(self, arguments):
        """As `LookupLayer._construct`."""
        theirs, own = split_arguments(arguments, OWN_ARGUMENTS)
        super().__init__(**theirs)
        self._set_table_arguments(**own)

    def _set_table_arguments(
        self,
        activation_levels,
        weight_levels,
        table,
        table_rank,
        signed_input,
        monotone,
        rescaled_gradient,
    ):
        weight_levels = check_table(
            f"Layer {self.name}:", activation_levels, weight_levels, table, table_rank
        )
        self.activation_levels, self.weight_levels = activation_levels, weight_levels
        self.table, self.table_rank, self.signed_input = table, table_rank, bool(signed_input)
        self.monotone, self.rescaled_gradient = bool(monotone), bool(rescaled_gradient)
        self.integers = False

    def build(self, input_shape):
        super().build(input_shape)
        if self.activation_levels is None:
            return
        sigma = 1.0
        if sparsity.has_sigma(self.kernel_initializer):
            sigma = sparsity.initializer_sigma(self.kernel_initializer, self.kernel.shape)
        self.log_activation_scale = self._scale("log_activation_scale", _DEVIATIONS)
        self.log_weight_scale = self._scale("log_weight_scale", _DEVIATIONS * sigma)
        rows, columns = self.activation_levels, self.weight_levels
        ranks = {"free": columns, "separable": 1, "low_rank": self.table_rank}[self.table]
        lowest = -1 if self.signed_input else 0
        if self.monotone:
            # Equal steps; of a sum of staircases the first alone at first, the others bent, so
            # that each learns something else.
            bends = np.arange(ranks) if self.table == "low_rank" else np.zeros(ranks)
            self._activation_part = self._part("activation_steps", _bent(rows, bends))
            of_weights = 1 if self.table == "free" else ranks
            self._weight_part = self._part("weight_steps", _bent(columns, bends[:of_weights]))
        else:
            activations = np.linspace(lowest, 1, rows)[:, None]
            weights = np.linspace(-1, 1, columns)[:, None]
            if self.table == "free":
                self._activation_part = self._entries("cells", activations * weights.T)
                self._weight_part = None
            else:
                powers = 1 + 2 * np.arange(ranks)
                self._activation_part = self._entries("activation_rows", activations**powers)
                self._weight_part = self._entries("weight_rows", weights**powers)
        self._mixture = None
        if self.table == "low_rank":
            self._mixture = self._part("mixture", np.eye(1, ranks)[0])

    def _scale(self, name, value):
        return self._part(name, np.log(value))

    def _entries(self, name, values):
        # Not clipped in the forward pass: on a bound, where the outermost begin, some backends
        # have no gradient.
        return self._part(name, values, lambda w: ops.clip(w, -1, 1))

    def _part(self, name, values, constraint=None):
        values = np.asarray(values, np.float32)
        return self.add_weight(
            name=name,
            shape=values.shape,
            initializer=lambda shape, dtype=None: ops.convert_to_tensor(values, dtype),
            constraint=constraint,
            autocast=False,
        )

    def factors(self):
        """(A, B): tensors (activation_levels, r) and (weight_levels, r) with T = A.B^T."""
        lowest = -1 if self.signed_input else 0
        if not self.monotone:
            if self.table == "free":
                return self._thinner(ops.convert_to_tensor(self._activation_part))
            rows, columns = self._activation_part, self._weight_part
            return ops.convert_to_tensor(rows), self._mixed(ops.convert_to_tensor(columns))
        rows, columns = staircase(self._activation_part, lowest), staircase(self._weight_part, -1)
        if self.table == "free":
            return self._thinner(rows * ops.transpose(columns))
        return rows, self._mixed(columns)

    def _thinner(self, cells):
        """A and B of a table of any rank: the cells, and a 1 for each index of the other side."""
        if self.activation_levels < self.weight_levels:
            return ops.eye(self.activation_levels), ops.transpose(cells)
        return cells, ops.eye(self.weight_levels)

    def _mixed(self, columns):
        if self._mixture is None:
            return columns
        # Entries stay within -1 and 1.
        return columns * self._mixture / ops.maximum(ops.sum(ops.abs(self._mixture)), 1)

    def integer_table(self):
        """T as int8 (activation_levels, weight_levels): 127 stands for 1."""
        rows, columns = (ops.convert_to_numpy(x) for x in self.factors())
        return np.rint(TABLE_STEPS * (rows @ columns.T)).astype(np.int8)

    def read_tables(self):
        """(A, B, unit): what is looked up, and what A.B^T is multiplied with to be T."""
        if not self.integers:
            return *self.factors(), 1.0
        # Whole numbers, of which float32 holds every sum that int32 does for these.
        table = ops.convert_to_tensor(self.integer_table(), "float32")
        return *self._thinner(table), 1 / TABLE_STEPS

    @property
    def scales(self):
        """(of activations, of weights): tensors, positive."""
        return ops.exp(self.log_activation_scale), ops.exp(self.log_weight_scale)

    def places(self, x, scale, levels, signed):
        """Where x lies among the levels, 0 to levels - 1, not rounded."""
        scaled = ops.clip(x / ops.cast(scale, x.dtype), -1 if signed else 0, 1)
        return ((scaled + 1) / 2 if signed else scaled) * (levels - 1)

    def call(self, inputs, training=None):
        if self.activation_levels is None:
            return self._keras_call(inputs, training)
        of_activations, of_weights = self.scales
        kernel = ops.cast(self.kernel, self.compute_dtype)
        places = (
            self.places(inputs, of_activations, self.activation_levels, self.signed_input),
            self.places(kernel, of_weights, self.weight_levels, True),
        )
        *tables, unit = self.read_tables()
        tables = [ops.cast(x, self.compute_dtype) for x in tables]
        counted = (0, 0)
        if self.rescaled_gradient and training:
            counted = _COUNTED_EXAMPLES, self.kernel.shape[0]
        looked_up = [look_up(*row) for row in zip(tables, places, counted, strict=True)]
        scale = ops.cast(of_activations * of_weights * unit, self.compute_dtype)
        outputs = with_bias(self, self.sums(*looked_up) * scale)
        return outputs if self.activation is None else self.activation(outputs)

    def sums(self, activations, kernel):
        """Of what was looked up, over channels and positions, on the layer's output positions.

        Args:
            activations: like the layer's inputs, with the ranks as one more axis, the last.
            kernel: like the layer's kernel, the same.
        """
        raise NotImplementedError

    def _keras_call(self, inputs, training):
        return super().call(inputs)

    def get_config(self):
        return {**super().get_config(), **{name: getattr(self, name) for name in OWN_ARGUMENTS}}

    def save_own_variables(self, store):
        if self.activation_levels is None or not self.built:
            super().save_own_variables(store)
            return
        # Past the Keras layer, which knows kernel and bias alone.
        keras.Layer.save_own_variables(self, store)

    def load_own_variables(self, store):
        if self.activation_levels is None or not self.built:
            super().load_own_variables(store)
            return
        if len(store.keys()) != len(self.weights):
            raise ValueError(
                f"Layer {self.name} has {len(self.weights)} variables "
                f"({', '.join(variable.name for variable in self.weights)}), the weights file "
                f"{len(store.keys())}."
            )
        keras.Layer.load_own_variables(self, store)


def _bent(levels, bends):
    """Steps (levels - 1, r) for `staircase`: equal ones for 0, else the larger the farther up."""
    return np.linspace(-1, 1, levels - 1)[:, None] * np.asarray(bends)[None, :]


class _DeepLookupConv(DeepLookupLayer):
    """What the convolutions share."""

    def sums(self, activations, kernel):
        first = self.data_format == "channels_first"
        if first:
            activations = ops.moveaxis(activations, -1, 2)
            shape = ops.shape(activations)
            activations = ops.reshape(activations, (-1, math.prod(shape[1:3]), *shape[3:]))
        else:
            shape = ops.shape(activations)
            activations = ops.reshape(activations, (*shape[:-2], math.prod(shape[-2:])))
        kernel = ops.moveaxis(kernel, -1, -2)
        taps, channels = self.kernel_size, math.prod(kernel.shape[-3:-1])
        kernel = ops.reshape(kernel, (*taps, channels, self.filters))
        return convolve(self, activations, kernel, list(self.strides))


@keras.saving.register_keras_serializable(package="tf_lcnn")
class DeepLookupConv1D(_DeepLookupConv, keras.layers.Conv1D):
    __doc__ = (
        """Conv1D by a table; takes every argument of `keras.layers.Conv1D`.
"""
        + _ARGUMENTS
    )

    def __init__(
        self,
        filters,
        kernel_size,
        activation_levels=None,
        weight_levels=None,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        table="free",
        table_rank=None,
        signed_input=False,
        monotone=True,
        rescaled_gradient=True,
        **kwargs,
    ):
        self._construct(locals())


@keras.saving.register_keras_serializable(package="tf_lcnn")
class DeepLookupConv2D(_DeepLookupConv, keras.layers.Conv2D):
    __doc__ = (
        """Conv2D by a table; takes every argument of `keras.layers.Conv2D`.
"""
        + _ARGUMENTS
    )

    def __init__(
        self,
        filters,
        kernel_size,
        activation_levels=None,
        weight_levels=None,
        strides=(1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1),
        groups=1,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        table="free",
        table_rank=None,
        signed_input=False,
        monotone=True,
        rescaled_gradient=True,
        **kwargs,
    ):
        self._construct(locals())


@keras.saving.register_keras_serializable(package="tf_lcnn")
class DeepLookupDense(DeepLookupLayer, keras.layers.Dense):
    __doc__ = (
        """Dense by a table; takes every argument of `keras.layers.Dense`.
"""
        + _ARGUMENTS
    )

    def __init__(
        self,
        units,
        activation_levels=None,
        weight_levels=None,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        table="free",
        table_rank=None,
        signed_input=False,
        monotone=True,
        rescaled_gradient=True,
        **kwargs,
    ):
        self._construct(locals())

    def _keras_call(self, inputs, training):
        return keras.layers.Dense.call(self, inputs, training=training)

    def sums(self, activations, kernel):
        return ops.einsum("...cr,cnr->...n", activations, kernel)


# Class of a Keras layer -> that of the layer with a table in its place.
REPLACING = {
    keras.layers.Conv1D: DeepLookupConv1D,
    keras.layers.Conv2D: DeepLookupConv2D,
    keras.layers.Dense: DeepLookupDense,
}


def has_table(layer):
    """Whether a layer, of any kind, reads a table."""
    return isinstance(layer, DeepLookupLayer) and layer.activation_levels is not None


def keras_type(layer):
    """The class of the Keras layer that a layer of this family is without a table; else None."""
    for plain, ours in REPLACING.items():
        if isinstance(layer, ours):
            return plain
    return None
