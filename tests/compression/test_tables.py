"""lookupify(family="deep_lookup"): a trained CNN whose products are read from tables."""

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain, numpy, random, settle

from tf_lcnn import lookupify
from tf_lcnn.compression.tables import best_scale
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D, DeepLookupDense


@pytest.fixture(scope="module")
def parent():
    """Signed numbers go into "mixed", positive ones into "inner" and "hidden"."""
    keras.utils.set_random_seed(0)
    return settle(
        chain(
            (8, 8, 2),
            layers.Conv2D(6, 3, name="stem"),
            layers.BatchNormalization(name="normalized"),
            layers.Conv2D(8, 3, name="mixed", activation="relu"),
            layers.Conv2D(8, 3, name="inner", activation="relu"),
            layers.Flatten(),
            layers.Dense(12, name="hidden", activation="relu"),
            layers.Dense(4, name="logits"),
        )
    )


def images():
    return random((40, 8, 8, 2), 7)


def test_many_levels_lose_little(parent):
    """Four times as many levels more than halve the error, and eight times as many again."""
    wanted = parent.predict(images(), verbose=0)
    errors = []
    for levels in (8, 32, 256):
        made = lookupify(
            parent, family="deep_lookup", activation_levels=levels, init="trained", images=images()
        )
        error = made.predict(images(), verbose=0) - wanted
        errors.append(np.sqrt((error**2).mean() / (wanted**2).mean()))
    assert errors[0] > 2 * errors[1] > 4 * errors[2]


def test_first_and_last_layers_stay_and_signs_are_seen(parent):
    made = lookupify(
        parent,
        rules={"inn*": "keep"},
        family="deep_lookup",
        activation_levels=16,
        weight_levels=32,
        table="separable",
        init="trained",
        images=images(),
    )
    kinds = {layer.name: type(layer) for layer in made.layers}
    assert kinds["stem"] is kinds["inner"] is layers.Conv2D
    assert kinds["logits"] is layers.Dense
    assert kinds["mixed"] is DeepLookupConv2D
    assert kinds["hidden"] is DeepLookupDense
    mixed, hidden = made.get_layer("mixed"), made.get_layer("hidden")
    assert (mixed.activation_levels, mixed.weight_levels, mixed.table) == (16, 32, "separable")
    assert mixed.signed_input
    assert not hidden.signed_input
    for name in ("mixed", "hidden", "inner"):
        np.testing.assert_array_equal(
            numpy(made.get_layer(name).kernel), numpy(parent.get_layer(name).kernel)
        )


def test_random_weights_need_no_images(parent):
    made = lookupify(parent, family="deep_lookup", activation_levels=16)
    kernels = [numpy(model.get_layer("inner").kernel) for model in (made, parent)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01
    np.testing.assert_array_equal(
        numpy(made.get_layer("stem").kernel), numpy(parent.get_layer("stem").kernel)
    )


def test_it_trains(parent):
    keras.utils.set_random_seed(0)
    made = lookupify(
        parent, family="deep_lookup", activation_levels=4, init="trained", images=images()
    )
    wanted = parent.predict(images(), verbose=0)
    made.compile(keras.optimizers.Adam(0.003), "mse")
    before = made.evaluate(images(), wanted, verbose=0)
    made.fit(images(), wanted, epochs=30, verbose=0)
    assert made.evaluate(images(), wanted, verbose=0) < 0.5 * before


@pytest.mark.parametrize("signed", [True, False])
def test_the_best_scale_is_better_than_its_neighbors(signed):
    numbers = random((5000,), 3)
    numbers = numbers if signed else np.abs(numbers)

    def error(scale):
        lowest = -1 if signed else 0
        levels = np.linspace(lowest * scale, scale, 9)
        return (np.abs(numbers[:, None] - levels).min(axis=1) ** 2).sum()

    best = best_scale(numbers, 9, signed)
    assert best < np.abs(numbers).max()
    assert all(error(best) < error(factor * best) for factor in (0.8, 0.9, 1.1, 1.2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, 'family="deep_lookup": activation_levels are needed'),
        ({"activation_levels": 1}, "activation_levels must be .* from 2 to 256, not 1"),
        ({"activation_levels": 8, "tabel": "free"}, "unknown argument tabel: activation_levels, w"),
        ({"dictionary_size": 4, "activation_levels": 8}, "dictionary_size, plan, lookups, cache"),
        (
            {"activation_levels": 8, "rules": {"inner": 4}},
            "The rule 'inner': 4: tables know 'keep'",
        ),
        ({"activation_levels": 8, "rules": {"x*": "keep"}}, "matches no layer .* can have a table"),
        ({"activation_levels": 8, "rules": {"*": "keep"}}, "has no layer for a table"),
        ({"activation_levels": 8, "init": "trained"}, "No calibration images"),
        ({"activation_levels": 8, "images": images()}, 'images are for init="trained"'),
        (
            {
                "activation_levels": 8,
                "init": "trained",
                "images": images(),
                "signed_input": False,
            },
            "Layer mixed is called on numbers below zero, which normalized gives",
        ),
    ],
)
def test_bad_arguments_have_one_line(parent, arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        lookupify(parent, family="deep_lookup", **arguments)
    assert "\n" not in str(error.value)


def test_an_unknown_family_is_refused(parent):
    with pytest.raises(ValueError, match="Unknown family='adder': lookup, deep_lookup"):
        lookupify(parent, 4, family="adder")


def test_a_layer_with_lora_is_refused_by_name(parent):
    copy = keras.models.clone_model(parent)
    copy.get_layer("inner").enable_lora(2)
    with pytest.raises(ValueError, match="Layer inner cannot have a table, since LoRA is enabled"):
        lookupify(copy, family="deep_lookup", activation_levels=8)
    made = lookupify(copy, rules={"inner": "keep"}, family="deep_lookup", activation_levels=8)
    assert type(made.get_layer("inner")) is layers.Conv2D
