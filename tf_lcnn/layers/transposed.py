"""LookupConv2DTranspose and its family."""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn.graph import padding
from tf_lcnn.layers import family
from tf_lcnn.layers.lookup import LookupLayer, documentation


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupConv2DTranspose(LookupLayer, keras.layers.Conv2DTranspose):
    __doc__ = documentation(
        """Conv2DTranspose by a dictionary and lookups.

    Takes every argument of `keras.layers.Conv2DTranspose`. Both stages run where the input is: a
    pixel of S is looked up once for each kernel position, and what it gives is added to the
    output there. `kernel` is laid out as in Keras, (kh, kw, n, m).
""",
        shape="(kh, kw, k, n)",
        vectors="n*kh*kw",
    )

    def __init__(
        self,
        filters,
        kernel_size,
        dictionary_size=None,
        strides=(1, 1),
        padding="valid",
        output_padding=None,
        data_format=None,
        dilation_rate=(1, 1),
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
        axis = -1 if self.data_format == "channels_last" else 1
        channels = input_shape[axis]
        self.input_spec = keras.layers.InputSpec(min_ndim=4, axes={axis: channels})
        self._build_lookup(channels, (*self.kernel_size, self.dictionary_size, self.filters))

    @property
    def kernel(self):
        """W = D.delta(P), the kernel of the Keras layer that this layer equals."""
        if self.dictionary_size is None:
            return self._kernel
        return ops.swapaxes(self._product(), -1, -2)

    @kernel.setter
    def kernel(self, kernel):
        # Keras sets it where there is no dictionary.
        self._kernel = kernel

    def stage_positions(self, input_shape):
        """Where S and the lookups are computed, the input: two numbers, for one image.

        Of an input whose size is not known both are per pixel.
        """
        axes = slice(1, 3) if self.data_format == "channels_last" else slice(2, 4)
        size = input_shape[axes]
        positions = 1 if None in size else math.prod(size)
        return positions, positions

    def _by_stages(self, inputs, dictionary, coefficients):
        looked_up = self._between(self._one_by_one(inputs, dictionary))
        return self._by_kernel(looked_up, coefficients)

    def _by_kernel(self, inputs, kernel):
        return ops.conv_transpose(
            inputs,
            ops.swapaxes(kernel, -1, -2),
            strides=list(self.strides),
            padding=self.padding,
            output_padding=self.output_padding,
            dilation_rate=self.dilation_rate,
            data_format=self.data_format,
        )


class TransposedFamily(family.Family):
    """A transposed convolution: its weight vectors lie along the last axis of Keras's kernel."""

    replaces = keras.layers.Conv2DTranspose
    layer = LookupConv2DTranspose

    def weight_vectors(self, layer):
        return layer.filters * math.prod(layer.kernel_size)

    def stages(self, layer, call, convention="unpadded"):
        first = layer.data_format == "channels_first"
        positions = math.prod(call.input_shape[slice(1, None) if first else slice(None, -1)])
        m = call.input_shape[0 if first else -1]
        taps = math.prod(layer.kernel_size)
        return family.Stages(positions, positions, taps, m, layer.filters)

    def patches(self, layer, inputs, places):
        shape = layer.compute_output_shape(inputs.shape)
        if layer.data_format == "channels_first":
            inputs, shape = np.moveaxis(inputs, 1, -1), (shape[0], *shape[2:], shape[1])
        sizes = (layer.kernel_size, layer.strides, layer.dilation_rate)
        return padding.transposed_patches(inputs, shape[1:-1], *sizes, layer.padding, places)

    def kernel(self, layer):
        kernel = np.asarray(ops.convert_to_numpy(layer.kernel), np.float64)
        return np.swapaxes(kernel.reshape(-1, *kernel.shape[-2:]), 1, 2)

    def set_kernel(self, layer, kernel):
        super().set_kernel(layer, np.swapaxes(kernel, 1, 2))


family.register(TransposedFamily())
