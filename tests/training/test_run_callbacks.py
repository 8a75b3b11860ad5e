"""Checkpoints: saving changes nothing, and what is loaded goes on as if nothing had been saved.
And what ends a run.
"""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random

from tf_lcnn import LookupConv2D
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D
from tf_lcnn.models import saving
from tf_lcnn.training import optimizers
from tf_lcnn.training.run_callbacks import Checkpoint, StopOnNaN


def net():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 3)),
            LookupConv2D(6, 3, 5, threshold_scale=1.0, threshold_gradient="straight_through"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizers.optimizer("sgd", 0.1, 0.9, 0.01), loss)
    return model


DATA = random((16, 6, 6, 3)), np.arange(16) % 6


def train(model, epochs, **how):
    model.fit(*DATA, batch_size=8, epochs=epochs, shuffle=False, verbose=0, **how)
    return [numpy(w) for w in model.weights]


def test_saving_each_epoch_changes_nothing_of_what_is_trained(tmp_path):
    plain, saved = train(net(), 3), train(net(), 3, callbacks=[Checkpoint(tmp_path)])
    for a, b in zip(plain, saved, strict=True):
        np.testing.assert_array_equal(a, b)
    # Inside the threshold the coefficients move too.
    layer = net().layers[0]
    inside = np.abs(saved[1]) <= layer.epsilon
    assert 0 < inside.sum() < inside.size and (saved[1][inside] != 0).all()


def test_a_checkpoint_goes_on_bit_for_bit_with_decay_of_what_decayed_before(tmp_path):
    unbroken = train(net(), 3)
    train(net(), 1, callbacks=[Checkpoint(tmp_path)])
    model = saving.load_model(tmp_path / "checkpoint.keras")
    earlier = model.optimizer
    fresh = net()
    model.compile(fresh.optimizer, fresh.loss)
    optimizers.take_over(model.optimizer, earlier, model.trainable_variables)
    for a, b in zip(train(model, 2), unbroken, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_finished_model_keeps_what_is_outside_the_threshold_alone(tmp_path):
    model = net()
    saving.save_model(model, tmp_path / "model.keras")
    stored = numpy(saving.load_model(tmp_path / "model.keras").layers[0].coefficients)
    np.testing.assert_array_equal(stored, numpy(model.layers[0].sparse_coefficients()))
    assert (stored == 0).any()


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("log_activation_scale", -60.0, "The scale of activations in layer read is 8.75.*e-27"),
        ("log_weight_scale", np.nan, "The scale of weights in layer read is nan after epoch 1"),
    ],
)
def test_a_scale_that_collapses_ends_training_with_the_layers_name(variable, value, message):
    read = DeepLookupConv2D(6, 3, 8, name="read")
    model = chain((6, 6, 3), read, keras.layers.GlobalAveragePooling2D())
    model.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    for scale in (read.log_activation_scale, read.log_weight_scale):
        scale.trainable = False
    getattr(read, variable).assign(value)
    callback = StopOnNaN()
    # A loss that is no number may come sooner.
    callback.on_train_batch_end = lambda batch, logs=None: None
    with pytest.raises(FloatingPointError, match=message):
        train(model, 1, callbacks=[callback])
