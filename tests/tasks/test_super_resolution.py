"""Super-resolution: the field's figures against references, what a run keeps, a poor parent."""

import csv
import types

import keras
import numpy as np
import pytest
from PIL import Image
from support.helpers import chain

from tests.data.test_photos import write
from tf_lcnn import models, tasks
from tf_lcnn.data import photos
from tf_lcnn.tasks.images import PeakSignalToNoise
from tf_lcnn.tasks.super_resolution import SuperResolution


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    place = tmp_path_factory.mktemp("data") / "photos"
    for i in range(10):
        write(place, f"p{i}.png", (48, 40), i)
    return photos.load(place, 2, patch_size=32, draws=2)


def bicubic_in_place():
    """A network whose answer is its input."""
    return chain((None, None, 1), keras.layers.Identity())


def psnr(image, wanted, border):
    inner = slice(border, -border)
    error = np.float64(np.clip(image, 0, 1)) - wanted
    return -10 * np.log10((error[inner, inner] ** 2).mean())


def ssim(image, wanted):
    """Wang et al. 2004: gaussian window 11x11 of sigma 1.5, no padding; float64."""
    at = np.arange(11) - 5.0
    window = np.exp(-(at**2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2

    def mean(x):
        return np.einsum(
            "yxij,ij->yx", np.lib.stride_tricks.sliding_window_view(x, (11, 11)), window
        )

    a, b = np.float64(image), np.float64(wanted)
    first, second = 0.01**2, 0.03**2
    covariance = mean(a * b) - mean(a) * mean(b)
    spread = mean(a * a) - mean(a) ** 2 + mean(b * b) - mean(b) ** 2
    top = (2 * mean(a) * mean(b) + first) * (2 * covariance + second)
    return (top / ((mean(a) ** 2 + mean(b) ** 2 + first) * (spread + second))).mean()


def test_psnr_is_that_of_the_field():
    rng = np.random.default_rng(0)
    wanted = rng.random((3, 20, 18, 1)).astype(np.float32)
    # Beyond 0 and 1, which is clipped, and worst at the border, which does not count.
    found = wanted + rng.normal(size=wanted.shape).astype(np.float32) / 5
    found[:, :2] = 9
    expected = np.mean([psnr(a, b, 2) for a, b in zip(found, wanted, strict=True)])
    assert SuperResolution(2).score(found, wanted) == pytest.approx(expected, rel=1e-6)
    metric = PeakSignalToNoise(2)
    metric.update_state(wanted[:2], found[:2])
    metric.update_state(wanted[2:], found[2:])
    assert float(metric.result()) == pytest.approx(expected, rel=1e-4)
    again = PeakSignalToNoise.from_config(metric.get_config())
    assert again.border == 2 and again.name == "psnr"
    with pytest.raises(ValueError, match="wanted images"):
        SuperResolution(2).score(found, wanted[:, :10])


def test_a_run_is_told_and_kept_by_test_set(dataset, tmp_path, capsys):
    task, model = SuperResolution(2), bicubic_in_place()
    data = dataset.taken_by(model)
    task.tell_more(model, data, tmp_path)
    with open(tmp_path / "test.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["photo"] for row in rows] == list(data.titles) and rows[0]["set"] == "test"
    for row, (given, sharp) in zip(rows, data.evaluation("test", 1), strict=True):
        given, sharp = given[0].numpy(), sharp[0].numpy()
        assert row["psnr"] == row["bicubic_psnr"] and row["ssim"] == row["bicubic_ssim"]
        assert float(row["psnr"]) == pytest.approx(psnr(given, sharp, 2), rel=1e-6)
        image, wanted = (np.clip(x, 0, 1)[2:-2, 2:-2, 0] for x in (given, sharp))
        assert float(row["ssim"]) == pytest.approx(ssim(image, wanted), rel=1e-4)
        picture = np.asarray(Image.open(tmp_path / "pictures" / f"test_{row['photo']}.png"))
        before, after, difference = np.split(picture, 3, axis=1)
        np.testing.assert_array_equal(before, np.rint(np.clip(given[..., 0], 0, 1) * 255))
        np.testing.assert_array_equal(after, before)
        expected = np.clip(8 * np.abs(np.clip(given, 0, 1) - sharp), 0, 1)[..., 0]
        np.testing.assert_allclose(difference, expected * 255, atol=0.51)
    told = capsys.readouterr().out
    mean = np.mean([float(row["psnr"]) for row in rows])
    assert f"test, 2 photos, 2 times as large: PSNR {mean:.2f} dB" in told
    task.tell_more(model, data, None)
    assert capsys.readouterr().out == told


def test_pictures_are_not_without_end(dataset, tmp_path, monkeypatch):
    monkeypatch.setattr("tf_lcnn.tasks.restoration._MOST_PICTURES", 1)
    model = models.build("espcn")
    SuperResolution(2).tell_more(model, dataset.taken_by(model), tmp_path)
    assert len(list((tmp_path / "pictures").iterdir())) == 1


def test_a_parent_no_better_than_bicubic_interpolation_is_refused(dataset):
    task, model = SuperResolution(2), bicubic_in_place()
    settings = types.SimpleNamespace(init_from="p.keras")
    data = dataset.taken_by(model)
    model.compile(loss=task.loss(), metrics=task.metrics(1))
    batches = data.evaluation("validation", 1)
    results = model.evaluate(batches, verbose=0, return_dict=True)
    with pytest.raises(ValueError, match=r"p\.keras has a PSNR of .* is --scale \(2\) that of"):
        task.refuse_parent({"psnr": results["psnr"] - 1e-3}, data, settings)
    task.refuse_parent({"psnr": results["psnr"] + 1e-3}, data, settings)


def test_it_is_a_task_of_train_py():
    assert "super_resolution" in tasks.names()
    settings = types.SimpleNamespace(task="super_resolution", scale=None, loss="l1")
    assert tasks.of_run(settings).scale == 2
    assert SuperResolution(2).holds(30.0, 29.6) and SuperResolution(2).show(30.0) == "30.00 dB"
