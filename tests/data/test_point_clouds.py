"""Point clouds: splits, h5 files as ModelNet40 has them, draws that a seed repeats, and errors."""

import h5py
import numpy as np
import pytest
from sklearn.datasets import load_digits

from tf_lcnn.data import point_clouds, solids
from tf_lcnn.data.sources import Indexed
from tf_lcnn.tasks.point_clouds import PointClouds, rotation

AUGMENT = {"augment": PointClouds().augment}
SPLITS = ("train", "validation", "test")
CLASSES = ("chair", "lamp", "table")


def clouds(count, points=6, seed=0):
    return np.random.default_rng(seed).normal(2, 3, (count, points, 3)).astype(np.float32)


def write(path, data, labels):
    with h5py.File(path, "w") as file:
        file["data"], file["label"] = data, labels
    return path


def labels(count):
    return (np.arange(count) % len(CLASSES)).astype(np.uint8)[:, None]


@pytest.fixture
def modelnet(tmp_path):
    """A folder of the form of modelnet40_ply_hdf5_2048, with two files for training."""
    for split, sizes in (("train", (20, 12)), ("test", (9,))):
        for i, count in enumerate(sizes):
            data = clouds(count, seed=(len(split), i))
            write(tmp_path / f"ply_data_{split}{i}.h5", data, labels(count))
    (tmp_path / "shape_names.txt").write_text("".join(f"{name}\n" for name in CLASSES))
    return tmp_path


@pytest.fixture(scope="module")
def digits():
    return point_clouds.load("digits_points")


def small_set(stored, kind):
    split = Indexed(stored, np.arange(len(stored), dtype=np.int64))
    names = tuple(map(str, range(len(stored))))
    return point_clouds.PointClouds("fake", names, stored.shape[1:], kind, split, split, split)


def drawn(dataset, first_epoch, epochs, seed):
    batches = dataset.training(8, first_epoch, epochs, seed, **AUGMENT)
    return [(x.numpy(), y.numpy()) for x, y in batches]


def unit_sphere(cloud):
    """Centered, its farthest point at 1, in float64."""
    cloud = cloud.astype(np.float64) - cloud.mean(axis=0, dtype=np.float64)
    return cloud / np.linalg.norm(cloud, axis=1).max()


# Where they come from


def test_modelnet_is_read_from_its_files_and_validation_is_held_out(modelnet):
    dataset = point_clouds.load("modelnet40", modelnet, points=4)
    assert dataset.class_names == CLASSES and dataset.cloud_shape == (4, 3)
    assert [len(getattr(dataset, split)) for split in SPLITS] == [29, 3, 9]
    stored = np.concatenate([clouds(20, seed=(5, 0)), clouds(12, seed=(5, 1))])[:, :4]
    held = [getattr(dataset, split).payloads for split in ("train", "validation")]
    keys = [cloud.tobytes() for part in held for cloud in part]
    assert sorted(keys) == sorted(cloud.tobytes() for cloud in stored) and len(set(keys)) == 32
    np.testing.assert_array_equal(dataset.test.payloads, clouds(9, seed=(4, 0))[:, :4])
    np.testing.assert_array_equal(dataset.test.labels, labels(9)[:, 0])


def test_clouds_are_in_the_unit_sphere(modelnet):
    dataset = point_clouds.load("modelnet40", modelnet, points=6)
    ((inputs, _),) = dataset.evaluation("test", 100)
    for cloud, stored in zip(inputs.numpy(), dataset.test.payloads, strict=True):
        np.testing.assert_allclose(cloud, unit_sphere(stored), atol=1e-6)
    np.testing.assert_array_equal(dataset.sample("test", 9), inputs)


def test_points_in_one_place_stay_numbers():
    dataset = small_set(np.ones((8, 5, 3), np.float32), None)
    ((inputs, _),) = dataset.evaluation("train", 8)
    np.testing.assert_array_equal(inputs, np.zeros((8, 5, 3)))


def test_digits_are_their_pixels_with_ink_as_height(digits):
    assert digits.cloud_shape == (64, 3) and digits.rotation is None
    assert [len(getattr(digits, split)) for split in SPLITS] == [1294, 144, 359]
    stored = load_digits()
    known = {
        image.tobytes(): label for image, label in zip(stored.images, stored.target, strict=True)
    }
    for cloud, label in zip(digits.test.payloads, digits.test.labels, strict=True):
        image = np.zeros((8, 8))
        image[-cloud[:, 1].astype(int), cloud[:, 0].astype(int)] = 4 * cloud[:, 2]
        assert known[image.tobytes()] == label


def test_a_seed_gives_the_same_solids_and_splits_share_none():
    one, again = (solids.clouds(20, 16, (0, 1)) for _ in range(2))
    for first, second in zip(one, again, strict=True):
        np.testing.assert_array_equal(first, second)
    assert (solids.clouds(20, 16, (0, 2))[0] != one[0]).any()
    np.testing.assert_array_equal(np.bincount(one[1]), [2] * 10)


def test_synthetic_solids_are_three_sets_apart(monkeypatch):
    sizes = {"train": (40, 0), "validation": (20, 1), "test": (30, 2)}
    monkeypatch.setattr(point_clouds, "_SOLID_SPLITS", sizes)
    dataset = point_clouds.load("synthetic_solids", points=16)
    assert [len(getattr(dataset, split)) for split in SPLITS] == [40, 20, 30]
    keys = [cloud.tobytes() for split in SPLITS for cloud in getattr(dataset, split).payloads]
    assert len(set(keys)) == 90
    assert dataset.class_names == solids.NAMES and len(solids.NAMES) == 10


@pytest.mark.parametrize(
    "name, area",
    [
        ("cube", 24),
        ("octahedron", 4 * 3**0.5),
        ("tetrahedron", 8 / 3**0.5),
        ("cylinder", 2 * np.pi * 0.8 * (2 + 0.8)),
        ("sphere", 4 * np.pi),
        ("torus", 4 * np.pi**2 * 0.7 * 0.3),
    ],
)
def test_the_surface_of_a_solid_is_that_of_its_formula(name, area):
    a, b, c = solids.triangles(name).swapaxes(0, 1)
    # Round solids have 48 sides.
    sides = np.linalg.norm(np.cross(b - a, c - a), axis=-1) / 2
    assert sides.sum() == pytest.approx(area, rel=0.01)


def test_points_lie_evenly_on_the_surface():
    points = solids.on_surface(solids.triangles("cube"), 6000, np.random.default_rng(0))
    # Its first edge is on the x axis.
    turned = np.array([[1, 1, 0], [-1, 1, 0], [0, 0, 2**0.5]]) / 2**0.5
    points = points @ turned
    axis = np.abs(points).argmax(axis=1)
    height = np.take_along_axis(points, axis[:, None], axis=1)[:, 0]
    np.testing.assert_allclose(np.abs(height), 1, atol=1e-12)
    faces = np.bincount(2 * axis + (height > 0))
    assert np.abs(faces - 1000).max() < 120
    on_top = points[(axis == 2) & (height > 0)]
    assert np.abs(on_top[:, :2].mean(axis=0)).max() < 0.06
    np.testing.assert_allclose(on_top[:, :2].std(axis=0), 3**-0.5, atol=0.03)


# Training


def test_an_epoch_depends_on_seed_and_epoch_alone(digits):
    unbroken = drawn(digits, 0, 2, seed=3)
    resumed = drawn(digits, 1, 2, seed=3)
    for (x, y), (other, number) in zip(unbroken[len(resumed) :], resumed, strict=True):
        np.testing.assert_array_equal(x, other)
        np.testing.assert_array_equal(y, number)
    assert (unbroken[0][0] != resumed[0][0]).any()
    assert (drawn(digits, 0, 1, seed=4)[0][0] != unbroken[0][0]).any()


def test_the_draws_of_a_cloud_do_not_depend_on_its_place_in_the_batch():
    dataset = small_set(clouds(16), "any")
    by_label = {}
    for batch_size in (4, 8):
        for x, y in dataset.training(batch_size, 2, 3, seed=0, **AUGMENT).as_numpy_iterator():
            for cloud, label in zip(x, y, strict=True):
                by_label.setdefault(int(label), []).append(cloud)
    for pair in by_label.values():
        np.testing.assert_allclose(*pair, atol=1e-6)


@pytest.mark.parametrize("kind", [None, "vertical", "any"])
def test_training_turns_and_jitters_a_little(kind):
    stored = clouds(8, points=200)
    ((batch, order),) = drawn(small_set(stored, kind), 0, 1, seed=0)
    for cloud, label in zip(batch, order, strict=True):
        before = unit_sphere(stored[label])
        # The rotation that fits best (Kabsch), of which jitter is what remains.
        u, _, v = np.linalg.svd(cloud.T.astype(np.float64) @ before)
        turn = u @ v
        moved = cloud - before @ turn.T
        assert np.abs(moved).max() < 0.06 and 0.008 < moved.std() < 0.012
        assert np.linalg.det(turn) > 0
        np.testing.assert_allclose(turn[1, 1], 1 if kind != "any" else turn[1, 1], atol=1e-3)
        if kind is None:
            np.testing.assert_allclose(turn, np.eye(3), atol=0.01)
        else:
            assert np.abs(turn - np.eye(3)).max() > 0.05


@pytest.mark.parametrize("kind", ["vertical", "any"])
def test_rotations_are_rotations_and_point_everywhere(kind):
    turns = np.stack([rotation(kind, [i, 1]) for i in range(300)])
    np.testing.assert_allclose(turns @ turns.swapaxes(1, 2), [np.eye(3)] * 300, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(turns), 1, atol=1e-5)
    first = turns[:, :, 0]
    if kind == "vertical":
        np.testing.assert_allclose(turns[:, 1, 1], 1, atol=1e-6)
    assert np.abs(first.mean(axis=0)).max() < 0.15


# Bad input


def refused(kind, told, *arguments, **options):
    with pytest.raises(kind) as error:
        point_clouds.load(*arguments, **options)
    assert "\n" not in str(error.value)
    for word in told:
        assert word in str(error.value)


@pytest.mark.parametrize(
    "arguments, told",
    [
        (("shapenet",), ["'shapenet'", *point_clouds.NAMES]),
        (("digits_points", None, 100), ["64 points", "100"]),
        (("synthetic_solids", None, 0), ["points of a cloud", "0"]),
        (("synthetic_solids", None, "many"), ["points of a cloud", "'many'"]),
        (("synthetic_solids", "here"), ["synthetic_solids", "'here'"]),
        (("modelnet40",), ["--data_dir", "ply_data_train*.h5", "shape_names.txt"]),
    ],
)
def test_wrong_arguments_are_refused(arguments, told):
    refused(ValueError, told, *arguments)


def test_a_folder_without_files_is_refused(tmp_path, modelnet):
    refused(FileNotFoundError, ["nowhere"], "modelnet40", tmp_path / "nowhere")
    (modelnet / "ply_data_test0.h5").unlink()
    refused(FileNotFoundError, ["no ply_data_test*.h5"], "modelnet40", modelnet, 4)
    (modelnet / "shape_names.txt").unlink()
    refused(FileNotFoundError, ["no shape_names.txt"], "modelnet40", modelnet, 4)


def ragged(path):
    with h5py.File(path, "w") as file:
        stored = file.create_dataset("data", (2,), h5py.vlen_dtype(np.float32))
        stored[0], stored[1] = np.ones(6), np.ones(9)
        file["label"] = labels(2)


def unlabelled(path):
    with h5py.File(path, "w") as file:
        file["data"] = clouds(3)


def spoiled(path):
    data = clouds(3)
    data[1, 2, 0] = np.nan
    write(path, data, labels(3))


BROKEN = {
    "unequal sizes": (ragged, "unequal size"),
    "few points": (lambda path: write(path, clouds(2, 3), labels(2)), "clouds of 3 points, and 4"),
    "no axes": (lambda path: write(path, clouds(3)[0], labels(6)), "shape (6, 3): (clouds, points"),
    "four coordinates": (lambda path: write(path, np.ones((2, 6, 4)), labels(2)), "(2, 6, 4)"),
    "no clouds": (lambda path: write(path, np.ones((0, 6, 3)), labels(0)), "(0, 6, 3)"),
    "text": (lambda path: write(path, np.full((2, 6, 3), b"x"), labels(2)), "not numbers"),
    "few labels": (lambda path: write(path, clouds(3), labels(2)), "3 clouds, and labels of shape"),
    "fractions": (lambda path: write(path, clouds(3), np.zeros(3)), "type float64"),
    "no class": (lambda path: write(path, clouds(2), [[0], [3]]), "the label 3, but"),
    "below zero": (lambda path: write(path, clouds(2), [[0], [-1]]), "the label -1, but"),
    "no labels": (unlabelled, "no 'label': data"),
    "not finite": (spoiled, "NaN or infinity in its cloud 1"),
    "no h5": (lambda path: path.write_text("points"), "damaged, or no h5 file"),
}


@pytest.mark.parametrize("case", BROKEN)
def test_a_broken_file_is_named_in_one_line(case, modelnet):
    spoil, told = BROKEN[case]
    spoil(modelnet / "ply_data_train1.h5")
    refused(ValueError, ["ply_data_train1.h5", told], "modelnet40", modelnet, 4)
