"""A Learner: what it has learned outlives the process, and a file that is wrong changes nothing."""

import os

import keras
import numpy as np
import pytest
from support.helpers import chain, random

from tf_lcnn import LookupDense
from tf_lcnn.runtime.learning import Learner

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)

IMAGES, LABELS = random((4, 6, 6, 2), 1), np.arange(4) % 3


def exported(path, seed, train="classifier"):
    from tf_lcnn.lite.export import export

    keras.utils.set_random_seed(seed)
    model = chain((6, 6, 2), keras.layers.Flatten(), LookupDense(3, 2))
    export(model, path, IMAGES, train=train)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    path = tmp_path_factory.mktemp("learner") / "model.tflite"
    exported(path, 0)
    return path


def learned(path, steps=3):
    learner = Learner(path)
    features = learner.features(IMAGES)
    return learner, [learner.train(features, LABELS, 0.1) for _ in range(steps)]


def test_what_was_learned_outlives_it(path, tmp_path):
    learner, losses = learned(path)
    start = Learner(path)
    assert losses[-1] < losses[0] and (learner.state != start.state).any()
    learner.save(tmp_path / "learned.state")
    # 16 bytes of stamp, 4 of check sum.
    assert (tmp_path / "learned.state").stat().st_size == 16 + 4 * learner.parameters + 4
    other = Learner(path)
    other.restore(tmp_path / "learned.state")
    np.testing.assert_array_equal(other.state, learner.state)
    np.testing.assert_array_equal(other.infer(IMAGES), learner.infer(IMAGES))
    other.reset()
    np.testing.assert_array_equal(other.state, start.state)


def test_power_that_fails_during_save_leaves_the_old_state(path, tmp_path, monkeypatch):
    learner, _ = learned(path)
    learner.save(tmp_path / "learned.state")
    old = (tmp_path / "learned.state").read_bytes()
    features = learner.features(IMAGES)
    learner.train(features, LABELS, 0.1)

    def full(number):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        learner.save(tmp_path / "learned.state")
    assert (tmp_path / "learned.state").read_bytes() == old
    assert [x.name for x in tmp_path.iterdir()] == ["learned.state"]


def test_a_state_that_is_wrong_is_one_line_and_changes_nothing(path, tmp_path):
    learner, _ = learned(path)
    file, before = tmp_path / "learned.state", learner.state
    learner.save(file)
    whole = file.read_bytes()
    learner.reset()
    start = learner.state
    flipped = bytes([*whole[:30], whole[30] ^ 4, *whole[31:]])
    for content in (b"", whole[:5], whole[:-4], whole + b"\0", flipped):
        file.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged, or was cut short"):
            learner.restore(file)
    exported(tmp_path / "other.tflite", 1)
    learned(tmp_path / "other.tflite")[0].save(file)
    with pytest.raises(ValueError, match="another model"):
        learner.restore(file)
    with pytest.raises(FileNotFoundError):
        learner.restore(tmp_path / "none.state")
    np.testing.assert_array_equal(learner.state, start)
    file.write_bytes(whole)
    learner.restore(file)
    np.testing.assert_array_equal(learner.state, before)


@pytest.mark.parametrize(
    "wrong, message",
    [
        ({"labels": [0, 1, 2, 3]}, "label 3 is no class from 0 to 2"),
        ({"labels": [0, 1, 2, -1]}, "label -1 is no class"),
        ({"labels": np.array([0, 1, 2, 2**32])}, "label 4294967296 is no class"),
        ({"labels": [0, 1, 2]}, "a whole number for each of the 4"),
        ({"labels": [0.0, 1.0, 2.0, 0.0]}, "float64"),
        ({"rate": float("nan")}, "rate must be a finite number"),
        ({"rate": -1}, "rate must be"),
        ({"rate": 1e39}, "rate must be"),
        ({"features": np.full((4, 2), 1e38), "rate": 1e3}, "not all numbers would be finite"),
        ({"features": IMAGES}, r"\(2,\) each is taken"),
        ({"features": np.full((4, 2), np.nan)}, "NaN"),
    ],
)
def test_what_cannot_be_learned_is_one_line(path, wrong, message):
    learner = Learner(path)
    before = learner.state
    given = {"features": learner.features(IMAGES), "labels": LABELS, "rate": 0.1, **wrong}
    with pytest.raises(ValueError, match=message) as error:
        learner.train(**given)
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(learner.state, before)


def test_files_that_cannot_learn_are_refused(path, tmp_path):
    exported(tmp_path / "plain.tflite", 0, train=None)
    with pytest.raises(ValueError, match="cannot learn: export the model with"):
        Learner(tmp_path / "plain.tflite")
    (tmp_path / "cut.tflite").write_bytes(path.read_bytes()[:500])
    with pytest.raises(ValueError, match="damaged, or was cut short"):
        Learner(tmp_path / "cut.tflite")
    with pytest.raises(FileNotFoundError):
        Learner(tmp_path / "none.tflite")
