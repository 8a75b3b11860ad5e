"""What a file is proved on and calibrated with: every natural form, and one line for the rest."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import random

from tf_lcnn import LookupConv2D
from tf_lcnn.data import datasets
from tf_lcnn.lite import export, metadata, proof
from tf_lcnn.runtime.interpreter import Interpreter

X, Y = random((12, 6, 6, 3)), np.arange(12) % 4


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(0)
    lookup = LookupConv2D(8, 3, 4, activation="relu")
    head = [keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4)]
    return keras.Sequential([keras.Input(X.shape[1:]), lookup, *head])


@pytest.fixture(scope="module")
def right(model):
    """Labels that the model gives itself: it is right everywhere."""
    return keras.ops.convert_to_numpy(model(X)).argmax(axis=-1)


@pytest.mark.parametrize(
    "examples",
    [
        X,
        (X, Y),
        (X, Y, np.ones(12)),
        list(X),
        tf.data.Dataset.from_tensor_slices((X, Y)).batch(5),
        (X[i:][:1] for i in range(12)),
    ],
    ids=["array", "pair", "triple", "list", "tf.data", "generator"],
)
def test_examples_come_in_every_natural_form(model, examples, tmp_path):
    compared = export.export(model, tmp_path / "m.tflite", examples).proof
    assert compared.examples == 12 and compared.relative_difference < 1e-5


def test_without_labels_there_is_no_accuracy(model, tmp_path):
    compared = export.export(model, tmp_path / "m.tflite", X).proof
    assert compared.keras_score is None and str(compared).endswith("dB), no labels")


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_labels_are_numbers_columns_or_one_hot(model, right, quantize, tmp_path):
    for labels in (right, right[:, None], np.eye(4)[right]):
        report = export.export(
            model, tmp_path / "m.tflite", (X, labels), quantize=quantize, calibration=X
        )
        assert report.proof.keras_score == 1.0


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (np.full(12, 4), "The label 4 is no class: whole numbers 0 to 3 are"),
        (np.zeros((12, 3)), r"shape \(12, 3\): class numbers"),
        (np.zeros(12) + 0.5, "The label 0.5 is no class"),
    ],
)
def test_labels_that_fit_no_class_are_refused(model, labels, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        export.export(model, tmp_path / "m.tflite", (X, labels))


@pytest.mark.parametrize(
    ("calibration", "told"),
    [
        (None, "No calibration inputs: an array"),
        (np.where(X > 1, np.nan, X), "calibration inputs have NaN or infinity"),
        (X[:, :5], r"calibration inputs have shape \(12, 5, 6, 3\), but \(6, 6, 3\) each"),
        ("photos", "calibration inputs are of type str"),
    ],
)
def test_int8_is_calibrated_on_inputs_of_the_model_alone(model, calibration, told, tmp_path):
    with pytest.raises(ValueError, match=told):
        export.export(model, tmp_path / "m.tflite", X, quantize="int8", calibration=calibration)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("kind", [np.float64, np.uint8])
def test_int8_is_calibrated_on_any_kind_of_number(model, kind, tmp_path):
    pixels = (100 + 20 * X).astype(kind)
    report = export.export(
        model, tmp_path / "m.tflite", pixels, quantize="int8", calibration=pixels
    )
    assert report.proof.decibels > 20


def test_a_report_says_where_a_file_of_int8_input_does_not_run(model, tmp_path):
    how = {"quantize": "int8", "calibration": X}
    assert "browsers" in str(export.export(model, tmp_path / "m.tflite", X, io="int8", **how))
    assert "browsers" not in str(export.export(model, tmp_path / "m.tflite", X, **how))


SPENT = iter([])


@pytest.mark.parametrize(
    ("examples", "told"),
    [
        (None, "No examples: an array"),
        ([], "No examples: the data are empty"),
        (X[0], r"one example without the axis of the batch: examples\[None\] works"),
        ({"image": X}, "examples are of type dict"),
        ([{"image": X}], r"examples come in a dict \(image\)"),
        (SPENT, "a generator that is used up"),
        (np.where(X > 1, np.inf, X), "examples have NaN or infinity"),
    ],
)
def test_examples_that_are_none_are_refused_before_any_work(model, examples, told, tmp_path):
    with pytest.raises(ValueError, match=told) as error:
        export.export(model, tmp_path / "m.tflite", examples)
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_scores_are_of_the_examples_with_labels(model, right, tmp_path):
    path = tmp_path / "m.tflite"
    export.export(model, path, X)
    compared = proof.compare(model, path, [(X[:6], right[:6]), (X[6:], None)])
    assert (compared.examples, compared.keras_score, compared.tflite_score) == (12, 1.0, 1.0)


def test_outputs_of_zeros_are_proved(tmp_path):
    zero = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer="zeros")])
    compared = export.export(zero, tmp_path / "m.tflite", random((4, 3))).proof
    assert compared.relative_difference == 0 and compared.holds()
    assert proof.signal_to_noise(np.zeros(3), np.ones(3)) == float("-inf")


def test_a_model_with_an_image_as_output_is_proved_by_its_noise(tmp_path):
    keras.utils.set_random_seed(0)
    body = LookupConv2D(8, 3, 4, padding="same", activation="relu")
    model = keras.Sequential([keras.Input(X.shape[1:]), body, keras.layers.Conv2D(3, 1)])
    wanted = keras.ops.convert_to_numpy(model(X)) + 0.1
    report = export.export(
        model, tmp_path / "m.tflite", (X, wanted), quantize="int8", calibration=X
    )
    assert report.proof.keras_score == pytest.approx(20.0, abs=1e-3)
    assert "PSNR 20.00 dB in Keras" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["proof"]["task"] == "images"
    assert export.export(model, tmp_path / "m.tflite", X).proof.keras_score is None
    with pytest.raises(ValueError, match="labels are the wanted images"):
        export.export(model, tmp_path / "m.tflite", (X, Y))


def test_a_model_with_an_image_as_output_has_metadata_without_labels(tmp_path):
    digits = datasets.load("digits")
    inputs = digits.sample("test", 8)
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Conv2D(1, 3, padding="same")])
    path = tmp_path / "m.tflite"
    export.export(model, path, inputs, dataset=digits)
    about = metadata.read(path)
    assert about["name"] == model.name and "labels" not in about
    assert about["profile"]["multiplications"] == 8 * 8 * 9
    np.testing.assert_allclose(Interpreter(path).predict(inputs), model(inputs), atol=1e-5)
