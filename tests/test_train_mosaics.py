"""train.py on mosaics: demosaicing and classes, files, what is told, and misused."""

import csv

import keras
import pytest
from test_train import refusal
from test_train_super_resolution import FILES, QUICK, run

from tests.data.test_photos import write
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import metadata
from tf_lcnn.models import saving

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Twelve photos in two classes, and two for the test, of odd sizes."""
    place = tmp_path_factory.mktemp("data")
    for i in range(12):
        write(place / "photos" / ("ab"[i % 2]), f"p{i}.png", (48, 40), i)
    for i in range(2):
        write(place / "Two", f"t{i}.png", (33, 36 + i), 20 + i)
    return place


def demosaicing(folder):
    small = ("--patch_size=16", "--patches=4", "--dictionary_sizes=4,4", "--top_s=2")
    return "--task=demosaicing", f"--data_dir={folder / 'photos'}", *small, *QUICK


def classes(folder):
    data = ("--dataset=image_folder", f"--data_dir={folder / 'photos'}", "--image_size=16")
    return *data, "--model=resnet8_lcnn", *QUICK, "--batch_size=4", "--top_s=3"


def test_demosaicing_is_told_against_bilinear_interpolation(folder, tmp_path, capsys):
    given = (*demosaicing(folder), f"--test_dirs={folder / 'Two'}", "--mosaic=GRBG", "--shot=0")
    run(*given, f"--run_dir={tmp_path / 'run'}")
    assert {path.name for path in (tmp_path / "run").iterdir()} == FILES
    told = capsys.readouterr().out
    assert "Two, 2 photos, GRBG with noise of shot 0, read 0.001: PSNR" in told
    with open(tmp_path / "run" / "test.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    # Pictures with slopes: it is good at these, and the network starts from it.
    before, after = ([float(row[x]) for row in rows] for x in ("bilinear_psnr", "psnr"))
    assert min(before) > 25 and min(after) > 15
    about = metadata.read(tmp_path / "run" / "model.tflite")
    assert (about["task"], about["shot"], about["read"]) == ("demosaicing", 0, 0.001)
    assert about["input"]["mosaic"] == "GRBG" and about["input"]["std"] == [1]
    model = saving.load_model(tmp_path / "run" / "model.keras")
    assert lookup_layers(model)[0].dictionary.shape == (4, 4)


def test_classes_are_learned_from_mosaics(folder, tmp_path, capsys):
    run(*classes(folder), "--mosaic=BGGR", f"--run_dir={tmp_path / 'run'}")
    assert "2 classes, input (16, 16, 1)" in capsys.readouterr().out
    about = metadata.read(tmp_path / "run" / "model.tflite")
    assert about["labels"] == ["a", "b"] and about["input"]["mosaic"] == "BGGR"
    assert (about["input"]["height"], about["input"]["channels"]) == (16, 1)
    # And on from there.
    run(*classes(folder), "--mosaic=BGGR", f"--run_dir={tmp_path / 'run'}", "--test_only")
    assert "Test: " in capsys.readouterr().out


def test_what_cannot_be_is_one_line(folder, tmp_path):
    place = f"--run_dir={tmp_path / 'run'}"
    photos, labeled = demosaicing(folder), classes(folder)
    for i in range(12):
        write(tmp_path / "gray", f"p{i}.png", (48, 40), i, "L")
    for given, told in [
        ((*photos, "--read=-1"), "The read noise must be a finite number >= 0, not -1.0"),
        ((*photos, "--shot=nan"), "The shot noise must be a finite number >= 0, not nan"),
        ((*photos, "--patch_size=15"), "Patches of 15x15 do not divide into tiles of 2x2"),
        ((*photos, f"--data_dir={tmp_path / 'gray'}"), "is gray: color photos are taken here"),
        ((*photos, "--sigma=5"), "--sigma is not for --task=demosaicing"),
        ((*photos, "--model=dncnn"), "for --task=demosaicing there are demosaic, demosaic_lcnn"),
        (("--task=denoising", "--mosaic=RGGB"), "--mosaic is not for --task=denoising"),
        ((*labeled, "--shot=0.1"), "--shot needs --mosaic, the pattern of the sensor"),
        ((*labeled, "--mosaic=RGGB", "--preprocessing=0..1"), "--preprocessing is not for"),
        ((*labeled, "--mosaic=RGGB", "--image_size=15"), "of 15x15 do not divide into tiles"),
        (
            (*labeled, "--mosaic=RGGB", "--model=resnet18_lcnn"),
            "resnet18_lcnn takes no mosaics: demosaic",
        ),
        (("--mosaic=RGGB",), "digits has gray images: mosaics are made of color ones"),
    ]:
        assert told in refusal(*given, place)
    assert not (tmp_path / "run").exists()
