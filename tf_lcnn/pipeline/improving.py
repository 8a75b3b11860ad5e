"""A photo through a .tflite that improves photos: super-resolution, denoising, a learned filter.

The networks take luma from 0 to 1. Of a color photo, super-resolution and filters get its luma
(ITU-R BT.601, as in training), while the color differences are enlarged by bicubic interpolation,
or stay; denoising gets red, green and blue one by one, each of which has the noise. Transparency is
enlarged too, or stays. Photos of 16 bits stay so.
"""

import dataclasses
import pathlib
import struct

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import photos
from tf_lcnn.lite import metadata
from tf_lcnn.runtime import tiles
from tf_lcnn.runtime.interpreter import Interpreter

# What bicubic interpolation looks at around a pixel.
_BICUBIC = 2

_YCBCR = np.array(photos.YCBCR)
# Of black: Y is that of `photos.luma`.
_BLACK = np.array([16, 128, 128])


@dataclasses.dataclass(frozen=True)
class Improver:
    """A file that improves photos, ready to run.

    Attributes:
        interpreter: of the file.
        name: of the file.
        scale: how many times as large a photo becomes.
        enlarged: whether the network takes photos that were enlarged before.
        each_channel: whether a color photo goes through channel by channel, or its luma alone.
        overlap: pixels of the photo around what is kept of a tile.
    """

    interpreter: Interpreter
    name: str
    scale: int
    enlarged: bool
    each_channel: bool
    overlap: int

    def __call__(self, photo, tile=256):
        """The improved photo.

        Args:
            photo: uint8 or uint16 (height, width, 1 to 4): gray or RGB, with alpha or without.
            tile: height and width of a tile of the photo, with its margins. Where the file has a
                size of its own, that is the tile.

        Returns:
            (the photo, of the same type and channels, how many tiles it took).

        Raises:
            ValueError: a tile that is not larger than its margins.
        """
        height, width, _ = photo.shape
        sizes = self.fixed or (tile, tile)
        if self.fixed is not None:
            # What is beyond a small photo repeats its border.
            missing = [max(0, size - own) for size, own in zip(sizes, photo.shape, strict=False)]
            photo = np.pad(photo, ((0, missing[0]), (0, missing[1]), (0, 0)), "edge")
        made, count = tiles.through(self._tile, photo, self.scale, sizes, self.overlap)
        return made[: height * self.scale, : width * self.scale], count

    @property
    def fixed(self):
        """(height, width) of a photo's part that the file takes; None where it takes any."""
        sizes = self.interpreter.open_shape[:2]
        if None in sizes:
            return None
        return tuple(size // self.scale if self.enlarged else size for size in sizes)

    def _tile(self, part):
        """An improved part of a photo, of its type."""
        most = np.iinfo(part.dtype).max
        real = part.astype(np.float32) / most
        colors, alpha = np.split(real, [part.shape[-1] - (part.shape[-1] in (2, 4))], axis=-1)
        if colors.shape[-1] == 1:
            made = self._network(colors)
        elif self.each_channel:
            made = np.concatenate([self._network(x) for x in np.split(colors, 3, -1)], -1)
        else:
            ycbcr = (colors @ _YCBCR.T + _BLACK) / 255
            luma = self._network(ycbcr[..., :1].astype(np.float32))
            ycbcr = np.concatenate([luma, self._large(ycbcr[..., 1:])], -1) * 255
            made = (ycbcr - _BLACK) @ np.linalg.inv(_YCBCR).T
        if alpha.shape[-1]:
            made = np.concatenate([made, self._large(alpha)], -1)
        return np.rint(np.clip(made, 0, 1) * most).astype(part.dtype)

    def _network(self, image):
        given = self._large(image) if self.enlarged else image
        return self.interpreter.predict(given[None])[0]

    def _large(self, image):
        """At the size of the result, by bicubic interpolation."""
        if self.scale == 1:
            return image
        return photos.enlarged(tf.constant(image, tf.float32), self.scale).numpy()


def load(path, delegate=False, threads=1, overlap=None):
    """The Improver of a .tflite file.

    Args:
        path: of a file that `export` wrote for photos.
        delegate, threads: see `Interpreter`.
        overlap: pixels of the photo around what is kept of a tile; None takes as many as the
            network looks at.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is no .tflite for photos, or it is not known how far it looks.
    """
    content = pathlib.Path(path).read_bytes()
    interpreter = Interpreter(content=content, threads=threads, delegate=delegate)
    try:
        about = metadata.read(path)
    except ValueError:
        about = {}
    shapes = interpreter.input_shape, interpreter.output_shape
    if any(len(shape) != 4 or shape[3] != 1 for shape in shapes):
        raise ValueError(
            f"{path} makes {shapes[1]} of {shapes[0]}: a network for photos, of "
            "--task=super_resolution, denoising or filter, makes luma of luma, one channel."
        )
    ratio = shapes[1][1] / shapes[0][1]
    scale, enlarged = about.get("scale", int(ratio)), ratio == 1 and about.get("scale", 1) > 1
    if ratio * (scale if enlarged else 1) != scale or shapes[1][2] != shapes[0][2] * ratio:
        raise ValueError(f"{path} makes {shapes[1]} of {shapes[0]}, not {scale} times as large.")
    if overlap is None:
        overlap = tiles.reach(content, str(path))
        # In pixels of the photo.
        overlap = -(-overlap // scale) if enlarged else overlap
        overlap += _BICUBIC if scale > 1 else 0
    overlap = checks.whole_number(overlap, "The overlap", 0)
    each_channel = about.get("task") == "denoising"
    return Improver(interpreter, str(path), scale, enlarged, each_channel, overlap)


def read(path):
    """A photo as uint8, or uint16 of 16 bits, (height, width, 1 to 4), upright.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is no image, or damaged.
    """
    content = pathlib.Path(path).read_bytes()
    # Of PNG alone, where it stands at this place.
    deep = content[:4] == b"\x89PNG" and content[24:25] == b"\x10"
    kind = tf.uint16 if deep else tf.uint8
    try:
        photo = tf.io.decode_image(content, dtype=kind, expand_animations=False).numpy()
        return _upright(photo, _orientation(content))
    except (tf.errors.OpError, ValueError):
        raise ValueError(
            f"Cannot decode {path}: truncated, or no image; PNG, JPEG, BMP and GIF work."
        ) from None


def _orientation(content):
    """How a JPEG is to be turned, 1 to 8, as Exif has it (JEITA CP-3451, tag 274); 1 is not at all.

    It stands in the first directory of a TIFF file that the JPEG begins with.
    """
    start = content.find(b"Exif\0\0", 0, 4096) + 6
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[start : start + 4])
    if content[:2] != b"\xff\xd8" or start < 6 or order is None:
        return 1
    try:
        (place,) = struct.unpack_from(f"{order}I", content, start + 4)
        (count,) = struct.unpack_from(f"{order}H", content, start + place)
        for i in range(count):
            entry = struct.unpack_from(f"{order}HHIH", content, start + place + 2 + 12 * i)
            if entry[0] == 274:
                return entry[3] if 1 <= entry[3] <= 8 else 1
    except struct.error:
        # Cut short, which the photo itself need not be.
        return 1
    return 1


def _upright(photo, orientation):
    """A photo that was stored in one of the eight ways."""
    if orientation > 4:
        photo = photo.swapaxes(0, 1)
    rows = slice(None, None, -1 if orientation in (3, 4, 7, 8) else 1)
    columns = slice(None, None, -1 if orientation in (2, 3, 6, 7) else 1)
    return np.ascontiguousarray(photo[rows, columns])


def encoded(photo):
    """The bytes of a PNG."""
    return tf.io.encode_png(photo).numpy()
