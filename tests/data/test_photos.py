"""Photos: luma, the field's bicubic interpolation, splits, patches, and bad input in one line."""

import dataclasses
import re
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tf_lcnn import models
from tf_lcnn.data import photos
from tf_lcnn.tasks.super_resolution import SuperResolution


def smooth(size, seed=0, channels=3):
    """A picture with slopes and an edge, uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: size[0], : size[1]] / max(size)
    waves = [np.sin(rng.uniform(3, 20) * x + rng.uniform(3, 20) * y) for _ in range(channels)]
    image = 127 + 60 * np.stack(waves, -1)
    image[size[0] // 3 :, size[1] // 2 :] += 50
    return np.uint8(image)


def write(folder, name, size, seed=0, mode="RGB"):
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(smooth(size, seed)).convert(mode).save(folder / name)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve photos of two sizes."""
    place = tmp_path_factory.mktemp("data") / "holiday"
    for i in range(12):
        write(place, f"photo{i:02}.png", (50, 41) if i % 2 else (40, 64), i)
    return place


@pytest.fixture(scope="module")
def dataset(folder):
    return photos.load(folder, 2, patch_size=32, draws=3)


# Pixels


@pytest.mark.parametrize("suffix", ["png", "jpg", "bmp"])
def test_luma_is_that_of_bt_601(tmp_path, suffix):
    write(tmp_path, f"a.{suffix}", (9, 7))
    rgb = np.asarray(Image.open(tmp_path / f"a.{suffix}").convert("RGB"), np.float64)
    expected = (16 + rgb @ [65.481, 128.553, 24.966] / 255) / 255
    found = photos.luma(str(tmp_path / f"a.{suffix}"))
    # Decoders of JPEG round differently.
    np.testing.assert_allclose(found[..., 0], expected, atol=0.02 if suffix == "jpg" else 1e-6)
    white = photos.luma_of(np.full((1, 1, 3), 255, np.uint8))
    np.testing.assert_allclose(white, [[[235 / 255]]], rtol=1e-6)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA"])
def test_gray_is_taken_as_it_is_and_alpha_is_left_out(tmp_path, mode):
    write(tmp_path, "a.png", (9, 7), mode=mode)
    found = photos.luma((tmp_path / "a.png").read_bytes())
    image = Image.open(tmp_path / "a.png")
    if mode == "RGBA":
        expected = photos.luma_of(np.asarray(image.convert("RGB")))[..., 0]
    else:
        expected = np.asarray(image.convert("L"), np.float32) / 255
    np.testing.assert_allclose(found[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize("scale", photos.SCALES)
def test_interpolation_is_pillows(scale):
    image = np.random.default_rng(0).random((12 * scale, 9 * scale)).astype(np.float32)
    small = Image.fromarray(image).resize((9, 12), Image.BICUBIC)
    large = small.resize((9 * scale, 12 * scale), Image.BICUBIC)
    found = photos.shrunk(image[..., None], scale)
    np.testing.assert_allclose(found[..., 0], small, atol=2e-5)
    np.testing.assert_allclose(photos.enlarged(found, scale)[..., 0], large, atol=5e-5)


# Splits


def test_what_is_missing_is_held_out(dataset):
    counts = [len(getattr(dataset, name)) for name in ("train", "validation", "test")]
    assert counts == [9, 1, 2]
    parts = [set(getattr(dataset, name).payloads) for name in ("train", "validation", "test")]
    assert len(set.union(*parts)) == 12
    assert dataset.test_names == ("test",) and len(dataset.titles) == 2
    assert "9 training, 1 validation, 2 test photos" in dataset.summary()


def test_folders_of_splits_and_test_folders_are_taken_for_what_they_are(tmp_path):
    for split, count in (("train", 4), ("val", 2), ("test", 1)):
        for i in range(count):
            write(tmp_path / "data" / split / "deep", f"{split}{i}.png", (40, 40), i)
    found = photos.load(tmp_path / "data", patch_size=32)
    assert [len(x) for x in (found.train, found.validation, found.test)] == [4, 2, 1]
    assert found.titles == ("test0",)
    for name, count in (("Set2", 2), ("Set1", 1)):
        for i in range(count):
            write(tmp_path / name, f"{name}{i}.png", (40, 40), i)
    both = [tmp_path / "Set2", tmp_path / "Set1"]
    found = photos.load(tmp_path / "data", patch_size=32, test_dirs=both)
    assert found.test_names == ("Set2", "Set1") and list(found.test.labels) == [0, 0, 1]
    assert found.titles == ("Set20", "Set21", "Set10")


def test_a_zip_file_holds_the_same_as_its_folder(folder, tmp_path):
    with zipfile.ZipFile(tmp_path / "holiday.zip", "w") as archive:
        for path in sorted(folder.iterdir()):
            archive.write(path, f"holiday/{path.name}")
        archive.writestr("__MACOSX/._photo.png", b"none")
    one, other = (photos.load(x, patch_size=32) for x in (folder, tmp_path / "holiday.zip"))
    assert one.titles == other.titles
    for a, b in zip(one.evaluation("test", 1), other.evaluation("test", 1), strict=True):
        np.testing.assert_array_equal(a[0], b[0])


# Batches


def test_whole_photos_are_cut_to_a_multiple_of_the_scale(folder):
    found = photos.load(folder, 3, patch_size=24)
    for given, sharp in found.evaluation("train", 16):
        assert sharp.shape[0] == 1 and sharp.shape[1:3] in ((48, 39), (39, 63))
        np.testing.assert_allclose(given[0], photos.shrunk(sharp[0], 3), atol=1e-6)
    large = dataclasses.replace(found, enlarged=True)
    given, sharp = next(iter(large.evaluation("test", 1)))
    assert given.shape == sharp.shape
    assert found.example_shape == (sharp.shape[1] // 3, sharp.shape[2] // 3, 1)
    assert large.example_shape == sharp.shape[1:]


@pytest.mark.parametrize("enlarged", [False, True])
def test_patches_are_of_the_same_place(dataset, enlarged):
    data = dataclasses.replace(dataset, enlarged=enlarged)
    given, sharp = data.patches("train", 20, seed=1)
    assert sharp.shape == (20, 32, 32, 1)
    assert given.shape == ((20, 32, 32, 1) if enlarged else (20, 16, 16, 1))
    if not enlarged:
        # Inside, where a patch alone is made small as the whole photo is.
        own = np.stack([photos.shrunk(x, 2) for x in sharp])
        np.testing.assert_allclose(own[:, 4:-4, 4:-4], given[:, 4:-4, 4:-4], atol=1e-6)
    else:
        # An enlarged photo is near to the photo itself.
        assert np.abs(given - sharp).mean() < 0.02
    again = data.patches("train", 20, seed=1)
    np.testing.assert_array_equal(again[0], given)
    assert (data.sample("train", 20, seed=2) != given).any()
    assert data.of_one_size("test")[1].shape == (2, 32, 32, 1)


def test_an_epoch_has_its_patches_and_depends_on_seed_and_epoch_alone(dataset):
    augment = SuperResolution(2).augment

    def epochs(first, last, seed=5, parts=1):
        batches = dataset.training(4, first, last, seed, parts, augment=augment)
        return [sharp for _, sharp in batches.as_numpy_iterator()]

    assert dataset.batches_per_epoch(4) == 6
    both, second = epochs(0, 2), epochs(1, 2)
    assert len(both) == 12 and len(second) == 6
    for a, b in zip(both[6:], second, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (both[0] != second[0]).any() and (epochs(0, 1, seed=6)[0] != both[0]).any()
    parts = epochs(0, 1, parts=2)
    np.testing.assert_array_equal(np.concatenate(parts), np.concatenate(both[:6]))


def all_turns(image):
    return [np.rot90(x, k) for x in (image, image[:, ::-1]) for k in range(4)]


def test_augmentation_mirrors_and_turns_input_and_target_together(dataset):
    augment = SuperResolution(2).augment
    pair = dataset.example(dataset.train.payloads[0], 0)
    seen = set()
    for i in range(64):
        draw = tf.constant([3, i], tf.int64)
        given, sharp = augment(dataset, pair, draw)
        plain_given, plain = dataset.patch(pair, draw)
        (which,) = [k for k, x in enumerate(all_turns(plain)) if np.array_equal(x, sharp)]
        np.testing.assert_array_equal(given, all_turns(plain_given)[which])
        seen.add(which)
    assert seen == set(range(8))


# Networks


def test_photos_are_given_as_the_network_takes_them(dataset):
    assert not dataset.taken_by(models.build("espcn")).enlarged
    assert dataset.taken_by(models.build("vdsr")).enlarged
    dataset.refuse_mismatch(models.build("vdsr"), "v")


@pytest.mark.parametrize(
    ("shape", "layers", "message"),
    [
        ((None, None, 1), ["up3"], r"net makes \(48, 48, 1\) of \(16, 16, 1\): for --scale=2"),
        ((None, None, 1), ["valid"], r"net makes \(14, 14, 1\) of \(16, 16, 1\)"),
        ((None, None, 3), ["up2"], r"net takes inputs \(None, None, 3\): luma"),
        ((16, 16, 1), ["up2"], "an open height and width"),
    ],
)
def test_a_network_whose_output_does_not_fit_is_refused(dataset, shape, layers, message):
    kinds = {
        "up2": keras.layers.UpSampling2D(2),
        "up3": keras.layers.UpSampling2D(3),
        "valid": keras.layers.Conv2D(1, 3),
    }
    model = keras.Sequential([keras.Input(shape), *(kinds[x] for x in layers)])
    with pytest.raises(ValueError, match=message):
        dataset.refuse_mismatch(model, "net")


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"scale": 5}, "Unknown scale 5: 2, 3, 4."),
        ({"patch_size": 33}, "The patch size 33 is no multiple of the scale 2."),
        ({"patch_size": 8}, "The patch size must be a whole number >= 16, not 8."),
        ({"draws": 0}, "The patches of a photo must be a whole number >= 1, not 0."),
        ({"patch_size": 44}, "too small for patches of 44x44"),
    ],
)
def test_what_cannot_be_is_one_line(folder, arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        photos.load(folder, **{"patch_size": 32, **arguments})
    assert "\n" not in str(error.value)


def test_folders_that_cannot_be_used_are_one_line(folder, tmp_path):
    with pytest.raises(ValueError, match="photos needs --data_dir"):
        photos.load(None)
    with pytest.raises(FileNotFoundError, match="neither a folder nor a zip file; photos take"):
        photos.load(tmp_path / "nothing")
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("none")
    with pytest.raises(ValueError, match="text holds no images"):
        photos.load(tmp_path / "text")
    write(tmp_path / "only" / "test", "a.png", (40, 40))
    with pytest.raises(ValueError, match="holds no training photos, only test"):
        photos.load(tmp_path / "only", patch_size=32)
    write(tmp_path / "tiny", "small.png", (20, 40))
    with pytest.raises(ValueError, match="test photo small is 20x40, too small for --scale=2"):
        photos.load(folder, patch_size=32, test_dirs=[tmp_path / "tiny"])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.png").write_bytes(b"\x89PNG none")
    with pytest.raises(ValueError, match=r"Cannot decode a\.png in .*broken"):
        photos.load(tmp_path / "broken")
