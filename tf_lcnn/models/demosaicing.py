"""Demosaicing, dense and LCNN: from a noisy Bayer mosaic to a photo, at half its size.

The layout is that of Gharbi, Chaurasia, Paris, Durand, "Deep Joint Demosaicking and Denoising",
SIGGRAPH Asia 2016, section 3: a tile of 2x2 becomes four channels, 3x3 convolutions work on these,
and twelve channels become the pixels of a tile in three colors; here with six convolutions of 32.

In the LCNN all convolutions have lookups. The dictionary of the first one has tiles of 2x2.
"""

import keras
from keras import layers

from tf_lcnn.layers.depth_to_space import DepthToSpace, SpaceToDepth

# Of the first convolution, and of all others.
PRESETS = {"fast": (8, 8), "accurate": (16, 32), "register": (16, 16)}

THRESHOLD_SCALE = 0.001

_DEPTH, _CHANNELS = 6, 32


def demosaic(conv, dense, input_shape, answers, dictionary_sizes):
    """The network; `conv` makes its convolutions."""
    inputs = keras.Input(input_shape, name="mosaic")
    x = SpaceToDepth(2, name="tiles")(inputs)
    first, k = dictionary_sizes
    for i in range(1, _DEPTH):
        x = conv(x, _CHANNELS, 3, first if i == 1 else k, name=f"conv{i}", padding="same")
        x = layers.BatchNormalization(name=f"conv{i}_bn")(x)
        x = layers.ReLU(name=f"conv{i}_relu")(x)
    x = conv(x, 12, 3, k, name=f"conv{_DEPTH}", padding="same", use_bias=True)
    return inputs, DepthToSpace(2, name="pixels")(x)
