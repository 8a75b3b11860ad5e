"""Examples come in every natural form, and what is none has one line that says what is."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import random

from tf_lcnn import checks

SHAPE = (4, 4, 2)
X, Y = random((7, *SHAPE)), np.arange(7)


class Batches(keras.utils.PyDataset):
    def __len__(self):
        return 2

    def __getitem__(self, index):
        return X[4 * index :][:4], Y[4 * index :][:4]


FORMS = {
    "array": lambda: X,
    "list": lambda: list(X),
    "nested list": lambda: X.tolist(),
    "tensor": lambda: tf.constant(X),
    "float64": lambda: X.astype(np.float64),
    "batches": lambda: [X[:3], X[3:]],
    "generator": lambda: (X[i : i + 2] for i in range(0, 7, 2)),
    "tf.data": lambda: tf.data.Dataset.from_tensor_slices(X).batch(3),
    "unbatched tf.data": lambda: tf.data.Dataset.from_tensor_slices(X),
    "pair": lambda: (X, Y),
    "triple": lambda: (X, Y, np.ones(7)),
    "labelled": lambda: tf.data.Dataset.from_tensor_slices((X, Y)).batch(3),
    "unbatched labelled": lambda: tf.data.Dataset.from_tensor_slices((X, Y)),
    "weighted": lambda: [(X[:3], Y[:3], np.ones(3)), (X[3:], Y[3:], np.ones(4))],
    "PyDataset": Batches,
}


@pytest.mark.parametrize("form", FORMS)
def test_every_natural_form_is_taken(form):
    np.testing.assert_array_equal(checks.inputs(FORMS[form](), SHAPE), X)
    labels = [y for _, y in checks.batches(FORMS[form](), SHAPE)]
    if form in ("pair", "triple", "labelled", "unbatched labelled", "weighted", "PyDataset"):
        np.testing.assert_array_equal(np.concatenate(labels), Y)
    else:
        assert set(map(type, labels)) == {type(None)}


def test_count_ends_an_endless_generator():
    endless = (X for _ in iter(int, 1))
    assert checks.inputs(endless, SHAPE, count=10).shape == (10, *SHAPE)


def test_integers_become_float32():
    pixels = np.arange(7 * 32).reshape(X.shape).astype(np.uint8)
    taken = checks.inputs(pixels, SHAPE)
    assert taken.dtype == np.float32
    np.testing.assert_array_equal(taken, pixels)


SPENT = iter([])
REFUSED = {
    "None": (None, "No photos: an array"),
    "empty list": ([], "No photos: the data are empty"),
    "empty array": (X[:0], "No photos: the data are empty"),
    "spent generator": (SPENT, "No photos: the data are empty, or a generator that is used up"),
    "path": ("photos.npy", "of type str"),
    "dict": ({"image": X}, "of type dict"),
    "number": (3, "of type int"),
    "dicts": ([{"image": X}], r"come in a dict \(image\)"),
    "one example": (X[0], r"one example without the axis of the batch: photos\[None\] works"),
    "other size": (X[:, :3], r"shape \(7, 3, 4, 2\), but \(4, 4, 2\) each is taken"),
    "words": (np.array(["a"] * 7), "of type <U1, not numbers"),
    "NaN": (np.where(X > 1, np.nan, X), "NaN or infinity"),
    "labels of another count": ([(X, Y[:3])], "7 inputs with 3 labels"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_data_has_one_line(case):
    data, told = REFUSED[case]
    with pytest.raises(ValueError, match=told) as error:
        checks.inputs(data, SHAPE, "photos")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", [0, -1, 2.0, True, None, "3", np.float32(2), np.bool_(True)])
def test_what_is_no_whole_number_is_named(value):
    with pytest.raises(ValueError, match="Rows must be a whole number >= 1, not"):
        checks.whole_number(value, "Rows")


def test_integers_of_numpy_are_whole_numbers():
    assert type(checks.whole_number(np.int64(3), "Rows")) is int


def test_a_file_to_write_has_a_folder_and_is_none(tmp_path):
    assert checks.file_to_write(str(tmp_path / "a")) == tmp_path / "a"
    for path, error, told in (
        (tmp_path, ValueError, "is a folder: name a file in it"),
        (tmp_path / "none" / "a", FileNotFoundError, r"The folder .*none of a does not exist"),
        (None, ValueError, "The path of a file is a string or Path, not None"),
    ):
        with pytest.raises(error, match=told):
            checks.file_to_write(path)
