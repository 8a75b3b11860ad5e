"""What a run starts from."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import chain, random

from tf_lcnn import LookupConv2D
from tf_lcnn.pipeline import starting

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="other backends trace each step once"
)
EXAMPLES = tf.data.Dataset.from_tensor_slices((random((8, 6, 6, 2)), np.arange(8) % 3)).batch(4)


def test_variables_that_are_made_ahead_save_a_trace_and_change_nothing(monkeypatch):
    traced, step = [], keras.Model.train_step

    def counted(self, data):
        traced.append(self)
        return step(self, data)

    monkeypatch.setattr(keras.Model, "train_step", counted)

    def trained(ahead):
        keras.utils.set_random_seed(0)
        layers = (LookupConv2D(4, 3, 3), keras.layers.Dropout(0.5), keras.layers.Flatten())
        model = chain((6, 6, 2), *layers, keras.layers.Dense(3))
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile("adam", loss, weighted_metrics=["accuracy"])
        if ahead:
            starting.make_variables(model, EXAMPLES)
        seen = model.fit(EXAMPLES, epochs=2, verbose=0).history
        assert traced.count(model) == (1 if ahead else 2)
        return seen, model.get_weights(), [x.numpy() for x in model.optimizer.variables]

    for pair in zip(*map(keras.tree.flatten, map(trained, (True, False))), strict=True):
        np.testing.assert_array_equal(*pair)
