"""Channels as pixels and back: references, open sizes, saved, misused; both backends."""

import keras
import numpy as np
import pytest
from support.helpers import numpy, random

from tf_lcnn import LookupConv2D, profile
from tf_lcnn.layers.depth_to_space import DepthToSpace, SpaceToDepth


def reference(x, r):
    """Pixel (y, x) of channel c comes from channel (y % r, x % r, c) of place (y // r, x // r)."""
    count, height, width, channels = x.shape
    made = np.zeros((count, height * r, width * r, channels // r**2), x.dtype)
    for row in range(height * r):
        for column in range(width * r):
            first = (row % r * r + column % r) * made.shape[-1]
            made[:, row, column] = x[:, row // r, column // r, first : first + made.shape[-1]]
    return made


@pytest.mark.parametrize(("r", "channels"), [(2, 4), (2, 12), (3, 9)])
def test_channels_become_pixels(r, channels):
    x = random((2, 4, 3, channels))
    np.testing.assert_array_equal(numpy(DepthToSpace(r)(x)), reference(x, r))


def test_a_network_of_open_size_takes_any_and_goes_through_a_file(tmp_path):
    inputs = keras.Input((None, None, 8))
    model = keras.Model(inputs, DepthToSpace(2, name="pixels")(inputs))
    assert model.output_shape == (None, None, None, 2)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    for size in ((4, 3), (2, 7)):
        x = random((2, *size, 8))
        np.testing.assert_array_equal(numpy(loaded(x)), reference(x, 2))
    assert profile(model, (4, 4, 8)).multiplications == 0


@pytest.mark.parametrize(
    ("r", "message"), [(1, "block size must be a whole number >= 2"), (3, "8 channels are no")]
)
def test_what_does_not_fit_is_one_line(r, message):
    with pytest.raises(ValueError, match=message):
        DepthToSpace(r)(random((1, 2, 2, 8)))


@pytest.mark.parametrize(("r", "channels"), [(2, 1), (2, 3), (3, 2)])
def test_pixels_become_channels_and_back(r, channels):
    packed = random((2, 4, 3, channels * r * r))
    x = reference(packed, r)
    np.testing.assert_array_equal(numpy(SpaceToDepth(r)(x)), packed)
    np.testing.assert_array_equal(numpy(DepthToSpace(r)(SpaceToDepth(r)(x))), x)


def test_the_dictionary_behind_packed_pixels_is_a_convolution_of_tiles(tmp_path):
    keras.utils.set_random_seed(0)
    lookups = LookupConv2D(5, 3, 4, padding="same", name="first")
    inputs = keras.Input((None, None, 1))
    model = keras.Model(inputs, lookups(SpaceToDepth(2, name="tiles")(inputs)))
    x = random((2, 8, 6, 1))
    tiles = keras.ops.reshape(lookups.dictionary, (2, 2, 1, 4))
    s = keras.ops.conv(x, tiles, strides=2, padding="valid")
    y = keras.ops.conv(s, lookups.sparse_coefficients(), padding="same")
    np.testing.assert_allclose(numpy(model(x)), numpy(y), atol=1e-5)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(numpy(loaded(x)), numpy(model(x)), atol=1e-6)
    counted = profile(model, (8, 6, 1))
    assert counted.dictionary_multiplications == 4 * 3 * 4 * 4
    assert counted.dense_multiplications == 4 * 3 * 5 * 9 * 4


@pytest.mark.parametrize(
    ("r", "message"),
    [
        (0, "block size must be a whole number >= 2"),
        (2, "Layer tiles: a map of 4x3 does not divide into blocks of 2x2"),
    ],
)
def test_what_does_not_divide_is_one_line(r, message):
    with pytest.raises(ValueError, match=message):
        keras.Sequential([keras.Input((4, 3, 1)), SpaceToDepth(r, name="tiles")])
