"""Super-resolution: a small photo in, or that enlarged by bicubic interpolation; a large one out.

Figures are those of the field: on luma, from 0 to 1, with `scale` pixels cut off at every border;
PSNR for a peak of 1, and SSIM of Wang et al., "Image Quality Assessment: From Error Visibility to
Structural Similarity", IEEE TIP 2004, as TensorFlow has it. Each is the mean over images.
"""

import collections
import csv
import dataclasses
import io

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from tf_lcnn import files
from tf_lcnn.data import photos
from tf_lcnn.tasks import images

# What a run keeps of the test photos.
FIGURES = "test.csv"
PICTURES = "pictures"

# So many pictures are kept of each test set.
_MOST_PICTURES = 20
# Differences are small: they are shown so many times as large.
_GAIN = 8

_COLUMNS = ("set", "photo", "bicubic_psnr", "bicubic_ssim", "psnr", "ssim")


@keras.saving.register_keras_serializable(package="tf_lcnn")
class PeakSignalToNoise(keras.metrics.MeanMetricWrapper):
    """Mean over images of the PSNR in dB, as the field measures it.

    Args:
        border: pixels that are cut off at every side.
    """

    def __init__(self, border=0, name="psnr", dtype=None):
        super().__init__(self._of_images, name=name, dtype=dtype)
        self.border = border

    def _of_images(self, y_true, y_pred):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        error = _cut(y_true, self.border) - _cut(ops.clip(y_pred, 0, 1), self.border)
        error = ops.maximum(ops.mean(ops.square(error), axis=(1, 2, 3)), 1e-20)
        return -10 / np.log(10) * ops.log(error)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "border": self.border}


class SuperResolution(images.Images):
    """The task of a network that makes photos larger.

    Args:
        scale: how many times.
    """

    name = "super_resolution"
    dataset = "photos"
    model = "espcn"
    flags = ("scale", "patch_size", "patches", "test_dirs")
    taught_by_logits = False

    def __init__(self, scale):
        self.scale = scale

    @classmethod
    def of_run(cls, settings):
        return cls(2 if settings.scale is None else settings.scale)

    def load(self, settings, own_shape, parent=None):
        """The photos of a run; see `classification.Classification.load`."""
        if settings.dataset != self.dataset:
            raise ValueError(
                f"--dataset={settings.dataset}: --task={self.name} takes photos, a folder or zip "
                "file of them in --data_dir."
            )
        draws = {} if settings.patches is None else {"draws": settings.patches}
        test_dirs = settings.test_dirs or ()
        return photos.load(
            settings.data_dir, self.scale, settings.patch_size, **draws, test_dirs=test_dirs
        )

    def loss(self):
        """The mean absolute error, which ends at a higher PSNR than the mean square.

        Source: Zhao et al., "Loss Functions for Image Restoration With Neural Networks", IEEE TCI
        2017; Lim et al. (EDSR), CVPR Workshops 2017, train on it since.
        """
        return keras.losses.MeanAbsoluteError()

    def metrics(self, channels):
        return [PeakSignalToNoise(self.scale)]

    def augment(self, dataset, pair, draw):
        """A random patch of an input and its target, both mirrored and turned at random.

        Args:
            dataset: a `data.photos.Photos`.
            pair: input and target of a photo, whole.
            draw: two integers that seed what is drawn.
        """
        drawn = tf.random.stateless_uniform((2,), draw + 1)
        turns = tf.cast(drawn[0] * 4, tf.int32)

        def turned(image):
            mirrored = tf.cond(drawn[1] < 0.5, lambda: image, lambda: image[:, ::-1])
            return tf.ensure_shape(tf.image.rot90(mirrored, turns), image.shape)

        return tuple(turned(image) for image in dataset.patch(pair, draw))

    def score(self, outputs, labels):
        """Mean PSNR in dB of outputs (count, height, width, 1). Raises as `images.Images` does."""
        cut = (_cut(np.asarray(x), self.scale) for x in (np.clip(outputs, 0, 1), labels))
        return super().score(*cut)

    def refuse_parent(self, results, dataset, settings):
        """Raises ValueError unless a parent is better than bicubic interpolation."""
        large = dataclasses.replace(dataset, enlarged=True).evaluation("validation", 1)
        bicubic = np.mean([self.score(*pair) for pair in large.as_numpy_iterator()])
        if results["psnr"] <= bicubic:
            raise ValueError(
                f"{settings.init_from} has a PSNR of {results['psnr']:.2f} dB here, no better than "
                f"the {bicubic:.2f} of bicubic interpolation: is --scale ({self.scale}) that of "
                "its training?"
            )

    def describe(self, dataset):
        """What the file says of input and output, see `lite.metadata`."""
        return {
            "input": {
                "channels": 1,
                "mean": [0.0],
                "std": [255.0],
                "pixels": "Y of ITU-R BT.601, 16 to 235; gray as it is",
                "enlarged": dataset.enlarged,
            },
            "output": "image",
            "scale": self.scale,
        }

    def tell_more(self, model, dataset, directory):
        """Tells PSNR and SSIM of each test set, of bicubic interpolation and of the model.

        Args:
            model: a Keras model that takes the photos.
            dataset: a `data.photos.Photos`.
            directory: of the run, or another that joins names by `/`: `FIGURES` and `PICTURES`
                are kept there. None keeps nothing.
        """
        rows, kept = [], collections.Counter()
        which = zip(dataset.test.labels, dataset.titles, strict=True)
        pairs = dataset.evaluation("test", 1).as_numpy_iterator()
        for (given, sharp), (label, title) in zip(pairs, which, strict=True):
            bicubic = given[0] if dataset.enlarged else photos.enlarged(given[0], self.scale)
            answer = keras.ops.convert_to_numpy(model(given, training=False))[0]
            shown = [np.clip(image, 0, 1) for image in (bicubic, answer)]
            folder = dataset.test_names[label]
            figures = [figure for image in shown for figure in self._figures(image, sharp[0])]
            rows.append((folder, title, *figures))
            kept[folder] += 1
            if directory is not None and kept[folder] <= _MOST_PICTURES:
                _save_picture(directory / PICTURES / f"{folder}_{title}.png", *shown, sharp[0])
        for folder in dict.fromkeys(row[0] for row in rows):
            self._tell(folder, [row[2:] for row in rows if row[0] == folder])
        if directory is not None:
            text = io.StringIO()
            csv.writer(text, lineterminator="\n").writerows([_COLUMNS, *rows])
            files.write(directory / FIGURES, text.getvalue())

    def _figures(self, image, sharp):
        """(PSNR, SSIM) of an image."""
        cut = [tf.constant(_cut(x[None], self.scale)) for x in (image, sharp)]
        return self.score(image[None], sharp[None]), float(tf.image.ssim(*cut, max_val=1.0)[0])

    def _tell(self, folder, figures):
        means = np.mean(figures, axis=0)
        print(
            f"{folder}, {len(figures)} photos, {self.scale} times as large: "
            f"PSNR {means[2]:.2f} dB, SSIM {means[3]:.4f}; "
            f"bicubic {means[0]:.2f} dB, {means[1]:.4f}",
            flush=True,
        )


def _cut(pictures, border):
    """Images (count, height, width, channels) without their border."""
    inner = slice(border or None, -border or None)
    return pictures[:, inner, inner]


def _save_picture(path, before, after, sharp):
    """Side by side: before, after, and how far that is from the photo, `_GAIN` times."""
    difference = np.clip(np.abs(after - sharp) * _GAIN, 0, 1)
    row = np.concatenate([before, after, difference], axis=1)
    path.parent.mkdir(exist_ok=True)
    encoded = tf.io.encode_png(tf.cast(tf.round(row * 255), tf.uint8))
    with files.replacing(path) as beside:
        beside.write_bytes(encoded.numpy())
