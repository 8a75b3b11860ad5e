"""LookupDense and its family."""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn.layers import family
from tf_lcnn.layers.lookup import LookupLayer, documentation


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupDense(LookupLayer, keras.layers.Dense):
    __doc__ = documentation(
        """Dense by a dictionary and lookups; takes every argument of `keras.layers.Dense`.

    The 1x1 case of `LookupConv2D`, on the last axis of an input of any rank >= 2.
""",
        shape="(k, n)",
        vectors="n",
    )

    def __init__(
        self,
        units,
        dictionary_size=None,
        activation=None,
        use_bias=True,
        kernel_initializer="glorot_uniform",
        bias_initializer="zeros",
        kernel_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        kernel_constraint=None,
        bias_constraint=None,
        dictionary=None,
        dictionary_initializer="glorot_uniform",
        dictionary_regularizer=None,
        dictionary_constraint=None,
        threshold_scale=0.001,
        threshold_gradient="masked",
        forward="auto",
        **kwargs,
    ):
        self._construct(locals())

    def build(self, input_shape):
        if self.dictionary_size is None:
            super().build(input_shape)
            return
        channels = input_shape[-1]
        self.input_spec = keras.layers.InputSpec(min_ndim=2, axes={-1: channels})
        self._build_lookup(channels, (self.dictionary_size, self.units))

    def stage_positions(self, input_shape):
        """Where S and the output are computed: two numbers of positions, for one example."""
        positions = math.prod(size or 1 for size in input_shape[1:-1])
        return positions, positions

    def call(self, inputs, training=None):
        if self.dictionary_size is None:
            return keras.layers.Dense.call(self, inputs, training=training)
        return self._look_up(inputs)

    def _by_stages(self, inputs, dictionary, coefficients):
        return ops.matmul(self._between(ops.matmul(inputs, dictionary)), coefficients)

    def _by_kernel(self, inputs, kernel):
        return ops.matmul(inputs, kernel)


class DenseFamily(family.Family):
    """A dense layer: one tap, on the last axis of its input."""

    replaces = keras.layers.Dense
    layer = LookupDense

    def weight_vectors(self, layer):
        return layer.units

    def stages(self, layer, call, convention="unpadded"):
        positions = math.prod(call.output_shape[:-1])
        return family.Stages(positions, positions, 1, call.input_shape[-1], layer.units)

    def patches(self, layer, inputs, places):
        rows = inputs.reshape(len(inputs), -1, inputs.shape[-1])
        chosen = places(rows.shape[1])
        return rows[np.arange(len(rows))[:, None], chosen].reshape(-1, rows.shape[-1])


family.register(DenseFamily())
