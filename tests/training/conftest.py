"""What the tests of runs start from."""

import keras
import pytest

from tf_lcnn import LookupConv2D, LookupL1
from tf_lcnn.models import saving


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """A small LCNN in a file, with all that could depend on hosts, or on where a run stopped."""
    keras.utils.set_random_seed(1)
    lookup = {"threshold_scale": 1.0, "threshold_gradient": "straight_through"}
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            LookupConv2D(8, 3, 6, kernel_regularizer=LookupL1(0.3), **lookup),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            LookupConv2D(8, 3, 6, strides=2, kernel_regularizer=LookupL1(0.3), **lookup),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10),
        ]
    )
    path = tmp_path_factory.mktemp("parent") / "parent.keras"
    saving.save_model(model, path)
    return path
