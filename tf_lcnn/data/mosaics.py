"""Bayer mosaics to train on, made of color photos on the fly: for demosaicing, and with classes.

They are encoded as photos are, see `bayer`.
The noise of a photo in evaluation is always the same. Photos are turned and mirrored before their
mosaics are made: a mirrored mosaic has another pattern.
"""

import dataclasses

import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import bayer, datasets, patterns, photos


@dataclasses.dataclass(frozen=True, kw_only=True)
class Mosaics(photos.Photos):
    """Photos as a sensor sees them: the input is the encoded mosaic, the target the photo.

    Attributes:
        sensor: a `bayer.Sensor`.
    """

    sensor: bayer.Sensor

    given = "a mosaic"
    channels = 3
    colors = "color"

    @property
    def network(self):
        return {"mosaic": self.sensor.pattern}

    @property
    def worse(self):
        sensor = self.sensor
        return f"{sensor.pattern} with noise of shot {sensor.shot:g}, read {sensor.read:g}"

    def pair(self, payload):
        sharp = tf.ensure_shape(self.decode(payload), (None, None, 3))
        # Whole tiles.
        size = tf.shape(sharp)[:2] // 2 * 2
        sharp = sharp[: size[0], : size[1]]
        return sharp, sharp

    def example(self, payload, label):
        sharp, _ = self.pair(payload)
        return self._given(self.sensor.of_photo(sharp)), sharp

    def patch(self, pair, draw):
        _, sharp = super().patch(pair, draw)
        return self.made(sharp, draw), sharp

    def made(self, sharp, draw):
        """The mosaic of a photo or patch with noise that two integers seed."""
        # Another seed than that of the place.
        return self._given(self.sensor.mosaic(sharp, draw + 2), sharp.shape[:2])

    def _given(self, mosaic, size=(None, None)):
        return tf.ensure_shape(bayer.encoded(mosaic), (*size, 1))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabeledMosaics(datasets.DataSet):
    """A `DataSet` of color images, of which the network sees the mosaics.

    Attributes:
        sensor: a `bayer.Sensor`.
    """

    sensor: bayer.Sensor

    @property
    def example_shape(self):
        return (*self.image_shape[:2], 1)

    @property
    def network(self):
        return {**super().network, "mosaic": self.sensor.pattern}

    def describe_input(self):
        return {**super().describe_input(), **self.sensor.describe()}

    def example(self, payload, label):
        image, label = super().example(payload, label)
        return self._given(self.sensor.of_photo(image)), label

    def drawn(self, payload, label, draw, augment):
        if augment is None:
            return self.example(payload, label)
        image, label = super().drawn(payload, label, draw, augment)
        return self._given(self.sensor.mosaic(image, draw + 2)), label

    def _given(self, mosaic):
        return tf.ensure_shape(bayer.encoded(mosaic), self.example_shape)


def load(data_dir, sensor=None, patch_size=64, draws=16, test_dirs=()):
    """Loads color photos for demosaicing.

    Args:
        sensor: a `bayer.Sensor`; None takes its defaults.
        patch_size: height and width of a patch, even.
        data_dir, draws, test_dirs: see `photos.load`.

    Raises:
        ValueError: an odd patch, a gray photo, or see `photos.load`.
        FileNotFoundError: there is no such folder.
    """
    checks.whole_number(patch_size, "The patch size", least=8)
    patterns.check_even((patch_size, patch_size), "Patches")
    fields = photos.splits(
        *(data_dir, patch_size, draws, test_dirs, 16, "demosaicing"), decode=photos.color
    )
    fields["first_shape"] = tuple(size // 2 * 2 for size in fields["first_shape"])
    return Mosaics(sensor=sensor or bayer.Sensor(), **fields)


def of(dataset, sensor):
    """The `LabeledMosaics` of a `DataSet` of color images, of pixels "0..1".

    Raises:
        ValueError: its images are gray, or of an odd height or width.
    """
    *size, channels = dataset.image_shape
    if channels != 3:
        raise ValueError(f"{dataset.name} has gray images: mosaics are made of color ones.")
    patterns.check_even(size, f"Images of {dataset.name}")
    fields = {x.name: getattr(dataset, x.name) for x in dataclasses.fields(dataset)}
    return LabeledMosaics(sensor=sensor, **fields)
