"""Images of a user's own: files as a data set prepares them, arrays as they are."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from tf_lcnn.data import datasets, unlabeled


@pytest.fixture
def photos(tmp_path):
    """A folder of photos of one size, some of them deeper in it, and something else."""
    folder = tmp_path / "photos"
    rng = np.random.default_rng(0)
    for name in ("a.png", "b.png", "deep/c.png", "deep/er/d.png"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 10, 3), np.uint8)).save(path)
    (folder / "notes.txt").write_text("no photo")
    return folder


def test_files_of_the_models_size_are_normalized_pixels(photos):
    images, labels = unlabeled.load(photos, (12, 10, 3), "-1..1")
    stored = [photos / name for name in ("a.png", "b.png", "deep/c.png", "deep/er/d.png")]
    expected = np.stack([np.float32(Image.open(path)) for path in stored]) / 127.5 - 1
    np.testing.assert_allclose(images, expected, rtol=0, atol=1e-6)
    assert images.dtype == np.float32 and labels is None
    np.testing.assert_array_equal(unlabeled.load(photos, (None, None, 3), "-1..1")[0], images)


def test_files_of_another_size_are_what_a_data_set_makes_of_them(photos, tmp_path):
    folder = tmp_path / "classes"
    for number, name in enumerate("xy"):
        (folder / "train" / name).mkdir(parents=True)
        (folder / "test" / name).mkdir(parents=True)
        for part in ("train", "test"):
            for path in sorted(photos.glob("*.png"))[number:]:
                (folder / part / name / path.name).write_bytes(path.read_bytes())
    data = datasets.load("image_folder", folder, image_size=8, preprocessing="imagenet")
    ((expected, _),) = data.evaluation("test", 9)
    images, _ = unlabeled.load(folder / "test", (8, 8, 3), "imagenet")
    np.testing.assert_array_equal(images, expected)


def test_a_zip_file_is_as_its_folder_and_a_sample_is_drawn_from_all_of_it(photos, tmp_path):
    path = tmp_path / "photos.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(photos.rglob("*.png")):
            archive.write(file, file.relative_to(photos))
    whole, _ = unlabeled.load(path, (12, 10, 3))
    np.testing.assert_array_equal(whole, unlabeled.load(photos, (12, 10, 3))[0])
    drawn = [unlabeled.load(path, (12, 10, 3), count=2, seed=seed)[0] for seed in range(8)]
    assert {len(images) for images in drawn} == {2}
    # Each is one of the whole, in its order, and over the seeds all of them come.
    found = [[int(np.flatnonzero((whole == x).all((1, 2, 3)))[0]) for x in xs] for xs in drawn]
    assert all(first < second for first, second in found)
    assert {number for pair in found for number in pair} == {0, 1, 2, 3}


def test_arrays_are_inputs_already_and_keep_their_labels(tmp_path):
    images = np.random.default_rng(0).normal(size=(20, 6, 6, 1))
    labels = np.arange(20)
    np.save(tmp_path / "a.npy", images)
    np.savez(tmp_path / "b.npz", images=images, labels=labels)
    np.savez(tmp_path / "c.npz", anything=images)
    whole, none = unlabeled.load(tmp_path / "a.npy", (6, 6, 1))
    np.testing.assert_array_equal(whole, images.astype(np.float32))
    assert none is None
    np.testing.assert_array_equal(unlabeled.load(tmp_path / "c.npz", (6, 6, 1))[0], whole)
    drawn, kept = unlabeled.load(tmp_path / "b.npz", (6, 6, 1), count=7)
    assert len(kept) == 7
    np.testing.assert_array_equal(drawn, whole[kept])


def test_what_is_wrong_is_told_in_one_line(photos, tmp_path):
    (tmp_path / "noise.npy").write_bytes(b"\x93NUMPY" + bytes(50))
    (tmp_path / "model.txt").write_text("text")
    np.savez(tmp_path / "two.npz", a=np.zeros((2, 4, 4, 1)), b=np.zeros(2))
    np.save(tmp_path / "objects.npy", np.array([{}], object), allow_pickle=True)
    np.save(tmp_path / "other.npy", np.zeros((2, 5, 5, 1)))
    np.savez(tmp_path / "labels.npz", images=np.zeros((3, 4, 4, 1)), labels=np.zeros(2))
    (tmp_path / "empty").mkdir()
    color = (12, 10, 3)
    for name, shape, how, told in [
        ("noise.npy", (4, 4, 1), "none", "noise.npy is damaged"),
        ("objects.npy", (4, 4, 1), "none", "objects.npy is damaged, or no array of numbers"),
        ("model.txt", color, "none", "model.txt is no file of images"),
        ("two.npz", (4, 4, 1), "none", "two.npz has no `images`, it has a, b"),
        ("other.npy", (4, 4, 1), "none", "(4, 4, 1) each is taken"),
        ("labels.npz", (4, 4, 1), "none", "3 images, and 2 labels"),
        ("empty", color, "none", "has no image"),
        ("nowhere", color, "none", "neither a folder nor a zip"),
        ("photos", (16, 3), "none", "no gray or color images"),
        ("photos", color, "own", "preprocessing=own is for training"),
        ("photos", color, "bgr", "preprocessing='bgr'"),
    ]:
        with pytest.raises((ValueError, FileNotFoundError)) as error:
            unlabeled.load(tmp_path / name, shape, how)
        assert told in str(error.value) and "\n" not in str(error.value)
    Image.new("RGB", (3, 3)).save(photos / "small.png")
    with pytest.raises(ValueError, match="several sizes"):
        unlabeled.load(photos, (None, None, 3))
    (photos / "a.png").write_bytes(b"torn")
    with pytest.raises(ValueError, match=r"Cannot decode a\.png"):
        unlabeled.load(photos, (12, 10, 3))
