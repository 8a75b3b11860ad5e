"""Blocks of a model: where one tensor carries everything, and that the blocks add up."""

import keras
import numpy as np
from support.helpers import chain, numpy, random

from tf_lcnn.graph import blocks


def residual():
    inputs = keras.Input((8, 8, 4))
    x = keras.layers.Conv2D(4, 3, padding="same", name="first")(inputs)
    y = keras.layers.Conv2D(4, 3, padding="same", name="inner")(x)
    y = keras.layers.BatchNormalization(name="normal")(y)
    x = keras.layers.Add(name="add")([x, y])
    x = keras.layers.ReLU(name="relu")(x)
    return keras.Model(inputs, keras.layers.Conv2D(2, 3, name="last")(x))


def starts(model, *names):
    return {id(model.get_layer(name)) for name in names}


def test_a_shortcut_is_not_cut():
    model = residual()
    tensors = [tensor for _, tensor in blocks.cuts(model)]
    behind = [model.get_layer(name).output for name in ("first", "add", "relu", "last")]
    assert tensors[0] is model.inputs[0]
    assert all(a is b for a, b in zip(tensors[1:], behind, strict=True))


def test_blocks_one_after_the_other_are_the_model():
    model = residual()
    spans = blocks.split(model, starts(model, "first", "inner", "last"))
    assert len(spans) == 3
    x = images = random((2, 8, 8, 4))
    for span in spans:
        x = blocks.part(model, *span)(x)
    np.testing.assert_allclose(numpy(x), numpy(model(images)), rtol=1e-5, atol=1e-5)


def test_a_block_has_the_activation_behind_its_layers():
    model = residual()
    first, second = blocks.split(model, starts(model, "first", "last"))
    names = [layer.name for layer in blocks.part(model, *first).layers]
    assert "relu" in names and "last" not in names
    assert [x.name for x in blocks.part(model, *second).layers][1:] == ["last"]


def test_layers_of_a_block_are_counted():
    convolutions = [keras.layers.Conv2D(3, 1, name=f"c{i}") for i in range(5)]
    model = chain((4, 4, 3), *convolutions)
    spans = blocks.split(model, {id(layer) for layer in convolutions}, size=2)
    sizes = [len(blocks.part(model, *span).layers) - 1 for span in spans]
    assert sizes == [2, 2, 1]


def test_a_layer_that_is_called_twice_leaves_the_model_whole():
    inputs, twice = keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1)
    model = keras.Model(inputs, twice(twice(inputs)))
    assert len(blocks.cuts(model)) == 2
    assert blocks.split(model, {id(twice)}) == [(0, 1)]


def test_sequential_models_are_cut_too():
    model = keras.Sequential(
        [keras.Input((4, 4, 3)), keras.layers.Conv2D(3, 1), keras.layers.ReLU()]
    )
    assert len(blocks.cuts(model)) == 3
