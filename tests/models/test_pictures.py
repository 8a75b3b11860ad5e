"""A dictionary as a picture: colors, tiles of a mosaic, order, and misused."""

import keras
import numpy as np
import pytest

from tf_lcnn import LookupConv2D
from tf_lcnn.models import pictures


def layer(vectors):
    """A layer with these dictionary vectors, (k, m)."""
    vectors = np.array(vectors, np.float32)
    made = LookupConv2D(16, 3, len(vectors), name="first")
    made.build((None, 8, 8, vectors.shape[1]))
    made.dictionary.assign(vectors.T)
    return made


def test_a_vector_of_three_is_a_color():
    picture = pictures.dictionary_image(layer([(0.2, 0, 0), (1, -2, 0), (0, 0, 0)]), zoom=4)
    assert picture.shape == (2 + 6, 2 + 3 * 6, 3) and picture.dtype == np.uint8
    # Halfway between two numbers it goes to the even one.
    colors = [(255, 128, 128), (191, 0, 128), (128, 128, 128)]
    for i, color in enumerate(colors):
        tile = picture[2:6, 2 + 6 * i : 6 + 6 * i]
        np.testing.assert_array_equal(tile, np.broadcast_to(color, tile.shape))
    assert (picture[:2] == 255).all() and (picture[:, 6:8] == 255).all()


def test_a_vector_of_a_mosaic_is_a_tile_in_its_colors():
    vectors = [(4, 2, -4, 0)] * 9
    picture = pictures.dictionary_image(layer(vectors), "GRBG", zoom=3)
    # Nine tiles take two rows.
    assert picture.shape == (2 + 2 * 8, 2 + 8 * 8, 3)
    for top, left in ((2, 2), (10, 2), (2, 58)):
        tile = picture[top : top + 6 : 3, left : left + 6 : 3]
        expected = [[(128, 255, 128), (191, 128, 128)], [(128, 128, 0), (128, 128, 128)]]
        np.testing.assert_array_equal(tile, expected)
    assert (picture[10:, 10:] == 255).all()


def test_what_is_no_dictionary_of_colors_is_one_line():
    plain = keras.layers.Conv2D(4, 3, name="plain")
    with pytest.raises(ValueError, match=r"Layer plain \(Conv2D\) has no dictionary to show"):
        pictures.dictionary_image(plain)
    four = layer(np.ones((2, 4)))
    message = "first has vectors of 4 numbers, and colors have 3; tiles of a mosaic are shown with"
    with pytest.raises(ValueError, match=message):
        pictures.dictionary_image(four)
    with pytest.raises(ValueError, match="of 3 numbers, and tiles of the mosaic RGGB have 4"):
        pictures.dictionary_image(layer(np.ones((2, 3))), "RGGB")
    with pytest.raises(ValueError, match="Unknown Bayer pattern 'RGB'"):
        pictures.dictionary_image(four, "RGB")
