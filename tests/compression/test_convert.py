"""lookupify: what is converted, what is kept and why, what carries over, and exactness."""

import math
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain

from tf_lcnn import LookupConv2D, LookupDense, LookupSeparableConv2D, lookupify, profile
from tf_lcnn.compression.decisions import decisions
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.family import lookup_layers

SHAPE = (8, 8, 3)


def members():
    return [
        layers.Conv2D(8, 3, padding="same", name="conv1", bias_initializer="normal"),
        layers.BatchNormalization(name="bn"),
        layers.Conv2D(6, 3, strides=2, name="conv2", use_bias=False),
        layers.GlobalAveragePooling2D(name="pool"),
        layers.Dense(10, name="fc", bias_initializer="normal"),
    ]


def functional():
    return chain(SHAPE, *members())


def sequential():
    return keras.Sequential([keras.Input(SHAPE), *members()])


def functional_in_functional():
    first, second, *rest = members()
    return chain(SHAPE, chain(SHAPE, first, chain((8, 8, 8), second)), *rest)


def sequential_in_functional():
    first, second, *rest = members()
    return chain(SHAPE, keras.Sequential([keras.Input(SHAPE), first, second]), *rest)


def unbuilt_sequential_in_functional():
    first, second, *rest = members()
    return chain(SHAPE, keras.Sequential([first, second]), *rest)


KINDS = [
    *(functional, sequential, functional_in_functional, sequential_in_functional),
    unbuilt_sequential_in_functional,
]


def leaves(model):
    # Without inputs: Keras gives a clone's unnamed input a new name.
    kinds = keras.Model, layers.InputLayer
    return {x.name: x for x in sublayers(model) if not isinstance(x, kinds)}


def sizes(model):
    return {layer.name: layer.dictionary_size for layer in lookup_layers(model)}


def images(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *shape)).astype("float32")


def assert_same_weights(first, second):
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


@keras.saving.register_keras_serializable(package="test_convert")
class Custom(layers.Layer):
    """A layer of the user's own, with a kernel."""

    def build(self, input_shape):
        self.mix = self.add_weight(shape=(input_shape[-1], input_shape[-1]))

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.mix)


# What is converted.


@pytest.mark.parametrize("kind", KINDS)
def test_conv2d_and_dense_get_dictionaries_in_every_kind_of_model(kind):
    model = kind()
    lcnn = lookupify(model, 4)
    assert sizes(lcnn) == {"conv1": 4, "conv2": 4, "fc": 4}
    assert type(lcnn) is type(model) and lcnn is not model
    assert list(leaves(lcnn)) == list(leaves(model))
    found = leaves(lcnn)
    assert type(found["conv1"]) is LookupConv2D and type(found["fc"]) is LookupDense
    for name, layer in leaves(model).items():
        assert found[name].output.shape == layer.output.shape
    assert lcnn(images()).shape == model(images()).shape


@pytest.mark.parametrize("kind", KINDS)
def test_biases_and_kept_layers_carry_over(kind):
    model = kind()
    model.compile("sgd", "mse")
    # So that the statistics of the batch normalization are not trivial.
    model.fit(images(), np.ones((2, 10)), verbose=0)
    lcnn = leaves(lookupify(model, 4, {"conv2": "keep"}))
    source = leaves(model)
    for name in ("bn", "conv2"):
        assert type(lcnn[name]) is type(source[name])
        assert_same_weights(source[name].get_weights(), lcnn[name].get_weights())
    assert np.any(source["bn"].moving_mean)
    for name in ("conv1", "fc"):
        assert np.any(source[name].bias)
        np.testing.assert_array_equal(source[name].bias, lcnn[name].bias)


@pytest.mark.parametrize("kind", KINDS)
def test_the_source_model_is_not_changed(kind):
    model = kind()
    before, outputs = model.get_weights(), np.asarray(model(images()))
    kinds = {name: type(layer) for name, layer in leaves(model).items()}
    lcnn = lookupify(model, 4, {"conv2": "keep"})
    lcnn.compile("sgd", "mse")
    lcnn.fit(images(), np.ones((2, 10)), verbose=0)
    assert {name: type(layer) for name, layer in leaves(model).items()} == kinds
    assert_same_weights(before, model.get_weights())
    np.testing.assert_array_equal(outputs, np.asarray(model(images())))
    assert not {id(w) for w in model.weights} & {id(w) for w in lcnn.weights}


def test_dictionaries_and_coefficients_are_drawn_anew():
    lcnn = lookupify(functional(), 4)
    for layer in lookup_layers(lcnn):
        assert np.std(layer.dictionary) > 0 and np.std(layer.coefficients) > 0


def test_an_unbuilt_sequential_is_converted_before_it_knows_its_input():
    model = keras.Sequential([layers.Conv2D(8, 3, name="a"), layers.Dense(6, name="b")])
    lcnn = lookupify(model, 4)
    assert sizes(lcnn) == {"a": 4, "b": 4}
    assert lcnn(images()).shape == (2, 6, 6, 6)


def test_a_shared_layer_stays_shared():
    conv = layers.Conv2D(3, 3, padding="same", name="conv")
    inner = keras.Sequential([keras.Input(SHAPE), layers.Dense(3, name="fc")])
    model = chain(SHAPE, conv, inner, layers.ReLU(), conv, inner)
    lcnn = lookupify(model, 2)
    assert len(lookup_layers(lcnn)) == 2
    assert lcnn.count_params() == (3 * 2 + 9 * 2 * 3 + 3) + (3 * 2 + 2 * 3 + 3)
    assert profile(lcnn).dense_multiplications == profile(model).multiplications


def test_several_inputs_outputs_and_operations_survive():
    a, b = keras.Input((5,), name="a"), keras.Input((5,), name="b")
    hidden = layers.Dense(8, name="fc")(a) * 2.0 + layers.Dense(8, name="other")(b)
    model = keras.Model([a, b], {"first": hidden, "second": keras.ops.relu(hidden)})
    lcnn = lookupify(model, 4)
    outputs = lcnn([np.ones((2, 5), "float32"), np.ones((2, 5), "float32")])
    assert set(outputs) == {"first", "second"}
    np.testing.assert_array_equal(np.maximum(outputs["first"], 0), outputs["second"])


# Rules.


def test_a_rule_gives_its_size_or_keeps_and_the_rest_takes_the_general_size():
    lcnn = lookupify(functional(), 4, {"conv?": 5, "fc": "keep"})
    assert sizes(lcnn) == {"conv1": 5, "conv2": 5}
    assert type(lcnn.get_layer("fc")) is layers.Dense
    assert sizes(lookupify(functional(), 4, {"*2": 7})) == {"conv1": 4, "conv2": 7, "fc": 4}


def test_the_first_matching_rule_counts():
    assert sizes(lookupify(functional(), 4, {"conv1": 2, "conv*": 3, "*": "keep"})) == {
        "conv1": 2,
        "conv2": 3,
    }
    assert sizes(lookupify(functional(), 4, {"conv*": 3, "conv1": 2}))["conv1"] == 3


def test_rules_reach_into_nested_models():
    assert sizes(lookupify(functional_in_functional(), 4, {"conv1": 3}))["conv1"] == 3


def test_a_rule_that_matches_nothing_is_an_error_that_names_the_layers():
    with pytest.raises(ValueError, match="'dense\\*'") as error:
        lookupify(functional(), 4, {"conv1": 3, "dense*": 4})
    assert "\n" not in str(error.value)
    assert "conv1, conv2, fc" in str(error.value)


@pytest.mark.parametrize("size", [0, -1, 2.5, 4.0, True, None, "fast", "keep"])
def test_a_size_that_is_no_whole_number_is_refused(size):
    with pytest.raises(ValueError, match="dictionary_size") as error:
        lookupify(functional(), size)
    assert repr(size) in str(error.value) and "\n" not in str(error.value)
    if size != "keep":
        with pytest.raises(ValueError, match="conv1"):
            lookupify(functional(), 4, {"conv1": size})


def test_subclassed_models_are_refused_in_one_line():
    class Net(keras.Model):
        def call(self, inputs):
            return inputs

    for function in (lookupify, decisions):
        with pytest.raises(ValueError, match="functional or Sequential") as error:
            function(Net(name="my_net"), 4)
        assert "\n" not in str(error.value)
        assert "my_net" in str(error.value) and "Net" in str(error.value)


# What is kept.


def awkward():
    """A layer of every sort that has no lookup form, and one that has."""
    return chain(
        SHAPE,
        layers.Conv2D(4, 1, name="few_vectors"),
        layers.DepthwiseConv2D(3, name="depthwise"),
        layers.Conv2D(8, 3, groups=4, name="grouped"),
        layers.ConvLSTM1D(8, 3, padding="same", return_sequences=True, name="recurrent"),
        Custom(name="mine"),
        layers.Conv2D(8, 3, name="converted"),
        layers.TimeDistributed(layers.Dense(3), name="wrapped"),
        layers.Dense(4, name="few_units"),
    )


REASONS = {
    "few_vectors": "dictionary_size 4 is not smaller than its 4 weight vectors",
    "depthwise": "depthwise: a filter reads one channel, so its weight vectors have one number",
    "grouped": "depthwise: a filter reads one channel, so its weight vectors have one number",
    "recurrent": "no lookup form",
    "mine": "a custom layer",
    "wrapped": "no lookup form",
    "few_units": "dictionary_size 4 is not smaller than its 4 weight vectors",
}


def test_layers_without_a_lookup_form_are_kept_and_one_warning_names_each_and_why():
    model = awkward()
    with pytest.warns(UserWarning) as record:
        lcnn = lookupify(model, 4)
    assert len(record) == 1
    message = str(record[0].message)
    assert "kept 7 of 8 layers" in message and record[0].filename == __file__
    for name, reason in REASONS.items():
        assert f"{name} ({type(model.get_layer(name)).__name__}: {reason})" in message
        assert type(lcnn.get_layer(name)) is type(model.get_layer(name))
        source, copy = model.get_layer(name), lcnn.get_layer(name)
        assert_same_weights(source.get_weights(), copy.get_weights())
    assert "converted (" not in message
    assert sizes(lcnn) == {"converted": 4}


def test_decisions_say_beforehand_what_lookupify_does():
    model = awkward()
    listed = {d.name: d for d in decisions(model, 4, {"mine": "keep"})}
    assert set(listed) == {*REASONS, "converted"}
    assert listed["converted"].dictionary_size == 4 and listed["converted"].reason == ""
    for name in REASONS:
        assert listed[name].dictionary_size is None
        assert listed[name].type == type(model.get_layer(name)).__name__
        if name != "mine":
            assert listed[name].reason == REASONS[name] and listed[name].wanted
    assert not listed["mine"].wanted


def test_the_limit_is_the_number_of_weight_vectors():
    model = functional()
    with pytest.warns(UserWarning, match="conv2 .*54 is not smaller than its 54"):
        assert sizes(lookupify(model, 54, {"fc": "keep"})) == {"conv1": 54}
    assert sizes(lookupify(model, 53, {"fc": "keep"})) == {"conv1": 53, "conv2": 53}


def test_no_warning_where_nothing_is_kept_but_by_rule():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lookupify(functional(), 4)
        lookupify(awkward(), 4, {"conv*": 4, "*": "keep"})


def test_lookup_layers_are_kept_as_they_are():
    lcnn = lookupify(functional(), 4)
    with pytest.warns(UserWarning, match="a lookup layer already"):
        again = lookupify(lcnn, 3)
    assert sizes(again) == sizes(lcnn)
    np.testing.assert_array_equal(np.asarray(lcnn(images())), np.asarray(again(images())))


# What carries over.


def test_all_arguments_survive():
    conv = layers.Conv2D(
        filters=8,
        kernel_size=(3, 2),
        strides=(2, 1),
        padding="same",
        activation="elu",
        use_bias=True,
        kernel_initializer="he_uniform",
        bias_initializer=keras.initializers.Constant(0.5),
        kernel_regularizer=keras.regularizers.L2(0.01),
        bias_regularizer="l1",
        activity_regularizer=keras.regularizers.L2(0.02),
        kernel_constraint=keras.constraints.MaxNorm(3),
        bias_constraint="non_neg",
        dtype="mixed_float16",
        trainable=False,
        name="conv",
    )
    dilated = layers.Conv2D(6, 3, dilation_rate=(1, 2), use_bias=False, name="dilated")
    dense = layers.Dense(9, activation="gelu", kernel_regularizer="l1", name="fc")
    model = chain(SHAPE, conv, dilated, dense)
    lcnn = lookupify(model, 4)
    assert sizes(lcnn) == {"conv": 4, "dilated": 4, "fc": 4}
    for layer in (conv, dilated, dense):
        source, copy = layer.get_config(), lcnn.get_layer(layer.name).get_config()
        source.pop("quantization_config", None)
        assert {key: copy[key] for key in source} == source
        assert lcnn.get_layer(layer.name).compute_dtype == layer.compute_dtype
    assert lcnn.get_layer("conv").trainable_weights == []


def test_lookup_arguments_reach_every_lookup_layer():
    arguments = {"threshold_scale": 0.05, "threshold_gradient": "straight_through"}
    for layer in lookup_layers(lookupify(functional(), 4, forward="stages", **arguments)):
        assert layer.threshold_scale == 0.05 and layer.epsilon > 0
        assert layer.threshold_gradient == "straight_through"
        assert layer.forward == "stages"


@pytest.mark.parametrize("kind", KINDS)
def test_the_lcnn_trains_saves_and_loads(kind, tmp_path):
    lcnn = lookupify(kind(), 4)
    before = [np.array(layer.dictionary) for layer in lookup_layers(lcnn)]
    lcnn.compile("sgd", "mse")
    lcnn.fit(images(), np.ones((2, 10)), verbose=0)
    for layer, dictionary in zip(lookup_layers(lcnn), before, strict=True):
        assert np.any(np.asarray(layer.dictionary) != dictionary)
    lcnn.save(tmp_path / "lcnn.keras")
    loaded = keras.models.load_model(tmp_path / "lcnn.keras")
    np.testing.assert_array_equal(np.asarray(lcnn(images())), np.asarray(loaded(images())))


# Exactness and cost.


def folded(model, lcnn):
    """The dense model with W = D.delta(P) of the LCNN as its kernels."""
    dense = keras.models.clone_model(model)
    target = leaves(dense)
    for name, layer in leaves(lcnn).items():
        weights = layer.get_weights()
        if isinstance(layer, (LookupConv2D, LookupDense)):
            kernel = np.asarray(layer.dictionary) @ np.asarray(layer.sparse_coefficients())
            weights = [kernel, np.asarray(layer.bias)] if layer.use_bias else [kernel]
        target[name].set_weights(weights)
    return dense


@pytest.mark.parametrize("forward", ["stages", "folded", "auto"])
def test_an_lcnn_computes_what_its_folded_dense_model_computes(forward):
    model = chain(
        SHAPE,
        *members()[:3],
        layers.Conv2D(9, 1, strides=2, activation="relu"),
        layers.Conv2D(8, 3, dilation_rate=2, padding="same"),
        layers.Flatten(),
        layers.Dense(10),
    )
    lcnn = lookupify(model, 4, forward=forward, threshold_scale=0.5)
    assert profile(lcnn).density < 0.8
    dense = folded(model, lcnn)
    expected = np.asarray(dense(images()))
    error = np.abs(np.asarray(lcnn(images())) - expected).max()
    assert error <= 1e-5 * np.abs(expected).max()


APPLICATIONS = {
    "MobileNetV2": 96,
    "ResNet50": 64,
    "DenseNet121": 64,
    "EfficientNetB0": 64,
    "VGG16": 32,
    "InceptionV3": 96,
    "Xception": 96,
    "ConvNeXtTiny": 64,
}


@pytest.mark.parametrize("name, size", APPLICATIONS.items())
@pytest.mark.filterwarnings("ignore:lookupify kept")
def test_keras_applications_become_lcnns(name, size):
    shape = (size, size, 3)
    model = getattr(keras.applications, name)(weights=None, input_shape=shape, classes=10)
    lcnn = lookupify(model, 16)
    assert lcnn.output_shape == model.output_shape == (None, 10)
    source, copies = leaves(model), leaves(lcnn)
    assert source.keys() == copies.keys()
    converted = 0
    for layer_name, layer in source.items():
        expected = type(layer)
        if expected is layers.Conv2D and layer.groups == 1:
            expected = (
                LookupConv2D if layer.filters * math.prod(layer.kernel_size) > 16 else expected
            )
        elif expected is layers.Dense and layer.units > 16:
            expected = LookupDense
        elif expected is layers.SeparableConv2D:
            expected = LookupSeparableConv2D
        assert type(copies[layer_name]) is expected
        converted += expected in (LookupConv2D, LookupDense, LookupSeparableConv2D)
    assert converted == len(lookup_layers(lcnn)) > 5
    before, after = profile(model), profile(lcnn)
    assert after.dense_multiplications == before.multiplications
    assert after.twin_parameters == before.parameters
    assert np.all(np.isfinite(lcnn(images(shape))))
