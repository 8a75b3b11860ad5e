"""What a first layer looks for: its dictionary as a picture."""

import keras
import numpy as np

from tf_lcnn.data import patterns
from tf_lcnn.layers import family

# Tiles in a row of the picture, and the pixels between them.
_IN_A_ROW, _GAP = 8, 2


def dictionary_image(layer, pattern=None, zoom=16):
    """The dictionary of a layer as a picture, a tile for each of its k vectors, row by row.

    A zero is gray, a positive number lighter in its color, a negative one darker. Vectors are
    defined up to a factor: the largest magnitude of each is 1.

    Args:
        layer: with a dictionary (m, k): m = 3 for colors, a pixel each; with a pattern m = 4, a
            tile of 2x2 each, as `layers.depth_to_space.SpaceToDepth` packs a mosaic.
        pattern: of `patterns.PATTERNS`, for a layer on a mosaic.
        zoom: height and width of what shows a pixel.

    Returns:
        uint8 array (height, width, 3).

    Raises:
        ValueError: no dictionary, or of vectors of another length; an unknown pattern.
    """
    if family.of(layer) is None:
        raise ValueError(f"Layer {layer.name} ({type(layer).__name__}) has no dictionary to show.")
    vectors = np.asarray(keras.ops.convert_to_numpy(layer.dictionary), np.float64).T
    side, m = (1, 3) if pattern is None else (2, 4)
    colors = np.ones((1, 1, 3)) if pattern is None else patterns.colors_of(pattern)
    if vectors.shape[1] != m:
        what = "colors have" if pattern is None else f"tiles of the mosaic {pattern} have"
        other = "; tiles of a mosaic are shown with its pattern" if pattern is None else ""
        raise ValueError(
            f"The dictionary of {layer.name} has vectors of {vectors.shape[1]} numbers, and {what} "
            f"{m}{other}."
        )
    largest = np.abs(vectors).max(axis=1, keepdims=True)
    shown = (vectors / np.where(largest > 0, largest, 1)).reshape(-1, side, side, m // side**2)
    shown = shown * colors
    tiles = np.uint8(np.rint(127.5 + 127.5 * shown)).repeat(zoom, axis=1).repeat(zoom, axis=2)
    rows, step = -(-len(tiles) // _IN_A_ROW), side * zoom + _GAP
    width = min(len(tiles), _IN_A_ROW) * step + _GAP
    picture = np.full((rows * step + _GAP, width, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (_GAP + place * step for place in divmod(i, _IN_A_ROW))
        picture[top : top + side * zoom, left : left + side * zoom] = tile
    return picture
