"""Where examples come from: digits, TensorFlow Datasets, folders of images; splits of them."""

import concurrent.futures
import dataclasses
import difflib
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

# Above this many bytes of pixels a TFDS set is streamed, not held in memory.
IN_MEMORY_BYTES = 2**30
SHUFFLE_BUFFER = 8192

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")
_SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}


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
    """A split too large for memory: a tf.data.Dataset of (encoded image, label)."""

    dataset: tf.data.Dataset
    count: int

    def __len__(self):
        return self.count

    def sample(self, count, seed):
        """The split of `count` examples drawn at random, in their order here; one pass."""
        count = min(count, self.count)
        chosen = np.zeros(self.count, bool)
        chosen[np.random.default_rng(seed).permutation(self.count)[:count]] = True
        with tf.init_scope():
            chosen = tf.constant(chosen)
        drawn = (
            self.dataset.enumerate().filter(lambda i, _: chosen[i]).map(lambda _, record: record)
        )
        return Streamed(drawn, count)

    def records(self, seed=None):
        dataset = self.dataset.enumerate().map(lambda i, record: (i, *record))
        if seed is None:
            return dataset
        seed = tf.cast(tf.reduce_sum(seed * [1_000_003, 1]), tf.int64)
        return dataset.shuffle(SHUFFLE_BUFFER, seed=seed, reshuffle_each_iteration=False)


def digits():
    """scikit-learn's digits: one part, its class names, and no decoding."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    # Stored as 0 to 16.
    images = np.round(stored.images[..., None] * (255 / 16)).astype(np.uint8)
    everything = Indexed(images, stored.target.astype(np.int64))
    return {"train": everything}, [str(name) for name in stored.target_names], None


def _decode_bytes(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _decode_path(path):
    return _decode_bytes(tf.io.read_file(path))


def _listing(data_dir):
    """(relative paths, path -> payload, decode) of a folder or a zip file."""
    if data_dir is None:
        raise ValueError("image_folder needs --data_dir: a folder, or a zip file of one.")
    root = pathlib.Path(data_dir)
    if zipfile.is_zipfile(root):
        archive = zipfile.ZipFile(root)

        def read(path):
            try:
                return archive.read(str(path))
            except zipfile.BadZipFile:
                raise ValueError(f"Cannot read {path} in {data_dir}: it is damaged.") from None

        return [pathlib.PurePosixPath(name) for name in archive.namelist()], read, _decode_bytes
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is neither a folder nor a zip file; image_folder takes a folder of images "
            "per class."
        )
    paths = [pathlib.PurePosixPath(path.relative_to(root)) for path in root.rglob("*")]
    return paths, lambda path: str(root / path), _decode_path


def _is_hidden(path):
    # What file managers leave behind, images among it.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def image_folder(data_dir):
    """The parts, class names and decoding of a folder, or zip file, of images per class."""
    paths, payload, decode = _listing(data_dir)
    paths = sorted(path for path in paths if not _is_hidden(path))
    images = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and len(p.parts) > 1]
    _refuse_empty_classes(data_dir, paths, images)
    found = {}
    for path in images:
        split = _SPLIT_FOLDERS.get(path.parts[-3], "train") if len(path.parts) > 2 else "train"
        found.setdefault(split, []).append(path)
    if "train" not in found:
        raise ValueError(
            f"{data_dir} holds no training images ({', '.join(IMAGE_SUFFIXES)}); image_folder "
            "takes a folder of them per class."
        )
    class_names = sorted({path.parts[-2] for path in images})
    for split, entries in found.items():
        missing = set(class_names) - {path.parts[-2] for path in entries}
        if missing:
            raise ValueError(
                f"{data_dir} has no image of class {min(missing)} in its {split} part."
            )
    if "test" not in found and "validation" in found:
        # One part apart from train is the test; validation then comes out of train.
        found["test"] = found.pop("validation")
    splits = {}
    for split, entries in found.items():
        payloads = [payload(path) for path in entries]
        _refuse_broken_images(data_dir, entries, payloads, decode)
        labels = np.array([class_names.index(path.parts[-2]) for path in entries], np.int64)
        splits[split] = Indexed(np.array(payloads, object), labels)
    return splits, class_names, decode


def _refuse_empty_classes(data_dir, paths, images):
    """A folder beside the classes that has no image is a class without images, not nothing."""
    classes = {path.parent for path in images}
    beside = {folder.parent for folder in classes}
    folders = {folder for path in paths for folder in path.parents if folder.parts}
    # An empty folder is nobody's parent, and looks like a file without a suffix.
    folders |= {path for path in paths if not path.suffix}
    for folder in sorted(folders - classes):
        if folder.parent in beside and folder.name not in _SPLIT_FOLDERS:
            raise ValueError(
                f"Class folder {folder} in {data_dir} is empty: it holds no image "
                f"({', '.join(IMAGE_SUFFIXES)})."
            )


def _refuse_broken_images(data_dir, entries, payloads, decode):
    def broken(i):
        try:
            decode(payloads[i])
        except tf.errors.OpError:
            return str(entries[i])
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        names = [name for name in pool.map(broken, range(len(entries))) if name]
    if names:
        raise ValueError(
            f"Cannot decode {names[0]} in {data_dir}: truncated, or no image "
            f"({len(names)} such of {len(entries)})."
        )


def tensorflow_dataset(name, data_dir, download):
    """The parts, class names and decoding of an image classification set of TFDS."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError):
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
        return splits, class_names, None
    splits = {}
    for split, stored in names.items():
        dataset = builder.as_dataset(split=stored, decoders={"image": tfds.decode.SkipDecoding()})
        dataset = dataset.map(lambda example: (example["image"], example["label"]))
        splits[split] = Streamed(dataset, builder.info.splits[stored].num_examples)
    channels = shape[-1]

    def decode(encoded):
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, channels))

    return splits, class_names, decode


def _in_memory(dataset, tfds):
    examples = list(tfds.as_numpy(dataset.batch(1000)))
    images = np.concatenate([batch["image"] for batch in examples])
    return Indexed(images, np.concatenate([batch["label"] for batch in examples]).astype(np.int64))
