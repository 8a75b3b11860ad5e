"""Models of open height and width: one file that LiteRT runs at other sizes, as Keras does."""

import keras
import numpy as np
import pytest
from ai_edge_litert import interpreter as litert
from keras import layers
from support.helpers import random

from tf_lcnn import LookupConv1D, LookupConv2D, LookupDense
from tf_lcnn.lite import export, open_size
from tf_lcnn.lite.proof import ProofError, compare
from tf_lcnn.models import build
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.training.callbacks import project

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
SIZES = ((20, 26), (33, 47), (64, 18))
X = random((6, *SIZES[0], 3))


def classifier():
    """Strides, a pool, a sum, a mean over the map, and lookup layers of every kernel."""
    inputs = keras.Input((None, None, 3))
    x = LookupConv2D(16, 3, 8, strides=2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(name="bn")(x))
    x = layers.MaxPooling2D(3, 2, padding="same")(x)
    y = LookupConv2D(16, 3, 8, padding="same", dilation_rate=2, activation="relu")(x)
    x = LookupConv2D(24, 1, 8, strides=2, activation="relu")(layers.Add()([x, y]))
    x = LookupDense(20, 8, activation="relu")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, layers.Dense(5)(x))


def enlarger():
    """Layers whose output size is a number in the file, unless it is computed there."""
    inputs = keras.Input((None, None, 3))
    x = LookupConv2D(8, 3, 4, padding="same", activation="relu")(inputs)
    x = LookupDense(6, 3)(layers.UpSampling2D(2)(x))
    return keras.Model(inputs, layers.Conv2DTranspose(3, 3, 2, padding="same")(x))


@pytest.fixture(scope="module", params=[classifier, enlarger])
def model(request):
    keras.utils.set_random_seed(0)
    model = request.param()
    project(model, 3)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.set_weights([random(16, seed) ** 2 + 0.1 for seed in range(4)])
    return model


@pytest.mark.parametrize("lowering", ["auto", *open_size.LOWERINGS])
def test_a_file_computes_at_every_size_what_the_model_computes(model, lowering, tmp_path):
    path = tmp_path / "m.tflite"
    report = export.export(model, path, X, lowering=lowering)
    assert report.proof.relative_difference < 1e-5
    interpreter = Interpreter(path)
    assert interpreter.input_shape == (1, *SIZES[0], 3)
    for size in (*SIZES, SIZES[0]):
        inputs = random((2, *size, 3), 1)
        expected = model(inputs).numpy()
        outputs = interpreter.predict(inputs)
        assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()


def test_int8_keeps_its_signal_at_every_size(model, tmp_path):
    path = tmp_path / "m.tflite"
    proof = export.export(model, path, X, quantize="int8", calibration=X).proof
    assert len(proof.shapes) == 3 and proof.decibels > 20
    for size in SIZES:
        assert compare(model, path, random((4, *size, 3), 2)).decibels > 20


def test_a_runtime_that_does_not_resize_sees_the_size_of_the_examples(model, tmp_path):
    path = tmp_path / "m.tflite"
    export.export(model, path, X)
    plain = litert.Interpreter(str(path))
    plain.allocate_tensors()
    (given,), (taken,) = plain.get_input_details(), plain.get_output_details()
    assert given["shape"].tolist() == [1, *SIZES[0], 3]
    assert given["shape_signature"].tolist() == [1, -1, -1, 3]
    plain.set_tensor(given["index"], X[:1])
    plain.invoke()
    expected = model(X[:1]).numpy()
    np.testing.assert_allclose(
        plain.get_tensor(taken["index"]), expected, atol=1e-5 * np.abs(expected).max()
    )


@pytest.mark.skipif(not native.available(), reason="the native delegate was not built")
def test_the_delegate_runs_other_sizes_too(tmp_path):
    keras.utils.set_random_seed(0)
    model = classifier()
    project(model, 3)
    path = tmp_path / "m.tflite"
    export.export(model, path, X, lowering="sparse")
    interpreter = Interpreter(path, delegate={"force": 1})
    assert interpreter.claims.count("claimed") == 4
    for size in SIZES:
        inputs = random((2, *size, 3), 1)
        expected = model(inputs).numpy()
        difference = np.abs(interpreter.predict(inputs) - expected).max()
        assert difference <= 1e-5 * np.abs(expected).max()


def test_a_report_names_the_sizes(tmp_path):
    keras.utils.set_random_seed(0)
    report = export.export(
        build("resnet20_lcnn", (None, None, 1)), tmp_path / "m.tflite", X[..., :1]
    )
    assert set(report.proof.shapes) == {(20, 26, 1), (10, 26, 1), (20, 52, 1)}
    assert "LiteRT can resize it to any x any x 1" in str(report)
    assert ", worst first): largest difference" in str(report) and "20x52x1" in str(report)
    entries = report.as_dict()
    assert entries["resizable"] == [None, None, 1] and entries["input_shape"] == [20, 26, 1]


def test_sizes_that_the_model_refuses_are_not_proved(tmp_path):
    model = keras.Sequential([keras.Input((None, 26, 3)), layers.Conv2D(2, 15)])
    proof = export.export(model, tmp_path / "m.tflite", X).proof
    assert set(proof.shapes) == {(20, 26, 3), (40, 26, 3)}


def test_a_file_that_fails_at_another_size_alone_is_refused(tmp_path, monkeypatch):
    model = enlarger()
    fixed = keras.Sequential([keras.Input((*SIZES[0], 3)), *model.layers[1:]])
    right = export.convert(fixed)
    monkeypatch.setattr(export, "convert", lambda *_: right)
    with pytest.raises(ProofError, match=r"rejected\.tflite: The inputs have shape"):
        export.export(model, tmp_path / "m.tflite", X)
    assert [path.name for path in tmp_path.iterdir()] == ["m.rejected.tflite"]


def test_what_needs_a_fixed_size_is_one_line(tmp_path):
    model, path = classifier(), tmp_path / "m.tflite"
    blurred = keras.Sequential(
        [keras.Input((None, None, 3)), layers.UpSampling2D(2, interpolation="bilinear")]
    )
    for run, told in (
        (lambda: export.export(model, path, X, lowering="gather"), "gather.*planes of one size"),
        (lambda: export.convert(model), "default_shape without the batch"),
        (lambda: export.convert(model, default_shape=(8, 8, 1)), r"\(8, 8, 1\) is none of"),
        (lambda: export.export(blurred, path, X), "UpSampling2D needs an input of fixed size"),
        (
            lambda: export.export(
                model, path, X, quantize="int8", calibration=[X, random((1, 9, 9, 3))]
            ),
            "calibration inputs have several shapes",
        ),
    ):
        with pytest.raises(ValueError, match=told) as error:
            run()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())


def test_examples_may_come_in_several_sizes(tmp_path):
    batches = [X, random((3, *SIZES[1], 3)), random((2, *SIZES[2], 3))]
    proof = export.export(classifier(), tmp_path / "m.tflite", batches).proof
    assert proof.examples == 11 and {shape[:2] for shape in proof.shapes} == set(SIZES)


def test_the_size_where_a_quantized_file_is_worst_is_named_first(tmp_path):
    pool = layers.GlobalAveragePooling2D()
    model = keras.Sequential([keras.Input((None, None, 3)), pool, layers.Dense(4)])
    # Means of a part are larger than those of the whole, on which ranges are measured.
    report = export.export(model, tmp_path / "m.tflite", X, quantize="int8", calibration=X)
    assert report.proof.shapes[0] == (10, 26, 3)
    alone = compare(model, tmp_path / "m.tflite", X[:4, :10])
    assert report.proof.decibels == pytest.approx(alone.decibels)


def test_sequences_of_any_length(tmp_path):
    keras.utils.set_random_seed(0)
    body = (
        LookupConv1D(8, 3, 4, padding="causal", activation="relu"),
        LookupConv1D(6, 3, 4, strides=2),
    )
    head = layers.GlobalAveragePooling1D(), layers.Dense(3)
    model = keras.Sequential([keras.Input((None, 5)), *body, *head])
    path, X = tmp_path / "m.tflite", random((6, 20, 5))
    for lowering in open_size.LOWERINGS:
        export.export(model, path, X, lowering=lowering)
        for length in (20, 7, 31):
            inputs = random((2, length, 5), length)
            expected = model(inputs).numpy()
            difference = np.abs(Interpreter(path).predict(inputs) - expected).max()
            assert difference <= 1e-5 * np.abs(expected).max()
