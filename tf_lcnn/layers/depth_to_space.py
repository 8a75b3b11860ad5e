"""Channels as pixels, the sub-pixel convolution's last step; and pixels as channels.

Source: Shi et al., "Real-Time Single Image and Video Super-Resolution Using an Efficient Sub-Pixel
Convolutional Neural Network", CVPR 2016, equation 4.
"""

import keras
from keras import ops

from tf_lcnn import checks


@keras.saving.register_keras_serializable(package="tf_lcnn")
class DepthToSpace(keras.layers.Layer):
    """(batch, height, width, c * r * r) -> (batch, height * r, width * r, c), r the block size.

    Args:
        block_size: r.

    Raises:
        ValueError: a block size below 2, or channels that are no multiple of its square.
    """

    def __init__(self, block_size, **kwargs):
        super().__init__(**kwargs)
        self.block_size = checks.whole_number(block_size, "The block size", 2)

    def build(self, input_shape):
        if input_shape[-1] % self.block_size**2:
            raise ValueError(
                f"Layer {self.name}: {input_shape[-1]} channels are no multiple of "
                f"{self.block_size**2}, the pixels of a block."
            )
        super().build(input_shape)

    def call(self, inputs):
        r = self.block_size
        if keras.backend.backend() == "tensorflow":
            # One operator of LiteRT, where the general form would be three.
            import tensorflow as tf

            return tf.nn.depth_to_space(inputs, r)
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height, width, r, r, channels // r**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height * r, width * r, channels // r**2))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        r = self.block_size
        larger = (None if size is None else size * r for size in (height, width))
        return (batch, *larger, channels // r**2)

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}


@keras.saving.register_keras_serializable(package="tf_lcnn")
class SpaceToDepth(keras.layers.Layer):
    """(batch, height * r, width * r, c) -> (batch, height, width, r * r * c), r the block size.

    The inverse of `DepthToSpace`. The 1x1 dictionary stage of a lookup layer behind it is an r x r
    convolution of stride r: a dictionary vector is then a tile of r x r pixels. In a file they
    stay two operators: one is faster in float32, and slower in int8 (`docs/results.md`, of RAW
    mosaics), and the native delegate takes dictionary stages of one tap.

    Args:
        block_size: r.

    Raises:
        ValueError: a block size below 2, or a map whose height or width is no multiple of it.
    """

    def __init__(self, block_size, **kwargs):
        super().__init__(**kwargs)
        self.block_size = checks.whole_number(block_size, "The block size", 2)

    def call(self, inputs):
        r = self.block_size
        _, height, width, channels = self.compute_output_shape(inputs.shape)
        if keras.backend.backend() == "tensorflow":
            # One operator of LiteRT, where the general form would be three.
            import tensorflow as tf

            return tf.nn.space_to_depth(inputs, r)
        x = ops.reshape(inputs, (-1, height, r, width, r, channels // r**2))
        x = ops.transpose(x, (0, 1, 3, 2, 4, 5))
        return ops.reshape(x, (-1, height, width, channels))

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        r = self.block_size
        if any(size is not None and size % r for size in sizes):
            raise ValueError(
                f"Layer {self.name}: a map of {sizes[0]}x{sizes[1]} does not divide into blocks of "
                f"{r}x{r}."
            )
        smaller = (None if size is None else size // r for size in sizes)
        return (batch, *smaller, channels * r**2)

    def get_config(self):
        return {**super().get_config(), "block_size": self.block_size}
