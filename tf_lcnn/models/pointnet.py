"""PointNet for the classification of point clouds, dense and LCNN.

Qi, Su, Mo and Guibas, "PointNet: Deep Learning on Point Sets for 3D Classification and
Segmentation", CVPR 2017, with its two T-nets: each computes a matrix from all points and turns
every point, or its features, by it. The layers that points share are convolutions of length 1, so
any number of points will do, in any order. `pointnet_small` has a quarter of every width.

In the LCNN the layers that read three coordinates, the last layer of each T-net, whose weights
start at zero, and the classifier stay plain.
"""

import keras
from keras import layers, ops

# Filters of the first layers, of which all others are multiples.
WIDTH = 64
SMALL_WIDTH = 16

# Dictionary sizes: layers of up to twice that many filters, the wide one before the maximum over
# points, the fully connected ones.
PRESETS = {"fast": (16, 32, 64), "accurate": (32, 64, 128)}
SMALL_PRESETS = {"fast": (8, 16, 32), "accurate": (12, 32, 64)}

# Ours, of the ResNets: the LCNN paper has no points.
THRESHOLD_SCALE = 0.001

# Of the squared distance from orthogonality in the loss, as the authors have it.
ORTHOGONALITY = 0.001


@keras.saving.register_keras_serializable(package="tf_lcnn")
class Orthogonality(keras.regularizers.Regularizer):
    """strength * |I - A.A^T|^2 (equation 2 of the paper), summed over matrices (batch, m, m).

    It is for what a layer puts out, which Keras divides by the size of the batch.

    Args:
        strength: of the term in the loss.
    """

    def __init__(self, strength=ORTHOGONALITY):
        self.strength = float(strength)

    def __call__(self, x):
        x = ops.cast(x, "float32")
        distance = ops.eye(x.shape[-1]) - ops.matmul(x, ops.swapaxes(x, -1, -2))
        return self.strength * ops.sum(ops.square(distance))

    def get_config(self):
        return {"strength": self.strength}


@keras.saving.register_keras_serializable(package="tf_lcnn")
class FlatIdentity(keras.initializers.Initializer):
    """The identity matrix, row after row: a bias of m*m numbers."""

    def __call__(self, shape, dtype=None):
        side = round(shape[0] ** 0.5)
        if (side * side,) != tuple(shape):
            raise ValueError(f"A square matrix has m*m entries, and a bias {shape} has not.")
        return ops.reshape(ops.eye(side, dtype=dtype), shape)


def _bn_relu(x, name):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def _shared(conv, x, filters, name, dictionary_size=None):
    """A layer that all points share."""
    return _bn_relu(conv(x, filters, 1, name=name, dictionary_size=dictionary_size), name)


def _full(dense, x, units, name, dictionary_size):
    x = dense(x, units, name=name, use_bias=False, dictionary_size=dictionary_size)
    return _bn_relu(x, name)


def _turned(conv, dense, x, width, name, dictionary_sizes, regularizer=None):
    """Points, or their features, times the matrix that a T-net computes from all of them."""
    narrow, wide, full = dictionary_sizes
    size = x.shape[-1]
    y = _shared(conv, x, width, f"{name}_conv1", narrow if size > 3 else None)
    y = _shared(conv, y, 2 * width, f"{name}_conv2", narrow)
    y = _shared(conv, y, 16 * width, f"{name}_conv3", wide)
    y = layers.GlobalMaxPooling1D(name=f"{name}_pool")(y)
    y = _full(dense, y, 8 * width, f"{name}_fc1", full)
    y = _full(dense, y, 4 * width, f"{name}_fc2", full)
    # A net that is not trained turns nothing.
    y = dense(
        y,
        size * size,
        name=f"{name}_matrix",
        kernel_initializer="zeros",
        bias_initializer=FlatIdentity(),
    )
    y = layers.Reshape((size, size), name=f"{name}_shape", activity_regularizer=regularizer)(y)
    return layers.Dot((2, 1), name=f"{name}_turn")([x, y])


def pointnet(width, conv, dense, input_shape, classes, dictionary_sizes):
    """The PointNet of this width, 64 in the paper; `conv` and `dense` make its layers."""
    narrow, wide, full = dictionary_sizes
    if input_shape[-1] != 3:
        raise ValueError(f"PointNet takes points of 3 coordinates, not of {input_shape[-1]}.")
    inputs = keras.Input(input_shape, name="points")
    x = _turned(conv, dense, inputs, width, "input", dictionary_sizes)
    x = _shared(conv, x, width, "conv1")
    x = _shared(conv, x, width, "conv2", narrow)
    x = _turned(conv, dense, x, width, "feature", dictionary_sizes, Orthogonality())
    x = _shared(conv, x, width, "conv3", narrow)
    x = _shared(conv, x, 2 * width, "conv4", narrow)
    x = _shared(conv, x, 16 * width, "conv5", wide)
    x = layers.GlobalMaxPooling1D(name="pool")(x)
    x = _full(dense, x, 8 * width, "fc1", full)
    x = _full(dense, x, 4 * width, "fc2", full)
    x = layers.Dropout(0.3, name="fc2_dropout")(x)
    return inputs, dense(x, classes, name="logits")
