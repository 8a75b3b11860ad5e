"""train.py --task=super_resolution: trained, proved, told, coded, with tables, and misused."""

import json

import numpy as np
import pytest
from absl.testing import flagsaver
from test_train import contents, log_rows, refusal

import train
from tests.data.test_photos import write
from tf_lcnn import profile
from tf_lcnn.layers.deep_lookup import has_table
from tf_lcnn.lite import metadata
from tf_lcnn.models import saving
from tf_lcnn.tasks.super_resolution import SuperResolution

FILES = {
    *("model.keras", "model.tflite", "profile.json", "profile.csv", "log.csv", "result.json"),
    *("checkpoint.keras", "flags.cfg", "test.csv", "pictures"),
}
QUICK = ("--optimizer=adam", "--learning_rate=0.003", "--batch_size=8", "--epochs=1")


def run(*given):
    """What a run in this process left to be said: nothing, for it does not fail."""
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        assert train.parse(["train.py", *map(str, given)]) == ["train.py"]
        train.main()


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """The flags of a task with twelve photos to learn on, and a folder of two for the test."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(12):
        write(folder / "photos", f"p{i}.png", (48, 40), i)
    for i in range(2):
        write(folder / "Two", f"t{i}.png", (48, 48 + 8 * i), 20 + i)
    return (
        *("--task=super_resolution", f"--data_dir={folder / 'photos'}", "--patch_size=32"),
        *(f"--test_dirs={folder / 'Two'}", "--patches=16", *QUICK),
    )


@pytest.fixture(scope="module")
def trained(photos, tmp_path_factory):
    """The directory of a run; no test may change it."""
    run_dir = tmp_path_factory.mktemp("runs") / "espcn"
    run(*photos, f"--run_dir={run_dir}", "--epochs=2")
    return run_dir


def test_a_run_leaves_its_files_and_says_how_good_it_is(trained):
    assert {path.name for path in trained.iterdir()} == FILES
    assert {x.name for x in (trained / "pictures").iterdir()} == {"Two_t0.png", "Two_t1.png"}
    rows = log_rows(trained)
    assert len(rows) == 2 and float(rows[-1]["val_psnr"]) > float(rows[0]["val_psnr"])
    costs = json.loads((trained / "profile.json").read_text())
    model = saving.load_model(trained / "model.keras")
    # Counted at the size of the first test photo, small.
    assert costs["multiplications"] == profile(model, (24, 24, 1)).multiplications
    about = metadata.read(trained / "model.tflite")
    assert about["scale"] == 2 and about["output"] == "image" and not about["input"]["enlarged"]


def test_a_trained_one_is_tested_again_and_nothing_is_written(photos, trained, capsys):
    before = {name for name in trained.iterdir()}
    run(*photos, f"--run_dir={trained}", "--test_only")
    told = capsys.readouterr().out
    assert "Two, 2 photos, 2 times as large: PSNR" in told
    assert {name for name in trained.iterdir()} == before


def test_lcnn_and_tables_come_from_a_trained_one(photos, trained, tmp_path, capsys, monkeypatch):
    # Two epochs are too few for a parent.
    monkeypatch.setattr(SuperResolution, "refuse_parent", lambda *_: None)
    start = (*photos, f"--init_from={trained / 'model.keras'}", "--calibration_images=20")
    run(*start, "--budget=2e6", f"--run_dir={tmp_path / 'lcnn'}", "--noexport")
    told = capsys.readouterr().out
    assert "Validation, parent: loss" in told and "Validation, coded: loss" in told
    costs = json.loads((tmp_path / "lcnn" / "profile.json").read_text())
    assert any(layer["dictionary_size"] for layer in costs["layers"])
    tables = ("--family=deep_lookup", "--activation_levels=65", "--table=separable")
    run(*start, *tables, f"--run_dir={tmp_path / 'tables'}")
    assert {x.name for x in (tmp_path / "tables").iterdir()} == FILES
    model = saving.load_model(tmp_path / "tables" / "model.keras")
    assert [x.name for x in model.layers if has_table(x)] == ["conv2"]
    # Interrupted after its epoch, it goes on.
    run(f"--run_dir={tmp_path / 'tables'}", "--resume", "--epochs=2", "--noexport")
    assert len(log_rows(tmp_path / "tables")) == 2


@pytest.mark.slow
def test_a_network_that_takes_enlarged_photos_gets_them(photos, tmp_path, capsys):
    vdsr = (*photos, "--model=vdsr", "--patches=1", "--learning_rate=1e-6", "--noexport")
    run(*vdsr, f"--run_dir={tmp_path / 'vdsr'}")
    assert np.isfinite(float(log_rows(tmp_path / "vdsr")[0]["val_psnr"]))
    run(*photos, "--model=vdsr_lcnn", "--benchmark")
    assert "vdsr_lcnn: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--scale=5",), "Unknown scale 5: 2, 3, 4."),
        (("--scale=3",), "The patch size 32 is no multiple of the scale 3."),
        (("--patch_size=64",), "too small for patches of 64x64"),
        (("--model=resnet20",), "--model=resnet20 is for --task=classification"),
        (("--dataset=cifar10",), "--dataset=cifar10: --task=super_resolution takes photos"),
        (("--class_names=a,b",), "--class_names is not for --task=super_resolution"),
        (("--task=classification",), "is not for --task=classification"),
        (("--data_dir=nothing",), "nothing is neither a folder nor a zip file"),
        (("--batch_size=999",), "larger than the 176 training patches"),
        (("--family=deep_lookup",), "--family=deep_lookup needs --init_from"),
        (("--family=deep_lookup", "--init_from=x", "--budget=1"), "takes no --plan, --budget"),
        (("--hint_layers=conv1", "--init_from=x", "--budget=1"), "not for --task=super_res"),
        (("--benchmark", "--data_dir=nothing"), "nothing is neither a folder nor a zip file"),
    ],
)
def test_what_cannot_be_is_one_line_and_makes_no_run(photos, tmp_path, flags, message):
    assert message in refusal(*photos, f"--run_dir={tmp_path / 'run'}", *flags)
    assert not (tmp_path / "run").exists()


def test_a_parent_that_is_no_good_is_refused(photos, trained, tmp_path):
    start = (f"--init_from={trained / 'model.keras'}", "--budget=2e6")
    line = refusal(*photos, *start, f"--run_dir={tmp_path / 'run'}")
    assert "no better than" in line and not (tmp_path / "run").exists()


def test_a_network_of_another_scale_is_refused(photos, trained, tmp_path):
    before = contents(trained / "pictures")
    start = (f"--init_from={trained / 'model.keras'}", "--budget=2e6", "--patch_size=24")
    line = refusal(*photos, *start, "--scale=3", f"--run_dir={tmp_path / 'run'}")
    assert "for --scale=3 height and width become 3 times as large, or stay" in line
    assert contents(trained / "pictures") == before
