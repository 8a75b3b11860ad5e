"""The exported file computes on ARM64, under qemu, what it computes here."""

import subprocess
from pathlib import Path

import keras
import numpy as np
import pytest
from support.helpers import random, settle

from tf_lcnn import models
from tf_lcnn.lite import export
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.runtime.learning import Learner
from tf_lcnn.training.callbacks import project

TOOL = str(Path(__file__).parents[2] / "tools" / "arm64.sh")


def arm64(*arguments):
    command = [TOOL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=900)


def missing():
    """Why ARM64 files cannot run here, or None."""
    try:
        answer = arm64("check")
    except OSError as error:
        return f"{TOOL}: {error}"
    return answer.stderr.strip() if answer.returncode else None


WHY_NOT = missing()
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT)),
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
    ),
]


def lookup():
    model = models.build("resnet20_lcnn", input_shape=(16, 16, 3))
    settle(model)
    project(model, 3)
    return model


def dense():
    return keras.Sequential(
        [
            keras.Input((9, 7, 3)),
            keras.layers.Conv2D(5, 3, strides=2, padding="same", activation="relu"),
            keras.layers.Flatten(),
            keras.layers.Dense(4),
        ]
    )


@pytest.fixture(scope="module", params=[lookup, dense])
def exported(request, tmp_path_factory):
    """A file and its inputs."""
    keras.utils.set_random_seed(0)
    model = request.param()
    folder = tmp_path_factory.mktemp("arm64")
    path, inputs = folder / "model.tflite", folder / "inputs.npy"
    path.write_bytes(export.convert(model))
    np.save(inputs, random((4, *model.input_shape[1:]), 9))
    return path, inputs


def test_arm64_computes_what_this_machine_computes(exported, tmp_path):
    path, inputs = exported
    here = Interpreter(path).predict(np.load(inputs))
    answer = arm64("run", path, inputs, tmp_path / "outputs")
    assert answer.returncode == 0, answer.stderr
    there = np.load(tmp_path / "outputs")
    assert there.shape == here.shape and there.dtype == here.dtype
    # Sums are taken in another order there: up to 4e-7 was seen.
    assert np.abs(there - here).max() <= 2e-6 * np.abs(here).max()


def test_a_truncated_file_is_one_line_and_no_outputs(exported, tmp_path):
    path, inputs = exported
    whole = path.read_bytes()
    for length in (0, 1, len(whole) // 2):
        broken = tmp_path / "broken.tflite"
        broken.write_bytes(whole[:length])
        answer = arm64("run", broken, inputs, tmp_path / "outputs")
        assert answer.returncode == 1
        assert answer.stdout == ""
        assert answer.stderr.startswith(f"arm64.sh: {broken}: ")
        assert answer.stderr.count("\n") == 1
        assert not (tmp_path / "outputs").exists()


def test_wrong_inputs_are_one_line(exported, tmp_path):
    path, inputs = exported
    whole = np.load(inputs)
    cases = {
        "empty": whole[:0],
        "shape": whole[:, 1:],
        "complex": whole.astype(complex),
    }
    for name, value in cases.items():
        np.save(tmp_path / name, value)
        answer = arm64("run", path, tmp_path / f"{name}.npy", tmp_path / "outputs")
        assert answer.returncode == 1, name
        assert answer.stderr.count("\n") == 1, answer.stderr
        assert not (tmp_path / "outputs").exists()


# What an app would do, with NumPy and LiteRT alone.
LEARNING = """
import sys
import numpy as np
from ai_edge_litert.interpreter import Interpreter

interpreter = Interpreter(sys.argv[1])
run = {name: interpreter.get_signature_runner(name) for name in ("features", "train", "save")}
images, labels = np.load(sys.argv[2]), np.arange(4, dtype=np.int32)
features = np.concatenate([run["features"](image=one[None])["features"] for one in images])
rate = np.array([0.05], np.float32)
losses = [run["train"](features=features, labels=labels, rate=rate)["loss"] for _ in range(4)]
state = run["save"](unused=np.zeros(1, np.int32))["state"]
np.savez(sys.argv[3], losses=losses, state=state)
"""


def test_a_file_learns_there_what_it_learns_here(tmp_path):
    keras.utils.set_random_seed(0)
    model, images = lookup(), random((4, 16, 16, 3), 9)
    trained = ["stage3_block3_conv1", "stage3_block3_conv2", "logits"]
    export.export(model, tmp_path / "model.tflite", images, train=trained)
    np.save(tmp_path / "images.npy", images)
    given = (tmp_path / "model.tflite", tmp_path / "images.npy", tmp_path / "learned.npz")
    answer = arm64("python", "-c", LEARNING, *given)
    assert answer.returncode == 0, answer.stderr
    there, here = np.load(tmp_path / "learned.npz"), Learner(tmp_path / "model.tflite")
    start, features = here.state, here.features(images)
    losses = [here.train(features, np.arange(4), 0.05) for _ in range(4)]
    assert losses[-1] < losses[0]
    # Sums are taken in another order there.
    np.testing.assert_allclose(there["losses"], losses, rtol=1e-5)
    assert np.abs(there["state"] - here.state).max() <= 1e-5 * np.abs(here.state - start).max()
