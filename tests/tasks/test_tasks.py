"""Tasks: which one a model is for, labels in every natural form, and what a file may lose."""

import keras
import numpy as np
import pytest

from tf_lcnn import tasks
from tf_lcnn.tasks.classification import Classification, class_numbers
from tf_lcnn.tasks.images import Images


def model(*layers):
    return keras.Sequential([keras.Input((4, 4, 3)), *layers])


def test_the_output_of_a_model_says_its_task():
    assert isinstance(tasks.of(model(keras.layers.GlobalAveragePooling2D())), Classification)
    assert isinstance(tasks.of(model(keras.layers.Conv2D(3, 1))), Images)
    with pytest.raises(ValueError, match=r"shape \(None, 16, 3\)"):
        tasks.of(model(keras.layers.Reshape((16, 3))))


@pytest.mark.parametrize("form", [np.ravel, lambda x: x[:, None], lambda x: np.eye(4)[x]])
def test_labels_are_taken_as_numbers_a_column_or_one_hot(form):
    labels = np.array([0, 3, 1, 2])
    np.testing.assert_array_equal(class_numbers(form(labels), 4), labels)
    outputs = np.eye(4)[[0, 3, 1, 1]]
    assert Classification().score(outputs, form(labels)) == 0.75


@pytest.mark.parametrize("labels", [[[0, 1], [1, 0]], [0, 4], [-1, 0], [0.5, 1]])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(ValueError, match="label"):
        class_numbers(labels, 4)


def test_top5_is_told_where_there_are_many_classes():
    assert Classification().metrics(10) == ["accuracy"]
    assert [getattr(x, "name", x) for x in Classification().metrics(11)] == ["accuracy", "top5"]


def test_images_are_scored_by_their_peak_signal_to_noise_ratio():
    wanted = np.zeros((2, 4, 4, 1))
    assert Images().score(wanted + 0.1, wanted) == pytest.approx(20)
    assert Images().holds(30.0, 29.6) and not Images().holds(30.0, 29.4)
    with pytest.raises(ValueError, match="wanted images"):
        Images().score(wanted, np.zeros(2))
