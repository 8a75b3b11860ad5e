"""What version 0.1.0 wrote still loads and computes what it did; see support/data_0_1_0."""

import pathlib
import shutil

import keras
import numpy as np
import pytest
from test_train import log_rows, succeed

from tf_lcnn import LookupL1, lookupify
from tf_lcnn.compression import size_plan, sparse_coding
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.models import saving
from tf_lcnn.training import distillation

FILES = pathlib.Path(__file__).parent / "support" / "data_0_1_0"
ROUNDING = {"rtol": 1e-5, "atol": 1e-5}


@pytest.fixture(scope="module")
def saved():
    with np.load(FILES / "outputs.npz") as arrays:
        return dict(arrays)


def folder(name, tmp_path):
    """A copy, which may be written into."""
    return shutil.copytree(FILES / name, tmp_path / name)


def test_a_model_computes_what_it_did(saved):
    model = saving.load_model(FILES / "lookups.keras")
    np.testing.assert_allclose(
        model.predict(saved["images"], verbose=0), saved["lookups"], **ROUNDING
    )
    conv, folded = model.get_layer("conv"), model.get_layer("folded")
    # Thresholds that do cut, and the regularizer that knows them.
    assert conv.epsilon > 0 and (conv.sparse_coefficients().numpy() == 0).any()
    assert isinstance(conv.kernel_regularizer, LookupL1) and conv.kernel_regularizer.strength > 0
    assert (folded.threshold_gradient, folded.forward) == ("straight_through", "folded")


@pytest.mark.parametrize(("file", "outputs"), [("compiled", "lookups"), ("distilled", "shared")])
def test_a_compiled_model_trains_on(saved, file, outputs):
    model = saving.load_model(FILES / f"{file}.keras")
    images = saved["images"]
    np.testing.assert_allclose(model.predict(images, verbose=0), saved[outputs], **ROUNDING)
    assert int(model.optimizer.iterations) == 3
    assert np.isfinite(model.train_on_batch(images, np.arange(4))).all()


def test_a_model_that_was_taught_keeps_its_loss_and_metric():
    model = saving.load_model(FILES / "distilled.keras")
    assert isinstance(model.loss, distillation.DistillationLoss)
    metrics = model.evaluate(np.zeros((4, 8, 8, 3)), np.arange(4), verbose=0, return_dict=True)
    assert "accuracy" in metrics


def test_a_shared_dictionary_is_still_one():
    model = saving.load_model(FILES / "distilled.keras")
    first, second = lookup_layers(model)
    assert first.dictionary is second.dictionary


def test_a_plan_sizes_a_model():
    parent = keras.models.load_model(FILES / "parent.keras")
    plan = size_plan.load(FILES / "plan.json")
    assert plan.sizes == {"conv2": (4, 3)}
    (layer,) = lookup_layers(lookupify(parent, plan=plan))
    assert (layer.name, layer.dictionary_size) == ("conv2", 4)


def test_a_coding_cache_is_taken(saved, tmp_path, monkeypatch):
    def never(*args, **kwargs):
        raise AssertionError("A layer was coded anew.")

    monkeypatch.setattr(sparse_coding, "code", never)
    model = lookupify(
        keras.models.load_model(FILES / "parent.keras"),
        plan=size_plan.load(FILES / "plan.json"),
        init="trained",
        images=saved["grey"],
        cache=folder("coding_cache", tmp_path),
    )
    np.testing.assert_allclose(model.predict(saved["grey"], verbose=0), saved["coded"], **ROUNDING)


@pytest.mark.slow
def test_an_interrupted_run_goes_on(tmp_path):
    run = folder("run", tmp_path)
    flags = (run / "flags.cfg").read_text()
    # It was made beside its parent and plan.
    for name in ("parent.keras", "plan.json"):
        flags = flags.replace(f"={name}\n", f"={FILES / name}\n")
    flags = flags.replace("run_dir=run\n", f"run_dir={run}\n")
    (tmp_path / "again.cfg").write_text(flags)
    output = succeed(f"--flagfile={tmp_path / 'again.cfg'}", "--resume", "--noexport")
    assert "Resuming after epoch 1 of 2" in output and "weight error" not in output
    assert [row["epoch"] for row in log_rows(run)] == ["0", "1"]
    assert size_plan.load(run / "plan.json").sizes == {"conv2": (4, 3)}
    assert saving.load_model(run / "model.keras").output_shape == (None, 10)
