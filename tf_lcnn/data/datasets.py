"""Image classification data, from where it lies to batches: `load(name).training(...)`.

All pixel values are 0 to 255; batches are normalized with the mean and standard deviation per
channel of the training images. Splits and batches are those of all data sets, see `examples`.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import examples, folders, pixels, sources
from tf_lcnn.data.records import Indexed, Streamed

# Data sets whose images mean something else when mirrored.
NOT_MIRRORED = ("digits", "mnist", "kmnist", "emnist", "svhn_cropped")

STATISTICS_IMAGES = 10_000

# (mean, std) of pixel values 0 to 255, for all channels or per channel.
PREPROCESSING = {
    "none": (0.0, 1.0),
    "0..1": (0.0, 255.0),
    "-1..1": (127.5, 127.5),
    "imagenet": ((123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
}


@dataclasses.dataclass(frozen=True)
class DataSet(examples.Labeled):
    """Splits of images, and how they become batches.

    Attributes:
        name, class_names: label i is `class_names[i]`.
        image_shape: (height, width, channels) of what the network sees.
        mean, std: per channel, of pixel values 0 to 255 of the training images.
        fixed_size: every stored image has image_shape already.
        mirror: whether training mirrors images at random.
        train, validation, test: the splits.
        decode: a payload -> a uint8 image.
    """

    name: str
    class_names: tuple
    image_shape: tuple
    mean: tuple
    std: tuple
    fixed_size: bool
    mirror: bool
    train: Indexed | Streamed
    validation: Indexed | Streamed
    test: Indexed | Streamed
    decode: callable

    @property
    def short_side(self):
        """The short side to which an image is resized before its crop; None: it fits as it is.

        ImageNet has 256 for a crop of 224; other sizes have the same ratio.
        """
        return None if self.fixed_size else round(max(self.image_shape[:2]) * 256 / 224)

    @property
    def example_shape(self):
        return self.image_shape

    def describe_input(self):
        height, width, channels = self.image_shape
        return {
            "height": height,
            "width": width,
            "channels": channels,
            "mean": list(self.mean),
            "std": list(self.std),
            "short_side": self.short_side,
        }

    def example(self, payload, label):
        return self.central(self.decode(payload)), label

    def drawn(self, payload, label, draw, augment):
        if augment is None:
            return self.example(payload, label)
        image = augment(self, self.decode(payload), draw)
        return tf.ensure_shape(image, self.image_shape), label

    def central(self, image):
        """The input that a decoded image is in evaluation: its center, normalized."""
        return tf.ensure_shape(self.normalize(self.fitted(image)), self.image_shape)

    def fitted(self, image):
        """The image as it is where it has the size that the network sees, else its center."""
        size = self.image_shape[:2]
        if image.shape[:2] == size:
            return image

        def center():
            return self.window(image, (self.resized_size(image) - size) // 2)

        fits = tf.reduce_all(tf.equal(tf.shape(image)[:2], size))
        found = tf.cond(fits, lambda: tf.cast(image, tf.float32), center)
        return tf.ensure_shape(found, self.image_shape)

    def resized_size(self, image):
        """int32 (height, width) with `short_side`; a crop of it has the size the network sees."""
        size = tf.cast(tf.shape(image)[:2], tf.float64)
        short_side = round(max(self.image_shape[:2]) * 256 / 224)
        return tf.cast(tf.round(size * (short_side / tf.reduce_min(size))), tf.int32)

    def window(self, image, place):
        """The crop at a place, int32 (2,), of the image as it is when resized; not normalized."""
        return pixels.window(image, self.resized_size(image), place, self.image_shape[:2])

    def normalize(self, image):
        """Pixels of 0 to 255 as the network takes them."""
        return pixels.normalized(image, self.mean, self.std)


def load(
    name,
    data_dir=None,
    image_size=None,
    default_size=224,
    download=False,
    *,
    channels=3,
    class_names=None,
    preprocessing="own",
):
    """Loads an image classification data set.

    Args:
        name: "digits" (embedded in scikit-learn: 1,797 scans of handwriting, 8 x 8);
            "image_folder" (data_dir is a folder, or a zip file of one, with a folder of images
            per class, or such folders inside train, val or validation, and test); or any
            image classification set of TensorFlow Datasets, like "cifar10".
        data_dir: where the data lies; None is TFDS's own default for a TFDS set.
        image_size: what the network sees, height and width or one number for both; None takes
            the stored size where all images have the same, else default_size.
        default_size: see image_size.
        download: whether TFDS may download and prepare a missing set.
        channels: of the images of a folder: 3, or 1 for gray.
        class_names: the classes of a folder in the order of their labels; None takes that of
            classes.txt in the folder, or the alphabetical order.
        preprocessing: how pixels become inputs, see `normalization`; what the model was trained
            with, if it is trained already.

    Raises:
        ValueError: unknown name or preprocessing, unusable folder or class names, a broken image,
            an empty class.
        FileNotFoundError: the data is not there; the message says how to get it.
    """
    if not isinstance(name, str):
        raise ValueError(
            f"A data set goes by its name, not by {name!r}: digits, image_folder, or one of TFDS."
        )
    if isinstance(class_names, str):
        raise ValueError(f"class_names is a list of names, not {class_names!r}.")
    if class_names and name != "image_folder":
        raise ValueError(f"class_names is for image_folder; {name} has an order of its own.")
    if name == "digits":
        source = sources.digits()
    elif name == "image_folder":
        source = folders.image_folder(data_dir, channels, class_names)
    else:
        source = sources.tensorflow_dataset(name, data_dir, download)
    splits, class_names, decode, (*stored, channels) = source
    splits = examples.hold_out(splits)
    train = splits["train"]
    given = normalization(preprocessing, channels)
    mean, std = given or _statistics(_pixels(train, decode))
    if image_size is not None:
        size = _height_and_width(image_size)
    else:
        size = (default_size,) * 2 if None in stored else tuple(stored)
    return DataSet(
        name=name,
        class_names=tuple(class_names),
        image_shape=(*size, channels),
        mean=mean,
        std=std,
        fixed_size=size == tuple(stored),
        mirror=name not in NOT_MIRRORED,
        decode=decode or (lambda image: image),
        **splits,
    )


def _height_and_width(image_size):
    sizes = [image_size] * 2 if np.ndim(image_size) == 0 else list(image_size)
    if len(sizes) != 2:
        raise ValueError(f"image_size is one number, or height and width, not {image_size!r}.")
    return tuple(checks.whole_number(size, "image_size") for size in sizes)


def normalization(preprocessing, channels):
    """(mean, std) per channel of pixel values 0 to 255; None for "own".

    Args:
        preprocessing: "own" (mean and standard deviation of the training images), "none" (0 to
            255 as they are), "0..1", "-1..1", "imagenet" (mean and standard deviation of
            ImageNet's training images), or mean and std as numbers: one of each, or one of each
            per channel, means first ("127.5,127.5", or a list).
        channels: how many.

    Raises:
        ValueError: it is none of these, or a std is not above 0.
    """
    if preprocessing == "own":
        return None
    known = isinstance(preprocessing, str) and PREPROCESSING.get(preprocessing)
    try:
        parts = preprocessing.split(",") if isinstance(preprocessing, str) else preprocessing
        numbers = np.ravel(np.array(known or parts, np.float64))
    except (ValueError, TypeError):
        numbers = np.zeros(0)
    if len(numbers) == 2:
        numbers = np.repeat(numbers, channels)
    fits = len(numbers) == 2 * channels and np.isfinite(numbers).all()
    if not fits or numbers[channels:].min() <= 0:
        raise ValueError(
            f"preprocessing={preprocessing!r} does not fit {channels} channels: own, "
            f"{', '.join(PREPROCESSING)}, or means and (positive) standard deviations of pixels 0 "
            "to 255, like 127.5,127.5."
        )
    mean, std = np.float32(numbers[:channels]), np.float32(numbers[channels:])
    return tuple(map(float, mean)), tuple(map(float, std))


def _pixels(split, decode):
    """Images for the statistics: a sample of a split in memory, the first ones of a stream."""
    if decode is None:
        return split.payloads
    if isinstance(split, Indexed):
        split = split.sample(STATISTICS_IMAGES, examples.SPLIT_SEED)
    records = split.records().take(STATISTICS_IMAGES)
    images = records.map(lambda _, x, y: decode(x), num_parallel_calls=tf.data.AUTOTUNE)
    return images.as_numpy_iterator()


def _statistics(images):
    """Mean and standard deviation per channel over images (height, width, channels)."""
    count, total, squares = 0, 0.0, 0.0
    for image in images:
        pixels = image.reshape(-1, image.shape[-1]).astype(np.float64)
        count += len(pixels)
        total = total + pixels.sum(axis=0)
        squares = squares + (pixels**2).sum(axis=0)
    mean = total / count
    std = np.sqrt(np.maximum(squares / count - mean**2, 0))
    # A channel that never varies is left as it is, not divided by zero.
    std = np.where(std > 0, std, 1.0)
    return tuple(float(x) for x in np.float32(mean)), tuple(float(x) for x in np.float32(std))
