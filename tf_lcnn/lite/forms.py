"""How the layers of each family are lowered: what is around their two convolutions.

Importing this registers them with `lowerings`.
"""

import math

import tensorflow as tf

from tf_lcnn.graph import padding
from tf_lcnn.layers.convolution import LookupConv1D, LookupConv2D, LookupConv3D
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.layers.separable import LookupSeparableConv1D, LookupSeparableConv2D
from tf_lcnn.layers.transposed import LookupConv2DTranspose
from tf_lcnn.lite import lowerings
from tf_lcnn.lite.lowerings import Form


class Grouped(Form):
    """A 2-D convolution with groups, which LiteRT's has as they are.

    Planes of S are not gathered group by group, and no native kernel knows groups.
    """

    lowerings = ("sparse", "folded")
    native = False


class Dense(Form):
    """A dense layer: a 1x1 convolution of one row.

    LiteRT unpacks sparse int8 weights for convolutions only.
    """

    def sizes(self, layer, call):
        positions = math.prod(call.input_shape[:-1])
        one = {"strides": (1, 1), "padding": "VALID", "dilation": (1, 1)}
        return {**one, "input_size": (1, positions)}

    def kernel_shape(self, taps):
        return (1, 1)

    def before(self, constants, x):
        return tf.reshape(x, (1, 1, -1, x.shape[-1]))

    def after(self, constants, x, y):
        n = constants.bias.size
        if None not in x.shape:
            return tf.reshape(y, (*x.shape[:-1], n))
        return tf.reshape(y, tf.concat([tf.shape(x)[:-1], [n]], axis=0))


class OneAxis(Form):
    """A 1-D convolution: a 2-D one of a map that is one pixel high."""

    lowerings = ("sparse", "folded")
    native = False

    def sizes(self, layer, call):
        how = "VALID" if layer.padding == "causal" else layer.padding.upper()
        return {
            "strides": (1, *layer.strides),
            "padding": how,
            "dilation": (1, *layer.dilation_rate),
            "input_size": (1, call.input_shape[0]),
        }

    def kernel_shape(self, taps):
        return (1, *taps)

    def before(self, constants, x):
        layer = constants.layer
        if layer.padding == "causal":
            zeros = padding.span(layer.kernel_size[0], layer.dilation_rate[0]) - 1
            x = tf.pad(x, ((0, 0), (zeros, 0), (0, 0)))
        return tf.expand_dims(x, 1)

    def after(self, constants, x, y):
        return tf.squeeze(y, 1)


class Separable(Form):
    """A separable convolution: its depthwise part, then lookups in the 1x1 part."""

    native = False

    def sizes(self, layer, call):
        one = {"strides": (1, 1), "padding": "VALID", "dilation": (1, 1)}
        return {**one, "input_size": tuple(call.output_shape[:-1])}

    def before(self, constants, x):
        layer = constants.layer
        return tf.nn.depthwise_conv2d(
            x,
            constants.fixed[0],
            (1, *layer.strides, 1),
            layer.padding.upper(),
            dilations=layer.dilation_rate,
        )


class SeparableOneAxis(Separable):
    """A 1-D separable convolution, on a map that is one pixel high."""

    lowerings = ("sparse", "folded")

    def sizes(self, layer, call):
        return {**super().sizes(layer, call), "input_size": (1, call.output_shape[0])}

    def kernel_shape(self, taps):
        return (1, *taps)

    def before(self, constants, x):
        layer, (kernel,) = constants.layer, constants.fixed
        # TensorFlow wants one stride for both axes; along the other there is one pixel anyway.
        (stride,) = layer.strides
        return tf.nn.depthwise_conv2d(
            tf.expand_dims(x, 1),
            kernel[None],
            (1, stride, stride, 1),
            layer.padding.upper(),
            dilations=(1, *layer.dilation_rate),
        )

    def after(self, constants, x, y):
        return tf.squeeze(y, 1)


class Transposed(Form):
    """A transposed convolution: the dictionary stage, then a transposed one with P."""

    lowerings = ("sparse", "folded")
    native = False

    def convolve(self, constants, x, kernel, strides):
        layer = constants.layer
        shape = tf.shape(x) if None in x.shape else x.shape
        known = layer.compute_output_shape((1, *x.shape[1:]))
        if None in known:
            raise ValueError(
                f"Layer {layer.name}: the output of a transposed convolution has a fixed size in a "
                "file; give the model's input one."
            )
        return tf.nn.conv2d_transpose(
            x,
            kernel.swapaxes(-1, -2),
            (shape[0], *known[1:-1], kernel.shape[-1]),
            layer.strides,
            layer.padding.upper(),
            dilations=layer.dilation_rate,
        )


class ThreeAxes(Form):
    """A 3-D convolution, which LiteRT has in float32 alone, with dense weights."""

    lowerings = ("sparse", "folded")
    native = False
    int8 = False

    def one_by_one(self, constants, x, kernel, strides):
        return tf.nn.conv3d(x, kernel[None, None, None], (1, *strides, 1), "VALID")

    def convolve(self, constants, x, kernel, strides):
        where = {"dilations": (1, *constants.dilation, 1), "padding": constants.padding}
        return tf.nn.conv3d(x, kernel, (1, *strides, 1), **where)


lowerings.register(LookupConv1D, lambda layer: OneAxis())
lowerings.register(LookupConv2D, lambda layer: Form() if layer.groups == 1 else Grouped())
lowerings.register(LookupConv3D, lambda layer: ThreeAxes())
lowerings.register(LookupDense, lambda layer: Dense())
lowerings.register(LookupSeparableConv1D, lambda layer: SeparableOneAxis())
lowerings.register(LookupSeparableConv2D, lambda layer: Separable())
lowerings.register(LookupConv2DTranspose, lambda layer: Transposed())
