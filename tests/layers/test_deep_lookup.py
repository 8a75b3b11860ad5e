"""Deep lookup layers against plain loops, and what Keras asks of a layer."""

import inspect

import keras
import numpy as np
import pytest
from keras import layers
from support import deep_reference as reference
from support.helpers import numpy, random

from tf_lcnn.layers import deep_lookup
from tf_lcnn.layers.deep_lookup import DeepLookupConv1D, DeepLookupConv2D, DeepLookupDense

TABLES = {
    "free": {"table": "free"},
    "cells": {"table": "free", "monotone": False},
    "separable": {"table": "separable"},
    "rank2": {"table": "low_rank", "table_rank": 2},
    "rows": {"table": "low_rank", "table_rank": 3, "monotone": False},
}
SIGNS = {"positive": False, "signed": True}

# (layer, its arguments, shape of an input)
LAYERS = {
    "valid": (DeepLookupConv2D, {"filters": 5, "kernel_size": 3}, (2, 6, 7, 4)),
    "same": (
        DeepLookupConv2D,
        {"filters": 5, "kernel_size": (2, 3), "strides": 2, "padding": "same"},
        (2, 6, 7, 4),
    ),
    "dilated": (
        DeepLookupConv2D,
        {"filters": 3, "kernel_size": 2, "padding": "same", "dilation_rate": 2},
        (1, 5, 6, 3),
    ),
    "groups": (DeepLookupConv2D, {"filters": 4, "kernel_size": 2, "groups": 2}, (2, 4, 5, 6)),
    "causal": (
        DeepLookupConv1D,
        {"filters": 4, "kernel_size": 3, "padding": "causal", "dilation_rate": 2},
        (2, 8, 3),
    ),
    "dense": (DeepLookupDense, {"units": 5}, (2, 3, 7)),
}


def built(cls, arguments, shape, **others):
    """A layer whose table, scales and bias are drawn."""
    given = {"activation_levels": 9, "weight_levels": 6, "bias_initializer": "normal"}
    layer = cls(**{**given, **arguments, **others})
    layer.build(shape)
    for i, variable in enumerate(layer.weights):
        if variable.name not in ("kernel", "bias"):
            drawn = 0.3 * random(variable.shape, i)
            moved = numpy(variable) + drawn.astype(np.float32)
            inside = variable.name in ("cells", "activation_rows", "weight_rows")
            variable.assign(np.clip(moved, -1, 1) if inside else moved)
    return layer


def expected(layer, x, table, scale):
    """Without activation; sums in the table's dtype, times scale in float32 or float64."""
    kernel = numpy(layer.kernel)
    of_activations, of_weights = (numpy(value) for value in layer.scales)
    f = reference.indices(x, of_activations, layer.activation_levels, layer.signed_input)
    w = reference.indices(kernel, of_weights, layer.weight_levels, True)
    where = (), "valid", ()
    if not isinstance(layer, DeepLookupDense):
        where = layer.strides, layer.padding, layer.dilation_rate, layer.groups
    found = reference.sums(table, f, w, *where)
    return found.astype(scale.dtype) * scale + numpy(layer.bias)


@pytest.mark.parametrize("signed", SIGNS.values(), ids=SIGNS)
@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
@pytest.mark.parametrize("name", LAYERS)
def test_outputs_are_sums_of_table_entries(name, table, signed):
    layer = built(*LAYERS[name], signed_input=signed, **table)
    x = random(LAYERS[name][2], 5).astype(np.float32)
    rows, columns = (numpy(factor).astype(np.float64) for factor in layer.factors())
    entries = rows @ columns.T
    assert entries.shape == (9, 6)
    assert np.abs(entries).max() <= 1 + 1e-6
    scale = np.prod([numpy(value).astype(np.float64) for value in layer.scales])
    wanted = expected(layer, x, entries, scale)
    np.testing.assert_allclose(numpy(layer(x)), wanted, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("signed", SIGNS.values(), ids=SIGNS)
@pytest.mark.parametrize("table", ["free", "rank2"])
@pytest.mark.parametrize("name", LAYERS)
def test_with_integers_it_is_the_integer_reference_to_the_bit(name, table, signed):
    layer = built(*LAYERS[name], signed_input=signed, **TABLES[table])
    layer.integers = True
    x = random(LAYERS[name][2], 5).astype(np.float32)
    entries = layer.integer_table()
    assert entries.dtype == np.int8
    of_activations, of_weights = (numpy(value) for value in layer.scales)
    scale = of_activations * of_weights * np.float32(1 / reference.TABLE_STEPS)
    wanted = expected(layer, x, entries.astype(np.int32), scale)
    np.testing.assert_array_equal(numpy(layer(x)), wanted)


@pytest.mark.parametrize("monotone", [True, False])
def test_a_new_table_is_the_product(monotone):
    """Of levels that lie evenly, 0 to 1 or -1 to 1, and -1 to 1."""
    for signed, table in ((s, t) for s in (True, False) for t in ("free", "separable")):
        layer = DeepLookupDense(3, 5, 9, table=table, signed_input=signed, monotone=monotone)
        layer.build((1, 4))
        rows, columns = (numpy(factor) for factor in layer.factors())
        wanted = np.outer(np.linspace(-1 if signed else 0, 1, 5), np.linspace(-1, 1, 9))
        np.testing.assert_allclose(rows @ columns.T, wanted, atol=1e-6)


@pytest.mark.parametrize("table", ["free", "separable", "rank2"])
def test_a_monotone_table_grows_steadily_after_training(table):
    layer = built(*LAYERS["dense"], **TABLES[table])
    model = keras.Sequential([keras.Input((3, 7)), layer])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    x = np.abs(random((8, 3, 7), 1)).astype(np.float32)
    before = model.evaluate(x, random((8, 3, 5), 2), verbose=0)
    model.fit(x, random((8, 3, 5), 2), epochs=20, verbose=0)
    assert model.evaluate(x, random((8, 3, 5), 2), verbose=0) < before
    rows, columns = (numpy(factor) for factor in layer.factors())
    if table != "free":
        assert (np.diff(rows, axis=0) > 0).all()
        assert (np.diff(columns, axis=0) * np.sign(columns[-1] - columns[0]) > 0).all()
    else:
        # Away from zero with the activation, for every weight.
        entries = numpy(rows @ columns.T)
        assert (np.diff(np.abs(entries), axis=0) >= 0).all()


def step(layer, x, variable):
    """The gradient of the sum of outputs by a variable: what plain descent takes off it."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    before = numpy(variable).copy()
    model.compile(keras.optimizers.SGD(1.0), lambda _, y: keras.ops.sum(y, axis=-1))
    y = np.zeros((len(x), *model.output_shape[1:]))
    model.train_on_batch(x, y)
    return before - numpy(variable)


def test_gradients_pass_rounding_as_if_it_were_not_there():
    """With the table of the product, inside the clips, the layer's gradient is the Keras one's.

    That of the kernel is made of the activations as they were rounded.
    """
    layer = DeepLookupConv2D(3, 2, 17, 33, table="separable", rescaled_gradient=False)
    plain = layers.Conv2D(3, 2)
    layer.build((None, 5, 5, 2))
    plain.build((None, 5, 5, 2))
    layer.log_activation_scale.assign(np.log(2.0))
    plain.set_weights([numpy(layer.kernel), numpy(layer.bias)])
    x = np.random.default_rng(0).uniform(0, 2, (2, 5, 5, 2)).astype(np.float32)
    rounded = np.rint(x / 2 * 16).astype(np.float32) * 2 / 16
    np.testing.assert_allclose(
        step(layer, x, layer.kernel), step(plain, rounded, plain.kernel), rtol=1e-3, atol=1e-5
    )


def test_seldom_read_entries_learn_as_fast():
    """A gradient over its share of the uses: three of four activations have one level."""
    x = np.float32([[0.0, 0.0, 0.0, 1.0]])
    gradients = {}
    for rescaled in (False, True):
        layer = DeepLookupDense(1, 2, table="separable", monotone=False, rescaled_gradient=rescaled)
        layer.build((1, 4))
        layer.log_activation_scale.assign(0.0)
        # Small steps: a large one would meet the bounds of the entries.
        layer.log_weight_scale.assign(np.log(0.05))
        layer.kernel.assign(np.full((4, 1), 10.0))
        gradients[rescaled] = step(layer, x, layer._activation_part).ravel()
    np.testing.assert_allclose(gradients[False][0], 3 * gradients[False][1], rtol=1e-5)
    np.testing.assert_allclose(gradients[True], gradients[False] * [2 / 3, 2], rtol=1e-5)


def test_nan_in_is_nan_out():
    layer = built(*LAYERS["dense"])
    x = np.abs(random((2, 3, 7), 1))
    x[0, 1, 2] = np.nan
    found = np.isnan(numpy(layer(x)))
    assert found[0, 1].all() and found.sum() == 5


@pytest.mark.parametrize("name", LAYERS)
def test_without_levels_it_is_the_keras_layer(name):
    cls, arguments, shape = LAYERS[name]
    theirs = getattr(layers, cls.__name__.removeprefix("DeepLookup"))
    plain, layer = theirs(**arguments, activation="relu"), cls(**arguments, activation="relu")
    plain.build(shape)
    layer.build(shape)
    layer.set_weights(plain.get_weights())
    x = random(shape, 0).astype(np.float32)
    np.testing.assert_array_equal(numpy(layer(x)), numpy(plain(x)))


@pytest.mark.parametrize("cls", [DeepLookupConv1D, DeepLookupConv2D, DeepLookupDense])
def test_it_takes_what_the_keras_layer_takes(cls):
    def named(of, without=()):
        found = inspect.signature(of.__init__).parameters.items()
        return {name: p.default for name, p in found if name not in without}

    theirs = getattr(layers, cls.__name__.removeprefix("DeepLookup"))
    passed_on = ("lora_rank", "lora_alpha", "quantization_config")
    assert named(cls, deep_lookup.OWN_ARGUMENTS) == named(theirs, passed_on)


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES)
def test_saved_and_loaded_it_is_the_same(table, tmp_path):
    cls, arguments, shape = LAYERS["same"]
    layer = built(cls, arguments, shape, signed_input=True, **table)
    model = keras.Sequential([keras.Input(shape[1:]), layer, layers.BatchNormalization()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert loaded.layers[0].get_config() == layer.get_config()
    x = random(shape, 3).astype(np.float32)
    np.testing.assert_array_equal(loaded.predict(x, verbose=0), model.predict(x, verbose=0))


def test_channels_first_equals_channels_last():
    cls, arguments, shape = LAYERS["groups"]
    layer = built(cls, arguments, shape)
    first = cls(**{**layer.get_config(), "data_format": "channels_first"})
    x = random(shape, 3).astype(np.float32)
    first.build((shape[0], shape[3], *shape[1:3]))
    first.set_weights(layer.get_weights())
    if keras.backend.backend() == "tensorflow":
        # It convolves so on a GPU alone: shapes only.
        assert first.compute_output_shape((2, 6, 4, 5)) == (2, 4, 3, 4)
        return
    outputs = numpy(first(np.moveaxis(x, -1, 1)))
    np.testing.assert_allclose(np.moveaxis(outputs, 1, -1), numpy(layer(x)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"activation_levels": 1}, "activation_levels must be .* from 2 to 256, not 1"),
        ({"activation_levels": 257}, "activation_levels must be .* from 2 to 256, not 257"),
        ({"activation_levels": 8, "weight_levels": 1.5}, "weight_levels must be .* not 1.5"),
        ({"weight_levels": 8}, "weight_levels and table_rank need activation_levels"),
        ({"activation_levels": 8, "table": "square"}, "unknown table='square': free, separable"),
        ({"activation_levels": 8, "table": "low_rank"}, 'table="low_rank" needs a table_rank'),
        ({"activation_levels": 8, "table_rank": 2}, 'table="low_rank" needs a table_rank'),
        (
            {"activation_levels": 8, "weight_levels": 4, "table": "low_rank", "table_rank": 5},
            "table_rank must be .* from 1 to 4, not 5",
        ),
    ],
)
def test_bad_arguments_have_one_line(arguments, message):
    with pytest.raises(ValueError, match=f"Layer stem: .*{message}") as error:
        DeepLookupConv2D(4, 3, name="stem", **arguments)
    assert "\n" not in str(error.value)


def test_entries_that_are_trained_as_they_are_stay_within_one():
    layer = built(*LAYERS["dense"], **TABLES["cells"])
    model = keras.Sequential([keras.Input((3, 7)), layer])
    model.compile(keras.optimizers.SGD(50.0), "mse")
    model.train_on_batch(np.abs(random((8, 3, 7), 1)), 10 * random((8, 3, 5), 2))
    rows, columns = (numpy(factor) for factor in layer.factors())
    cells = rows @ columns.T
    assert np.abs(cells).max() == 1
