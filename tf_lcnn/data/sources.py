"""Splits in memory or streamed, and where they come from: digits and TensorFlow Datasets."""

import dataclasses
import difflib
import hashlib
import pathlib

import numpy as np
import tensorflow as tf

from tf_lcnn import checks

# Above this many bytes of pixels a TFDS set is streamed, not held in memory.
IN_MEMORY_BYTES = 2**30
SHUFFLE_BUFFER = 8192
# Files of a streamed set that are read at the same time.
OPEN_FILES = 16


@dataclasses.dataclass(frozen=True)
class Indexed:
    """A split held in memory: `payloads[i]` is a uint8 image, its encoded bytes, or a path."""

    payloads: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        return Indexed(self.payloads[indices], self.labels[indices])

    def sample(self, count, seed):
        """The split of `count` examples drawn at random, in their order here."""
        order = np.random.default_rng(seed).permutation(len(self))
        return self.take(np.sort(order[:count]))

    def digest(self):
        """A short string that is another for other examples; of files it knows the names."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels))
        if self.payloads.dtype.kind in "SUO":
            for payload in self.payloads.flat:
                encoded = payload if isinstance(payload, bytes) else str(payload).encode()
                # Where the folder lies may differ.
                digest.update(encoded.rpartition(b"/")[2] + b"\n")
        else:
            digest.update(np.ascontiguousarray(self.payloads))
        return f"{len(self)} x {digest.hexdigest()[:12]}"

    def records(self, seed=None):
        """Data set of (index, payload, label): in order, or shuffled by `seed` (2 integers)."""
        # Outside the function that is being traced: inside, they would be part of its graph.
        with tf.init_scope():
            payloads, labels = tf.constant(self.payloads), tf.constant(self.labels)

        def pick(i):
            if seed is not None:
                i = tf.random.experimental.index_shuffle(i, seed, len(self) - 1)
            return i, payloads[i], labels[i]

        return tf.data.Dataset.range(len(self)).map(pick)


@dataclasses.dataclass(frozen=True)
class Streamed:
    """A split too large for memory, in TFRecord files.

    Attributes:
        files: (path, records to skip, records to take) of each file, in order.
        parse: a serialized record -> (encoded image, label).
        chosen: for each record of the files whether the split has it; None: all.
    """

    files: tuple
    parse: callable
    chosen: np.ndarray | None = None

    def __len__(self):
        if self.chosen is not None:
            return int(self.chosen.sum())
        return sum(take for _, _, take in self.files)

    def part(self, start, stop):
        """The split of the records start to stop - 1; the files outside them are not read."""
        files, first = [], 0
        for path, skip, take in self.files:
            low, high = max(start - first, 0), min(stop - first, take)
            if low < high:
                files.append((path, skip + low, high - low))
            first += take
        return Streamed(tuple(files), self.parse)

    def sample(self, count, seed):
        """The split of `count` examples drawn at random, in their order here; one pass."""
        chosen = np.zeros(len(self), bool)
        chosen[np.random.default_rng(seed).permutation(len(self))[:count]] = True
        return Streamed(self.files, self.parse, chosen)

    def digest(self):
        """A short string that is another for other files, by their names, or parts of them."""
        named = [(pathlib.Path(path).name, *part) for path, *part in self.files]
        return f"{len(self)} x {hashlib.sha256(repr(named).encode()).hexdigest()[:12]}"

    def records(self, seed=None):
        """Data set of (index, payload, label): in order, or shuffled by `seed` (2 integers).

        Shuffled are the files, of which several are read in turn, and then the records.
        """
        paths, skips, takes = zip(*self.files, strict=True)
        firsts = np.cumsum([0, *takes[:-1]])
        with tf.init_scope():
            columns = (
                tf.constant(paths),
                *(tf.constant(x, tf.int64) for x in (skips, takes, firsts)),
            )
            chosen = None if self.chosen is None else tf.constant(self.chosen)

        def read(path, skip, take, first):
            return tf.data.TFRecordDataset(path).skip(skip).take(take).enumerate(first)

        files = tf.data.Dataset.from_tensor_slices(columns)
        if seed is None:
            records = files.flat_map(read)
        else:
            seed = tf.cast(tf.reduce_sum(seed * [1_000_003, 1]), tf.int64)
            shuffle = {"seed": seed, "reshuffle_each_iteration": False}
            records = files.shuffle(len(paths), **shuffle).interleave(read, OPEN_FILES)
            records = records.shuffle(SHUFFLE_BUFFER, **shuffle)
        if chosen is not None:
            records = records.filter(lambda i, _: chosen[i])
        return records.map(lambda i, record: (i, *self.parse(record)))


def digits():
    """scikit-learn's digits: one part, its class names, no decoding, and the shape."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    # Stored as 0 to 16.
    images = np.round(stored.images[..., None] * (255 / 16)).astype(np.uint8)
    everything = Indexed(images, stored.target.astype(np.int64))
    names = [str(name) for name in stored.target_names]
    return {"train": everything}, names, None, images.shape[1:]


def tensorflow_dataset(name, data_dir, download):
    """The parts, class names, decoding and stored shape of an image classification set of TFDS."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        if ":" in name and name.partition(":")[0].partition("/")[0] in tfds.list_builders():
            raise ValueError(f"{name} does not exist: {checks.first_line(error)}") from None
        close = difflib.get_close_matches(name.lower(), tfds.list_builders(), n=3)
        hint = f" (TFDS has {', '.join(close)})" if close else ""
        raise ValueError(
            f"Unknown data set {name!r}{hint}: digits, image_folder, or the name of an image "
            "classification set of TensorFlow Datasets, like cifar10."
        ) from None
    if not builder.is_prepared():
        if not download:
            raise FileNotFoundError(
                f"{name} is not prepared in {builder.data_dir}: point --data_dir at a folder "
                "that has it, or add --download."
            )
        builder.download_and_prepare()
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise ValueError(f"{name} is no image classification set: it has {', '.join(features)}.")
    names = {"train": "train"}
    held_apart = [s for s in ("validation", "test") if s in builder.info.splits]
    if name.startswith("imagenet"):
        # ImageNet's own test labels are not public: the custom is to test on validation.
        held_apart = ["validation"]
    if len(held_apart) == 1:
        names["test"] = held_apart[0]
    else:
        names.update({split: split for split in held_apart})
    class_names = features["label"].names
    shape = features["image"].shape
    images = sum(builder.info.splits[split].num_examples for split in names.values())
    if None not in shape and images * np.prod(shape) <= IN_MEMORY_BYTES:
        splits = {
            split: _in_memory(builder.as_dataset(split=stored), tfds)
            for split, stored in names.items()
        }
        return splits, class_names, None, shape
    splits = {}
    for split, stored in names.items():
        splits[split] = _streamed(builder, stored, tfds)
    channels = shape[-1]

    def decode(encoded):
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, channels))

    return splits, class_names, decode, (None, None, channels)


def _in_memory(dataset, tfds):
    examples = list(tfds.as_numpy(dataset.batch(1000)))
    images = np.concatenate([batch["image"] for batch in examples])
    return Indexed(images, np.concatenate([batch["label"] for batch in examples]).astype(np.int64))


def _streamed(builder, stored, tfds):
    kind = builder.info.file_format.value
    if kind != "tfrecord":
        raise ValueError(f"{builder.data_dir} is stored as {kind}: prepare the set as tfrecord.")

    def parse(record):
        decoders = {"image": tfds.decode.SkipDecoding()}
        example = builder.info.features.deserialize_example(record, decoders=decoders)
        return example["image"], example["label"]

    info = builder.info.splits[stored]
    lengths = zip(info.filepaths, info.shard_lengths, strict=True)
    return Streamed(tuple((str(path), 0, length) for path, length in lengths if length), parse)
