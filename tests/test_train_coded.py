"""train.py from a trained dense model: coded by a plan, taught, resumed, and misused."""

import json

import keras
import numpy as np
import pytest
from absl.testing import flagsaver
from support.helpers import chain
from test_train import contents, log_rows, refusal, succeed

import train
from tf_lcnn import models
from tf_lcnn.compression import sites, size_plan
from tf_lcnn.data import datasets
from tf_lcnn.lite import prices
from tf_lcnn.pipeline import starting
from tf_lcnn.runtime import timing
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.training import run as runs

SIZES = {"stage1_block1_conv1": (8, 3), "stage3_block1_conv2": (16, 4)}


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """(file, plan file) of a dense net; the plan codes two of its layers."""
    folder = tmp_path_factory.mktemp("parent")
    keras.utils.set_random_seed(0)
    model = models.build("resnet8", (8, 8, 1), 10)
    digits = datasets.load("digits")
    model.compile("adam", Classification().loss())
    model.fit(digits.evaluation("train", 64), epochs=2, verbose=0)
    model.save(folder / "dense.keras")
    layers = []
    for name, kernel in sites.kernels(model).items():
        k, s = SIZES.get(name, (None, None))
        layers.append(size_plan.Choice(name, kernel, k, s, 1.0, 2.0, 0.0))
    size_plan.Plan("resnet8", "multiplications", 1.0, 0.0, tuple(layers)).save(folder / "plan.json")
    return folder / "dense.keras", folder / "plan.json"


def flags(parent, run_dir, *others):
    model, plan = parent
    return (
        f"--init_from={model}",
        f"--plan={plan}",
        f"--run_dir={run_dir}",
        "--calibration_images=20",
        "--learning_rate=0.01",
        *others,
    )


def sizes(run_dir):
    costs = json.loads((run_dir / "profile.json").read_text())
    return {
        layer["name"]: (layer["dictionary_size"], layer["max_s"])
        for layer in costs["layers"]
        if layer["dictionary_size"]
    }


@pytest.fixture(scope="module")
def run(parent, tmp_path_factory):
    """(directory, output) of a run with everything on, interrupted after its second epoch."""
    run_dir = tmp_path_factory.mktemp("runs") / "coded"
    loose = (
        *("--loose_lookups=2", "--loose_rows=1.5", "--hint_layers=stage1_block1_out"),
        "--precision=mixed_bfloat16",
    )
    output = succeed(*flags(parent, run_dir, *loose, "--epochs=2", "--noexport"))
    return run_dir, output, loose


def test_a_coded_run_says_what_it_did(run):
    run_dir, output, _ = run
    assert "stage1_block1_conv1  " in output and "weight error" in output
    coded = output.index("Validation, coded: accuracy")
    assert output.index("Validation, parent: accuracy") < output.index("weight error") < coded
    assert coded < output.index("Validation, batch normalization re-estimated: accuracy")
    assert len(log_rows(run_dir)) == 2
    assert size_plan.load(run_dir / "plan.json").sizes == SIZES


def test_loose_sizes_end_at_those_of_the_plan(run):
    run_dir, _, _ = run
    assert sizes(run_dir) == SIZES
    model = keras.models.load_model(run_dir / "model.keras")
    assert model.output_shape == (None, 10)
    # What was taught beside the logits is gone.
    assert not any(layer.name.startswith("hint_") for layer in model.layers)


def test_what_is_made_of_a_parent_computes_as_precision_says(run, parent):
    run_dir, _, _ = run
    dense, made = (keras.models.load_model(x) for x in (parent[0], run_dir / "model.keras"))
    for model, dtype in ((dense, "float32"), (made, "bfloat16")):
        # The first layer is that of the input.
        assert {layer.compute_dtype for layer in model.layers[1:]} == {dtype}
    assert {weight.dtype for weight in made.weights} == {"float32"}


def test_an_interrupted_coded_run_goes_on(run, parent):
    run_dir, _, loose = run
    output = succeed(*flags(parent, run_dir, *loose, "--epochs=3", "--noexport", "--resume"))
    assert "Resuming after epoch 2 of 3" in output and "weight error" not in output
    assert len(log_rows(run_dir)) == 3
    assert sizes(run_dir) == SIZES


@pytest.mark.slow
def test_the_same_sizes_from_random_weights(parent, tmp_path):
    random = ("--init=random", "--loose_lookups=2", "--epochs=2", "--noexport", "--nodrop_rows")
    output = succeed(*flags(parent, tmp_path / "run", *random))
    assert "weight error" not in output and "Validation, coded" not in output
    assert sizes(tmp_path / "run") == SIZES
    dense, made = (
        keras.models.load_model(path).get_layer("conv1").kernel.numpy()
        for path in (parent[0], tmp_path / "run" / "model.keras")
    )
    # Not the parent's, after two epochs either.
    assert np.corrcoef(dense.ravel(), made.ravel())[0, 1] < 0.5


def test_every_part_can_be_switched_off(parent, tmp_path):
    off = ("--distill=0", "--noreestimate_bn", "--norevive_rows", "--nodrop_rows", "--epochs=1")
    output = succeed(*flags(parent, tmp_path / "run", *off))
    assert "re-estimated" not in output and "Validation, coded" in output
    assert "Saved" in output and (tmp_path / "run" / "model.tflite").is_file()
    assert sizes(tmp_path / "run") == SIZES


def test_what_does_not_go_together_is_one_line(run, parent, tmp_path):
    run_dir = run[0]
    before = contents(run_dir)
    keras.utils.set_random_seed(0)
    other = tmp_path / "other.keras"
    models.build("resnet8", (8, 8, 1), 7).save(other)
    line = refusal(f"--init_from={other}", "--budget=1e9", f"--run_dir={run_dir}", "--overwrite")
    assert "7 classes" in line
    # Said before any planning, which this budget would not survive.
    line = refusal(f"--init_from={parent[0]}", "--budget=1", f"--run_dir={run_dir}")
    assert "holds an earlier run" in line
    assert contents(run_dir) == before


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"init_from": "MODEL"}, "--plan, --budget or --speedup, one of them"),
        (
            {"init_from": "MODEL", "plan": "PLAN", "budget": 5.0},
            "--plan, --budget or --speedup, one of them",
        ),
        ({"plan": "PLAN"}, "need --init_from"),
        ({"budget": 5.0}, "need --init_from"),
        ({"speedup": 2.0}, "need --init_from"),
        ({"init_from": "MODEL", "speedup": 1.0}, "--speedup must be a finite number > 1"),
        ({"init_from": "nothing.keras", "plan": "PLAN"}, r"No model file nothing\.keras"),
        ({"init_from": "MODEL", "plan": "nothing.json"}, r"No plan nothing\.json"),
        ({"init_from": "OTHER", "plan": "PLAN"}, "another model"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(parent, tmp_path, given, message):
    other = tmp_path / "other.keras"
    models.build("resnet32", (8, 8, 1), 10).save(other)
    places = {"MODEL": str(parent[0]), "PLAN": str(parent[1]), "OTHER": str(other)}
    given = {name: places.get(value, value) for name, value in given.items()}
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        train.parse(["train.py"])
        for name, value in given.items():
            setattr(train.FLAGS, name, value)
        with pytest.raises((ValueError, OSError), match=message):
            starting.load_parent(runs.Run.of(train.FLAGS))


def test_a_parent_at_chance_is_refused_and_told_why(parent, tmp_path):
    line = refusal(*flags(parent, tmp_path / "run", "--preprocessing=-9999,1", "--epochs=1"))
    assert "--preprocessing (-9999,1)" in line and "--class_names" in line
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_a_speedup_gives_a_file_that_was_timed_and_a_report(tmp_path, monkeypatch, capsys):
    # The machine may be busy; how fast the file is does not matter here.
    monkeypatch.setattr(timing, "LEAST_SHARE", 0.0)
    monkeypatch.setattr(prices, "machine", lambda path: prices.DEFAULT)
    # Nor does it belong among the times that are kept of this machine.
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    keras.utils.set_random_seed(0)
    # Wide enough for lookups to be faster beside tiles too (AMX).
    wide = (keras.layers.Conv2D(256, 3, padding="same", activation="relu") for _ in range(2))
    model = chain((8, 8, 1), *wide, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10))
    model.compile("adam", Classification().loss())
    model.fit(datasets.load("digits").evaluation("train", 32), epochs=2, verbose=0)
    model.save(tmp_path / "wide.keras")
    given = ("--speedup=1.1", "--calibration_images=64", "--epochs=1", "--learning_rate=0.001")
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        train.parse(["train.py", f"--init_from={tmp_path / 'wide.keras'}", *given])
        train.FLAGS.run_dir = str(tmp_path / "run")
        train.main()
    output = capsys.readouterr().out
    places = [output.index(f"Validation, {x}: accuracy") for x in ("parent", "coded")]
    assert places == sorted(places) and places[-1] < output.index("Validation, reconstructed:")
    found = json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))
    assert found["summary"] in output and found["times"]["speedup"] > 0
    assert found["scores"]["columns"][-1] == "accuracy" and found["scores"]["examples"] == 359
    files = {"model.tflite", "parent.tflite", "report.html", "plan.json", "model.keras"}
    assert files <= {x.name for x in (tmp_path / "run").iterdir()}
    assert list((tmp_path / "cache" / "tf_lcnn").glob("prices-*-kernels.json"))
