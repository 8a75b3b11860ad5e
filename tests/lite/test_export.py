"""Export: the file computes what the Keras model computes, and the proof notices when not."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.helpers import constant_bytes, random, settle

from tf_lcnn import LookupConv2D, LookupDense, models, profile
from tf_lcnn.lite import export, prices, proof
from tf_lcnn.lite.lowerings import LOWERINGS
from tf_lcnn.runtime.interpreter import Interpreter, parse
from tf_lcnn.training.callbacks import project

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def batches(model, count=6):
    shape = model.input_shape[1:]
    labels = np.arange(count) % model.output_shape[-1]
    return [(random((count, *shape), 9), labels)]


@pytest.fixture(scope="module")
def resnet():
    # A weight of a filter that is always off would be corrupted without effect.
    keras.utils.set_random_seed(0)
    model = models.build("resnet20_lcnn", input_shape=(16, 16, 3))
    settle(model)
    project(model, 3)
    return model


def odd():
    """Shapes that no preset has: uneven strides and kernels, dilation, a 1x1 with a stride."""
    inputs = keras.Input((13, 9, 5))
    x = LookupConv2D(7, (3, 2), 4, strides=(2, 1), padding="same", activation="relu")(inputs)
    x = LookupConv2D(6, 3, 5, dilation_rate=2, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = LookupConv2D(9, 1, 3, strides=2, use_bias=False)(keras.layers.ReLU()(x))
    x = LookupConv2D(8, 2, 6, padding="valid", threshold_scale=1.0)(x)
    return keras.Model(inputs, LookupDense(5, 3)(keras.layers.Flatten()(x)))


def test_the_file_computes_what_the_model_computes(resnet, tmp_path):
    proof = export.export(resnet, tmp_path / "model.tflite", batches(resnet)).proof
    assert proof.relative_difference <= 1e-5
    assert proof.keras_score == proof.tflite_score
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.tflite"]


@pytest.mark.parametrize("lowering", ["auto", *LOWERINGS])
def test_odd_shapes_and_every_argument_are_lowered_exactly(lowering, tmp_path):
    model = settle(odd())
    proof = export.export(model, tmp_path / "model.tflite", batches(model), lowering=lowering).proof
    assert proof.relative_difference <= 1e-5


def test_training_settings_are_untouched_by_export(resnet, tmp_path):
    before = resnet.get_config()
    export.export(resnet, tmp_path / "model.tflite", batches(resnet))
    assert resnet.get_config() == before


def test_the_sparse_lowering_is_two_convolutions_with_sparse_coefficients(resnet, tmp_path):
    path = tmp_path / "model.tflite"
    report = export.export(resnet, path, batches(resnet), lowering="sparse")
    # 18 lookup layers, 3 plain convolutions, 9 sums of a block and its shortcut.
    assert report.operators == {
        "CONV_2D": 2 * 18 + 3,
        "DENSIFY": 18,
        "ADD": 9,
        "MEAN": 1,
        "FULLY_CONNECTED": 1,
    }
    tensors = parse(path.read_bytes()).subgraphs[0].tensors
    assert sum(tensor.sparsity is not None for tensor in tensors) == 18


def test_the_bytes_of_the_profile_are_those_of_the_file(resnet, tmp_path):
    path = tmp_path / "model.tflite"
    export.export(resnet, path, batches(resnet), lowering="sparse")
    stored = constant_bytes(parse(path.read_bytes()))
    # What remains are the zero biases of the dictionary stages, shared by equal k, and the two
    # axes of the mean.
    shared = 4 * (8 + 16 + 32) + 8
    assert stored - profile(resnet).bytes == shared


def test_a_corrupted_weight_is_caught_and_nothing_is_lost(resnet, tmp_path, monkeypatch):
    path = tmp_path / "model.tflite"
    path.write_text("an older file")
    right = export.convert(resnet)

    def corrupted(*_):
        broken = schema.ModelT.InitFromObj(schema.Model.GetRootAs(right, 0))
        largest = max((b.data for b in broken.buffers if b.data is not None), key=len)
        start = right.find(bytes(largest))
        # One weight of many thousand.
        value = np.float32(np.frombuffer(right, np.float32, 1, start)[0] + 1.0)
        return right[:start] + value.tobytes() + right[start + 4 :]

    monkeypatch.setattr(export, "convert", corrupted)
    with pytest.raises(
        proof.ProofError, match=r"model\.rejected\.tflite: the file does not compute"
    ):
        export.export(resnet, path, batches(resnet))
    assert path.read_text() == "an older file"
    assert (tmp_path / "model.rejected.tflite").stat().st_size == len(right)


@pytest.mark.parametrize("quantize", [None, "float16", "dynamic"])
def test_not_a_number_fails_the_proof(quantize, tmp_path):
    body = [LookupDense(4, 3, activation="relu"), LookupDense(2, 1)]
    model = keras.Sequential([keras.Input((3,)), *body])
    model.layers[0].bias.assign([np.nan, 0, 0, 0])
    with pytest.raises(proof.ProofError, match="does not compute"):
        export.export(model, tmp_path / "model.tflite", random((4, 3)), quantize=quantize)
    assert [path.name for path in tmp_path.iterdir()] == ["model.rejected.tflite"]


def several(inputs=1, outputs=1):
    x = [keras.Input((4,)) for _ in range(inputs)]
    merged = keras.layers.Concatenate()(x) if inputs > 1 else x[0]
    y = [keras.layers.Dense(2)(merged) for _ in range(outputs)]
    return keras.Model(x if inputs > 1 else x[0], y if outputs > 1 else y[0])


def quantized():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, name="first")])
    model.quantize("int8")
    return model


X = random((6, 4), 9)
REFUSED = {
    "two inputs": (lambda: several(inputs=2), {}, "2 inputs: a built model with one"),
    "two outputs": (lambda: several(outputs=2), {}, "2 outputs: a model with one works"),
    "not built": (lambda: keras.Sequential([keras.layers.Dense(2)]), {}, "0 inputs: a built model"),
    "a path": (lambda: "model.keras", {}, "A Keras model is exported, not 'model.keras'"),
    "quantized by Keras": (quantized, {}, r"quantized by Keras \(first and others\)"),
    "int2": (several, {"quantize": "int2"}, "quantize='int2': float16, dynamic, int8, int4, ter"),
    "a number of bits": (several, {"quantize": 8}, "quantize=8: float16, dynamic, int8, int4, ter"),
    "int8 input of a float file": (several, {"io": "int8"}, "io='int8' with quantize=None"),
    "the name of a data set": (several, {"dataset": "cifar10"}, "dataset is a data set of"),
    "a flag": (several, {"layerwise": True}, "inputs of layerwise are of type bool"),
    "no folder": (
        several,
        {"path": "none/m.tflite"},
        "The folder .*none of m.tflite does not exist",
    ),
    "a folder": (several, {"path": "."}, "is a folder: name a file in it"),
    "no path": (several, {"path": None}, "path of a file is a string or Path, not None"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_exported_is_refused_in_one_line(case, tmp_path):
    make, how, told = REFUSED[case]
    how = {"path": "m.tflite", **how}
    path = how.pop("path")
    with pytest.raises((ValueError, FileNotFoundError), match=told) as error:
        export.export(make(), path and tmp_path / path, X, **how)
    assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_prices_may_be_the_path_of_their_file(tmp_path):
    model = settle(odd())
    # Multiplications cost nothing here: `gather`, which LiteRT takes longest for, never wins.
    free = prices.Rates((0.0, 1.0, 0.0, 0.0), 1e9, 1.0)
    prices.save(prices.Prices(free, free), tmp_path / "prices.json")
    for form in (tmp_path / "prices.json", str(tmp_path / "prices.json")):
        report = export.export(model, tmp_path / "m.tflite", batches(model), prices=form)
        assert {choice.lowering for choice in report.choices} == {"folded"}
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        export.export(model, tmp_path / "m.tflite", batches(model), prices="none.json")


def test_a_file_of_a_failed_proof_stays_until_the_next_one_fails(tmp_path):
    """A right file does not take away what was kept beside it."""
    path, rejected = tmp_path / "m.tflite", tmp_path / "m.rejected.tflite"
    rejected.write_text("somebody's")
    export.export(several(), str(path), X)
    assert rejected.read_text() == "somebody's" and path.stat().st_size
    wrong = several()
    wrong.layers[-1].bias.assign([np.nan, 0])
    before = path.read_bytes()
    with pytest.raises(proof.ProofError):
        export.export(wrong, path, X)
    assert path.read_bytes() == before
    assert sorted(file.name for file in tmp_path.iterdir()) == [rejected.name, path.name]


def test_a_file_that_litert_cannot_load_is_kept_and_named(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "convert", lambda *_: bytes(4000))
    monkeypatch.setattr(export, "operators", lambda _: {})
    with pytest.raises(proof.ProofError, match=r"m\.rejected\.tflite: .* is no \.tflite"):
        export.export(several(), tmp_path / "m.tflite", X)
    assert [path.name for path in tmp_path.iterdir()] == ["m.rejected.tflite"]


def test_wrong_labels_leave_no_file(tmp_path):
    with pytest.raises(ValueError, match="The label 7 is no class"):
        export.export(several(), tmp_path / "m.tflite", (X, np.full(6, 7)))
    assert not list(tmp_path.iterdir())


def test_the_interpreter_runs_batches_one_by_one(resnet, tmp_path):
    path = tmp_path / "model.tflite"
    export.export(resnet, path, batches(resnet))
    images = random((3, 16, 16, 3), 4)
    together = Interpreter(path).predict(images)
    alone = [Interpreter(path, threads=2).predict(image[None]) for image in images]
    assert together.shape == (3, 10)
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-5)
