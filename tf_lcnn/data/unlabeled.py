"""Images of a user's own, without a data set around them: a folder, a zip, .npy or .npz."""

import pathlib
import zipfile

import numpy as np

from tf_lcnn import checks
from tf_lcnn.data import datasets, folders, records

_TAKEN = "a folder or zip of images, an .npy, or an .npz with `images` works"


def load(path, shape, preprocessing="none", count=None, seed=0):
    """A random sample of images as a model takes them, in the order in which they lie there.

    Args:
        path: a folder, or zip, of image files at any depth; an .npy of inputs; or an .npz with
            `images`, or one array only, and, if there are, `labels`.
        shape: of the model's input, without the batch; None where a size is open.
        preprocessing: of image files, see `datasets.normalization`, without "own". Files that have
            another size than the model are resized and cropped as by `datasets.load`. Arrays are
            inputs already.
        count: at most so many; None takes all.
        seed: of the sample.

    Returns:
        (float32 inputs (count, ...), labels or None).

    Raises:
        FileNotFoundError: there is nothing.
        ValueError: it is none of these, it does not fit the model, or a file is broken.
    """
    path = pathlib.Path(path)
    if path.suffix.lower() in (".npy", ".npz") and path.is_file():
        images, labels = _arrays(path)
        chosen = records.drawn(len(images), count, seed)
        labels = None if labels is None else labels[chosen]
        return checks.inputs(images[chosen], shape, f"images of {path}"), labels
    if path.is_file() and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is no file of images: {_TAKEN}.")
    return _files(path, shape, preprocessing, count, seed), None


def _arrays(path):
    """(images, labels or None) of an .npy or .npz, which may hold no pickled objects."""
    try:
        stored = np.load(path, allow_pickle=False)
        arrays = {"images": stored} if isinstance(stored, np.ndarray) else dict(stored)
    except (ValueError, EOFError, OSError, zipfile.BadZipFile) as error:
        reason = checks.first_line(error)
        raise ValueError(f"{path} is damaged, or no array of numbers: {reason}") from None
    labels = arrays.pop("labels", None)
    if "images" not in arrays and len(arrays) != 1:
        there = ", ".join(sorted(arrays)) or "nothing else"
        raise ValueError(f"{path} has no `images`, it has {there}: {_TAKEN}.")
    images = arrays.get("images", next(iter(arrays.values())))
    if images.ndim < 2 or not len(images):
        raise ValueError(f"The images of {path} have shape {images.shape}: a batch of them works.")
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"{path} has {len(images)} images, and {len(labels)} labels.")
    return images, labels


def _files(path, shape, preprocessing, count, seed):
    if len(shape) != 3 or shape[-1] not in (1, 3):
        raise ValueError(
            f"The model takes inputs {shape}, which are no gray or color images: an .npy of inputs "
            "works."
        )
    paths, _, read, in_files = folders.listing(path, "compress", _TAKEN)
    paths = [each for each in paths if each.suffix.lower() in folders.IMAGE_SUFFIXES]
    if not paths:
        raise ValueError(f"{path} has no image ({', '.join(folders.IMAGE_SUFFIXES)}): {_TAKEN}.")
    paths = [paths[i] for i in records.drawn(len(paths), count, seed)]
    payloads = [str(path / each) if in_files else read(each) for each in paths]
    decode = folders.decoder(shape[-1], in_files)
    sizes = set(folders.image_sizes(path, paths, payloads, decode))
    stored = sizes.pop() if len(sizes) == 1 else (None, None)
    size = stored if None in shape[:2] else shape[:2]
    if None in size:
        raise ValueError(
            f"The images of {path} have several sizes, and the model takes any: images of one size "
            "work."
        )
    given = datasets.normalization(preprocessing, shape[-1])
    if given is None:
        raise ValueError(
            "preprocessing=own is for training: that of the model's own training works, "
            f"{', '.join(datasets.PREPROCESSING)}, or mean,std of pixels 0 to 255."
        )
    split = records.Indexed(np.array(payloads, object), np.zeros(len(paths), np.int64))
    data = datasets.DataSet(
        *(str(path), (), (*size, shape[-1]), *given, size == stored, False),
        *(split, split, split, decode),
    )
    return data.sample("train", len(paths))
