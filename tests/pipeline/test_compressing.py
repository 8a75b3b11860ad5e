"""compress: one call from a trained net to a file and a report; it resumes, and refuses plainly."""

import json

import keras
import numpy as np
import pytest
from support.helpers import chain, random, settle

import tf_lcnn
from tf_lcnn import profile
from tf_lcnn.compression import planner
from tf_lcnn.compression.reconstruction import Schedule
from tf_lcnn.lite import prices
from tf_lcnn.pipeline.stages import Stages
from tf_lcnn.runtime import timing

IMAGES = random((40, 12, 12, 3))
QUICK = Schedule(block_steps=0, output_steps=8, rounded_steps=4, batch=8)
HOW = {"prices": prices.DEFAULT, "delegate": False, "schedule": QUICK, "tell": lambda line: None}


@pytest.fixture(autouse=True)
def any_machine(monkeypatch):
    # It may be busy; what it takes does not matter here.
    monkeypatch.setattr(timing, "LEAST_SHARE", 0.0)


@pytest.fixture(scope="module")
def parent():
    keras.utils.set_random_seed(0)
    layers = keras.layers
    return settle(
        chain(
            (12, 12, 3),
            layers.Conv2D(16, 3, padding="same", use_bias=False, name="a"),
            layers.BatchNormalization(name="bn", momentum=0.1),
            layers.ReLU(name="relu"),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="b"),
            layers.GlobalAveragePooling2D(name="pool"),
            layers.Dense(4, name="dense"),
        ),
        steps=6,
    )


@pytest.fixture(scope="module")
def plan(parent):
    return planner.plan(parent, 0.6 * profile(parent).multiplications, images=IMAGES)


def test_a_file_and_a_report_and_a_second_call_goes_on(parent, plan, tmp_path, monkeypatch):
    made = tf_lcnn.compress(parent, IMAGES, plan=plan, folder=tmp_path / "x", **HOW)
    assert made.path.read_bytes()[4:8] == b"TFL3"
    page = made.report.read_text(encoding="utf-8")
    assert "<svg" in page and "int8" in page and "http" not in page
    found = json.loads((tmp_path / "x" / "report.json").read_text(encoding="utf-8"))
    assert [x["name"] for x in found["layers"]] == [x.name for x in plan.layers]
    assert found["times"]["lcnn_ms"] > 0 and found["phases"][-1]["name"] == "int8"
    # What is last is made anew, of what is there; nothing is trained.
    (made.path.parent / "export.json").unlink()
    monkeypatch.setattr("tf_lcnn.pipeline.compressing.reconstruct", None)
    again = tf_lcnn.compress(parent, IMAGES, plan=plan, folder=tmp_path / "x", **HOW)
    for a, b in zip(made.model.get_weights(), again.model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="another model, other images"):
        tf_lcnn.compress(parent, IMAGES[:30], plan=plan, folder=tmp_path / "x", **HOW)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"speedup": 2.0, "budget": 1.0}, "one of them"),
        ({}, "one of them"),
        ({"speedup": 0.5}, "The speedup must be a finite number > 1"),
        ({"speedup": 2.0, "images": 255 * IMAGES}, "takes about .*: divide or normalize them"),
        ({"speedup": 2.0, "images": IMAGES[:, :8]}, r"\(40, 8, 12, 3\), but \(12, 12, 3\)"),
        ({"speedup": 2.0, "labels": np.zeros(3, int)}, "40 images, and 3 labels"),
    ],
)
def test_bad_input_in_one_line(parent, tmp_path, arguments, message):
    images = arguments.pop("images", IMAGES)
    with pytest.raises(ValueError, match=message):
        tf_lcnn.compress(parent, images, folder=tmp_path / "x", **HOW, **arguments)
    assert not (tmp_path / "x").exists()


def test_a_speedup_that_no_sizes_reach_says_the_most(parent, tmp_path):
    with pytest.raises(ValueError, match=r"1000 times as fast: about [0-9.]+ is the most"):
        tf_lcnn.compress(parent, IMAGES, 1000.0, folder=tmp_path / "x", **HOW)


def test_models_that_cannot_be_compressed(tmp_path):
    pool = chain((12, 12, 3), keras.layers.GlobalAveragePooling2D())
    with pytest.raises(ValueError, match="no layer that can have lookups"):
        tf_lcnn.compress(pool, IMAGES, 2.0, folder=tmp_path / "x", **HOW)
    broken = chain((12, 12, 3), keras.layers.Conv2D(4, 3, name="a"))
    broken.layers[1].bias.assign(np.full(4, np.nan))
    with pytest.raises(ValueError, match="The weights of layer a have NaN"):
        tf_lcnn.compress(broken, IMAGES, 2.0, folder=tmp_path / "x", **HOW)


def test_a_full_disk_loses_nothing(tmp_path, monkeypatch):
    stages = Stages(tmp_path / "x", "mark")
    stages.once("first.json", lambda: [1])

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("tf_lcnn.files.os.replace", full)
        with pytest.raises(OSError, match="No space left"):
            stages.once("second.json", lambda: [2])
    assert sorted(x.name for x in (tmp_path / "x").iterdir()) == ["first.json", "stages.json"]
    again = Stages(tmp_path / "x", "mark")
    assert again.once("first.json", lambda: [9]) == [1]
    assert again.once("second.json", lambda: [2]) == [2]
