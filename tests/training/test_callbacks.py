"""TopS and SparsityMonitor in model.fit."""

import csv

import keras
import numpy as np
import pytest
from support import reference
from support.helpers import numpy

from tf_lcnn import LookupConv2D, LookupDense, profile
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.training.callbacks import SparsityMonitor, TopS

RNG = np.random.default_rng(0)
X = RNG.normal(size=(48, 6, 6, 3)).astype(np.float32)
Y = RNG.normal(size=(48, 5)).astype(np.float32)


def make(optimizer=None, **compile_arguments):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 6, 3))
    x = LookupConv2D(8, 3, 3, name="first", padding="same")(inputs)
    x = LookupConv2D(8, 3, 6, name="conv")(x)
    x = keras.layers.Flatten()(x)
    # Fewer units would make the dictionary as large as the layer.
    x = LookupDense(16, 7, name="dense")(x)
    model = keras.Model(inputs, keras.layers.Dense(5, name="out")(x))
    model.compile(optimizer or keras.optimizers.SGD(0.02, momentum=0.9), "mse", **compile_arguments)
    return model


def max_s(model):
    return [int((numpy(x.coefficients) != 0).sum(axis=-2).max()) for x in lookup_layers(model)]


class MaxS(keras.callbacks.Callback):
    """Records max s after every call of the training step."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if keras.backend.backend() == "jax":
            self.model.jax_state_sync()
        self.seen.append(max_s(self.model))


def fit(model, *callbacks, epochs=2, **arguments):
    return model.fit(
        X, Y, batch_size=8, epochs=epochs, callbacks=list(callbacks), verbose=0, **arguments
    )


@pytest.mark.parametrize("steps_per_execution", [1, 3])
@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_bound_holds_after_every_step(steps_per_execution, jit_compile):
    seen = MaxS()
    model = make(steps_per_execution=steps_per_execution, jit_compile=jit_compile)
    fit(model, seen, TopS(4))
    # The first layer has only three rows, and keeps them.
    assert len(seen.seen) == 12 // steps_per_execution
    assert all(s == [3, 4, 4] for s in seen.seen)


def test_one_step_is_the_optimizers_step_and_then_the_projection():
    free, bound = make(), make()
    free.train_on_batch(X, Y)
    bound.fit(X, Y, batch_size=48, epochs=1, shuffle=False, callbacks=[TopS(2)], verbose=0)
    for a, b in zip(lookup_layers(free), lookup_layers(bound), strict=True):
        expected = reference.top_s(numpy(a.coefficients), 2)
        np.testing.assert_array_equal(numpy(b.coefficients) != 0, expected != 0)
        np.testing.assert_allclose(numpy(b.coefficients), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda: keras.optimizers.Adam(gradient_accumulation_steps=2),
        lambda: keras.optimizers.AdamW(use_ema=True, ema_overwrite_frequency=3),
    ],
    ids=["accumulation", "ema"],
)
def test_the_bound_holds_for_other_optimizers(optimizer):
    model = make(optimizer())
    fit(model, TopS(2))
    assert max_s(model) == [2, 2, 2]


def test_per_epoch_frees_the_epoch_and_binds_its_validation():
    seen, validated = MaxS(), []

    class Validated(keras.callbacks.Callback):
        def on_test_end(self, logs=None):
            validated.append(max_s(self.model))

    model = make()
    # After TopS in the list, as every reader of its result has to be.
    fit(model, TopS(2, when="epoch"), seen, Validated(), validation_data=(X, Y))
    assert max(seen.seen[0]) > 2
    assert validated == [[2, 2, 2]] * 2
    assert max_s(model) == [2, 2, 2]


def test_at_the_end_only_the_end_is_bound():
    seen = MaxS()
    model = make()
    fit(model, TopS(2, when="end"), seen)
    assert all(max(s) > 2 for s in seen.seen)
    assert max_s(model) == [2, 2, 2]


def test_a_schedule_lowers_s_epoch_by_epoch():
    seen = MaxS()
    model = make()
    fit(model, seen, TopS(2, schedule=lambda epoch: 6 - 2 * epoch), epochs=4)
    by_epoch = [seen.seen[i] for i in (5, 11, 17, 23)]
    assert by_epoch == [[3, 6, 6], [3, 4, 4], [2, 2, 2], [2, 2, 2]]


def test_a_resumed_run_goes_on_where_the_schedule_was():
    model = make()
    fit(model, TopS(1, schedule=lambda epoch: 6 - 2 * epoch), epochs=2, initial_epoch=1)
    assert max_s(model) == [3, 4, 4]


def test_training_without_it_again_is_free_again():
    model = make()
    fit(model, TopS(2))
    assert all(layer.coefficients.constraint is None for layer in lookup_layers(model))
    # Without a threshold, dropped entries have gradients; one free epoch fills the support.
    for layer in lookup_layers(model):
        layer.epsilon = 0.0
    model.make_train_function(force=True)
    fit(model)
    assert max_s(model) == [3, 6, 7]


def test_a_constraint_of_the_layer_still_holds():
    layer = LookupDense(16, 7, kernel_constraint=keras.constraints.NonNeg())
    model = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten(), layer])
    model.add(keras.layers.Dense(5))
    model.compile(keras.optimizers.SGD(0.05), "mse")
    fit(model, TopS(2))
    assert max_s(model) == [2] and numpy(layer.coefficients).min() >= 0
    assert isinstance(layer.coefficients.constraint, keras.constraints.NonNeg)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"s": 0}, ">= 1"),
        ({"s": 2.0}, "whole number"),
        ({"s": 2, "when": "step"}, "batch, epoch, end"),
        ({"s": 2, "when": "end", "schedule": lambda epoch: 4}, "no use for a schedule"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        TopS(**arguments)


def test_models_it_cannot_work_on_are_refused():
    with pytest.raises(ValueError, match="dictionary has only 7 rows"):
        fit(make(), TopS(8))
    plain = keras.Sequential([keras.Input((6, 6, 3)), keras.layers.Flatten()])
    plain.add(keras.layers.Dense(5))
    plain.compile("sgd", "mse")
    with pytest.raises(ValueError, match="no lookup layer"):
        fit(plain, TopS(2))


def test_the_monitor_fills_logs_for_those_who_read_them(tmp_path):
    model = make()
    checkpoint = keras.callbacks.ModelCheckpoint(
        tmp_path / "best.keras", monitor="density", mode="min", save_best_only=True
    )
    history = fit(
        model,
        TopS(2, schedule=lambda epoch: 4 - epoch),
        SparsityMonitor(),
        keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        checkpoint,
        epochs=3,
    ).history
    found = numpy(lookup_layers(model)[1].sparse_coefficients()) != 0
    assert history["conv/density"][-1] == found.mean()
    assert history["conv/mean_s"][-1] == found.sum() / (9 * 8)
    assert history["max_s"] == [4, 3, 2]
    costs = profile(model)
    for name in ("density", "mean_s", "multiplications", "speedup"):
        assert history[name][-1] == getattr(costs, name)
    with open(tmp_path / "log.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [float(row["max_s"]) for row in rows] == [4, 3, 2]
    loaded = keras.models.load_model(tmp_path / "best.keras")
    assert profile(loaded).density == min(history["density"])


def test_a_checkpoint_of_mid_training_has_the_density_that_was_printed(tmp_path):
    model = make()
    for layer in lookup_layers(model):
        layer.epsilon = 0.1
    model.make_train_function(force=True)

    class Save(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.save_weights(tmp_path / f"{epoch}.weights.h5")

    history = fit(model, SparsityMonitor(), Save()).history
    other = make()
    other.load_weights(tmp_path / "0.weights.h5")
    stored = [numpy(layer.coefficients) for layer in lookup_layers(other)]
    density = sum((p != 0).sum() for p in stored) / sum(p.size for p in stored)
    assert 0 < density < 1 and density == history["density"][0]


def test_projecting_the_same_weights_twice_changes_nothing():
    model = make()
    fit(model, TopS(2))
    before = [numpy(x.coefficients) for x in lookup_layers(model)]
    for layer, kept in zip(lookup_layers(model), before, strict=True):
        np.testing.assert_array_equal(numpy(sparsity.top_s(layer.coefficients, 2)), kept)
