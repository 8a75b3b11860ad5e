"""A net in a neutral file: Keras 2 rebuilds what Keras 3 trained, and back."""

import importlib.util

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain, random, settle

from benchmarks.common import handover
from tf_lcnn import LookupConv2D


def residual():
    """A net with every kind of layer that a ResNet has, with statistics of its own."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(4, 3, 2, padding="same", use_bias=False)(inputs)
    x = layers.ReLU()(layers.BatchNormalization(epsilon=1e-5)(x))
    y = layers.Conv2D(4, 3, padding="same", activation="relu")(x)
    y = layers.GlobalAveragePooling2D()(layers.Add()([x, y]))
    return settle(keras.Model(inputs, layers.Dense(10)(y)))


@pytest.fixture
def handed(tmp_path):
    """A model, and the path of the file it was written to."""
    model = residual()
    handover.write(tmp_path / "net.npz", model, random((4, 8, 8, 1)))
    return model, tmp_path / "net.npz"


def test_a_net_is_rebuilt_by_another_keras_and_its_weights_come_back(handed):
    model, path = handed
    rebuilt = handover.rebuild(path, keras)
    x = random((3, 8, 8, 1), 1)
    assert np.allclose(rebuilt(x), model(x), atol=1e-6)
    changed = {name: 2 * array for name, array in handover.weights(rebuilt).items()}
    handover.set_weights(model, changed)
    assert all(np.array_equal(changed[k], v) for k, v in handover.weights(model).items())


@pytest.mark.skipif(importlib.util.find_spec("tf_keras") is None, reason="tf_keras not installed")
def test_keras_2_rebuilds_a_net(handed):
    import tf_keras

    rebuilt = handover.rebuild(handed[1], tf_keras)
    assert isinstance(rebuilt, tf_keras.Model)


def test_another_result_of_the_rebuilt_net_is_noticed(handed):
    _, path = handed
    with np.load(path) as file:
        arrays = dict(file)
    arrays["logits"] = arrays["logits"] * 1.001
    np.savez(path, **arrays)
    with pytest.raises(ValueError, match="the logits differ by"):
        handover.rebuild(path, keras)


def test_layers_that_keras_2_lacks_are_refused(tmp_path):
    model = chain((8, 8, 1), LookupConv2D(4, 3, 8, name="sums"))
    with pytest.raises(ValueError, match=r"sums \(LookupConv2D\) cannot be handed"):
        handover.write(tmp_path / "net.npz", model, random((1, 8, 8, 1)))
    assert not list(tmp_path.iterdir())
