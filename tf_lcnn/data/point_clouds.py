"""Point clouds with a class each, from where they lie to batches: `load(name).training(...)`.

A cloud is float32 (points, 3), moved and scaled to the unit sphere: its mean is the origin, its
farthest point is at distance 1.
"""

import dataclasses
import os
import pathlib

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import examples, solids
from tf_lcnn.data.records import Indexed

NAMES = ("digits_points", "synthetic_solids", "modelnet40")

# Of each cloud, where nothing is said.
_MODELNET_POINTS = 1024
_SOLID_POINTS = 128

# Generated solids of each split, and what its seed begins with.
_SOLID_SPLITS = {"train": (2000, 0), "validation": (500, 1), "test": (1000, 2)}

_SHAPE_NAMES = "shape_names.txt"


@dataclasses.dataclass(frozen=True)
class PointClouds(examples.Labeled):
    """Splits of point clouds, and how they become batches.

    Attributes:
        name, class_names: label i is `class_names[i]`.
        cloud_shape: (points, 3) of every cloud.
        rotation: how training turns a cloud and it stays what it is: "any"; "vertical", about the
            second axis, along which objects of ModelNet40 stand; None, not at all.
        train, validation, test: the splits; a payload is a cloud.
    """

    name: str
    class_names: tuple
    cloud_shape: tuple
    rotation: str | None
    train: Indexed
    validation: Indexed
    test: Indexed

    noun = "point clouds"

    @property
    def example_shape(self):
        return self.cloud_shape

    def example(self, payload, label):
        return self.normalize(payload), label

    def drawn(self, payload, label, draw, augment):
        if augment is None:
            return self.example(payload, label)
        return tf.ensure_shape(augment(self, payload, draw), self.cloud_shape), label

    def normalize(self, cloud):
        """The cloud in the unit sphere."""
        cloud = tf.ensure_shape(cloud, self.cloud_shape)
        cloud -= tf.reduce_mean(cloud, axis=0)
        radius = tf.sqrt(tf.reduce_max(tf.reduce_sum(cloud**2, axis=1)))
        # Points that all lie in one place stay there.
        return tf.math.divide_no_nan(cloud, radius)

    def describe_input(self):
        """What an app has to give the network, as plain Python types."""
        points, coordinates = self.cloud_shape
        return {"points": points, "coordinates": coordinates, "normalization": "unit sphere"}


def load(name, data_dir=None, points=None):
    """Loads a data set of point clouds.

    Args:
        name: "digits_points" (scikit-learn's digits: a point for each of the 64 pixels, with its
            ink as the height); "synthetic_solids" (`data.solids`, 2,000 for training, 500 for
            validation, 1,000 for the test); or "modelnet40" (data_dir is the folder
            modelnet40_ply_hdf5_2048 of PointNet's authors: ply_data_train*.h5, ply_data_test*.h5
            and shape_names.txt).
        data_dir: where the data lies, for modelnet40.
        points: of each cloud; None takes 64, 128 and 1024. Of a stored cloud, whose points are in
            random order, these are its first.

    Raises:
        ValueError: unknown name, more points than there are, a data_dir where none is read, or
            files with clouds of unequal size, of another shape, or with labels that do not fit.
        FileNotFoundError: the data is not there.
    """
    if name not in NAMES:
        raise ValueError(f"Unknown data set of point clouds {name!r}: {', '.join(NAMES)}.")
    if points is not None:
        checks.whole_number(points, "The points of a cloud")
    if name == "modelnet40":
        splits, class_names = _modelnet(data_dir, points or _MODELNET_POINTS)
        rotation = "vertical"
    elif data_dir is not None:
        raise ValueError(f"{name} is not read from a folder, and data_dir is {data_dir!r}.")
    elif name == "digits_points":
        splits, class_names = _digits(points)
        rotation = None
    else:
        splits, class_names = _solids(points or _SOLID_POINTS)
        rotation = "any"
    splits = examples.hold_out(splits, PointClouds.noun)
    return PointClouds(
        name=name,
        class_names=tuple(class_names),
        cloud_shape=splits["train"].payloads.shape[1:],
        rotation=rotation,
        **splits,
    )


def _digits(points):
    from sklearn.datasets import load_digits

    stored = load_digits()
    count, height, width = stored.images.shape
    if points not in (None, height * width):
        raise ValueError(
            f"digits_points have {height * width} points each, one for each pixel, not {points}."
        )
    rows, columns = np.mgrid[:height, :width]
    # All in pixels: the most ink, 16, is half as high as the image.
    ink = stored.images * (height / 2 / 16)
    where = np.broadcast_to(np.stack([columns, -rows], axis=-1), (count, height, width, 2))
    clouds = np.concatenate([where, ink[..., None]], axis=-1)
    clouds = np.float32(clouds.reshape(count, height * width, 3))
    everything = Indexed(clouds, stored.target.astype(np.int64))
    return {"train": everything}, [str(name) for name in stored.target_names]


def _solids(points):
    splits = {
        name: Indexed(*solids.clouds(count, points, (examples.SPLIT_SEED, number)))
        for name, (count, number) in _SOLID_SPLITS.items()
    }
    return splits, solids.NAMES


# ModelNet40


def _modelnet(data_dir, points):
    """The splits and class names of a folder of h5 files, as PointNet's authors made them."""
    if not isinstance(data_dir, (str, os.PathLike)):
        raise ValueError(
            "modelnet40 needs --data_dir: the folder of ply_data_train*.h5, ply_data_test*.h5 and "
            f"{_SHAPE_NAMES}, not {data_dir!r}."
        )
    folder = pathlib.Path(data_dir)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; modelnet40 is one of h5 files.")
    names_file = folder / _SHAPE_NAMES
    if not names_file.is_file():
        raise FileNotFoundError(f"{folder} has no {_SHAPE_NAMES}, the names of the classes.")
    lines = names_file.read_text(encoding="utf-8").splitlines()
    class_names = [line.strip() for line in lines if line.strip()]
    splits = {}
    for split in ("train", "test"):
        paths = sorted(folder.glob(f"ply_data_{split}*.h5"))
        if not paths:
            raise FileNotFoundError(f"{folder} has no ply_data_{split}*.h5 files.")
        splits[split] = _joined([_read(path, points, class_names) for path in paths])
    return splits, class_names


def _joined(parts):
    clouds, labels = zip(*parts, strict=True)
    return Indexed(np.concatenate(clouds), np.concatenate(labels))


def _read(path, points, class_names):
    """(clouds float32 (count, points, 3), labels int64) of an h5 file."""
    # Keras needs it too.
    import h5py

    try:
        with h5py.File(path) as file:
            parts = {name: file.get(name) for name in ("data", "label")}
            missing = [x for x, part in parts.items() if not isinstance(part, h5py.Dataset)]
            if missing:
                raise ValueError(f"{path} has no {missing[0]!r}: {', '.join(file) or 'nothing'}.")
            clouds, labels = _first(path, parts["data"], points), parts["label"][()]
    except OSError:
        raise ValueError(f"{path} is damaged, or no h5 file.") from None
    labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
    if labels.shape != (len(clouds),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path} has {len(clouds)} clouds, and labels of shape {labels.shape} and type "
            f"{labels.dtype}: a whole number for each cloud is needed."
        )
    wrong = labels[(labels < 0) | (labels >= len(class_names))]
    if wrong.size:
        raise ValueError(
            f"{path} has the label {wrong[0]}, but {_SHAPE_NAMES} names {len(class_names)} "
            f"classes: labels are 0 to {len(class_names) - 1}."
        )
    if not np.isfinite(clouds).all():
        broken = int(np.argwhere(~np.isfinite(clouds))[0][0])
        raise ValueError(f"{path} has NaN or infinity in its cloud {broken}.")
    return clouds, labels.astype(np.int64)


def _first(path, stored, points):
    """The first points of each cloud of an h5 data set, float32."""
    if stored.dtype.kind == "O":
        raise ValueError(f"{path} has point sets of unequal size: each has to have as many points.")
    if stored.ndim != 3 or stored.shape[2] != 3 or not stored.shape[0]:
        raise ValueError(f"{path} has data of shape {stored.shape}: (clouds, points, 3) is needed.")
    if stored.shape[1] < points:
        raise ValueError(
            f"{path} has clouds of {stored.shape[1]} points, and {points} are asked for."
        )
    if stored.dtype.kind not in "fiu":
        raise ValueError(f"{path} has data of type {stored.dtype}, not numbers.")
    return np.float32(stored[:, :points])
