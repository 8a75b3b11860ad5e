"""train.py --task=denoising and filter: trained, proved, told, run on a photo, and misused."""

import csv

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter
from test_train import refusal
from test_train_super_resolution import FILES, QUICK, run

from tests.data.test_photos import smooth, write
from tf_lcnn.data import filtered_photos, noisy_photos
from tf_lcnn.lite import metadata
from tf_lcnn.pipeline import improving
from tf_lcnn.tasks.denoising import Denoising

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve photos; the same blurred; and two for the test."""
    place = tmp_path_factory.mktemp("data")
    for i in range(12):
        write(place / "photos", f"p{i}.png", (48, 40), i)
        (place / "after").mkdir(exist_ok=True)
        blurred = Image.open(place / "photos" / f"p{i}.png").filter(ImageFilter.BoxBlur(1))
        blurred.save(place / "after" / f"p{i}.bmp")
    for i in range(2):
        write(place / "Two", f"t{i}.png", (48, 48 + 8 * i), 20 + i)
    return place


def flags(folder, task="denoising"):
    small = ("--patch_size=16", "--patches=8", "--dictionary_sizes=4", "--top_s=2")
    return f"--task={task}", f"--data_dir={folder / 'photos'}", *small, *QUICK


def test_a_run_leaves_its_files_and_says_how_good_it_is(folder, tmp_path, capsys):
    given = (*flags(folder), f"--test_dirs={folder / 'Two'}", "--sigma=15", "--loss=l2")
    run(*given, f"--run_dir={tmp_path / 'run'}")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    told = capsys.readouterr().out
    assert "Two, 2 photos, noise of sigma 15: PSNR" in told
    with open(tmp_path / "run" / "test.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # 20 log10(255 / 15) is 24.6.
    assert [abs(float(row["noisy_psnr"]) - 24.6) < 0.4 for row in rows] == [True, True]
    about = metadata.read(tmp_path / "run" / "model.tflite")
    assert (about["task"], about["sigma"], about["output"]) == ("denoising", 15, "image")
    improver = improving.load(tmp_path / "run" / "model.tflite")
    assert improver.each_channel and improver.overlap == 7
    given = np.uint8(smooth((40, 50)))
    whole, tiled = improver(given)[0], improver(given, tile=20)[0]
    # What lies halfway between two numbers may fall to either side.
    assert np.abs(whole.astype(int) - tiled).max() <= 1 and (whole != tiled).mean() < 1e-3


def test_a_filter_is_learned_from_two_folders(folder, tmp_path, capsys):
    given = (*flags(folder, "filter"), f"--target_dir={folder / 'after'}")
    run(*given, f"--run_dir={tmp_path / 'run'}", "--epochs=3")
    assert "test, 2 photos, filtered: PSNR" in capsys.readouterr().out
    assert metadata.read(tmp_path / "run" / "model.tflite")["task"] == "filter"
    assert not improving.load(tmp_path / "run" / "model.tflite").each_channel


def test_noise_is_as_strong_as_said_and_that_of_a_photo_stays(folder):
    data = noisy_photos.load(folder / "photos", sigma=20, patch_size=32, draws=4)
    found = []
    for (given, sharp), (again, _) in zip(
        data.evaluation("test", 1), data.evaluation("test", 1), strict=True
    ):
        np.testing.assert_array_equal(given, again)
        found.append((given - sharp).numpy().ravel())
    assert not np.array_equal(found[0], found[1])
    given, sharp = data.patches("train", 40)
    noise = np.concatenate([*found, (given - sharp).ravel()]) * 255
    assert abs(noise.std() - 20) < 0.3 and abs(noise.mean()) < 0.3
    batches = [x for x, _ in data.training(4, 0, 2, seed=0, augment=Denoising().augment)]
    assert not np.array_equal(batches[0], batches[len(batches) // 2])


def test_pairs_are_of_the_same_place(folder):
    data = filtered_photos.load(folder / "photos", folder / "after", patch_size=16)
    given, wanted = data.patches("train", 20)
    blurred = tf.nn.avg_pool2d(given, 3, 1, "VALID")
    np.testing.assert_allclose(wanted[:, 1:-1, 1:-1], blurred, atol=1.5 / 255)
    assert data.titles and data.titles[0].startswith("p")


def test_what_cannot_be_is_one_line(folder, tmp_path):
    (tmp_path / "other").mkdir()
    place = f"--run_dir={tmp_path / 'run'}"
    denoising, filters = flags(folder), flags(folder, "filter")
    for given, told in [
        ((*denoising, "--sigma=0"), "sigma must be a finite number > 0"),
        ((*denoising, "--patch_size=64"), "too small for patches of 64x64"),
        ((*denoising, "--scale=2"), "--scale is not for --task=denoising"),
        ((*denoising, "--model=espcn"), "--model=espcn is for --task=super_resolution; for"),
        ((*denoising, f"--target_dir={tmp_path}"), "--target_dir is not for --task=denoising"),
        (filters, "A filter is learned from two folders"),
        ((*filters, "--target_dir=nowhere"), "--target_dir=nowhere is no folder"),
        ((*filters, f"--target_dir={tmp_path / 'other'}"), "has no targets"),
        ((*filters, "--model=resnet20"), "for --task=filter there are dncnn, dncnn_lcnn"),
    ]:
        assert told in refusal(*given, place)
    for i in range(12):
        write(tmp_path / "small", f"p{i}.png", (20, 20))
    with pytest.raises(ValueError, match=r"is 48x40, and its target .* 20x20"):
        filtered_photos.load(folder / "photos", tmp_path / "small")
    assert not (tmp_path / "run").exists()
