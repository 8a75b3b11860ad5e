"""Image classification data, from where it lies to batches: `load(name).training(...)`.

Splits: *test* is for the final figure only, *validation* is held out of the training images.
Both are the same in every run, whatever its seed. All pixel values are 0 to 255; batches are
normalised with the mean and standard deviation per channel of the training images.
"""

import concurrent.futures
import dataclasses
import difflib
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
SPLIT_SEED = 0

# Data sets whose images mean something else when mirrored.
NOT_MIRRORED = ("digits", "mnist", "kmnist", "emnist", "svhn_cropped")

# Above this many bytes of pixels a TFDS set is streamed, not held in memory.
IN_MEMORY_BYTES = 2**30
SHUFFLE_BUFFER = 8192
STATISTICS_IMAGES = 10_000

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

    def records(self, seed=None):
        """Data set of (index, payload, label): in order, or shuffled by `seed` (2 integers)."""
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

    def records(self, seed=None):
        dataset = self.dataset.enumerate().map(lambda i, record: (i, *record))
        if seed is None:
            return dataset
        seed = tf.cast(tf.reduce_sum(seed * [1_000_003, 1]), tf.int64)
        return dataset.shuffle(SHUFFLE_BUFFER, seed=seed)


@dataclasses.dataclass(frozen=True)
class DataSet:
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

    def batches_per_epoch(self, batch_size):
        """Full batches in the training split: an epoch leaves the remainder out."""
        count = len(self.train) // batch_size
        if not count:
            raise ValueError(
                f"Batch size {batch_size} is larger than the {len(self.train)} training images "
                f"of {self.name}."
            )
        return count

    def training(self, batch_size, first_epoch, epochs, seed, parts=1):
        """Shuffled, augmented batches (images, labels) of the epochs first_epoch to epochs - 1.

        The order and the augmentation of an epoch depend on the seed and the epoch alone, so a
        resumed run sees what an unbroken one does.

        Args:
            batch_size: images per step of the optimiser.
            parts: each batch comes in this many equal parts (gradient accumulation).
        """
        if batch_size % parts:
            raise ValueError(f"A batch of {batch_size} does not break into {parts} equal parts.")
        used = self.batches_per_epoch(batch_size) * batch_size

        def one_epoch(epoch):
            order = tf.stack([tf.constant(seed, tf.int64), epoch])
            records = self.train.records(order).take(used)

            def augment(i, payload, label):
                draw = tf.stack([order[0] * 1_000_003 + epoch, i])
                return self._augment(self.decode(payload), draw), label

            return records.map(augment, num_parallel_calls=tf.data.AUTOTUNE)

        epochs = tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)
        return epochs.batch(batch_size // parts, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def evaluation(self, split, batch_size):
        """Batches (images, labels) of a whole split, in order, not augmented.

        Args:
            split: "train", "validation" or "test".
        """

        def prepare(_, payload, label):
            return self._central(self.decode(payload)), label

        records = getattr(self, split).records()
        batches = records.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(batch_size)
        return batches.prefetch(tf.data.AUTOTUNE)

    def _augment(self, image, seed):
        height, width, channels = self.image_shape
        if self.fixed_size:
            # CIFAR: 4 pixels around 32 x 32, then a crop; the same share for other sizes.
            pad = ((height // 8,) * 2, (width // 8,) * 2, (0, 0))
            image = tf.pad(self._normalise(image), pad)
        else:
            image = self._normalise(self._short_side(image))
        image = tf.image.stateless_random_crop(image, self.image_shape, seed)
        if self.mirror:
            image = tf.image.stateless_random_flip_left_right(image, seed + 1)
        return tf.ensure_shape(image, (height, width, channels))

    def _central(self, image):
        if not self.fixed_size:
            image = self._short_side(image)
            top, left = ((tf.shape(image)[i] - self.image_shape[i]) // 2 for i in (0, 1))
            image = image[top : top + self.image_shape[0], left : left + self.image_shape[1]]
        return tf.ensure_shape(self._normalise(image), self.image_shape)

    def _short_side(self, image):
        # ImageNet: short side 256 for a crop of 224; the same ratio for other sizes.
        target = max(self.image_shape[:2]) * 256 / 224
        size = tf.cast(tf.shape(image)[:2], tf.float64)
        size = tf.cast(tf.round(size * (target / tf.reduce_min(size))), tf.int32)
        return tf.image.resize(image, size, antialias=True)

    def _normalise(self, image):
        return (tf.cast(image, tf.float32) - tf.constant(self.mean)) / tf.constant(self.std)


def load(name, data_dir=None, image_size=None, default_size=224, download=False):
    """Loads an image classification data set.

    Args:
        name: "digits" (embedded in scikit-learn: 1,797 scans of handwriting, 8 x 8);
            "image_folder" (data_dir is a folder, or a zip file of one, with a folder of images
            per class, or such folders inside train, val or validation, and test); or any
            image classification set of TensorFlow Datasets, like "cifar10".
        data_dir: where the data lies; None is TFDS's own default for a TFDS set.
        image_size: height and width that the network sees; None takes the stored size where
            all images have the same, else default_size.
        default_size: see image_size.
        download: whether TFDS may download and prepare a missing set.

    Raises:
        ValueError: unknown name, unusable folder, a broken image, an empty class.
        FileNotFoundError: the data is not there; the message says how to get it.
    """
    if name == "digits":
        splits, class_names = _digits()
        decode = None
    elif name == "image_folder":
        splits, class_names, decode = _image_folder(data_dir)
    else:
        splits, class_names, decode = _tfds(name, data_dir, download)
    splits = _hold_out(splits)
    train = splits["train"]
    stored = train.payloads.shape[1:] if decode is None else None
    if decode is None:
        mean, std = _statistics(train.payloads)
    else:
        sample = train.records().take(STATISTICS_IMAGES).map(lambda _, x, y: decode(x))
        mean, std = _statistics(sample.as_numpy_iterator())
    size = (image_size, image_size) if image_size else (stored or (default_size, default_size))[:2]
    return DataSet(
        name=name,
        class_names=tuple(class_names),
        image_shape=(*size, len(mean)),
        mean=mean,
        std=std,
        fixed_size=stored is not None and tuple(size) == stored[:2],
        mirror=name not in NOT_MIRRORED,
        decode=decode or (lambda image: image),
        **splits,
    )


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


def _hold_out(splits):
    """Adds the splits that are missing, out of train."""
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE)):
        if name in splits:
            continue
        train = splits["train"]
        held = max(1, round(len(train) * share))
        if held >= len(train):
            raise ValueError(f"{len(train)} training images are too few to hold out a {name} part.")
        if isinstance(train, Streamed):
            splits[name] = Streamed(train.dataset.take(held), held)
            splits["train"] = Streamed(train.dataset.skip(held), len(train) - held)
        else:
            order = np.random.default_rng(SPLIT_SEED).permutation(len(train))
            splits[name] = train.take(np.sort(order[:held]))
            splits["train"] = train.take(np.sort(order[held:]))
    return splits


def _digits():
    from sklearn.datasets import load_digits

    digits = load_digits()
    # Stored as 0 to 16.
    images = np.round(digits.images[..., None] * (255 / 16)).astype(np.uint8)
    everything = Indexed(images, digits.target.astype(np.int64))
    return {"train": everything}, [str(name) for name in digits.target_names]


def _decode_bytes(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _decode_path(path):
    return _decode_bytes(tf.io.read_file(path))


def _listing(data_dir):
    """(relative paths, whether each is a folder, path -> payload, decode) of a folder or zip."""
    if data_dir is None:
        raise ValueError("image_folder needs --data_dir: a folder, or a zip file of one.")
    root = pathlib.Path(data_dir)
    if zipfile.is_zipfile(root):
        archive = zipfile.ZipFile(root)
        folders = {name: name.endswith("/") for name in archive.namelist()}
        return folders, archive.read, _decode_bytes
    if not root.is_dir():
        raise FileNotFoundError(
            f"{root} is neither a folder nor a zip file; image_folder takes a folder of images "
            "per class."
        )
    folders = {str(p.relative_to(root)): p.is_dir() for p in sorted(root.rglob("*"))}
    return folders, lambda name: str(root / name), _decode_path


def _image_folder(data_dir):
    listing, payload, decode = _listing(data_dir)
    found, classes = {}, set()
    for name, is_folder in sorted(listing.items()):
        parts = pathlib.PurePosixPath(name).parts
        if is_folder:
            continue
        if pathlib.PurePosixPath(name).suffix.lower() not in IMAGE_SUFFIXES or len(parts) < 2:
            continue
        split = _SPLIT_FOLDERS.get(parts[-3], "train") if len(parts) > 2 else "train"
        found.setdefault(split, []).append((name, parts[-2]))
        classes.add(parts[-2])
    if "train" not in found:
        raise ValueError(
            f"{data_dir} holds no training images ({', '.join(IMAGE_SUFFIXES)}); image_folder "
            "takes a folder of them per class."
        )
    _refuse_empty_classes(data_dir, listing, found, classes)
    if "test" not in found and "validation" in found:
        # One part apart from train is the test; validation then comes out of train.
        found["test"] = found.pop("validation")
    class_names = sorted(classes)
    splits = {}
    for split, entries in found.items():
        payloads = [payload(name) for name, _ in entries]
        _refuse_broken_images(data_dir, entries, payloads, decode)
        labels = np.array([class_names.index(label) for _, label in entries], np.int64)
        splits[split] = Indexed(np.array(payloads, object), labels)
    return splits, class_names, decode


def _refuse_empty_classes(data_dir, listing, found, classes):
    for name, is_folder in listing.items():
        path = pathlib.PurePosixPath(name)
        has_entries = any(other.startswith(f"{path}/") and other != name for other in listing)
        if is_folder and not has_entries and path.name not in _SPLIT_FOLDERS:
            raise ValueError(f"Class folder {path} in {data_dir} is empty.")
    for split, entries in found.items():
        missing = classes - {label for _, label in entries}
        if missing:
            raise ValueError(
                f"{data_dir} has no image of class {min(missing)} in its {split} part: an empty "
                "class folder."
            )


def _refuse_broken_images(data_dir, entries, payloads, decode):
    def broken(i):
        try:
            decode(payloads[i])
        except tf.errors.OpError:
            return entries[i][0]
        return None

    with concurrent.futures.ThreadPoolExecutor() as pool:
        names = [name for name in pool.map(broken, range(len(entries))) if name]
    if names:
        raise ValueError(
            f"Cannot decode {names[0]} in {data_dir}: truncated, or no image "
            f"({len(names)} such of {len(entries)})."
        )


def _tfds(name, data_dir, download):
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except tfds.core.DatasetNotFoundError:
        close = difflib.get_close_matches(name, tfds.list_builders(), n=3)
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
