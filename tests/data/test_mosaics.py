"""Mosaics to train on: of patches, of whole photos, with classes; and misused."""

import numpy as np
import pytest
from PIL import Image

from tests.data.test_bayer import PLACES, linear
from tests.data.test_photos import write
from tf_lcnn import models
from tf_lcnn.data import bayer, datasets, mosaics
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.tasks.demosaicing import Demosaicing

CLEAN = bayer.Sensor("GRBG", shot=0, read=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve photos of odd sizes, in two classes."""
    place = tmp_path_factory.mktemp("data") / "photos"
    for i in range(12):
        write(place / ("ab"[i % 2]), f"p{i}.png", (41, 37), i)
    return place


def picked(photos, pattern):
    """One color at each pixel: what a mosaic is without noise, encoded as the photo is."""
    photos = np.asarray(photos)
    made = np.empty((*photos.shape[:3], 1))
    for y, x in np.ndindex(2, 2):
        made[:, y::2, x::2, 0] = photos[:, y::2, x::2, PLACES[pattern][y][x]]
    return made


@pytest.mark.parametrize("augment", [None, Demosaicing().augment])
def test_inputs_are_mosaics_of_the_targets_turned_or_not(folder, augment):
    data = mosaics.load(folder, CLEAN, patch_size=16, draws=4)
    ((given, sharp),) = data.training(8, 0, 1, 0, augment=augment).take(1)
    assert given.shape == (8, 16, 16, 1) and sharp.shape == (8, 16, 16, 3)
    np.testing.assert_allclose(given, picked(sharp, "GRBG"), atol=1e-6)
    given, sharp = data.patches("train", 6)
    np.testing.assert_allclose(given, picked(sharp, "GRBG"), atol=1e-6)


def test_a_whole_photo_loses_what_is_beyond_tiles_and_keeps_its_noise(folder):
    data = mosaics.load(folder, bayer.Sensor(shot=0, read=0.05), patch_size=16)
    assert data.example_shape == (40, 36, 1)
    assert "color, RGGB with noise of shot 0, read 0.05, 16 patches" in data.summary()
    noise, inside = [], []
    for (given, sharp), (again, _) in zip(
        data.evaluation("test", 1), data.evaluation("test", 1), strict=True
    ):
        assert given.shape == (1, 40, 36, 1) and sharp.shape == (1, 40, 36, 3)
        np.testing.assert_array_equal(given, again)
        light = [np.vectorize(linear)(np.float64(x)) for x in (given, picked(sharp, "RGGB"))]
        noise.append((light[0] - light[1]).ravel())
        inside.append(noise[-1][((light[0] > 0) & (light[0] < 1)).ravel()])
    assert np.std(np.concatenate(inside)) == pytest.approx(0.05, rel=0.1)
    assert abs(np.corrcoef(*noise[:2])[0, 1]) < 0.15


def test_a_data_set_with_classes_gives_mosaics_of_its_images(folder):
    images = datasets.load("image_folder", folder, (16, 16), preprocessing="0..1")
    data = mosaics.of(images, CLEAN)
    assert data.example_shape == (16, 16, 1)
    assert data.network == {"input_shape": (16, 16, 1), "classes": 2, "mosaic": "GRBG"}
    pairs = zip(data.evaluation("train", 4), images.evaluation("train", 4), strict=True)
    for (given, labels), (photos, expected) in pairs:
        np.testing.assert_array_equal(labels, expected)
        np.testing.assert_allclose(given, picked(photos, "GRBG"), atol=1e-6)
    for augment in (None, Classification().augment):
        ((given, _),) = data.training(4, 0, 1, 0, augment=augment).take(1)
        assert given.shape == (4, 16, 16, 1) and 0 <= np.min(given) < np.max(given) <= 1
    about = data.describe_input()
    assert (about["height"], about["channels"], about["mosaic"]) == (16, 1, "GRBG")
    assert about["mean"] == [0] and about["std"] == [1]


def test_a_classifier_of_mosaics_refuses_gray_images(folder):
    model = models.build("resnet8", input_shape=(16, 16, 1), classes=2, mosaic="GRBG")
    gray = datasets.load("image_folder", folder, (16, 16), channels=1, preprocessing="0..1")
    with pytest.raises(ValueError, match=r"^m takes mosaics .* gray images: --mosaic=PATTERN"):
        gray.refuse_mismatch(model, "m")
    images = datasets.load("image_folder", folder, (16, 16), preprocessing="0..1")
    mosaics.of(images, CLEAN).refuse_mismatch(model, "m")
    gray.refuse_mismatch(models.build("resnet8", input_shape=(16, 16, 1), classes=2), "m")


def test_what_makes_no_mosaic_is_one_line(folder, tmp_path):
    for i in range(12):
        write(tmp_path / "mixed", f"p{i}.png", (32, 32), i, "L" if i == 7 else "RGB")
    for place in ({"data_dir": tmp_path / "mixed"}, {"data_dir": folder, "test_dirs": [tmp_path]}):
        with pytest.raises(ValueError, match=r"p7.png in .* is gray: color photos are taken here"):
            mosaics.load(patch_size=16, **place)
    with pytest.raises(ValueError, match=r"Patches of 15x15 do not divide into tiles"):
        mosaics.load(folder, patch_size=15)
    with pytest.raises(ValueError, match="digits has gray images: mosaics are made of color"):
        mosaics.of(datasets.load("digits", preprocessing="0..1"), CLEAN)
    odd = datasets.load("image_folder", folder, (16, 15), preprocessing="0..1")
    with pytest.raises(ValueError, match=r"Images of image_folder of 16x15 do not divide"):
        mosaics.of(odd, CLEAN)


def test_transparency_is_left_out(folder, tmp_path):
    for i in range(12):
        write(tmp_path, f"p{i}.png", (16, 16), i)
    Image.open(tmp_path / "p3.png").convert("RGBA").save(tmp_path / "p3.png")
    data = mosaics.load(tmp_path, patch_size=16)
    assert {photo.shape for split in ("train", "test") for _, photo in data.evaluation(split, 1)}
