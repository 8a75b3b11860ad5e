"""What the layers at the end of a model compute in training on the device, and its gradient.

The converter turns TensorFlow's own gradients of convolutions, activations and broadcasts into
operators that a phone does not have. So each layer that may be trained there, or stand behind one
that is, is written out here in stock LiteRT operators, for any batch:

    function(*inputs, *weights) -> (output, pullback)

`pullback` takes the gradient of the output and gives those of the inputs and weights, in turn.
"""

import dataclasses
import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers as kl

from tf_lcnn.graph import folding, padding
from tf_lcnn.layers import family
from tf_lcnn.layers.convolution import LookupConv2D
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.lite import lowerings


@dataclasses.dataclass(frozen=True)
class Step:
    """A part of a layer.

    Attributes:
        function: see above; None is a softmax, which the loss takes in.
        weights: float32 arrays, which training moves if the layer is trained.
        sparse: whether training moves only the non-zeros of the weights.
    """

    function: callable
    weights: tuple = ()
    sparse: bool = False


def steps(call):
    """The Steps of a traced call (`graph.trace.Call`) of a layer, one after the other.

    Raises:
        ValueError: the layer has none.
    """
    layer = call.layer
    kind = family.plain_type(layer) if isinstance(layer, keras.Layer) else type(layer)
    found = _STEPS[kind](call) if kind in _STEPS else None
    if found is None:
        known = ", ".join(sorted(x.__name__ for x in _STEPS))
        raise ValueError(
            f"Layer {layer.name} ({type(layer).__name__}) has no gradient in a .tflite. These have "
            f"one, with channels last and without groups or dilation: {known}; with activation "
            "linear, relu or softmax."
        )
    return found or [Step(_identity)]


# Functions


def _relu(x):
    return tf.nn.relu(x), lambda gradient: (gradient * tf.cast(x > 0, tf.float32),)


def _add(*inputs):
    return tf.add_n(inputs), lambda gradient: (gradient,) * len(inputs)


def _bias(x, bias):
    axes = tuple(range(len(x.shape) - 1))
    return x + bias, lambda gradient: (gradient, tf.reduce_sum(gradient, axes))


def _product(x, kernel):
    def pullback(gradient):
        before = tf.matmul(gradient, kernel, transpose_b=True)
        return before, tf.matmul(x, gradient, transpose_a=True)

    return tf.matmul(x, kernel), pullback


def _affine(scale, offset):
    return lambda x: (x * scale + offset, lambda gradient: (gradient * scale,))


def _reshape(shape):
    def function(x):
        back = (-1, *x.shape[1:])
        return tf.reshape(x, (-1, *shape)), lambda gradient: (tf.reshape(gradient, back),)

    return function


def _mean(keepdims):
    """Of each channel's map."""

    def function(x):
        height, width, channels = x.shape[1:]
        share = tf.fill((1, height, width, 1), 1.0 / (height * width))

        def pullback(gradient):
            return (tf.reshape(gradient, (-1, 1, 1, channels)) * share,)

        return tf.reduce_mean(x, (1, 2), keepdims), pullback

    return function


def _identity(x):
    return x, lambda gradient: (gradient,)


def _fixed(function, weight):
    """The function with a weight that never moves: a dictionary."""

    def of_input(x):
        y, pullback = function(x, weight)
        return y, lambda gradient: pullback(gradient)[:1]

    return of_input


def _convolution(strides, how):
    """A 2-D convolution with these strides and "SAME" or "VALID" padding."""

    def function(x, kernel):
        def pullback(gradient):
            *taps, channels, filters = kernel.shape
            sizes = (tf.shape(gradient)[0], *x.shape[1:3], channels)
            before = tf.nn.conv2d_transpose(gradient, kernel, sizes, strides, how)
            # What the kernel's positions see, side by side: one product is the kernel's gradient.
            seen = tf.reshape(_patches(x, taps, strides, how), (-1, math.prod(taps) * channels))
            rows = tf.reshape(gradient, (-1, filters))
            return before, tf.reshape(tf.matmul(seen, rows, transpose_a=True), kernel.shape)

        return tf.nn.conv2d(x, kernel, strides, how), pullback

    return function


def _patches(x, taps, strides, how):
    """(batch, height, width, taps * channels) of what a convolution reads at each output."""
    axes = [padding.axis(*sizes, 1, how) for sizes in zip(x.shape[1:3], taps, strides, strict=True)]
    x = tf.pad(x, ((0, 0), *((before, after) for _, before, after in axes), (0, 0)))
    (height, *_), (width, *_) = axes
    parts = []
    for r in range(taps[0]):
        for c in range(taps[1]):
            rows = slice(r, r + (height - 1) * strides[0] + 1, strides[0])
            columns = slice(c, c + (width - 1) * strides[1] + 1, strides[1])
            parts.append(x[:, rows, columns])
    return tf.concat(parts, -1)


# Layers


def _activation(function):
    """The Steps of an activation; None for one without a gradient here."""
    name = keras.activations.get(function)
    known = {
        keras.activations.linear: [],
        keras.activations.relu: [Step(_relu)],
        keras.activations.softmax: [Step(None)],
    }
    return known.get(name)


def _ending(layer):
    """The Steps behind a product: bias and activation; None as `_activation`."""
    behind = _activation(layer.activation)
    if behind is None or not layer.use_bias:
        return behind
    return [Step(_bias, (_array(layer.bias),)), *behind]


def _array(variable):
    return np.asarray(keras.ops.convert_to_numpy(variable), np.float32)


def _dense(call):
    behind = _ending(call.layer)
    if behind is None or len(call.input_shape) != 1:
        return None
    return [Step(_product, (_array(call.layer.kernel),)), *behind]


def _conv(call):
    layer, behind = call.layer, _ending(call.layer)
    if behind is None or not _is_plain(layer):
        return None
    function = _convolution(tuple(layer.strides), layer.padding.upper())
    return [Step(function, (_array(layer.kernel),)), *behind]


def _is_plain(layer):
    dilation = tuple(layer.dilation_rate)
    return layer.data_format == "channels_last" and layer.groups == 1 and dilation == (1, 1)


def _lookup_dense(call):
    behind = _ending(call.layer)
    if behind is None or len(call.input_shape) != 1:
        return None
    constants = lowerings.constants(call)
    lookups = constants.coefficients[0, 0]
    return [
        Step(_fixed(_product, constants.dictionary)),
        Step(_product, (lookups,), sparse=True),
        *behind,
    ]


def _lookup_conv(call):
    layer, behind = call.layer, _ending(call.layer)
    if behind is None or not _is_plain(layer):
        return None
    constants = lowerings.constants(call)
    first, then = constants.stage_strides
    return [
        Step(_fixed(_convolution(first, "VALID"), constants.dictionary[None, None])),
        Step(_convolution(then, constants.padding), (constants.coefficients,), sparse=True),
        *behind,
    ]


def _relu_layer(call):
    layer = call.layer
    plain = layer.max_value is None and not layer.negative_slope and not layer.threshold
    return [Step(_relu)] if plain else None


def _sum(call):
    alike = len({tuple(x.shape) for x in call.layer.input}) == 1
    return [Step(_add)] if alike else None


def _normalization(call):
    last = len(call.input_shape)
    if call.layer.axis % (last + 1) != last:
        return None
    return [Step(_affine(*folding.affine(call.layer)))]


def _pool(call):
    layer = call.layer
    return [Step(_mean(layer.keepdims))] if layer.data_format == "channels_last" else None


def _flatten(call):
    if call.layer.data_format != "channels_last":
        return None
    return [Step(_reshape((math.prod(call.input_shape),)))]


_STEPS = {
    kl.Activation: lambda call: _activation(call.layer.activation),
    kl.Add: _sum,
    kl.BatchNormalization: _normalization,
    kl.Conv2D: _conv,
    kl.Dense: _dense,
    kl.Dropout: lambda call: [],
    kl.Flatten: _flatten,
    kl.GlobalAveragePooling2D: _pool,
    kl.ReLU: _relu_layer,
    LookupConv2D: _lookup_conv,
    LookupDense: _lookup_dense,
}
