"""A Bayer mosaic through a .tflite of --task=demosaicing: the photo in sRGB.

The mosaic is that of a raw file, or of a photo, of which each pixel keeps one color. Tiles of 2x2
pixels stay whole: what goes through in parts are they.
"""

import dataclasses
import pathlib

import numpy as np

from tf_lcnn import checks
from tf_lcnn.data import bayer, patterns
from tf_lcnn.lite import metadata
from tf_lcnn.pipeline import improving
from tf_lcnn.runtime import tiles
from tf_lcnn.runtime.interpreter import Interpreter


@dataclasses.dataclass(frozen=True)
class Demosaicer:
    """A file that makes photos of mosaics, ready to run.

    Attributes:
        interpreter: of the file.
        pattern: of the mosaics that it takes, of `patterns.PATTERNS`.
        overlap: pixels of the mosaic around what is kept of a part, even.
    """

    interpreter: Interpreter
    pattern: str
    overlap: int

    def __call__(self, mosaic, tile=256):
        """The photo, uint8 (height, width, 3).

        Args:
            mosaic: float32 (height, width, 1) in linear light, of even height and width.
            tile: height and width of a part of the mosaic, with its margins, even. Where the file
                has a size of its own, that is the part.

        Returns:
            (the photo, how many parts it took).

        Raises:
            ValueError: an odd tile, one that is not larger than its margins, or a mosaic that is
                smaller than the size of the file.
        """
        height, width, _ = mosaic.shape
        sizes = self.interpreter.open_shape[:2]
        if None in sizes:
            sizes = tile, tile
        elif height < sizes[0] or width < sizes[1]:
            raise ValueError(
                f"A mosaic of {height}x{width} is smaller than the {sizes[0]}x{sizes[1]} that the "
                "file takes."
            )
        patterns.check_even(sizes, "Tiles of a mosaic")
        given = bayer.encoded(mosaic).numpy()
        packed = given.reshape(height // 2, 2, width // 2, 2).swapaxes(1, 2)
        halves = [size // 2 for size in sizes]
        made, count = tiles.through(self._part, packed, 2, halves, self.overlap // 2)
        return np.rint(np.clip(made, 0, 1) * 255).astype(np.uint8), count

    def _part(self, packed):
        """A photo of a part of the mosaic, (height, width, 2, 2)."""
        height, width = packed.shape[:2]
        mosaic = packed.swapaxes(1, 2).reshape(1, 2 * height, 2 * width, 1)
        return self.interpreter.predict(mosaic)[0]


def pattern_of(path):
    """The pattern of the mosaics that a .tflite makes photos of; None if it does something else.

    Raises:
        FileNotFoundError: there is no file.
    """
    pathlib.Path(path).stat()
    try:
        about = metadata.read(path)
    except ValueError:
        return None
    return about["input"]["mosaic"] if about.get("task") == "demosaicing" else None


def load(path, delegate=False, threads=1, overlap=None):
    """The Demosaicer of a .tflite file that `pattern_of` knows.

    Args:
        path, delegate, threads: see `improving.load`.
        overlap: pixels of the mosaic around what is kept of a part, even; None takes as many as
            the network looks at.

    Raises:
        ValueError: it is no .tflite, or it is not known how far it looks.
    """
    content = pathlib.Path(path).read_bytes()
    interpreter = Interpreter(content=content, threads=threads, delegate=delegate)
    if overlap is None:
        overlap = -(-tiles.reach(content, str(path)) // 2) * 2
    overlap = checks.whole_number(overlap, "The overlap", 0)
    patterns.check_even((overlap, overlap), "An overlap")
    return Demosaicer(interpreter, pattern_of(path), overlap)


def read(path, wanted, pattern=None):
    """The mosaic of a raw file, or of a photo without any noise, as float32 (height, width, 1).

    Args:
        path: of a file.
        wanted: the pattern that it has to have.
        pattern: of the mosaic to make of a photo; None for a raw file.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: another pattern than is wanted, a photo that is gray, or one that is damaged.
        MissingExtraError: a raw file, and rawpy is not installed.
    """
    if pattern is None:
        mosaic, pattern = bayer.read_dng(path)
    else:
        photo = improving.read(path)
        if photo.dtype != np.uint8 or photo.shape[-1] < 3:
            raise ValueError(f"{path}: mosaics are made of color photos of 8 bits.")
        height, width = (size // 2 * 2 for size in photo.shape[:2])
        mosaic = bayer.bayer(photo[:height, :width, :3], pattern, shot=0, read=0)
    if pattern != wanted:
        raise ValueError(f"{path} gives a mosaic {pattern}, and the file takes {wanted}.")
    return mosaic
