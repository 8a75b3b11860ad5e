"""Every layer with lookups goes through the contract of tests/support."""

import keras
import pytest
from keras import layers
from support import reference
from support.contract import Case, run

import tf_lcnn


def convolution(layer, x, dictionary, indices, values, fixed):
    where = (layer.strides, layer.padding, layer.dilation_rate, layer.groups)
    return reference.lookup_conv(x, dictionary, indices, values, *where)


def dense(layer, x, dictionary, indices, values, fixed):
    return reference.lookup_dense(x, dictionary, indices, values)


def separable(layer, x, dictionary, indices, values, fixed):
    where = (layer.strides, layer.padding, layer.dilation_rate)
    x = reference.depthwise_conv(x, *fixed, *where)
    taps = (1,) * len(layer.kernel_size)
    return reference.lookup_conv(x, dictionary, indices, values, taps, "valid", taps)


def transposed(layer, x, dictionary, indices, values, fixed):
    out = layer.compute_output_shape(x.shape)[1:-1]
    where = (layer.strides, layer.padding, layer.dilation_rate)
    return reference.lookup_transposed(x, dictionary, indices, values, *where, out)


def case(name, arguments, k, shape, expected, prefix="kernel"):
    ours, theirs = getattr(tf_lcnn, f"Lookup{name}"), getattr(layers, name)
    return Case(ours, theirs, arguments, k, shape, expected, prefix)


def conv(filters, kernel_size, **arguments):
    return {"filters": filters, "kernel_size": kernel_size, **arguments}


CASES = [
    case("Conv1D", conv(6, 3, padding="causal", dilation_rate=2), 4, (2, 9, 4), convolution),
    case("Conv1D", conv(6, 3, padding="causal", strides=2), 4, (2, 8, 4), convolution),
    case("Conv1D", conv(6, 2, padding="same", groups=2), 4, (2, 9, 4), convolution),
    case("Conv2D", conv(6, 3), 4, (2, 7, 8, 5), convolution),
    case("Conv2D", conv(6, (2, 3), padding="same", strides=2), 4, (2, 7, 8, 4), convolution),
    case("Conv2D", conv(6, 3, groups=3, padding="same", strides=2), 4, (2, 7, 6, 9), convolution),
    case("Conv2D", conv(8, 1, groups=2, strides=2), 3, (2, 7, 6, 6), convolution),
    case("Conv3D", conv(5, (2, 3, 1), padding="same"), 4, (2, 4, 5, 3, 3), convolution),
    case("Conv3D", conv(6, 2, strides=(1, 2, 2)), 4, (2, 4, 5, 6, 3), convolution),
    case("Dense", {"units": 6}, 4, (5, 7), dense),
    case("Dense", {"units": 6}, 4, (2, 3, 4, 7), dense),
    case("SeparableConv1D", conv(7, 3, padding="same"), 4, (2, 9, 4), separable, "pointwise"),
    case(
        "SeparableConv2D",
        conv(7, 3, strides=2, padding="same", depth_multiplier=2),
        4,
        (2, 7, 6, 3),
        separable,
        "pointwise",
    ),
    case("SeparableConv2D", conv(7, 2, dilation_rate=2), 4, (2, 7, 6, 5), separable, "pointwise"),
    case("Conv2DTranspose", conv(4, 3, strides=2, padding="same"), 5, (2, 4, 5, 3), transposed),
    case("Conv2DTranspose", conv(4, (2, 3), strides=(3, 2)), 5, (2, 4, 3, 3), transposed),
    case(
        "Conv2DTranspose",
        conv(4, 3, strides=2, padding="same", output_padding=1),
        5,
        (2, 4, 5, 3),
        transposed,
    ),
    case("Conv2DTranspose", conv(4, 3, padding="same"), 5, (2, 4, 5, 3), transposed),
]


if keras.backend.backend() == "jax":
    # It compiles every operation for every shape: one case of each layer, and of groups.
    CASES = list({(x.ours, x.arguments.get("groups")): x for x in CASES}.values())


@pytest.mark.parametrize("layer", CASES, ids=str)
def test_every_layer_keeps_the_contract(layer, tmp_path):
    run(layer, tmp_path)
