"""LookupSeparableConv1D and LookupSeparableConv2D: lookups in the pointwise part, and their family.

The depthwise part stays as it is: a filter of it reads one channel, so its weight vectors have
one number each.
"""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import padding
from tf_lcnn.layers import family
from tf_lcnn.layers.lookup import LookupLayer, documentation


class _LookupSeparableConv(LookupLayer):
    """What the separable convolutions share. `depthwise_kernel` is that of Keras."""

    coefficients_are = "pointwise"

    def build(self, input_shape):
        if self.dictionary_size is None:
            super().build(input_shape)
            return
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        rank = len(self.kernel_size)
        self.input_spec = keras.layers.InputSpec(min_ndim=rank + 2, axes={axis: channels})
        # Refuses, as Keras does, a map too small for the kernel.
        self.compute_output_shape(input_shape)
        self.depthwise_kernel = self.add_weight(
            name="depthwise_kernel",
            shape=(*self.kernel_size, channels, self.depth_multiplier),
            initializer=self.depthwise_initializer,
            regularizer=self.depthwise_regularizer,
            constraint=self.depthwise_constraint,
        )
        taps = (1,) * rank
        shape = (*taps, self.dictionary_size, self.filters)
        self._build_lookup(channels * self.depth_multiplier, shape)

    @property
    def pointwise_kernel(self):
        """W = D.delta(P), the pointwise kernel of the Keras layer that this layer equals."""
        return self._pointwise_kernel if self.dictionary_size is None else self._product()

    @pointwise_kernel.setter
    def pointwise_kernel(self, kernel):
        # Keras sets it where there is no dictionary.
        self._pointwise_kernel = kernel

    @property
    def kernel(self):
        """The pointwise kernel."""
        return self.pointwise_kernel

    def stage_positions(self, input_shape):
        """Where S and the output are computed: two numbers of positions, for one example.

        Of an input whose size is not known both are per output position.
        """
        axes = slice(1, -1) if self.data_format == "channels_last" else slice(2, None)
        out = self.compute_output_shape(input_shape)[axes]
        positions = 1 if None in out else math.prod(out)
        return positions, positions

    def _by_stages(self, inputs, dictionary, coefficients):
        looked_up = self._one_by_one(self._depthwise(inputs), dictionary)
        return ops.conv(self._between(looked_up), coefficients, data_format=self.data_format)

    def _by_kernel(self, inputs, kernel):
        return ops.conv(self._depthwise(inputs), kernel, data_format=self.data_format)

    def _depthwise(self, inputs):
        return ops.depthwise_conv(
            inputs,
            self.depthwise_kernel,
            strides=self.strides,
            padding=self.padding,
            data_format=self.data_format,
            dilation_rate=self.dilation_rate,
        )

    def _fixed_variables(self):
        return [self.depthwise_kernel]


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupSeparableConv1D(_LookupSeparableConv, keras.layers.SeparableConv1D):
    __doc__ = documentation(
        """SeparableConv1D with lookups in its pointwise part.

    Takes every argument of `keras.layers.SeparableConv1D`. The depthwise part is that of Keras.
""",
        shape="(1, k, n)",
        vectors="n",
        kernel="pointwise",
    )

    def __init__(
        self,
        filters,
        kernel_size,
        dictionary_size=None,
        strides=1,
        padding="valid",
        data_format=None,
        dilation_rate=1,
        depth_multiplier=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        pointwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        pointwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        pointwise_constraint=None,
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


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupSeparableConv2D(_LookupSeparableConv, keras.layers.SeparableConv2D):
    __doc__ = documentation(
        """SeparableConv2D with lookups in its pointwise part.

    Takes every argument of `keras.layers.SeparableConv2D`. The depthwise part is that of Keras.
""",
        shape="(1, 1, k, n)",
        vectors="n",
        kernel="pointwise",
    )

    def __init__(
        self,
        filters,
        kernel_size,
        dictionary_size=None,
        strides=(1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1),
        depth_multiplier=1,
        activation=None,
        use_bias=True,
        depthwise_initializer="glorot_uniform",
        pointwise_initializer="glorot_uniform",
        bias_initializer="zeros",
        depthwise_regularizer=None,
        pointwise_regularizer=None,
        bias_regularizer=None,
        activity_regularizer=None,
        depthwise_constraint=None,
        pointwise_constraint=None,
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


class SeparableFamily(family.Family):
    """A separable convolution of any rank: its pointwise part is what lookups replace."""

    coefficients_are = "pointwise"

    def __init__(self, replaces, layer):
        self.replaces = replaces
        self.layer = layer

    def weight_vectors(self, layer):
        return layer.filters

    def stages(self, layer, call, convention="unpadded"):
        first = layer.data_format == "channels_first"
        positions = math.prod(call.output_shape[slice(1, None) if first else slice(None, -1)])
        m = call.input_shape[0 if first else -1] * layer.depth_multiplier
        depthwise = positions * math.prod(layer.kernel_size) * m
        return family.Stages(positions, positions, 1, m, layer.filters, fixed=depthwise)

    def patches(self, layer, inputs, places):
        """What the depthwise part computes."""
        if layer.data_format == "channels_first":
            inputs = np.moveaxis(inputs, 1, -1)
        sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
        rows = padding.patches(inputs, *sizes, layer.padding, places)
        depthwise = np.asarray(ops.convert_to_numpy(layer.depthwise_kernel))
        *_, channels, multiplier = depthwise.shape
        depthwise = depthwise.reshape(-1, channels, multiplier)
        rows = rows.reshape(len(rows), -1, channels)
        return np.einsum("rtc,tcd->rcd", rows, depthwise).reshape(len(rows), -1)

    def kernel_variable(self, layer):
        return layer.pointwise_kernel

    def carry_over(self, layer, copy):
        super().carry_over(layer, copy)
        copy.depthwise_kernel.assign(layer.depthwise_kernel)

    def fixed_weights(self, layer):
        return [layer.depthwise_kernel]


family.register(SeparableFamily(keras.layers.SeparableConv1D, LookupSeparableConv1D))
family.register(SeparableFamily(keras.layers.SeparableConv2D, LookupSeparableConv2D))
