"""Bayer mosaics: of photos, with the noise of a sensor, and of raw files.

A sensor sees one of red, green and blue at each pixel; four pixels, a tile of 2x2, have all of
them. Here mosaics are (height, width, 1), float32, in linear light: 0 is black, 1 is the white
level. They are made of photos in sRGB by the inverse of its transfer function (IEC 61966-2-1), and
colors stay those of sRGB: neither a camera's color matrix nor its white balance is undone.

The noise is Gaussian with a variance of shot * signal + read^2 (Foi, Trimeche, Katkovnik,
Egiazarian, "Practical Poissonian-Gaussian Noise Modeling and Fitting for Single-Image Raw-Data",
IEEE TIP 2008). Brooks et al., "Unprocessing Images for Learned Raw Denoising", CVPR 2019, section
3.1, find levels of shot between 0.0001 and 0.012; `SHOT` and `READ` are about in the middle.

Networks take mosaics `encoded` as photos are, by sRGB's transfer function, which an app does with a
table from what the sensor counts. In linear light a step of int8 is 13 levels of sRGB in the dark;
encoded, noise is about equally strong in dark and light, and a pixel is nearly what the photo has.
"""

import dataclasses
import pathlib

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import patterns

SHOT = 0.001
READ = 0.001


@dataclasses.dataclass(frozen=True)
class Sensor:
    """What makes mosaics of photos.

    Attributes:
        pattern: of `patterns.PATTERNS`.
        shot: variance of the noise per signal.
        read: standard deviation of the noise without any signal.

    Raises:
        ValueError: an unknown pattern, or noise that is negative or not finite.
    """

    pattern: str = "RGGB"
    shot: float = SHOT
    read: float = READ

    def __post_init__(self):
        patterns.check_pattern(self.pattern)
        checks.number(self.shot, "The shot noise", least=0)
        checks.number(self.read, "The read noise", least=0)

    def mosaic(self, photo, draw):
        """The mosaic of a photo with noise that two integers seed, cut off at black and white.

        Args:
            photo: tensor (..., height, width, 3) in sRGB, 0 to 1, height and width even.
            draw: two integers.

        Returns:
            tensor (..., height, width, 1).
        """
        signal = tf.reduce_sum(linear(photo) * self._colors(photo), -1)
        signal = signal[..., None]
        noise = tf.random.stateless_normal(tf.shape(signal), draw)
        deviation = tf.sqrt(self.shot * signal + self.read**2)
        return tf.clip_by_value(signal + deviation * noise, 0.0, 1.0)

    def _colors(self, photo):
        """Which color each pixel of a photo keeps, one-hot."""
        height, width = tf.unstack(tf.shape(photo)[-3:-1])
        return tf.tile(patterns.colors_of(self.pattern), (height // 2, width // 2, 1))

    def of_photo(self, photo):
        """The mosaic of a photo whose noise is always the same: the photo itself seeds it."""
        seed = tf.strings.to_hash_bucket_fast(tf.io.serialize_tensor(photo), 1 << 30)
        return self.mosaic(photo, tf.stack([seed, 0]))

    def describe(self):
        """What an app has to give the network; see `lite.metadata`."""
        return {
            "channels": 1,
            "mean": [0.0],
            "std": [1.0],
            "pixels": "Bayer mosaic, 0 at the black level, 1 at the white level, encoded as sRGB",
            "mosaic": self.pattern,
        }


def bayer(images, pattern="RGGB", shot=SHOT, read=READ, seed=0):
    """Photos as a sensor would see them.

    Args:
        images: uint8 in sRGB, (count, height, width, 3) or one (height, width, 3), of even height
            and width.
        pattern: of `patterns.PATTERNS`.
        shot, read: of the noise, see `Sensor`; 0 is none.
        seed: of the noise.

    Returns:
        float32 array (count, height, width, 1), or one (height, width, 1), from 0 to 1.

    Raises:
        ValueError: images of another type or shape, gray ones, an odd height or width, or see
            `Sensor`.
    """
    sensor = Sensor(pattern, shot, read)
    checks.whole_number(seed, "The seed", least=0)
    images = np.asarray(images)
    if images.dtype != np.uint8 or images.ndim not in (3, 4) or images.shape[-1] != 3:
        gray = " Gray photos have no colors to make one of." if images.shape[-1:] == (1,) else ""
        raise ValueError(
            f"A mosaic is made of color photos, uint8 (height, width, 3) or with their count in "
            f"front, not {images.dtype} {images.shape}.{gray}"
        )
    patterns.check_even(images.shape[-3:-1], "Photos")
    photos = tf.constant(images, tf.float32) / 255
    return sensor.mosaic(photos, (seed, 0)).numpy()


def linear(photo):
    """Linear light of sRGB, both from 0 to 1 (IEC 61966-2-1)."""
    low = photo / 12.92
    return tf.where(photo <= 0.04045, low, ((tf.maximum(photo, 0.04045) + 0.055) / 1.055) ** 2.4)


def encoded(light):
    """sRGB of linear light, both from 0 to 1: the inverse of `linear`."""
    high = 1.055 * tf.maximum(light, 0.0031308) ** (1 / 2.4) - 0.055
    return tf.where(light <= 0.0031308, light * 12.92, high)


# Raw files


def read_dng(path):
    """The mosaic of a raw file: DNG, or any that LibRaw reads.

    Args:
        path: of the file.

    Returns:
        (float32 array (height, width, 1), 0 at the black level and 1 at the white level, of even
        height and width; its pattern, of `patterns.PATTERNS`).

    Raises:
        MissingExtraError: rawpy is not installed.
        FileNotFoundError: there is no file.
        ValueError: it is no raw file, damaged, or its colors are no Bayer mosaic.
    """
    rawpy = checks.imported("rawpy", "raw", "Raw files")
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No raw file {path}.")
    try:
        with rawpy.imread(str(path)) as raw:
            # What lies beyond whole tiles is left out.
            height, width = (size // 2 * 2 for size in raw.raw_image_visible.shape[:2])
            values = np.array(raw.raw_image_visible[:height, :width], np.float32)
            indices = np.array(raw.raw_colors_visible[:height, :width])
            names = raw.color_desc.decode()
            black, white = np.array(raw.black_level_per_channel), raw.white_level
    except (rawpy.LibRawError, ValueError, AttributeError) as error:
        (reason, *_) = error.args or (type(error).__name__,)
        # LibRaw's own are bytes.
        reason = reason.decode() if isinstance(reason, bytes) else checks.first_line(error)
        raise ValueError(f"{path} is no raw file, or damaged: {reason}.") from None
    tile = indices[:2, :2]
    pattern = "".join(names[i] for i in tile.flat)
    whole = np.tile(tile, (height // 2, width // 2))
    if values.ndim != 2 or pattern not in patterns.PATTERNS or (whole != indices).any():
        raise ValueError(f"{path} has no Bayer mosaic of {', '.join(patterns.PATTERNS)}.")
    levels = black[indices].astype(np.float32)
    mosaic = (values - levels) / (np.float32(white) - levels)
    return np.clip(mosaic, 0, 1)[..., None], pattern
