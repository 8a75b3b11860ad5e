"""AlexNet, dense and LCNN, as the LCNN paper uses it.

Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, ungrouped:
64-192-384-256-256 filters, fully connected layers of 4096, batch normalization before each
ReLU. `alexnet_wide` has 96-256-384-384-256 filters: the dense baseline that the paper's
program shipped with, wider than the net it turned into an LCNN. The classifier stays plain.
"""

import keras
from keras import layers

NARROW = (64, 192, 384, 256, 256)
WIDE = (96, 256, 384, 384, 256)

# Dictionary sizes: conv1, conv2 to conv5, the two fully connected layers. "register" is ours, and
# the two others are the paper's.
PRESETS = {"fast": (3, 30, 512), "accurate": (3, 500, 1024), "register": (3, 64, 128)}

THRESHOLD_SCALE = 0.01


def _bn_relu(x, name):
    x = layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def alexnet(filters, conv, dense, input_shape, classes, dictionary_sizes):
    """AlexNet with these five filter counts; `conv` and `dense` make its layers."""
    first, middle, full = dictionary_sizes
    inputs = keras.Input(input_shape, name="image")
    x = layers.ZeroPadding2D(2, name="conv1_pad")(inputs)
    x = conv(x, filters[0], 11, name="conv1", strides=4, dictionary_size=first)
    x = layers.MaxPooling2D(3, 2, name="conv1_pool")(_bn_relu(x, "conv1"))
    for i, n in enumerate(filters[1:], start=2):
        name = f"conv{i}"
        size = 5 if i == 2 else 3
        x = conv(x, n, size, name=name, padding="same", dictionary_size=middle)
        x = _bn_relu(x, name)
        if i in (2, 5):
            x = layers.MaxPooling2D(3, 2, name=f"{name}_pool")(x)
    x = layers.Dropout(0.5, name="fc6_dropout")(x)
    area = x.shape[1:3]
    if None in area:
        raise ValueError("AlexNet's fc6 covers the whole map: input_shape needs its sizes.")
    x = conv(x, 4096, area, name="fc6", dictionary_size=full)
    x = layers.Flatten(name="flatten")(_bn_relu(x, "fc6"))
    x = layers.Dropout(0.5, name="fc7_dropout")(x)
    x = dense(x, 4096, name="fc7", use_bias=False, dictionary_size=full)
    return inputs, dense(_bn_relu(x, "fc7"), classes, name="logits")
