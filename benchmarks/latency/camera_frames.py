"""What a camera's frame takes to become an input inside the file, see `lite.frames`.

    python -m benchmarks.latency.camera_frames --json=docs/camera_frames.json

Each format at each size of a frame, for a network of 224x224 with the margin of ImageNet: the
operators in front of the network, as a file of their own, and beside them what one would write with
`tf.image.resize`: planes resized without antialiasing, as LiteRT has nothing else, then converted
and normalized. Then ResNet-18-LCNN with `register` sizes in int8 (random weights: a time, no
accuracy) by itself and behind frames. One thread, files in turn, each in a process of its own.
"""

import json
import pathlib
import tempfile

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.common import networks, tables, timing
from tf_lcnn import files, models, programs
from tf_lcnn.data import datasets
from tf_lcnn.data.records import Indexed
from tf_lcnn.lite import converter, frames
from tf_lcnn.runtime import native
from tf_lcnn.training import callbacks

FLAGS = flags.FLAGS

flags.DEFINE_string("json", None, "The file of the figures to write; default: none.")

SIZES = ((480, 640), (720, 1280), (1080, 1920))
# The network, and its frame.
NETWORK, FRAME = "resnet18_lcnn", frames.Frame("nv21", 480, 640)


def photos():
    """A data set of 224x224 with ImageNet's normalization; nothing of its images is used."""
    mean, std = datasets.normalization("imagenet", 3)
    split = Indexed(np.zeros((1, 8, 8, 3), np.uint8), np.zeros(1, np.int64))
    return datasets.DataSet(
        **dict(name="photos", class_names=("photo",), image_shape=(224, 224, 3), mirror=True),
        **dict(mean=mean, std=std, fixed_size=False, decode=lambda image: image),
        **dict(train=split, validation=split, test=split),
    )


def plain(frame, dataset):
    """The function of a front as one writes it first: no antialiasing, a part for each step."""
    size, short = dataset.image_shape[:2], dataset.short_side
    side = min(frame.height, frame.width) * size[0] // short // 2 * 2
    top, left = (frame.height - side) // 4 * 2, (frame.width - side) // 4 * 2
    half, across, down = side // 2, frame.width // 2, frame.height // 2

    def resized(x):
        return tf.image.resize(tf.cast(x, tf.float32)[None], size)

    def front(x):
        if frame.format == "rgba":
            rgb = resized(x[0, top : top + side, left : left + side, :3])
            return (rgb - dataset.mean) / dataset.std
        luma = resized(x[0, top : top + side, left : left + side, None])
        chroma = x[0, frame.height :]
        if frame.format == "nv21":
            chroma = tf.reshape(chroma, (down, across, 2))[..., ::-1]
        else:
            chroma = tf.transpose(tf.reshape(chroma, (2, down, across)), (1, 2, 0))
        part = chroma[top // 2 : top // 2 + half, left // 2 : left // 2 + half]
        u, v = tf.split(resized(part) - 128, 2, axis=-1)
        rgb = [luma + 1.402 * v, luma - 0.344136 * u - 0.714136 * v, luma + 1.772 * u]
        rgb = tf.clip_by_value(tf.concat(rgb, axis=-1), 0, 255)
        return (rgb - dataset.mean) / dataset.std

    return front


def written(folder, dataset):
    """name -> path: two files of each frame, and the network without and with frames."""
    made = {}
    for name in frames.FORMATS:
        for size in SIZES:
            frame = frames.Frame(name, *size)
            ways = {"front": frames.Front(frame, dataset), "plain": plain(frame, dataset)}
            for way, function in ways.items():
                path = folder / f"{name}_{size[0]}_{way}.tflite"
                shape = (1, *frame.shape)
                content = converter.to_tflite(function, shape, dtype="uint8", sparse=False)
                path.write_bytes(content)
                made[name, size, way] = path
    model = models.build(NETWORK, dictionary_sizes="register")
    callbacks.project(model, 4)
    made["network"] = folder / "network.tflite"
    networks.write(made["network"], model, "sparse", "int8")
    made["behind frames"] = folder / "behind_frames.tflite"
    whole = frames.Front(FRAME, dataset).before(made["network"].read_bytes())
    made["behind frames"].write_bytes(whole)
    return made


def main():
    with tempfile.TemporaryDirectory() as folder:
        made = written(pathlib.Path(folder), photos())
        of_network = [made.pop(key) for key in ("network", "behind frames")]
        sizes = {key: path.stat().st_size for key, path in made.items()}
        seconds, _ = timing.measure(list(made.values()))
        delegate = native.available()
        together, _ = timing.measure(of_network, delegates=delegate)
    ms = dict(zip(made, (1e3 * np.median(seconds, axis=0)).tolist(), strict=True))
    rows = [
        {
            **{"format": name, "height": size[0], "width": size[1]},
            **{"ms": ms[name, size, "front"], "plain_ms": ms[name, size, "plain"]},
            "bytes": sizes[name, size, "front"],
        }
        for name in frames.FORMATS
        for size in SIZES
    ]
    alone, whole = (1e3 * np.median(together, axis=0)).tolist()
    network = {"name": NETWORK, "frame": str(FRAME), "delegate": delegate}
    figures = {"fronts": rows, "network": {**network, "ms": alone, "behind_frames_ms": whole}}
    print(tables.camera_frames(figures))
    if FLAGS.json:
        files.write(FLAGS.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
