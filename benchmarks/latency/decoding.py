"""How fast training images come out of their files, beside plain JPEG decoding of the same files.

    python -m benchmarks.latency.decoding --data_dir=IMAGENETTE --json=decoding.json

--data_dir is a folder of JPEGs for image_folder, with a folder of them per class. Its training
images are read from these files, and again as a set of TensorFlow Datasets that is written in a
temporary folder: TFRecord files, as ImageNet has them. Of both, in turn in one process:

- plain: tf.data reads the files one after the other and `tf.io.decode_jpeg` decodes them;
- stock: that, resized with antialiasing by `tf.image.resize`, cropped and mirrored at random,
  normalized, and batched, each as TensorFlow's page has it; images of the size that the network
  sees are padded in place of resizing them;
- decoded: our records in shuffled order, decoded, no more;
- training: the batches that train.py trains on, which are stock's but for the order.

Images per second and core are per second of processor time; a share is of plain's rate, the median
of the turns with its quartiles.
"""

import dataclasses
import json
import tempfile
import time

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.common import tables
from tf_lcnn import files, programs
from tf_lcnn.data import datasets, sources
from tf_lcnn.tasks.classification import Classification

FLAGS = flags.FLAGS

flags.DEFINE_string("data_dir", None, "Folder of a folder of JPEGs per class.", required=True)
flags.DEFINE_integer("image_size", 224, "What the network sees.", lower_bound=8)
flags.DEFINE_integer("images", 2000, "Training images that are read in a turn.", lower_bound=1)
flags.DEFINE_integer("batch_size", 32, "Images of a batch.", lower_bound=1)
flags.DEFINE_integer("turns", 7, "Measured turns, after one that is not.", lower_bound=1)
flags.DEFINE_integer("threads", 1, "Threads of each pipeline.", lower_bound=1)
flags.DEFINE_string("json", None, "The file of the figures to write; default: none.")

WAYS = ("plain", "stock", "decoded", "training")


def decoded(encoded):
    return tf.io.decode_jpeg(encoded, channels=3)


def stock(dataset, image, seed):
    """The augmentation, put together of TensorFlow's operations on whole images."""
    height, width, _ = dataset.image_shape
    if not dataset.fixed_size:
        image = tf.image.resize(image, dataset.resized_size(image), antialias=True)
    image = (tf.cast(image, tf.float32) - dataset.mean) / dataset.std
    if dataset.fixed_size:
        image = tf.pad(image, ((height // 8,) * 2, (width // 8,) * 2, (0, 0)))
    image = tf.image.stateless_random_crop(image, dataset.image_shape, (seed, 0))
    return tf.image.stateless_random_flip_left_right(image, (seed, 1))


def ways(dataset, encoded):
    """A tf.data.Dataset for each of `WAYS`.

    Args:
        dataset: a `datasets.DataSet` whose training split is read.
        encoded: a tf.data.Dataset of the encoded images of the same files.
    """
    parallel = {"num_parallel_calls": FLAGS.threads}
    read, seed = dataset.train.reader(), tf.constant((0, 0), tf.int64)

    def ours(place):
        payload, _ = read(dataset.train.shuffled(place, seed))
        return dataset.decode(payload)

    numbered = encoded.enumerate()
    batches = numbered.map(lambda i, x: stock(dataset, decoded(x), i), **parallel)
    made = {
        "plain": encoded.map(decoded, **parallel),
        "stock": batches.batch(FLAGS.batch_size, drop_remainder=True),
        "decoded": tf.data.Dataset.range(len(dataset.train)).map(ours, **parallel),
        "training": dataset.training(
            *(FLAGS.batch_size, 0, 1), seed=0, augment=Classification().augment
        ),
    }
    options = tf.data.Options()
    options.threading.private_threadpool_size = FLAGS.threads
    options.threading.max_intra_op_parallelism = 1
    return {name: each.with_options(options) for name, each in made.items()}


def measure(pipelines, count):
    """Images per second of processor time, (turns, ways)."""
    rates = np.zeros((FLAGS.turns, len(WAYS)))
    for turn in range(-1, FLAGS.turns):
        for i, name in enumerate(WAYS):
            used = count
            if name in ("stock", "training"):
                used -= count % FLAGS.batch_size
            start = time.process_time()
            for _ in pipelines[name]:
                pass
            # The turn that is not measured is overwritten.
            rates[turn, i] = used / (time.process_time() - start)
    return rates


def as_tfds(split, folder):
    """Writes the images of a split of files as a set of TFDS; gives its name."""
    import tensorflow_datasets as tfds

    stored = tf.data.Dataset.from_tensor_slices((split.payloads.astype(str), split.labels))
    stored = stored.map(lambda path, y: {"image": tf.io.read_file(path), "label": y})
    features = {
        "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
        "label": tfds.features.ClassLabel(num_classes=int(split.labels.max()) + 1),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name="photos",
        version="1.0.0",
        data_dir=folder,
        features=tfds.features.FeaturesDict(features),
        split_datasets={"train": stored},
        disable_shuffling=True,
    )
    return "photos"


def rates_of(dataset, encoded):
    """way -> its rates, one of each turn."""
    rates = measure(ways(dataset, encoded), len(dataset.train))
    return dict(zip(WAYS, rates.T.tolist(), strict=True))


def main():
    given = {"image_size": FLAGS.image_size, "preprocessing": "imagenet"}
    folder = datasets.load("image_folder", FLAGS.data_dir, **given)
    train = folder.train.sample(FLAGS.images, 0)
    if len(train) < FLAGS.batch_size:
        raise ValueError(f"{FLAGS.data_dir} has {len(train)} training images: fewer than a batch.")
    paths = list(map(str, train.payloads))
    others = [path for path in paths if not path.lower().endswith((".jpg", ".jpeg"))]
    if others:
        raise ValueError(f"{others[0]} is no JPEG file: these alone are compared.")
    figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        splits, _, decode, _ = sources.tensorflow_dataset(
            as_tfds(train, temporary), temporary, False
        )
        stored = splits["train"]
        encoded = tf.data.Dataset.from_tensor_slices(paths).map(tf.io.read_file)
        as_files = dataclasses.replace(folder, train=train)
        figures["files"] = rates_of(as_files, encoded)
        encoded = tf.data.TFRecordDataset(stored.paths).map(lambda x: stored.parse(x)[0])
        as_records = dataclasses.replace(folder, train=stored, decode=decode, fixed_size=False)
        figures["tfrecords"] = rates_of(as_records, encoded)
    print(tables.decoding({f"{len(train)} images": figures}))
    if FLAGS.json:
        files.write(FLAGS.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
