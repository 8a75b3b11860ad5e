"""Which batch normalizations are part of the layer before them at inference."""

import keras
import numpy as np
from keras import layers as kl
from keras import ops

# What the kernel computes has the filters on the channels axis, and nothing comes after it but
# bias and activation. Layers from elsewhere say so by a class attribute `is_linear`.
_LINEAR = (kl.Conv1D, kl.Conv2D, kl.Conv3D, kl.DepthwiseConv1D, kl.DepthwiseConv2D, kl.Dense)


def is_linear(layer):
    """Whether a layer computes kernel times input plus bias, filter by filter."""
    known = type(layer) in _LINEAR or getattr(type(layer), "is_linear", False)
    return known and layer.activation is keras.activations.linear


def follows_alone(call):
    """Whether this call is of a BatchNormalization that alone takes what a linear layer computes.

    It normalizes the layer's filters. Layer and normalization may have other calls too.
    """
    normalization, source = call.layer, call.source
    if not isinstance(normalization, kl.BatchNormalization) or source is None:
        return False
    if not is_linear(source.layer) or source.uses != 1:
        return False
    last = len(call.input_shape)
    first = getattr(source.layer, "data_format", "channels_last") == "channels_first"
    return normalization.axis % (last + 1) == (1 if first else last)


def folds(call, calls):
    """Whether the layer before this call of a BatchNormalization can take it in.

    As `follows_alone`, and each of the two is called once.
    """
    if not follows_alone(call):
        return False
    return all(
        sum(other.layer is layer for other in calls) == 1 for layer in (call.layer, call.follows)
    )


def folded(calls):
    """layer -> the BatchNormalization that it can take in; see `folds`."""
    return {call.follows: call.layer for call in calls if folds(call, calls)}


def normalizations(layer, calls):
    """For each call of a layer the BatchNormalization that alone takes its output, or None."""
    of_layer = [call for call in calls if call.layer is layer]
    taken = {id(call.source): call.layer for call in calls if follows_alone(call)}
    return [taken.get(id(call)) for call in of_layer]


def affine(normalization):
    """Scale and offset per channel, float32, of a BatchNormalization at inference."""
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(x), np.float64)
        for x in (normalization.moving_mean, normalization.moving_variance)
    )
    scale = 1 / np.sqrt(variance + normalization.epsilon)
    if normalization.scale:
        scale = scale * keras.ops.convert_to_numpy(normalization.gamma)
    offset = -mean * scale
    if normalization.center:
        offset = offset + keras.ops.convert_to_numpy(normalization.beta)
    return scale.astype(np.float32), offset.astype(np.float32)


def scale(normalization):
    """The scale of `affine` as a tensor, of what the variables are when it is computed."""
    scale = ops.rsqrt(normalization.moving_variance + normalization.epsilon)
    return scale * normalization.gamma if normalization.scale else scale
