"""benchmarks.common.rivals: nets that begin with the parent's weights."""

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain

from benchmarks.common import rivals


def images():
    return np.random.default_rng(0).normal(size=(4, 6, 6, 2)).astype(np.float32)


def test_a_narrower_net_without_filters_that_do_nothing_is_its_parent():
    """Half of the filters of both inner layers are zeros, in mixed order."""
    model = chain(
        (6, 6, 2),
        layers.Conv2D(8, 3, padding="same", activation="relu"),
        layers.Conv2D(6, 3, activation="relu", use_bias=False),
        layers.Conv2D(3, 3),
    )
    rng = np.random.default_rng(1)
    for layer, idle in zip(model.layers[1:3], ([0, 3, 4, 7], [1, 2, 5]), strict=True):
        weights = layer.get_weights()
        for values in weights:
            values[...] = rng.normal(size=values.shape)
            values[..., idle] = 0
        layer.set_weights(weights)
    narrow = rivals.narrower(model, 0.5)
    assert [x.filters for x in narrow.layers[1:]] == [4, 3, 3]
    np.testing.assert_allclose(narrow.predict(images()), model.predict(images()), rtol=1e-5)


def test_a_narrower_residual_net_keeps_the_same_filters_on_both_sides_of_a_sum():
    """Two layers whose filters 1 and 3 alone do something are added up, batch normalized."""
    inputs = keras.Input((6, 6, 2))
    first = layers.BatchNormalization()(layers.Conv2D(4, 3, padding="same")(inputs))
    x = layers.Conv2D(6, 3, padding="same", activation="relu")(first)
    x = layers.BatchNormalization()(layers.Conv2D(4, 1, use_bias=False)(x))
    x = layers.ReLU()(layers.Add()([x, first]))
    x = layers.GlobalAveragePooling2D()(layers.MaxPooling2D()(x))
    model = keras.Model(inputs, layers.Dense(3)(x))
    rng = np.random.default_rng(2)
    for layer in model.layers:
        idle = {4: [0, 2], 6: [1, 2, 5]}.get(layer.output.shape[-1], [])
        values = [rng.uniform(0.5, 1, x.shape) * rng.choice([-1, 1]) for x in layer.get_weights()]
        if isinstance(layer, layers.BatchNormalization):
            values = np.abs(values)
            # Scale, offset and mean.
            values[:3, idle] = 0
        else:
            for x in values:
                x[..., idle] = 0
        layer.set_weights(list(values))
    narrow = rivals.narrower(model, 0.5)
    assert narrow.count_params() < 0.5 * model.count_params()
    assert [x.shape[-1] for x in narrow.outputs] == [3]
    np.testing.assert_allclose(narrow.predict(images()), model.predict(images()), rtol=1e-5)


def test_only_chains_and_residual_nets_become_narrower():
    inputs = keras.Input((6, 6, 2))
    x = layers.Conv2D(2, 3, padding="same")(inputs)
    model = keras.Model(inputs, layers.Concatenate(name="both")([x, inputs]), name="joined")
    with pytest.raises(ValueError, match="both in joined is a Concatenate"):
        rivals.narrower(model, 0.5)


def test_a_factorized_net_of_enough_rows_is_its_parent():
    """Kernels of rank 2, of four channels: half of them as dictionary rows do."""
    model = chain(
        (6, 6, 2),
        layers.Conv2D(4, 1),
        layers.Conv2D(8, 3, padding="same"),
    )
    rng = np.random.default_rng(1)
    kernel = rng.normal(size=(3, 3, 8, 2)) @ rng.normal(size=(2, 4))
    model.layers[2].set_weights([np.moveaxis(kernel, -1, -2), rng.normal(size=8)])
    factorized = rivals.factorized(model, 0.5, images())
    assert isinstance(factorized.layers[1], layers.Conv2D)
    assert factorized.layers[2].dictionary.shape == (4, 2)
    assert factorized.layers[2].coefficients.shape == (3, 3, 2, 8)
    np.testing.assert_allclose(
        factorized.predict(images()), model.predict(images()), rtol=1e-4, atol=1e-4
    )
