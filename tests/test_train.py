"""train.py as a user runs it: from a flagfile to a proved .tflite, interrupted, and misused."""

import csv
import dataclasses
import json
import pathlib
import re
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from absl.testing import flagsaver
from support import processes

import train
from benchmarks.accuracy import runs
from tf_lcnn import profile
from tf_lcnn.training import flagfiles, run, run_directory

ROOT = pathlib.Path(__file__).resolve().parents[1]
# Decay and the straight-through gradient are what a run that goes on could forget.
SMALL = (
    *("--model=resnet8_lcnn", "--dictionary_sizes=8,8,16", "--learning_rate=0.05"),
    *("--weight_decay=0.01", "--threshold_gradient=straight_through", "--threshold_scale=0.05"),
)
SCHEDULE = ("--top_s=3", "--top_s_from=8", "--top_s_epochs=2", "--epochs=3")
TEST_LINE = re.compile(r"^Test: .*accuracy 0\.\d+.*$", re.MULTILINE)
FILES = {
    "model.keras",
    "model.tflite",
    "profile.json",
    "profile.csv",
    "log.csv",
    "checkpoint.keras",
    "flags.cfg",
    "result.json",
}


def start_train(*args):
    return subprocess.Popen(
        [sys.executable, "train.py", *map(str, args)],
        cwd=ROOT,
        env={**processes.environment(), "KERAS_BACKEND": "tensorflow"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_train(*args):
    """Runs train.py to its end: an object with returncode, stdout and stderr."""
    return processes.run_file("train.py", *args, KERAS_BACKEND="tensorflow")


def succeed(*args):
    done = run_train(*args)
    assert done.returncode == 0, done.stderr
    return done.stdout


def complaint(*args):
    """The one line with which train.py refuses these flags."""
    done = run_train(*args)
    assert done.returncode != 0, done.stdout
    assert "Traceback" not in done.stderr
    line = done.stderr.rstrip().splitlines()[-1]
    assert line.startswith("train.py: "), done.stderr
    return line


def refusal(*args):
    """The message with which train.py refuses these flags, asked in this process."""
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        with pytest.raises((ValueError, OSError)) as error:
            train.parse(["train.py", *map(str, args)])
            train.main()
    assert "\n" not in str(error.value)
    return str(error.value)


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def log_rows(run_dir):
    with open(run_dir / "log.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """(directory, output) of a run of 3 epochs; no test may change the directory."""
    run_dir = tmp_path_factory.mktemp("runs") / "unbroken"
    return run_dir, succeed(*SMALL, *SCHEDULE, f"--run_dir={run_dir}")


@pytest.fixture
def copied(unbroken, tmp_path):
    """A copy of the run of 3 epochs, to be tampered with."""
    return shutil.copytree(unbroken[0], tmp_path / "copied")


# A whole run


def test_a_run_leaves_its_files_and_nothing_else(unbroken):
    run_dir, _ = unbroken
    assert {path.name for path in run_dir.iterdir()} == FILES


def test_a_run_prints_what_it_did(unbroken):
    _, output = unbroken
    assert "1294 training, 144 validation, 359 test images, 10 classes" in output
    assert re.findall(r"^epoch (\d)/3: ", output, re.MULTILINE) == ["1", "2", "3"]
    assert re.search(r"^stage1_block1_conv1 +LookupConv2D ", output, re.MULTILINE)
    assert re.search(r"^total ", output, re.MULTILINE)
    assert TEST_LINE.search(output)
    assert "359 examples" in output


def test_a_run_keeps_what_it_came_to(unbroken):
    run_dir, output = unbroken
    result = json.loads((run_dir / "result.json").read_text())
    told = re.search(r"accuracy (0\.\d+), loss (\d\.\d+)", TEST_LINE.search(output)[0])
    found = f"{result['test']['accuracy']:.4f}", f"{result['test']['loss']:.4f}"
    assert found == told.groups()
    assert result["export"]["bytes"] == (run_dir / "model.tflite").stat().st_size
    figures = runs.figures_of(run_dir)
    assert figures["max_s"] == 3 and figures["bytes"] == result["export"]["bytes"]


def test_a_run_keeps_to_its_bound_on_lookups(unbroken):
    costs = json.loads((unbroken[0] / "profile.json").read_text())
    assert costs["max_s"] == 3
    assert all(layer["max_s"] <= 3 for layer in costs["layers"] if layer["dictionary_size"])


def test_the_saved_model_has_exactly_the_costs_that_were_reported(unbroken):
    run_dir, _ = unbroken
    costs = json.loads((run_dir / "profile.json").read_text())
    found = profile(keras.models.load_model(run_dir / "model.keras"))
    assert found.density == costs["density"]
    assert (found.max_s, found.mean_s) == (costs["max_s"], costs["mean_s"])
    assert found.multiplications == costs["multiplications"]


# A net with binary activations that has learned nothing is at their threshold everywhere, where the
# last bit decides: its file is refused.
@pytest.mark.parametrize(
    ("numbers", "epochs"), [("int4", 1), pytest.param("binary", 10, marks=pytest.mark.slow)]
)
def test_a_run_ends_in_the_numbers_of_its_file(numbers, epochs, tmp_path):
    small = ("--model=resnet8_lcnn", "--dictionary_sizes=4,4,4", "--learning_rate=0.05")
    how = (f"--epochs={epochs}", f"--numbers={numbers}", f"--run_dir={tmp_path / 'run'}")
    output = succeed(*small, *how)
    assert re.search(rf"^{numbers}: 200 of 200 updates", output, re.MULTILINE), output
    model = keras.models.load_model(tmp_path / "run" / "model.keras")
    size = (tmp_path / "run" / "model.tflite").stat().st_size
    # The file has metadata, some two thousand bytes.
    assert abs(size - profile(model).file_size(numbers)) < 4000
    assert any(x.name.endswith("_binary") for x in model.layers) == (numbers == "binary")


def test_the_log_has_a_row_per_epoch_with_the_costs(unbroken):
    rows = log_rows(unbroken[0])
    assert [row["epoch"] for row in rows] == ["0", "1", "2"]
    assert [int(row["max_s"]) for row in rows] == [8, 5, 3]
    for name in ("density", "mean_s"):
        values = [float(row[name]) for row in rows]
        assert values == sorted(values, reverse=True)
    speedups = [float(row["speedup"]) for row in rows]
    assert speedups == sorted(speedups) and speedups[0] < speedups[-1]
    costs = json.loads((unbroken[0] / "profile.json").read_text())
    assert float(rows[-1]["density"]) == pytest.approx(costs["density"], rel=1e-6)


@pytest.mark.parametrize(
    ("flags", "more"),
    [
        (("--break_batch=2",), set()),
        (("--precision=mixed_bfloat16", "--tensorboard"), {"tensorboard"}),
    ],
    ids=["break_batch", "mixed_precision_and_tensorboard"],
)
def test_a_run_of_one_epoch_exports_under(flags, more, tmp_path):
    run_dir = tmp_path / "run"
    succeed(*SMALL, "--epochs=1", "--top_s=3", f"--run_dir={run_dir}", *flags)
    assert {path.name for path in run_dir.iterdir()} == FILES | more


# Interrupted and repeated


@pytest.mark.slow
def test_a_killed_run_resumes_to_what_an_unbroken_one_reaches(unbroken, tmp_path):
    run_dir = tmp_path / "killed"
    killed = start_train(*SMALL, *SCHEDULE, f"--run_dir={run_dir}")
    while killed.poll() is None and not (run_dir / "checkpoint.keras").exists():
        try:
            killed.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            continue
    killed.kill()
    killed.communicate()
    assert killed.returncode < 0
    assert not (run_dir / "model.keras").exists()

    # What the run is stands in its directory.
    output = succeed(f"--run_dir={run_dir}", "--resume")
    assert re.search(r"[Rr]esum", output)
    assert "epoch 1/3: " not in output and "epoch 3/3: " in output
    assert {path.name for path in run_dir.iterdir()} == FILES
    assert [row["epoch"] for row in log_rows(run_dir)] == ["0", "1", "2"]
    weights, expected = (
        keras.models.load_model(folder / "model.keras").get_weights()
        for folder in (run_dir, unbroken[0])
    )
    for resumed, wanted in zip(weights, expected, strict=True):
        np.testing.assert_array_equal(resumed, wanted)


def test_an_earlier_run_is_refused_and_left_as_it_is(copied):
    before = contents(copied)
    line = complaint(*SMALL, *SCHEDULE, f"--run_dir={copied}")
    assert str(copied) in line and "--overwrite" in line and "--resume" in line
    assert contents(copied) == before


def test_overwrite_replaces_the_run_and_keeps_what_is_not_its_own(copied):
    (copied / "notes.txt").write_text("mine")
    succeed(*SMALL, "--epochs=1", "--top_s=2", "--noexport", f"--run_dir={copied}", "--overwrite")
    assert (copied / "notes.txt").read_text() == "mine"
    assert len(log_rows(copied)) == 1
    assert json.loads((copied / "profile.json").read_text())["max_s"] == 2
    assert not (copied / "model.tflite").exists()


def test_resume_without_a_checkpoint_is_refused(tmp_path):
    line = refusal(*SMALL, f"--run_dir={tmp_path / 'empty'}", "--resume")
    assert str(tmp_path / "empty") in line
    assert not (tmp_path / "empty").exists()


def test_a_run_that_began_with_retrain_can_be_resumed(tmp_path):
    (tmp_path / "flags.cfg").write_text(f"--retrain=model.keras\n--run_dir={tmp_path}\n")
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        train.parse(["train.py", f"--run_dir={tmp_path}", "--resume"])
        settings = run.Run.of(train.FLAGS)
        assert settings.resume and settings.retrain == "model.keras"


@pytest.mark.parametrize("damage", ["truncated", "foreign", "missing"])
def test_a_retrain_file_that_cannot_be_read_is_named_and_nothing_is_overwritten(copied, damage):
    start = copied.parent / "start.keras"
    if damage == "truncated":
        whole = (copied / "model.keras").read_bytes()
        start.write_bytes(whole[: len(whole) // 2])
    elif damage == "foreign":
        shutil.make_archive(start.with_suffix(""), "zip", ROOT / "configs")
        start.with_suffix(".zip").rename(start)
    before = contents(copied)
    args = (f"--run_dir={copied}", "--overwrite", "--epochs=1", "--noexport")
    assert str(start) in refusal(*SMALL, *args, f"--retrain={start}")
    assert contents(copied) == before


def test_a_run_can_start_from_the_model_that_it_overwrites(unbroken, copied):
    args = (f"--run_dir={copied}", "--overwrite", f"--retrain={copied / 'model.keras'}")
    output = succeed(*SMALL, *args, "--epochs=0", "--noexport")
    assert TEST_LINE.search(output)[0] == TEST_LINE.search(unbroken[1])[0]
    assert not (copied / "checkpoint.keras").exists()


@pytest.mark.parametrize(
    ("flag", "message"),
    [
        ("--batch_size=32", "--batch_size was 128, is 32"),
        ("--model=resnet32_lcnn", "--model was 'resnet8_lcnn', is 'resnet32_lcnn'"),
        ("--dictionary_sizes=4,8,8", "--dictionary_sizes was"),
        ("--weight_decay=0", "--weight_decay was 0.01, is 0.0"),
        ("--init_from=resnet20_cifar10 --budget=9", "--init_from was None"),
        ("--overwrite", "--resume and --overwrite do not go together"),
        ("--retrain=model.keras", "--resume and --retrain do not go together"),
    ],
)
def test_a_run_that_goes_on_is_the_same_run(copied, flag, message):
    before = contents(copied)
    assert message in refusal(f"--run_dir={copied}", "--resume", *flag.split())
    assert contents(copied) == before


def test_a_run_goes_on_for_more_epochs_with_a_learning_rate_that_is_not_zero(copied):
    before = keras.models.load_model(copied / "model.keras").get_weights()
    output = succeed(f"--run_dir={copied}", "--resume", "--epochs=4", "--noexport")
    assert "falls to 0 over 4 epochs, where it was 3" in output
    assert [row["epoch"] for row in log_rows(copied)] == ["0", "1", "2", "3"]
    after = keras.models.load_model(copied / "model.keras").get_weights()
    assert any((a != b).any() for a, b in zip(before, after, strict=True))


def test_a_log_that_is_none_is_refused_and_an_empty_one_taken(copied):
    (copied / "log.csv").write_text("name,price\ntea,3\n")
    before = contents(copied)
    assert "no log of a run" in refusal(f"--run_dir={copied}", "--resume", "--epochs=4")
    assert contents(copied) == before
    (copied / "log.csv").write_text("")
    run_directory.trim_log(copied, 1)


def test_a_run_that_fails_leaves_the_one_that_it_was_to_replace(copied):
    before = contents(copied)
    args = (*SMALL, "--learning_rate=1e30", "--epochs=1", f"--run_dir={copied}", "--overwrite")
    assert "learning rate" in complaint(*args)
    assert contents(copied) == before
    assert [path.name for path in copied.parent.iterdir()] == [copied.name]


def test_a_directory_is_whole_wherever_replacing_it_is_cut(tmp_path):
    """Either run is whole, under its name or a name beside it, and the next start finds it."""
    place = tmp_path / "run"

    def fill(folder, text):
        folder.mkdir(exist_ok=True)
        for name in ("checkpoint.keras", "log.csv"):
            (folder / name).write_text(text)

    fill(place, "old")
    (place / "notes.txt").write_text("mine")
    directory = run_directory.RunDirectory(place, overwrite=True)
    fill(directory.path, "new")
    assert (place / "log.csv").read_text() == "old" and directory.path != place
    # Killed between the two renames.
    place.rename(tmp_path / "run.old")
    again = run_directory.RunDirectory(place, overwrite=True)
    assert (place / "log.csv").read_text() == "old"
    fill(again.path, "newer")
    again.settle()
    assert (place / "log.csv").read_text() == "newer" == (again / "log.csv").read_text()
    assert (place / "notes.txt").read_text() == "mine"
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


# Without training


def test_test_only_prints_the_test_accuracy_of_the_run(unbroken):
    run_dir, output = unbroken
    before = contents(run_dir)
    again = succeed("--test_only", f"--run_dir={run_dir}")
    assert TEST_LINE.search(again)[0] == TEST_LINE.search(output)[0]
    assert contents(run_dir) == before


def test_benchmark_of_a_bare_flagfile_prints_the_table_and_makes_no_run(tmp_path):
    run_dir = tmp_path / "run"
    output = succeed("--flagfile=resnet_lcnn.cfg", "--benchmark", f"--run_dir={run_dir}")
    assert re.search(r"^stage1_block1_conv1 +LookupConv2D +8x8x16 ", output, re.MULTILINE)
    assert "resnet20_lcnn: " in output
    assert not run_dir.exists()


def test_benchmark_of_a_trained_model_prints_its_own_costs(unbroken):
    run_dir, output = unbroken
    table = succeed("--benchmark", f"--retrain={run_dir / 'model.keras'}")
    total = re.compile(r"^total .*$", re.MULTILINE)
    assert total.search(table)[0] == total.search(output)[0]


# Flags


@pytest.mark.parametrize(
    "flags, mentioned",
    [
        ("--model=resnet21", "resnet20_lcnn"),
        ("--optimizer=lion", "adamw"),
        ("--dataset=cifar11", "cifar10"),
        ("--dictionary_sizes=8,x", "accurate"),
        ("--top_s=0", "positive integer"),
        ("--batch_size=0", "positive integer"),
        ("--flagfile=resnet_lcmn.cfg", "resnet_lcnn.cfg"),
        ("--learning_rate=-1", "a finite number > 0"),
        ("--weight_decay=-1", "a finite number >= 0"),
    ],
)
def test_a_value_that_cannot_be_is_refused_and_says_what_can(flags, mentioned, tmp_path):
    run_dir = tmp_path / "run"
    line = refusal("--epochs=1", "--noexport", f"--run_dir={run_dir}", flags)
    assert mentioned in line.replace(flags, "")
    assert not run_dir.exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"top_s_from": 8}, "--top_s_from needs --top_s"),
        ({"top_s": 3, "top_s_epochs": 2}, "--top_s_epochs needs --top_s_from"),
        ({"top_s": 3, "top_s_from": 2}, "--top_s_from=2 is below --top_s=3"),
        ({"top_s": 3, "model": "resnet20"}, "resnet20 is dense; resnet20_lcnn has lookups"),
        ({"top_s": 3, "init_from": "x", "plan": "y"}, "the plan says how many"),
        ({"init_from": "x", "plan": "y", "retrain": "z"}, "a run starts from one model"),
        ({"init_from": "x", "plan": "y", "loose_rows": 0.5}, "--loose_rows must be a finite"),
        ({"init_from": "x", "budget": float("nan")}, "--budget must be a finite number > 0"),
        (
            {"init_from": "x", "budget": 9.0, "prices": "p.json"},
            "--prices is for --speedup, and for a",
        ),
        ({"hint_layers": ["a"]}, "--hint_layers needs --init_from"),
        ({"weight_decay_epochs": 3}, "needs --weight_decay"),
        ({"batch_size": 10, "break_batch": 3}, "does not break into --break_batch=3"),
        ({"momentum": -0.5}, "--momentum must be a finite number >= 0 and <= 1"),
    ],
)
def test_flags_that_do_not_go_together_are_refused(given, message):
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        train.parse(["train.py"])
        settings = run.Run.of(train.FLAGS)
    with pytest.raises(ValueError, match=re.escape(message)):
        dataclasses.replace(settings, **given)


def test_a_flagfile_of_two_places_is_refused_with_both(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.cfg").write_text("")
    with pytest.raises(ValueError, match=r"same\.cfg: a.same\.cfg, b.same\.cfg; name the folder"):
        flagfiles.place(tmp_path, ["--flagfile=same.cfg"])
    (found,) = flagfiles.place(tmp_path, ["--flagfile=b/same.cfg"])
    assert found == f"--flagfile={tmp_path / 'b' / 'same.cfg'}"


def test_more_lookups_than_rows_are_refused_before_a_run_is_overwritten(copied):
    before = contents(copied)
    line = refusal(*SMALL, "--top_s=17", "--overwrite", f"--run_dir={copied}")
    assert "17" in line and "16" in line
    assert contents(copied) == before


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path):
    flags = ("--learning_rate=1e30", "--epochs=1", "--noexport", f"--run_dir={tmp_path / 'run'}")
    assert "learning rate" in complaint(*SMALL, *flags)
    assert not (tmp_path / "run" / "model.keras").exists()


@pytest.mark.parametrize("spelling", ["--flagfile={}", "-flagfile={}", "--flagfile {}"])
def test_a_bare_flagfile_is_found_in_configs(spelling):
    found = " ".join(flagfiles.place(train.CONFIGS, spelling.format("resnet_lcnn.cfg").split()))
    place = ROOT / "configs" / "classification" / "resnet_lcnn.cfg"
    assert re.fullmatch(r"--?flagfile[= ](.*)", found)[1] == str(place)


def test_a_flagfile_includes_another_and_overrides_it(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "base.cfg").write_text("# First\n\n--epochs=2\n--seed=3\n")
    (tmp_path / "deep" / "beside.flags").write_text("--seed=4\n")
    top = tmp_path / "deep" / "top.cfg"
    top.write_text("--flagfile=base.cfg\n--flagfile=beside.flags\n--epochs=5\n")
    placed = flagfiles.place(tmp_path, ["--flagfile=top.cfg", "--seed=5"])
    base, beside = tmp_path / "base.cfg", tmp_path / "deep" / "beside.flags"
    assert placed == [f"--flagfile={base}", f"--flagfile={beside}", "--epochs=5", "--seed=5"]


@pytest.mark.parametrize("included", ["top.cfg", "other.cfg"])
def test_a_flagfile_that_includes_itself_is_refused(tmp_path, included):
    (tmp_path / "top.cfg").write_text(f"--flagfile={included}\n")
    (tmp_path / "other.cfg").write_text("--flagfile=top.cfg\n")
    with pytest.raises(ValueError, match=r"top\.cfg includes itself"):
        flagfiles.place(tmp_path, ["--flagfile=top.cfg"])


def test_a_flagfile_that_exists_is_taken_as_it_is(tmp_path):
    path = tmp_path / "own.cfg"
    path.write_text("--epochs=1\n")
    assert flagfiles.place(train.CONFIGS, [f"--flagfile={path}"]) == [f"--flagfile={path}"]
    assert flagfiles.place(train.CONFIGS, ["--epochs=2", "x"]) == ["--epochs=2", "x"]
