"""Tiles: what is kept of them is the whole image, as far as the network looks is told."""

import keras
import numpy as np
import pytest
from support.helpers import random

from tf_lcnn import models
from tf_lcnn.layers.depth_to_space import DepthToSpace
from tf_lcnn.lite.export import convert
from tf_lcnn.runtime import tiles
from tf_lcnn.runtime.interpreter import Interpreter

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def odd():
    """Looks 1 and 2 pixels far, and 2 of the small ones that each becomes four of."""
    inputs = keras.Input((None, None, 1))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(inputs)
    x = keras.layers.Conv2D(4, (1, 4), padding="same", activation="tanh")(x)
    x = DepthToSpace(2)(x)
    return keras.Model(inputs, keras.layers.Conv2D(1, 5, padding="same")(x))


def dncnn():
    # As it begins, hardly anything is left of a pixel a few convolutions away.
    model = models.build("dncnn_small_lcnn", dictionary_sizes="accurate")
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(np.full(layer.gamma.shape, 2.0))
    return model


@pytest.fixture(scope="module")
def nets():
    """name -> (bytes, scale, how far it looks)."""
    keras.utils.set_random_seed(0)
    made = {
        "espcn_lcnn": (models.build("espcn_lcnn", scale=3), 3, 4),
        "dncnn_small_lcnn": (dncnn(), 1, 7),
        "odd": (odd(), 2, 4),
    }
    return {
        name: (convert(model, default_shape=(16, 16, 1)), *rest)
        for name, (model, *rest) in made.items()
    }


@pytest.mark.parametrize("name", ["espcn_lcnn", "dncnn_small_lcnn", "odd"])
def test_tiles_are_the_whole_image_where_they_overlap_as_far_as_the_network_looks(nets, name):
    content, scale, looks = nets[name]
    assert tiles.reach(content) == looks
    interpreter, image = Interpreter(content=content), random((61, 45, 1), 3)
    seen = []

    def run(part):
        seen.append(part.shape)
        return interpreter.predict(part[None])[0]

    whole = run(image)
    made, count = tiles.through(run, image, scale, (24, 28), looks)
    assert np.abs(made - whole).max() < 1e-5 * np.abs(whole).max()
    # All of one size, so that the network is prepared once.
    assert set(seen[1:]) == {(24, 28, 1)} and count == len(seen) - 1 > 4
    # A pixel less does not do, nor is one more needed.
    less, _ = tiles.through(run, image, scale, (24, 28), looks - 1)
    assert np.abs(less - whole).max() > 1e-4 * np.abs(whole).max()


@pytest.mark.parametrize("axis", [(1, 8, 2), (8, 8, 3), (61, 24, 7), (9, 8, 3)])
def test_what_is_kept_is_the_whole_axis_with_margins(axis):
    size, tile, overlap = axis
    found = tiles.windows(size, tile, overlap)
    kept = [i for _, start, end in found for i in range(start, end)]
    assert kept == list(range(size))
    for first, start, end in found:
        assert first == 0 or start - first >= overlap
        last = first + min(tile, size)
        assert last == size or last - end >= overlap
        assert first >= 0 and last <= size


def test_what_cannot_be_is_one_line(nets):
    with pytest.raises(ValueError, match=r"Tiles of 8x9 with 4 .* keep nothing: more than 8 work"):
        tiles.through(lambda x: x, np.zeros((20, 20, 1)), 1, (8, 9), 4)
    pooled = keras.Sequential(
        [keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, 2), keras.layers.UpSampling2D(2)]
    )
    with pytest.raises(ValueError, match="has CONV_2D, of which it is not known how far it looks"):
        tiles.reach(convert(pooled))
