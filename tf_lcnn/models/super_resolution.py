"""Super-resolution of luma, dense and LCNN: ESPCN and VDSR.

ESPCN: Shi et al., CVPR 2016, section 3: (5, 64), (3, 32) and 3 with tanh, then channels become
pixels; it takes the small image. VDSR: Kim, Lee, Lee, "Accurate Image Super-Resolution Using Very
Deep Convolutional Networks", CVPR 2016, figure 2: 20 convolutions of 64 channels that return what
is missing in the image enlarged by bicubic interpolation; here without bias, as the public weights
have it, and with the sum at the end.

In the LCNN the first convolution stays plain (one input channel: lookups would save nothing), and
in VDSR the last (of one filter) too.
"""

import keras
from keras import layers

from tf_lcnn.layers.depth_to_space import DepthToSpace

# Of the second and the third convolution.
ESPCN_PRESETS = {"fast": (16, 8), "accurate": (32, 16), "register": (16, 16)}
# Of the 18 convolutions between the first and the last.
VDSR_PRESETS = {"fast": (16,), "accurate": (64,), "register": (16,)}

THRESHOLD_SCALE = 0.001

_VDSR_DEPTH = 20


def espcn(conv, dense, input_shape, scale, dictionary_sizes):
    """ESPCN for this scale; `conv` makes its convolutions."""
    inputs = x = keras.Input(input_shape, name="small")
    widths = zip((64, 32), (5, 3), (None, dictionary_sizes[0]), strict=True)
    for i, (filters, size, k) in enumerate(widths, start=1):
        x = conv(
            *(x, filters, size, k),
            name=f"conv{i}",
            padding="same",
            use_bias=True,
            kernel_initializer="glorot_normal",
        )
        x = layers.Activation("tanh", name=f"conv{i}_tanh")(x)
    x = conv(
        *(x, scale**2, 3, dictionary_sizes[1]),
        name="conv3",
        padding="same",
        use_bias=True,
        kernel_initializer="glorot_normal",
    )
    return inputs, DepthToSpace(scale, name="pixels")(x)


def vdsr(conv, dense, input_shape, scale, dictionary_sizes):
    """VDSR, of any scale; `conv` makes its convolutions."""
    inputs = x = keras.Input(input_shape, name="enlarged")
    (k,) = dictionary_sizes
    for i in range(1, _VDSR_DEPTH):
        x = conv(x, 64, 3, None if i == 1 else k, name=f"conv{i}", padding="same")
        x = layers.ReLU(name=f"conv{i}_relu")(x)
    missing = conv(x, 1, 3, name=f"conv{_VDSR_DEPTH}", padding="same")
    return inputs, layers.Add(name="sharp")([inputs, missing])
