"""What super-resolution, denoising and learned filters share: photos in, improved photos out.

Figures are those of the field: on luma, from 0 to 1; PSNR for a peak of 1, and SSIM of Wang et al.,
"Image Quality Assessment: From Error Visibility to Structural Similarity", IEEE TIP 2004, as
TensorFlow has it. Each is the mean over images.
"""

import collections
import csv
import io

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn import files
from tf_lcnn.tasks import images

# What a run keeps of the test photos.
FIGURES = "test.csv"
PICTURES = "pictures"

# So many pictures are kept of each test set.
_MOST_PICTURES = 20
# Differences are small: they are shown so many times as large.
_GAIN = 8

# The mean absolute error ends at a higher PSNR than the mean square: Zhao et al., "Loss Functions
# for Image Restoration With Neural Networks", IEEE TCI 2017; Lim et al. (EDSR), CVPR Workshops
# 2017, train on it since.
LOSSES = {"l1": keras.losses.MeanAbsoluteError, "l2": keras.losses.MeanSquaredError}


class Restoration(images.Images):
    """The task of a network that improves photos; see `data.photos.Photos`.

    Attributes:
        before: what a photo is called that is not improved yet, and figures are compared with.
        doubt: what may be wrong with a parent that improves nothing.

    Args:
        loss: of `LOSSES`.
    """

    dataset = "photos"
    networks = "denoising"
    taught_by_logits = False

    def __init__(self, loss="l1"):
        self._loss = loss

    @classmethod
    def of_run(cls, settings):
        return cls(settings.loss)

    def loss(self):
        return LOSSES[self._loss]()

    def metrics(self, channels):
        return [images.PeakSignalToNoise(self.border)]

    def load(self, settings, own_shape, parent=None):
        """The photos of a run; see `classification.Classification.load`."""
        if settings.dataset != self.dataset:
            raise ValueError(
                f"--dataset={settings.dataset}: --task={self.name} takes photos, a folder or zip "
                "file of them in --data_dir."
            )
        how = {"patch_size": settings.patch_size, "draws": settings.patches}
        how = {name: value for name, value in how.items() if value is not None}
        return self.photos(settings, how)

    def photos(self, settings, how):
        """The `data.photos.Photos` of a run, loaded with these arguments and its own."""
        raise NotImplementedError

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
        return super().score(np.clip(outputs, 0, 1), labels)

    def unimproved(self, dataset, given):
        """An input (height, width, 1) at the size of its target, without a network."""
        return given

    def refuse_parent(self, results, dataset, settings):
        """Raises ValueError unless a parent is better than no network."""
        pairs = dataset.evaluation("validation", 1).as_numpy_iterator()
        before = np.mean(
            [self.score(np.asarray(self.unimproved(dataset, x[0]))[None], y) for x, y in pairs]
        )
        if results["psnr"] <= before:
            raise ValueError(
                f"{settings.init_from} has a PSNR of {results['psnr']:.2f} dB here, no better than "
                f"the {before:.2f} {self.doubt}"
            )

    def describe(self, dataset):
        """What the file says of input and output, see `lite.metadata`."""
        return {
            "task": self.name,
            "input": {
                "channels": 1,
                "mean": [0.0],
                "std": [255.0],
                "pixels": "Y of ITU-R BT.601, 16 to 235; gray as it is",
            },
            "output": "image",
        }

    def tell_more(self, model, dataset, directory):
        """Tells PSNR and SSIM of each test set, without the model and with it.

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
            before = self.unimproved(dataset, given[0])
            answer = keras.ops.convert_to_numpy(model(given, training=False))[0]
            shown = [np.clip(image, 0, 1) for image in (before, answer)]
            folder = dataset.test_names[label]
            figures = [figure for image in shown for figure in self._figures(image, sharp[0])]
            rows.append((folder, title, *figures))
            kept[folder] += 1
            if directory is not None and kept[folder] <= _MOST_PICTURES:
                _save_picture(directory / PICTURES / f"{folder}_{title}.png", *shown, sharp[0])
        for folder in dict.fromkeys(row[0] for row in rows):
            self._tell(dataset, folder, [row[2:] for row in rows if row[0] == folder])
        if directory is not None:
            figures = [f"{self.before}_psnr", f"{self.before}_ssim", "psnr", "ssim"]
            text = io.StringIO()
            lines = [("set", "photo", *figures), *rows]
            csv.writer(text, lineterminator="\n").writerows(lines)
            files.write(directory / FIGURES, text.getvalue())

    def _figures(self, image, sharp):
        """(PSNR, SSIM) of an image."""
        cut = [tf.constant(images.cut(x[None], self.border)) for x in (image, sharp)]
        return self.score(image[None], sharp[None]), float(tf.image.ssim(*cut, max_val=1.0)[0])

    def _tell(self, dataset, folder, figures):
        means = np.mean(figures, axis=0)
        print(
            f"{folder}, {len(figures)} photos, {dataset.worse}: "
            f"PSNR {means[2]:.2f} dB, SSIM {means[3]:.4f}; "
            f"{self.before} {means[0]:.2f} dB, {means[1]:.4f}",
            flush=True,
        )


def _save_picture(path, before, after, sharp):
    """Side by side: before, after, and how far that is from the photo, `_GAIN` times."""
    difference = np.clip(np.abs(after - sharp) * _GAIN, 0, 1)
    row = np.concatenate([before, after, difference], axis=1)
    path.parent.mkdir(exist_ok=True)
    encoded = tf.io.encode_png(tf.cast(tf.round(row * 255), tf.uint8))
    with files.replacing(path) as beside:
        beside.write_bytes(encoded.numpy())
