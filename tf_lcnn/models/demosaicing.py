"""Demosaicing, dense and LCNN: from a noisy Bayer mosaic to a photo, at half its size.

The layout is that of Gharbi, Chaurasia, Paris, Durand, "Deep Joint Demosaicking and Denoising",
SIGGRAPH Asia 2016, section 3: a tile of 2x2 becomes four channels, 3x3 convolutions work on these,
and twelve channels become the pixels of a tile in three colors; here with six convolutions of 32,
that find what a convolution without lookups lacks, which starts as bilinear interpolation.

In the LCNN the six have lookups. The dictionary of the first one has tiles of 2x2.
"""

import keras
from keras import layers

from tf_lcnn.data import patterns
from tf_lcnn.layers.depth_to_space import DepthToSpace, SpaceToDepth

# Of the first convolution, and of all others.
PRESETS = {"fast": (8, 8), "accurate": (16, 32), "register": (16, 16)}

THRESHOLD_SCALE = 0.001

_DEPTH, _CHANNELS = 6, 32


def demosaic(conv, dense, input_shape, answers, dictionary_sizes, mosaic=None):
    """The network for a pattern, RGGB by default; `conv` makes its convolutions."""
    inputs = keras.Input(input_shape, name="mosaic")
    x = tiles = SpaceToDepth(2, name="tiles")(inputs)
    first, k = dictionary_sizes
    for i in range(1, _DEPTH):
        x = conv(x, _CHANNELS, 3, first if i == 1 else k, name=f"conv{i}", padding="same")
        x = layers.BatchNormalization(name=f"conv{i}_bn")(x)
        x = layers.ReLU(name=f"conv{i}_relu")(x)
    # Small at first, so that interpolation is what training starts from.
    small = keras.initializers.VarianceScaling(0.01)
    how = {"padding": "same", "use_bias": True, "kernel_initializer": small}
    missing = conv(x, 12, 3, k, name=f"conv{_DEPTH}", **how)
    interpolation = layers.Conv2D(12, 3, padding="same", use_bias=False, name="interpolation")
    interpolated = interpolation(tiles)
    interpolation.set_weights([patterns.bilinear_kernel(mosaic or patterns.PATTERNS[0])])
    x = layers.Add(name="sharp")([interpolated, missing])
    return inputs, DepthToSpace(2, name="pixels")(x)
