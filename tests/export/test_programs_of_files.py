"""export/tflite.py and export/benchmark.py: files made and timed, in silence, or one line."""

import json

import keras
import pytest
from keras import layers
from support import processes
from support.helpers import chain

from tf_lcnn import LookupConv2D
from tf_lcnn.runtime import native

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
# A delegate in the processes too, where there is one.
DELEGATE = ["--delegate"] if native.available() else []


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A finished run of tflite.py, and the file that it wrote."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("net")
    body = LookupConv2D(8, 3, 8, activation="relu"), LookupConv2D(12, 3, 6, activation="relu")
    chain((8, 8, 1), *body, layers.GlobalAveragePooling2D(), layers.Dense(10)).save(
        folder / "model.keras"
    )
    how = ("--quantize=int8", "--lowering=sparse", "--examples=20")
    done = processes.run_file("export/tflite.py", f"--model={folder / 'model.keras'}", *how)
    assert done.returncode == 0, done.stderr
    return done, folder / "model.tflite"


def test_a_file_is_exported_and_nothing_else_is_printed(exported):
    done, path = exported
    assert done.stderr == ""
    assert "CONV_2D 4" in done.stdout and f"{path}: {path.stat().st_size:,} bytes" in done.stdout
    report = json.loads(path.with_suffix(".json").read_text())
    assert len(report["layers"]) == 2 and report["proof"]["examples"] == 359
    assert all(layer["measured_ms"] > 0 for layer in report["layers"])


def test_files_are_timed_in_silent_processes_and_the_turns_are_told(exported):
    _, path = exported
    done = processes.run_file("export/benchmark.py", path, "--runs=3", "--batch=2", "--threads=2")
    assert (done.returncode, done.stderr) == (0, "")
    turns, head, row = done.stdout.splitlines()
    assert turns == "3 turns of 2 runs, warm; 2 threads; times of one run"
    assert "median ms" in head and row.startswith(f"{path}  ")


@pytest.mark.slow
def test_a_single_run_is_said_to_be_cold_and_the_delegate_has_a_row(exported):
    _, path = exported
    done = processes.run_file(
        "export/benchmark.py", path, "--runs=2", "--batch=1", "--profile", *DELEGATE
    )
    assert (done.returncode, done.stderr) == (0, "")
    whole, profile = done.stdout.split("\n\n")
    turns, _, *rows = whole.splitlines()
    assert turns.startswith("2 turns of 1 run, cold; 1 thread;")
    names = [row.split("  ")[0] for row in rows]
    assert names == [str(path), *(f"{path}, delegate" for _ in DELEGATE)]
    layers_of = [line.split()[0] for line in profile.splitlines()[2 + len(rows) : -1]]
    # The converter adds a number to the names, and Keras has counted the layers before these.
    assert [name.startswith("lookup_conv2d") for name in layers_of].count(True) == 2
    assert profile.splitlines()[-1].startswith("sum ")


@pytest.mark.slow
def test_what_is_wrong_is_told_in_one_line(tmp_path):
    noise = tmp_path / "noise.tflite"
    noise.write_bytes(b"\x10\x00\x00\x00TFL3" + bytes(range(256)) * 8)
    for command, told in [
        (("export/benchmark.py", noise, "--runs=1"), "noise.tflite"),
        (("export/benchmark.py", tmp_path / "none.tflite"), "none.tflite"),
        (("export/benchmark.py",), "Name the .tflite files to time"),
        (("export/tflite.py", f"--model={noise}"), "noise.tflite is damaged"),
    ]:
        done = processes.run_file(*command)
        assert done.returncode == 1 and not done.stdout
        assert done.stderr.count("\n") == 1 and told in done.stderr
