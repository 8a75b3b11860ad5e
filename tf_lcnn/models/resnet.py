"""ResNet for ImageNet (10 to 152 layers) and for CIFAR (8 to 56), dense and LCNN.

ImageNet family: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1,
with projection shortcuts where the shape changes (option B). CIFAR family: the same paper,
section 4.2, widths 16-32-64, with projection shortcuts too.

In the LCNN the projection shortcuts and the classifier stay plain, and in the CIFAR family the
first convolution too (3 input channels: lookups would save nothing), but for a Bayer mosaic: then
its dictionary has tiles of 2x2 pixels, and is as large as that of the first stage.
"""

import keras
from keras import layers

from tf_lcnn.layers.depth_to_space import SpaceToDepth

# Blocks per stage; True where blocks are bottlenecks.
IMAGENET = {
    10: ((1, 1, 1, 1), False),
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
    152: ((3, 8, 36, 3), True),
}
CIFAR = {8: 1, 20: 3, 32: 5, 44: 7, 56: 9}

# Dictionary sizes: first convolution, then stage by stage. "register" is ours; for ImageNet it is
# what the paper's "fast" is.
IMAGENET_PRESETS = {
    "fast": (3, 16, 32, 64, 128),
    "accurate": (3, 128, 256, 512, 1024),
    "register": (3, 16, 32, 64, 128),
}
CIFAR_PRESETS = {"fast": (8, 16, 32), "accurate": (16, 32, 64), "register": (16, 16, 32)}

THRESHOLD_SCALE = 0.001


def _conv_bn(conv, x, filters, kernel_size, name, strides=1, dictionary_size=None):
    x = conv(
        x,
        filters,
        kernel_size,
        name=name,
        strides=strides,
        padding="same",
        dictionary_size=dictionary_size,
    )
    return layers.BatchNormalization(momentum=0.9, epsilon=1e-5, name=f"{name}_bn")(x)


def _block(conv, x, width, strides, bottleneck, name, dictionary_size):
    filters = 4 * width if bottleneck else width
    shortcut = x
    if strides != 1 or x.shape[-1] != filters:
        shortcut = _conv_bn(conv, x, filters, 1, f"{name}_shortcut", strides)
    # (filters, kernel, stride) of each convolution; the last has its ReLU after the sum.
    convolutions = [(width, 3, strides), (width, 3, 1)]
    if bottleneck:
        convolutions = [(width, 1, 1), (width, 3, strides), (filters, 1, 1)]
    for i, (n, size, stride) in enumerate(convolutions, start=1):
        x = _conv_bn(conv, x, n, size, f"{name}_conv{i}", stride, dictionary_size)
        if i < len(convolutions):
            x = layers.ReLU(name=f"{name}_relu{i}")(x)
    return layers.ReLU(name=f"{name}_out")(layers.Add(name=f"{name}_add")([x, shortcut]))


def _stages(conv, x, widths, blocks, bottleneck, dictionary_sizes):
    stages = zip(widths, blocks, dictionary_sizes, strict=True)
    for i, (width, count, k) in enumerate(stages, start=1):
        for j in range(1, count + 1):
            strides = 2 if i > 1 and j == 1 else 1
            x = _block(conv, x, width, strides, bottleneck, f"stage{i}_block{j}", k)
    return layers.GlobalAveragePooling2D(name="pool")(x)


def imagenet(depth, conv, dense, input_shape, classes, dictionary_sizes):
    """The ImageNet ResNet of this depth; `conv` and `dense` make its layers."""
    blocks, bottleneck = IMAGENET[depth]
    first, *sizes = dictionary_sizes
    inputs = keras.Input(input_shape, name="image")
    x = _conv_bn(conv, inputs, 64, 7, "conv1", 2, first)
    x = layers.ReLU(name="conv1_relu")(x)
    x = layers.MaxPooling2D(3, 2, padding="same", name="conv1_pool")(x)
    x = _stages(conv, x, (64, 128, 256, 512), blocks, bottleneck, sizes)
    return inputs, dense(x, classes, name="logits")


def cifar(depth, conv, dense, input_shape, classes, dictionary_sizes, mosaic=None):
    """The CIFAR ResNet of this depth; `conv` and `dense` make its layers.

    For a mosaic it works on tiles of 2x2 pixels.
    """
    inputs = x = keras.Input(input_shape, name="image")
    if mosaic:
        x = SpaceToDepth(2, name="tiles")(x)
    x = _conv_bn(conv, x, 16, 3, "conv1", dictionary_size=mosaic and dictionary_sizes[0])
    x = layers.ReLU(name="conv1_relu")(x)
    x = _stages(conv, x, (16, 32, 64), (CIFAR[depth],) * 3, False, dictionary_sizes)
    return inputs, dense(x, classes, name="logits")
