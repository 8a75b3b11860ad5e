"""A folder, or a zip file, with a folder of images per class."""

import concurrent.futures
import os
import pathlib
import zipfile

import numpy as np
import tensorflow as tf

from tf_lcnn.data.records import Indexed

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif")
SPLIT_FOLDERS = {"train": "train", "val": "validation", "validation": "validation", "test": "test"}
# A file beside the class folders with a class name per line, in the order of the labels.
CLASSES_FILE = "classes.txt"

# Folders of more images are not decoded as a whole at load: so many of them are, at random.
CHECKED_IMAGES = 20_000


def image_folder(data_dir, channels=3, class_names=None):
    """The parts, class names, decoding and stored shape of a folder, or zip, of images per class.

    Args:
        data_dir: the folder or zip file.
        channels: 3, or 1 for gray images.
        class_names: the classes in the order of their labels; None takes that of classes.txt,
            where the folder has one, else the alphabetical order.

    Returns:
        (splits by name, class names, decode, image shape: None for sizes that differ).

    Raises:
        ValueError: unusable folder or class names, a broken image, an empty class.
        FileNotFoundError: there is no folder.
    """
    if channels not in (1, 3):
        raise ValueError(f"Images of a folder have 3 channels, or 1 for gray, not {channels}.")
    wanted = "image_folder takes a folder of images per class"
    paths, folders, read, in_files = listing(data_dir, "image_folder", wanted)
    data_dir = pathlib.Path(data_dir)
    images = [p for p in paths if p.suffix.lower() in IMAGE_SUFFIXES and len(p.parts) > 1]
    _refuse_empty_classes(data_dir, folders, images)
    parts = _parts(data_dir, images)
    stored = {path.parts[-2] for path in images}
    names = _class_names(data_dir, stored, class_names, _listed_classes(paths, read))
    _refuse_missing_classes(data_dir, parts, names)
    if "test" not in parts and "validation" in parts:
        # One part apart from train is the test; validation then comes out of train.
        parts["test"] = parts.pop("validation")
    decode = decoder(channels, in_files)
    if in_files and max(map(len, parts.values())) > CHECKED_IMAGES:
        decode = naming(decode, channels)
    splits, sizes = {}, set()
    for split, entries in parts.items():
        payloads = [str(data_dir / path) if in_files else read(path) for path in entries]
        sizes |= set(image_sizes(data_dir, entries, payloads, decode)) - {None}
        labels = np.array([names.index(path.parts[-2]) for path in entries], np.int64)
        splits[split] = Indexed(np.array(payloads, object), labels)
    size = sizes.pop() if len(sizes) == 1 else (None, None)
    return splits, names, decode, (*size, channels)


def listing(data_dir, dataset, wanted):
    """What a folder or zip file holds, but for what is hidden.

    Args:
        data_dir: the folder or zip file.
        dataset: who asks, for messages.
        wanted: what has to be there, for messages.

    Returns:
        (sorted paths of files, paths of folders, path -> bytes, whether they are files of their
        own); all paths are below data_dir.

    Raises:
        ValueError: there is no path.
        FileNotFoundError: there is nothing in its place.
    """
    if data_dir is None:
        raise ValueError(f"{dataset} needs --data_dir: a folder, or a zip file of one.")
    if not isinstance(data_dir, (str, os.PathLike)):
        raise ValueError(f"{dataset} takes the path of a folder or zip file, not {data_dir!r}.")
    root = pathlib.Path(data_dir)
    if zipfile.is_zipfile(root):
        archive = zipfile.ZipFile(root)

        def read(path):
            try:
                return archive.read(str(path))
            except zipfile.BadZipFile:
                raise ValueError(f"Cannot read {path} in {data_dir}: it is damaged.") from None
            except RuntimeError:
                # NotImplementedError, of an unknown compression, is one too.
                raise ValueError(
                    f"Cannot read {path} in {data_dir}: the zip file is encrypted, or packed in a "
                    "way that Python cannot unpack; unpack it into a folder."
                ) from None

        entries = archive.infolist()
        files = [pathlib.PurePosixPath(entry.filename) for entry in entries if not entry.is_dir()]
        folders = [pathlib.PurePosixPath(entry.filename) for entry in entries if entry.is_dir()]
        # An archive need not list its folders.
        folders += [folder for path in files for folder in path.parents if folder.parts]
        return _shown(files), set(folders), read, False
    if not root.is_dir():
        raise FileNotFoundError(f"{root} is neither a folder nor a zip file; {wanted}.")
    files, folders = [], set()
    for path in root.rglob("*"):
        relative = pathlib.PurePosixPath(path.relative_to(root))
        if path.is_dir():
            folders.add(relative)
        else:
            files.append(relative)
    return _shown(files), folders, lambda path: (root / path).read_bytes(), True


def _shown(paths):
    return sorted(path for path in paths if not _is_hidden(path))


def _is_hidden(path):
    # What file managers leave behind, images among it.
    return any(part.startswith(".") or part == "__MACOSX" for part in path.parts)


def _parts(data_dir, images):
    """Paths of images by split."""
    parts = {}
    for path in images:
        split = SPLIT_FOLDERS.get(path.parts[-3], "train") if len(path.parts) > 2 else "train"
        parts.setdefault(split, []).append(path)
    if "train" not in parts:
        raise ValueError(
            f"{data_dir} holds no training images ({', '.join(IMAGE_SUFFIXES)}); image_folder "
            "takes a folder of them per class."
        )
    return parts


def _listed_classes(paths, read):
    """The class names in classes.txt, or None."""
    listed = [path for path in paths if path.name == CLASSES_FILE]
    if not listed:
        return None
    # The one nearest to the top; it may be beside train and test.
    text = read(min(listed, key=lambda path: len(path.parts))).decode("utf-8")
    return [line.strip() for line in text.splitlines() if line.strip()]


def _class_names(data_dir, stored, given, listed):
    names = list(given or listed or sorted(stored))
    where = "class_names" if given else CLASSES_FILE
    if len(set(names)) != len(names):
        raise ValueError(f"{where} names a class twice: {', '.join(names)}.")
    if set(names) != stored:
        raise ValueError(
            f"{where} has {', '.join(names)}, but {data_dir} has the classes "
            f"{', '.join(sorted(stored))}."
        )
    if len(names) == 1:
        raise ValueError(
            f"{data_dir} has one class only, {names[0]}: image_folder takes a folder per class."
        )
    return names


def _refuse_missing_classes(data_dir, parts, class_names):
    for split, entries in parts.items():
        missing = set(class_names) - {path.parts[-2] for path in entries}
        if missing:
            raise ValueError(
                f"{data_dir} has no image of class {min(missing)} in its {split} part."
            )


def _refuse_empty_classes(data_dir, folders, images):
    """A folder beside the classes that has no image is a class without images, not nothing."""
    classes = {path.parent for path in images}
    beside = {folder.parent for folder in classes}
    for folder in sorted(folder for folder in folders if not _is_hidden(folder)):
        empty = folder not in classes and folder.name not in SPLIT_FOLDERS
        if empty and folder.parent in beside:
            raise ValueError(
                f"Class folder {folder} in {data_dir} is empty: it holds no image "
                f"({', '.join(IMAGE_SUFFIXES)})."
            )


def decoder(channels, in_files):
    """The function from a path, or with `in_files` false from encoded bytes, to a uint8 image.

    Args:
        channels: 3, or 1 for gray.
    """

    def decode(payload):
        encoded = tf.io.read_file(payload) if in_files else payload
        return _gray(encoded) if channels == 1 else _color(encoded)

    return decode


def _color(encoded):
    image = tf.io.decode_image(encoded, channels=3, expand_animations=False)
    return tf.ensure_shape(image, (None, None, 3))


def _gray(encoded):
    def mixed():
        image = tf.io.decode_image(encoded, expand_animations=False)
        # Rounded: gray that is stored as three equal channels stays what it is.
        pixels = tf.image.rgb_to_grayscale(tf.cast(image[..., :3], tf.float32) / 0.9999)
        pixels = tf.cond(
            tf.equal(tf.shape(image)[-1], 1),
            lambda: tf.cast(image, tf.float32),
            lambda: pixels,
        )
        return tf.cast(tf.round(tf.clip_by_value(pixels, 0.0, 255.0)), tf.uint8)

    # These formats cannot be decoded into one channel.
    is_mixed = tf.reduce_any(tf.equal(tf.strings.substr(encoded, 0, 2), ["BM", "GI"]))
    image = tf.cond(
        is_mixed,
        mixed,
        lambda: tf.io.decode_image(encoded, channels=1, expand_animations=False),
    )
    return tf.ensure_shape(image, (None, None, 1))


def naming(decode, channels):
    """A decode whose error names the file; it goes through Python."""

    def read(path):
        try:
            return decode(path)
        except tf.errors.OpError:
            path = path.numpy().decode()
            raise ValueError(f"Cannot decode {path}: truncated, or no image.") from None

    def named(path):
        return tf.ensure_shape(tf.py_function(read, [path], tf.uint8), (None, None, channels))

    return named


def image_sizes(data_dir, entries, payloads, decode):
    """The (height, width) of each image, see `image_shapes`."""
    return [shape and shape[:2] for shape in image_shapes(data_dir, entries, payloads, decode)]


def image_shapes(data_dir, entries, payloads, decode):
    """The shape of each image; None for all but a sample of them where they are many.

    Raises:
        ValueError: one cannot be decoded.
    """
    checked = range(len(entries))
    if len(entries) > CHECKED_IMAGES:
        checked = np.random.default_rng(0).permutation(len(entries))[:CHECKED_IMAGES]

    def shape(i):
        try:
            return tuple(decode(payloads[i]).shape)
        except (tf.errors.OpError, ValueError):
            return str(entries[i])

    with concurrent.futures.ThreadPoolExecutor() as pool:
        shapes = list(pool.map(shape, checked))
    broken = [name for name in shapes if isinstance(name, str)]
    if broken:
        raise ValueError(
            f"Cannot decode {broken[0]} in {data_dir}: truncated, or no image "
            f"({len(broken)} such of {len(shapes)})."
        )
    found = [None] * len(entries)
    for i, each in zip(checked, shapes, strict=True):
        found[i] = each
    return found
