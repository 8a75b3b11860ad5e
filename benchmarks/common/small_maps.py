"""Convolutions of small maps, whose weights get their gradients from matrix products.

oneDNN computes the gradient of a kernel along the rows of a map. Where a map has 2 to 8 columns
that fills little of a register, and takes two thirds of a training step of ResNet-18 in bfloat16;
one matrix product per position of the kernel sums over the whole batch at once.
"""

import functools

import keras
import tensorflow as tf

# Columns of a map up to which products are faster.
_LARGEST = 8


def calls(model):
    """Functions for `graph.intercept.calls`: for 3x3 convolutions of small maps, stride 1."""
    return {
        layer: functools.partial(_call, layer) for layer in model.layers if _has_small_map(layer)
    }


def _has_small_map(layer):
    return (
        type(layer) is keras.layers.Conv2D
        and (layer.kernel_size, layer.strides, layer.groups) == ((3, 3), (1, 1), 1)
        and layer.padding == "same"
        and layer.output.shape[2] <= _LARGEST
    )


def _call(layer, _, inputs):
    dtype = layer.compute_dtype
    outputs = convolution(tf.cast(inputs, dtype), tf.cast(layer.kernel.value, dtype))
    if layer.use_bias:
        outputs = outputs + tf.cast(layer.bias.value, dtype)
    return layer.activation(outputs)


@tf.custom_gradient
def convolution(x, kernel):
    """`tf.nn.conv2d` with stride 1 and padding "SAME", of (batch, h, w, c) and (3, 3, c, n)."""

    def gradient(upstream):
        towards = tf.nn.conv2d_transpose(upstream, kernel, tf.shape(x), 1, "SAME")
        height, width, channels = x.shape[1:]
        padded = tf.pad(x, [[0, 0], [1, 1], [1, 1], [0, 0]])
        rows = tf.reshape(upstream, [-1, kernel.shape[-1]])
        products = [
            tf.matmul(
                tf.reshape(padded[:, i : i + height, j : j + width], [-1, channels]),
                rows,
                transpose_a=True,
            )
            for i in range(3)
            for j in range(3)
        ]
        return towards, tf.reshape(tf.stack(products), kernel.shape)

    return tf.nn.conv2d(x, kernel, 1, "SAME"), gradient
