"""The interpreter: what it takes, what it refuses in one line, and other sizes of input."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import random

from tf_lcnn.lite import open_size
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.runtime.interpreter import Interpreter

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
KERNEL = random((3, 3, 2, 4))


def convolve(x):
    return tf.nn.conv2d(x, KERNEL, 1, "SAME")


@pytest.fixture(scope="module")
def content():
    return to_tflite(convolve, (1, 6, 5, 2))


@pytest.fixture(scope="module")
def resizable():
    return to_tflite(convolve, (1, None, 5, 2))


def test_inputs_come_in_every_natural_form(content):
    interpreter, inputs = Interpreter(content=content), random((3, 6, 5, 2))
    expected = convolve(inputs).numpy()
    for form in (inputs, inputs.astype(float), list(inputs), inputs.tolist(), iter([inputs])):
        np.testing.assert_allclose(interpreter.predict(form), expected, atol=1e-5)


@pytest.mark.parametrize(
    ("inputs", "told"),
    [
        (None, "No inputs: an array"),
        ([], "No inputs: the data are empty"),
        (np.zeros((0, 6, 5, 2)), "No inputs: the data are empty"),
        (np.zeros((6, 5, 2)), r"one example without the axis of the batch: inputs\[None\] works"),
        (np.zeros((1, 5, 5, 2)), r"inputs have shape \(1, 5, 5, 2\), but \(6, 5, 2\) each"),
        (np.full((1, 6, 5, 2), np.nan), "inputs have NaN or infinity"),
        ("photo.png", "inputs are of type str"),
    ],
)
def test_inputs_that_are_none_have_one_line(content, inputs, told):
    with pytest.raises(ValueError, match=told) as error:
        Interpreter(content=content).predict(inputs)
    assert "\n" not in str(error.value)


def test_a_size_that_is_open_is_resized_and_others_are_not(resizable):
    interpreter = Interpreter(content=resizable)
    assert interpreter.open_shape == (None, 5, 2)
    for height in (6, 1, 17, 6):
        inputs = random((2, height, 5, 2), height)
        expected = convolve(inputs).numpy()
        np.testing.assert_allclose(interpreter.predict(inputs), expected, atol=1e-5)
    with pytest.raises(ValueError, match=r"\(None, 5, 2\) each is taken"):
        interpreter.predict(random((2, 6, 6, 2)))
    with pytest.raises(ValueError, match=r"several shapes, \(6, 5, 2\), \(7, 5, 2\): one shape"):
        interpreter.predict([random((1, 6, 5, 2)), random((1, 7, 5, 2))])


def test_a_size_at_which_a_file_does_not_run_is_one_line_and_the_next_runs():
    kernel = random((3, 3, 2, 4))
    content = to_tflite(lambda x: tf.nn.conv2d(x, kernel, 1, "VALID"), (1, None, 5, 2))
    interpreter = Interpreter(content=open_size.with_default(content, (6, 5, 2)))
    inputs = random((1, 6, 5, 2))
    expected = interpreter.predict(inputs)
    with pytest.raises(
        ValueError, match=r"does not run on an input of shape \(1, 1, 5, 2\)"
    ) as error:
        interpreter.predict(random((1, 1, 5, 2)))
    assert "\n" not in str(error.value)
    np.testing.assert_array_equal(interpreter.predict(inputs), expected)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({"path": None}, "path of a .tflite is a string or Path, not None"),
        ({"path": 3}, "path of a .tflite is a string or Path, not 3"),
        ({"delegate": "fast"}, "delegate must be True, False or a dict of options, not 'fast'"),
        ({"threads": 0}, "threads must be a whole number from 1 to 64, not 0"),
        ({"threads": "2"}, "threads must be a whole number from 1 to 64, not '2'"),
        ({"content": "text"}, "the model is no .tflite file"),
    ],
)
def test_arguments_of_other_types_have_one_line(content, arguments, told):
    with pytest.raises(ValueError, match=told) as error:
        Interpreter(**({} if "path" in arguments else {"content": content}) | arguments)
    assert "\n" not in str(error.value)


def test_paths_are_strings_or_paths_and_no_folders(content, tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    for form in (str(path), pathlib.Path(path)):
        assert Interpreter(form, threads=np.int64(1), delegate=None).input_shape == (1, 6, 5, 2)
    for wrong in (tmp_path, tmp_path / "none.tflite"):
        with pytest.raises(OSError, match=wrong.name) as error:
            Interpreter(wrong)
        assert "\n" not in str(error.value)
