"""benchmarks/pareto.py: what it keeps, what it hands to Keras 2, and what it refuses."""

import csv
import dataclasses
import gzip
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain, random, settle

from benchmarks import handover, rows
from tf_lcnn import LookupConv2D

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = ROOT / "benchmarks" / "pareto.py"
ROW = rows.Row("dense", "float32", 0.9, 100, 2000, 1000, 0.5, 1.0)


def residual():
    """A net with every kind of layer that a ResNet has, with statistics of its own."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return settle(keras.Model(inputs, layers.Dense(10)(y)))


@pytest.fixture
def handed(tmp_path):
    """A model, and the path of the file it was written to."""
    model = residual()
    handover.write(tmp_path / "net.npz", model, random((4, 8, 8, 1)))
    return model, tmp_path / "net.npz"


def test_a_file_is_made_once_of_the_same_things(tmp_path):
    path, made = tmp_path / "a.tflite", []

    def make(out):
        made.append(out)
        out.write_bytes(b"file")
        return len(made)

    def find(made_from):
        return rows.once(path, made_from, make)

    assert [find({"epochs": 1}), find({"epochs": 1}), find({"epochs": 2})] == [1, 1, 2]
    assert find({"epochs": 2}) == 2
    path.unlink()
    assert find({"epochs": 2}) == 3


def test_an_interrupted_file_is_made_again(tmp_path):
    path = tmp_path / "a.tflite"

    def make(out):
        out.write_bytes(b"file")
        return 1

    def stopped(out):
        out.write_bytes(b"another")
        raise KeyboardInterrupt

    rows.once(path, {"seed": 0}, make)
    with pytest.raises(KeyboardInterrupt):
        rows.once(path, {"seed": 1}, stopped)
    rows.once(path, {"seed": 0}, make)
    assert path.read_bytes() == b"file"


def test_a_row_has_the_bytes_of_the_file_and_of_the_packed_file(tmp_path):
    def make(content):
        def write(path):
            path.write_bytes(content)
            return {"accuracy": 0.5, "multiplications": 7}

        return write

    few = np.random.default_rng(0).choice(random(16), 4000).tobytes()
    many = random(4000).tobytes()
    path, clustered = rows.row(tmp_path, "clustered 16", "float32", {}, make(few))
    assert path.name == "clustered_16_float32.tflite"
    assert (clustered.bytes, clustered.accuracy, clustered.multiplications) == (16000, 0.5, 7)
    assert clustered.gzip_bytes == len(gzip.compress(few))
    _, dense = rows.row(tmp_path, "dense", "float32", {}, make(many))
    assert clustered.gzip_bytes < 0.4 * dense.gzip_bytes


def test_rows_are_written_and_printed(tmp_path):
    pruned = dataclasses.replace(ROW, net="pruned 75%", multiplications=25, ratio=0.98)
    rows.write(tmp_path, "pareto", [ROW, pruned])
    with open(tmp_path / "pareto.csv", newline="", encoding="utf-8") as file:
        assert [line["multiplications"] for line in csv.DictReader(file)] == ["100", "25"]
    stored = json.loads((tmp_path / "pareto.json").read_text())
    assert [rows.Row(**each) for each in stored] == [ROW, pruned]
    *_, last = rows.table([ROW, pruned]).splitlines()
    figures = ["90.00%", "25", "(4.0x)", "2,000", "1.000", "1,000", "0.500", "0.98"]
    assert last.split() == ["pruned", "75%", "float32", *figures]


def test_the_plot_leaves_out_plain_storage_where_there_is_sparse(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib draws the plot")
    plain = dataclasses.replace(ROW, net="pruned 75%")
    sparse = dataclasses.replace(plain, storage="float32 sparse", bytes=700)
    assert rows.shown([ROW, plain, sparse]) == [ROW, sparse]
    rows.draw([ROW, plain, sparse], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_a_net_is_rebuilt_by_another_keras_and_its_weights_come_back(handed):
    model, path = handed
    rebuilt = handover.rebuild(path, keras)
    x = random((3, 8, 8, 1), 1)
    assert np.allclose(rebuilt(x), model(x), atol=1e-6)
    changed = {name: 2 * array for name, array in handover.weights(rebuilt).items()}
    handover.set_weights(model, changed)
    assert all(np.array_equal(changed[k], v) for k, v in handover.weights(model).items())


@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="tf_keras not installed")
def test_keras_2_rebuilds_a_net(handed):
    import tf_keras

    rebuilt = handover.rebuild(handed[1], tf_keras)
    assert isinstance(rebuilt, tf_keras.Model)


def test_another_result_of_the_rebuilt_net_is_noticed(handed):
    _, path = handed
    with np.load(path) as file:
        arrays = dict(file)
    arrays["logits"] = arrays["logits"] * 1.001
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="the logits differ by"):
        handover.rebuild(path, keras)


def test_layers_that_keras_2_lacks_are_refused(tmp_path):
    model = chain((8, 8, 1), LookupConv2D(4, 3, 8, name="sums"))
    with pytest.raises(ValueError, match=r"sums \(LookupConv2D\) cannot be handed"):
        handover.write(tmp_path / "net.npz", model, random((1, 8, 8, 1)))
    assert not list(tmp_path.iterdir())


def test_wrong_flags_end_in_one_line(tmp_path):
    def save(name, conv, classes=10):
        members = (conv, layers.GlobalAveragePooling2D(), layers.Dense(classes))
        chain((8, 8, 1), *members).save(tmp_path / f"{name}.keras")

    save("dense", layers.Conv2D(4, 3))
    save("seven", layers.Conv2D(4, 3), 7)
    save("lcnn", LookupConv2D(4, 3, 8))
    ends = {
        ("seven", "lcnn", ""): "7 classes, but digits has (8, 8, 1) and 10",
        ("dense", "dense", ""): "dense.keras has no lookup layers",
        ("dense", "lcnn", "prune:2"): "--peers=prune:2: a peer is like prune:0.8",
        ("dense", "lcnn", "cluster:8"): "tf_keras not installed: pip install -e .[compare]",
    }
    # As if the peers' packages were not there.
    start = (
        "import runpy, sys; sys.modules['tf_keras'] = None; "
        f"sys.argv[0] = {str(PROGRAM)!r}; runpy.run_path(sys.argv[0], run_name='__main__')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(PROGRAM.parent)])}
    processes = {}
    for dense, lcnn, peers in ends:
        given = (f"--dense={tmp_path / dense}.keras", f"--lcnn={tmp_path / lcnn}.keras")
        given += (f"--peers={peers}", "--dataset=digits", f"--folder={tmp_path / 'out'}")
        processes[dense, lcnn, peers] = subprocess.Popen(
            [sys.executable, "-c", start, *given],
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
    for given, process in processes.items():
        _, errors = process.communicate()
        assert process.returncode != 0 and "Traceback" not in errors
        line = errors.strip().splitlines()[-1]
        assert line.startswith("pareto.py: ") and ends[given] in line
    assert not (tmp_path / "out").exists()
