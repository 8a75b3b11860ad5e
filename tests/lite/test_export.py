"""Export: the file computes what the Keras model computes, and the proof notices when not."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.helpers import constant_bytes, random, settle

from tf_lcnn import LookupConv2D, LookupDense, models, profile
from tf_lcnn.lite import export, proof
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


@pytest.mark.parametrize("way", ["auto", *LOWERINGS])
def test_odd_shapes_and_every_argument_leave_exactly(way, tmp_path):
    model = settle(odd())
    proof = export.export(model, tmp_path / "model.tflite", batches(model), lowering=way).proof
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
    with pytest.raises(proof.ProofError, match=r"model\.rejected\.tflite does not compute"):
        export.export(resnet, path, batches(resnet))
    assert path.read_text() == "an older file"
    assert (tmp_path / "model.rejected.tflite").stat().st_size == len(right)


def test_not_a_number_fails_the_proof(tmp_path):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.layers[0].bias.assign([np.nan, 0])
    with pytest.raises(proof.ProofError):
        export.export(model, tmp_path / "model.tflite", [(random((2, 3)), np.array([0, 1]))])


def test_models_that_cannot_leave_are_refused_in_one_line():
    open_size = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 1)])
    with pytest.raises(ValueError, match="one input of fixed shape"):
        export.convert(open_size)


def test_the_interpreter_runs_batches_one_by_one(resnet, tmp_path):
    path = tmp_path / "model.tflite"
    export.export(resnet, path, batches(resnet))
    images = random((3, 16, 16, 3), 4)
    together = Interpreter(path).predict(images)
    alone = [Interpreter(path, threads=2).predict(image[None]) for image in images]
    assert together.shape == (3, 10)
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=0, atol=1e-5)
