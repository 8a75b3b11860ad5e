"""Draws docs/photos.png: a part of a photo with noise and without, made larger, and filtered.

    python docs/draw_photos.py --denoising=runs/dncnn_small_lcnn/model.tflite

The photo is flower.jpg of scikit-learn (flickr.com/photos/vultilion, CC BY 2.0). From left to
right: with noise of sigma 25 and 8 bits, through the network of --denoising, and the photo; below,
its half size enlarged by bicubic interpolation, through VDSR of zoo/, and the photo.
"""

import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl import flags
from sklearn.datasets import load_sample_image

from tf_lcnn import files, programs
from tf_lcnn.data import photos
from tf_lcnn.lite import export, metadata
from tf_lcnn.models import saving, zoo
from tf_lcnn.pipeline import improving
from tf_lcnn.tasks.images import psnr

FLAGS = flags.FLAGS

flags.DEFINE_string("denoising", None, "The .tflite of a denoising network.", required=True)

OUT = pathlib.Path(__file__).with_name("photos.png")
SIGMA, SCALE = 25, 2


def vdsr():
    """The Improver of VDSR, twice as large."""
    inputs = keras.Input((None, None, 1))
    # The public weights give what is missing.
    missing = saving.load_model(zoo.path("vdsr"))(inputs)
    net = keras.Model(inputs, keras.layers.Add()([inputs, missing]))
    content = export.convert(net, default_shape=(64, 64, 1))
    about = {"task": "super_resolution", "scale": SCALE}
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder, "vdsr.tflite")
        path.write_bytes(metadata.append(content, about))
        return improving.load(path)


def main():
    photo = np.array(load_sample_image("flower.jpg")[150:246, 260:356])
    noise = np.random.default_rng(0).normal(0, SIGMA, photo.shape)
    noisy = np.uint8(np.clip(np.rint(photo + noise), 0, 255))
    small = photos.shrunk(tf.constant(photo, tf.float32), SCALE)
    small = np.uint8(np.clip(np.rint(small), 0, 255))
    bicubic = photos.enlarged(tf.constant(small, tf.float32), SCALE)
    rows = [
        [noisy, improving.load(FLAGS.denoising)(noisy)[0], photo],
        [np.uint8(np.clip(np.rint(bicubic), 0, 255)), vdsr()(small)[0], photo],
    ]
    for before, after, _ in rows:
        figures = (psnr(photo[None] / 255.0, x[None] / 255.0)[0] for x in (before, after))
        print(" -> ".join(f"{figure:.2f} dB" for figure in figures))
    picture = np.concatenate([np.concatenate(row, axis=1) for row in rows])
    with files.replacing(OUT) as beside:
        beside.write_bytes(improving.encoded(picture))


if __name__ == "__main__":
    programs.run(main)
