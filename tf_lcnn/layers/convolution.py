"""LookupConv1D, LookupConv2D and LookupConv3D, with groups or without, and their family."""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import padding
from tf_lcnn.layers import family
from tf_lcnn.layers.lookup import LookupLayer, documentation

_GROUPS = """
    With `groups` each group of channels has its own dictionary_size vectors, m / groups long: the
    rows of D in turn. One dictionary for all groups would take as many multiplications and lose
    more: in 3x3 layers of 2 to 32 groups 1.4 to 13 times the error at equal k and s.
"""


def convolve(layer, inputs, kernel, strides):
    """The convolution of inputs with a kernel, padded and dilated as the layer says."""
    how = layer.padding
    if how == "causal":
        zeros = [(padding.span(layer.kernel_size[0], layer.dilation_rate[0]) - 1, 0)]
        first = layer.data_format == "channels_first"
        around = [(0, 0), (0, 0), *zeros] if first else [(0, 0), *zeros, (0, 0)]
        inputs, how = ops.pad(inputs, around), "valid"
    return ops.conv(
        inputs,
        kernel,
        strides=strides,
        padding=how,
        dilation_rate=layer.dilation_rate,
        data_format=layer.data_format,
    )


class _LookupConv(LookupLayer):
    """What the convolutions share."""

    def build(self, input_shape):
        if self.dictionary_size is None:
            super().build(input_shape)
            return
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        if channels % self.groups:
            raise ValueError(
                f"Layer {self.name}: {channels} input channels cannot be shared out over "
                f"groups={self.groups}."
            )
        rank = len(self.kernel_size)
        self.input_spec = keras.layers.InputSpec(min_ndim=rank + 2, axes={axis: channels})
        # Refuses, as Keras does, a map too small for the kernel.
        self.compute_output_shape(input_shape)
        self._build_lookup(channels, (*self.kernel_size, self.dictionary_size, self.filters))

    def stage_positions(self, input_shape):
        """Where S and the output are computed: two numbers of positions, for one example.

        Of an input whose size is not known both are per output position.
        """
        axes = slice(1, -1) if self.data_format == "channels_last" else slice(2, None)
        size, out = input_shape[axes], self.compute_output_shape(input_shape)[axes]
        # With a size unknown only the ratio counts: S at stride x stride points per output.
        if None in size:
            size, out = self.strides, (1,)
        if math.prod(self.kernel_size) == 1:
            size = out
        return math.prod(size), math.prod(out)

    def _by_stages(self, inputs, dictionary, coefficients):
        strides, one_tap = list(self.strides), math.prod(self.kernel_size) == 1
        looked_up = self._one_by_one(inputs, dictionary, strides if one_tap else 1)
        return convolve(self, self._between(looked_up), coefficients, 1 if one_tap else strides)

    def _by_kernel(self, inputs, kernel):
        return convolve(self, inputs, kernel, list(self.strides))


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupConv1D(_LookupConv, keras.layers.Conv1D):
    __doc__ = documentation(
        """Conv1D by a dictionary and lookups; takes every argument of `keras.layers.Conv1D`.

    As `LookupConv2D`, along one axis.
""",
        shape="(length, k, n)",
        vectors="n*length",
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
class LookupConv2D(_LookupConv, keras.layers.Conv2D):
    __doc__ = documentation(
        """Conv2D by a dictionary and lookups; takes every argument of `keras.layers.Conv2D`.

    A 1x1 layer with a stride takes the stride in the dictionary stage: S is needed only where
    it is read.
"""
        + _GROUPS
        + """""",
        shape="(kh, kw, k, n)",
        vectors="n*kh*kw, of one group",
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
class LookupConv3D(_LookupConv, keras.layers.Conv3D):
    __doc__ = documentation(
        """Conv3D by a dictionary and lookups; takes every argument of `keras.layers.Conv3D`.

    As `LookupConv2D`, along three axes.
""",
        shape="(kd, kh, kw, k, n)",
        vectors="n*kd*kh*kw",
    )

    def __init__(
        self,
        filters,
        kernel_size,
        dictionary_size=None,
        strides=(1, 1, 1),
        padding="valid",
        data_format=None,
        dilation_rate=(1, 1, 1),
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


class ConvolutionFamily(family.Family):
    """A convolution of any rank, with groups or without."""

    def __init__(self, replaces, layer):
        self.replaces = replaces
        self.layer = layer

    def weight_vectors(self, layer):
        return layer.filters // layer.groups * math.prod(layer.kernel_size)

    def groups(self, layer):
        return layer.groups

    def obstacle(self, layer, dictionary_size):
        if layer.groups > 1 and layer.kernel.shape[-2] == 1:
            return family.DEPTHWISE
        return super().obstacle(layer, dictionary_size)

    def stages(self, layer, call, convention="unpadded"):
        first = layer.data_format == "channels_first"
        inner = slice(1, None) if first else slice(None, -1)
        positions = math.prod(call.output_shape[inner])
        taps = math.prod(layer.kernel_size)
        if taps == 1:
            seen = positions
        elif convention == "unpadded":
            seen = math.prod(call.unpadded_shape[inner])
        else:
            axes = zip(call.input_shape[inner], layer.kernel_size, layer.dilation_rate, strict=True)
            zeros = {
                "valid": lambda kernel, dilation: 0,
                "same": lambda kernel, dilation: 2 * (kernel // 2) * dilation,
                "causal": lambda kernel, dilation: padding.span(kernel, dilation) - 1,
            }[layer.padding]
            seen = math.prod(size + zeros(kernel, dilation) for size, kernel, dilation in axes)
        m = call.input_shape[0 if first else -1] // layer.groups
        return family.Stages(seen * layer.groups, positions, taps, m, layer.filters)

    def patches(self, layer, inputs, places):
        if layer.data_format == "channels_first":
            inputs = np.moveaxis(inputs, 1, -1)
        sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
        rows = padding.patches(inputs, *sizes, layer.padding, places)
        if layer.groups == 1:
            return rows
        by_group = rows.reshape(len(rows), math.prod(layer.kernel_size), layer.groups, -1)
        return by_group.swapaxes(1, 2).reshape(rows.shape)


family.register(ConvolutionFamily(keras.layers.Conv1D, LookupConv1D))
family.register(ConvolutionFamily(keras.layers.Conv2D, LookupConv2D))
family.register(ConvolutionFamily(keras.layers.Conv3D, LookupConv3D))
