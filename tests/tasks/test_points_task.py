"""The task of point clouds: what it shares with classification, and its own input and flags."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from absl.testing import flagsaver
from test_train import refusal

import train
from tf_lcnn import models, profile, tasks
from tf_lcnn.data import point_clouds
from tf_lcnn.lite import metadata
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.tasks.point_clouds import PointClouds

SMALL = (
    *("--task=point_clouds", "--dataset=synthetic_solids", "--points=16", "--batch_size=16"),
    *("--optimizer=adam", "--learning_rate=0.002"),
)


@pytest.fixture
def few(monkeypatch):
    """Few solids."""
    sizes = {"train": (80, 0), "validation": (30, 1), "test": (30, 2)}
    monkeypatch.setattr(point_clouds, "_SOLID_SPLITS", sizes)


def run(*args):
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        train.parse(["train.py", *map(str, args)])
        train.main()


def test_it_is_a_task_of_train_with_the_loss_and_score_of_classes():
    assert "point_clouds" in tasks.names()
    task = tasks.named("point_clouds")()
    assert type(task) is PointClouds and isinstance(task, Classification)
    assert task.score(np.eye(4)[[0, 3, 1, 1]], [0, 3, 1, 2]) == 0.75
    assert models.task(task.model) == task.name and task.dataset in point_clouds.NAMES


@pytest.mark.parametrize("task", [None, PointClouds()])
def test_a_file_says_what_it_takes(task):
    dataset = point_clouds.load("digits_points")
    model = models.build("pointnet_small", **dataset.network)
    told = metadata.describe(model, dataset, profile(model), task)
    assert told["labels"] == [str(digit) for digit in range(10)]
    assert told["input"] == {"points": 64, "coordinates": 3, "normalization": "unit sphere"}
    assert told["output"] == "logits"


@pytest.mark.slow
def test_a_run_of_tables_from_a_parent(few, tmp_path, capsys, monkeypatch):
    dataset = point_clouds.load("synthetic_solids", points=16)
    parent, made = tmp_path / "parent.keras", tmp_path / "tables"
    keras.utils.set_random_seed(0)
    models.build("pointnet_small", **dataset.network).save(parent)
    # It was not trained.
    monkeypatch.setattr(PointClouds, "refuse_parent", lambda *_: None)
    run(
        *(*SMALL, f"--init_from={parent}", "--family=deep_lookup", "--table=separable"),
        *("--keep=conv1,*_matrix", "--epochs=1", f"--run_dir={made}"),
    )
    output = capsys.readouterr().out
    assert "80 training, 30 validation, 30 test point clouds, 10 classes" in output
    assert "Validation, coded" in output and "30 examples: largest difference" in output
    costs = json.loads((made / "profile.json").read_text())
    reading = {layer["name"] for layer in costs["layers"] if layer["table_reads"]}
    assert {"conv2", "feature_conv1", "fc1"} <= reading
    assert not reading & {"input_conv1", "conv1", "input_matrix", "feature_matrix", "logits"}
    assert metadata.read(made / "model.tflite")["input"]["points"] == 16
    assert keras.models.load_model(made / "model.keras").input_shape == (None, 16, 3)


@pytest.mark.parametrize(
    "flags, told",
    [
        (("--task=classification", "--points=64"), ["--points is not for --task=classification"]),
        ((*SMALL, "--image_size=8"), ["--image_size is not for --task=point_clouds"]),
        ((*SMALL, "--model=resnet20"), ["--model=resnet20", "--task=classification", "pointnet"]),
        (("--task=point_clouds", "--dataset=cifar10"), ["'cifar10'", *point_clouds.NAMES]),
        (("--task=point_clouds", "--dataset=modelnet40"), ["--data_dir"]),
        (("--task=point_clouds", "--points=100"), ["64 points", "100"]),
        ((*SMALL, "--keep=conv1"), ["--keep", "--family=deep_lookup"]),
    ],
)
def test_flags_that_do_not_fit_are_refused(flags, told, few, tmp_path):
    line = refusal(*flags, f"--run_dir={tmp_path / 'run'}")
    for word in told:
        assert word in line
    assert not list(tmp_path.iterdir())


def test_a_parent_of_other_clouds_is_refused(few, tmp_path):
    dataset = point_clouds.load("synthetic_solids", points=16)
    path = tmp_path / "parent.keras"
    models.build("pointnet_small", **{**dataset.network, "classes": 7}).save(path)
    arguments = (*SMALL, f"--init_from={path}", "--family=deep_lookup")
    line = refusal(*arguments, f"--run_dir={tmp_path / 'run'}")
    assert (
        "takes point clouds (16, 3) of 7 classes, but synthetic_solids has (16, 3) and 10" in line
    )
    # Its classes are right, and it knows nothing.
    models.build("pointnet_small", **dataset.network).save(path)
    assert "was it trained on synthetic_solids?" in refusal(
        *arguments, f"--run_dir={tmp_path / 'run'}"
    )


def test_the_points_are_those_of_the_parent(few):
    settings = dataclasses.make_dataclass("Settings", ["dataset", "data_dir", "points"])
    parent = models.build("pointnet_small", (16, 3), 10)
    for points, wanted in ((None, 16), (8, 8)):
        dataset = PointClouds().load(settings("synthetic_solids", None, points), (1024, 3), parent)
        assert dataset.example_shape == (wanted, 3)
