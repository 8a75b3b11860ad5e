"""The tiles of 2x2 pixels of a Bayer mosaic: their colors, and what needs no network to know."""

import numpy as np

# Colors of a tile, row by row.
PATTERNS = ("RGGB", "BGGR", "GRBG", "GBRG")

# Weights of bilinear interpolation, of the pixels that have a color.
_BILINEAR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32)


def check_pattern(pattern):
    """Raises ValueError unless `pattern` is one of `PATTERNS`."""
    if pattern not in PATTERNS:
        raise ValueError(f"Unknown Bayer pattern {pattern!r}: {', '.join(PATTERNS)}.")


def check_even(sizes, what):
    """Raises ValueError unless a height and a width are even."""
    height, width = sizes
    if height % 2 or width % 2:
        raise ValueError(
            f"{what} of {height}x{width} do not divide into tiles of 2x2: an even height and width "
            "work."
        )


def colors_of(pattern):
    """Which color each pixel of a tile has, one-hot, float32 (2, 2, 3): red, green, blue."""
    check_pattern(pattern)
    return np.eye(3, dtype=np.float32)[["RGB".index(x) for x in pattern]].reshape(2, 2, 3)


def bilinear(mosaic, pattern):
    """Red, green and blue of a mosaic, each interpolated by itself: what needs no network.

    Args:
        mosaic: array (count, height, width, 1) in linear light, of even height and width.
        pattern: of `PATTERNS`.

    Returns:
        float32 array (count, height, width, 3) in linear light.
    """
    mosaic = np.asarray(mosaic, np.float32)
    height, width = mosaic.shape[1:3]
    colors = np.tile(colors_of(pattern), (height // 2, width // 2, 1))[None]

    def spread(x):
        padded = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        return sum(
            weight * padded[:, i : i + height, j : j + width]
            for (i, j), weight in np.ndenumerate(_BILINEAR)
        )

    # Over what there is: at the border too.
    return spread(mosaic * colors) / spread(colors)


def bilinear_kernel(pattern):
    """`bilinear` as a convolution of tiles of 2x2, float32 (3, 3, 4, 12), away from the border.

    A tile's four pixels, row by row, become the three colors of each.
    """
    # What each pixel of the middle one of 5x5 tiles adds to those around.
    impulses = np.zeros((4, 5, 2, 5, 2), np.float32)
    impulses[range(4), 2, (0, 0, 1, 1), 2, (0, 1, 0, 1)] = 1
    made = bilinear(impulses.reshape(4, 10, 10, 1), pattern)
    tiles = made.reshape(4, 5, 2, 5, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(4, 5, 5, 12)
    return tiles[:, 3:0:-1, 3:0:-1].transpose(1, 2, 0, 3)
