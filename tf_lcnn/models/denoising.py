"""Denoising of luma, dense and LCNN: DnCNN, and a small one.

Zhang, Zuo, Chen, Meng, Zhang, "Beyond a Gaussian Denoiser: Residual Learning of Deep CNN for Image
Denoising", IEEE TIP 2017, section III: 17 convolutions of 64 channels, with batch normalization
between the first and the last, that return the noise; here with the difference at the end, so
that the network returns the photo. The small one has 7 of 32.

In the LCNN the first convolution stays plain (one input channel: lookups would save nothing), and
the last (of one filter) too.
"""

import keras
from keras import layers

# (convolutions, channels).
DNCNN, SMALL = (17, 64), (7, 32)

# Of the convolutions between the first and the last.
PRESETS = {"fast": (16,), "accurate": (64,), "register": (16,)}
SMALL_PRESETS = {"fast": (8,), "accurate": (32,), "register": (16,)}

THRESHOLD_SCALE = 0.001


def dncnn(size, conv, dense, input_shape, answers, dictionary_sizes):
    """DnCNN of this many (convolutions, channels); `conv` makes its convolutions."""
    inputs = x = keras.Input(input_shape, name="noisy")
    (k,), (depth, channels) = dictionary_sizes, size
    x = conv(x, channels, 3, name="conv1", padding="same", use_bias=True)
    x = layers.ReLU(name="conv1_relu")(x)
    for i in range(2, depth):
        x = conv(x, channels, 3, k, name=f"conv{i}", padding="same")
        x = layers.BatchNormalization(name=f"conv{i}_bn")(x)
        x = layers.ReLU(name=f"conv{i}_relu")(x)
    noise = conv(x, 1, 3, name=f"conv{depth}", padding="same", use_bias=True)
    return inputs, layers.Subtract(name="clean")([inputs, noise])
