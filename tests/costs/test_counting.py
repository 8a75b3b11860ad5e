"""profile: multiplications, parameters and bytes against hand counts and the paper's integers."""

import csv
import gc
import json

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain

from tf_lcnn import LookupConv2D, LookupDense, profile
from tf_lcnn.costs.storage import sparse_bytes
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D
from tf_lcnn.models import build


@pytest.fixture
def ones(monkeypatch):
    """Kernels, dictionaries and coefficients start at one: no draw that is zero, and fast."""

    def draw(self, shape, dtype=None, **_):
        return keras.ops.ones(shape, dtype or "float32")

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", draw)


def by_type(model_profile, kind):
    return next(layer for layer in model_profile.layers if layer.type == kind.__name__)


@keras.saving.register_keras_serializable(package="test_profile")
class Scale(keras.layers.Layer):
    """A custom layer of which nothing is known."""

    def build(self, input_shape):
        self.scale = self.add_weight(shape=(input_shape[-1],), initializer="ones")

    def call(self, inputs):
        return inputs * self.scale


class Composite(keras.layers.Layer):
    """Holds a convolution as an attribute; has a weight of its own, or not."""

    def __init__(self, own_weight=False, **kwargs):
        super().__init__(**kwargs)
        self.own_weight = own_weight
        self.inner = layers.Conv2D(4, 3, name="inner")

    def build(self, input_shape):
        self.inner.build(input_shape)
        if self.own_weight:
            self.gain = self.add_weight(shape=(4,), initializer="ones")

    def call(self, inputs):
        outputs = self.inner(inputs)
        return outputs * self.gain if self.own_weight else outputs


# The paper's integers.


@pytest.mark.parametrize("convention", ["padded", "unpadded"])
def test_resnet18_costs_the_golden_multiplications_in_either_convention(ones, convention):
    assert profile(build("resnet18"), convention=convention).multiplications == 1_814_073_344


@pytest.mark.parametrize(
    "name, golden", [("alexnet", 714_188_480), ("alexnet_wide", 1_135_256_096)]
)
def test_dense_alexnets_cost_the_golden_multiplications(ones, name, golden):
    measured = profile(build(name), convention="padded")
    gc.collect()
    assert measured.multiplications == measured.dense_multiplications == golden


@pytest.mark.parametrize(
    "sizes, stages_and_classifier, at_density_1",
    [("fast", 18_840_720, 312_572_624), ((3, 100, 1024), 43_065_744, 754_733_392)],
)
def test_alexnet_lcnn_costs_the_golden_multiplications(
    ones, sizes, stages_and_classifier, at_density_1
):
    measured = profile(build("alexnet_lcnn", dictionary_sizes=sizes), convention="padded")
    # The coefficients of the large one take 600 MB.
    gc.collect()
    assert measured.density == 1
    assert measured.dictionary_multiplications + 4096 * 1000 == stages_and_classifier
    assert measured.multiplications == at_density_1
    assert measured.dense_multiplications == 714_188_480


def test_resnet18_lcnn_costs_the_golden_multiplications_without_lookups():
    model = build("resnet18_lcnn", dictionary_sizes=(3, 100, 100, 100, 100))
    measured = profile(model, convention="padded")
    plain = sum(layer.multiplications for layer in measured.layers if not layer.is_lookup)
    assert measured.dictionary_multiplications + plain == 212_639_684
    assert measured.dense_multiplications == 1_814_073_344


@pytest.mark.parametrize(
    "axes, shapes, wanted",
    [
        ((2, 1), [(10, 3), (3, 4)], 10 * 3 * 4),
        ((-1, -2), [(10, 3), (3, 4)], 10 * 3 * 4),
        (1, [(10, 3), (10, 4)], 10 * 3 * 4),
        (2, [(10, 3), (8, 3)], 10 * 3 * 8),
    ],
)
def test_a_product_of_two_maps_is_counted(axes, shapes, wanted):
    inputs = keras.Input((10, 3))
    x = layers.Flatten()(inputs)
    both = [
        layers.Reshape(shape)(layers.Dense(shape[0] * shape[1], name=f"d{i}")(x))
        for i, shape in enumerate(shapes)
    ]
    measured = profile(keras.Model(inputs, layers.Dot(axes, name="dot")(both)))
    assert by_type(measured, layers.Dot).multiplications == wanted
    assert not measured.unknown


# Where S is computed.


@pytest.mark.parametrize(
    "arguments, unpadded, padded, outputs",
    [
        ({"kernel_size": 3, "padding": "same"}, 9 * 7, 11 * 9, 9 * 7),
        ({"kernel_size": 3, "padding": "same", "strides": 2}, 9 * 7, 11 * 9, 5 * 4),
        ({"kernel_size": (5, 3), "padding": "same"}, 9 * 7, 13 * 9, 9 * 7),
        ({"kernel_size": 3, "padding": "same", "dilation_rate": 2}, 9 * 7, 13 * 11, 9 * 7),
        ({"kernel_size": 3}, 9 * 7, 9 * 7, 7 * 5),
        ({"kernel_size": 3, "dilation_rate": (2, 1)}, 9 * 7, 9 * 7, 5 * 5),
        ({"kernel_size": (1, 3), "padding": "same"}, 9 * 7, 9 * 9, 9 * 7),
        ({"kernel_size": 1}, 9 * 7, 9 * 7, 9 * 7),
        ({"kernel_size": 1, "strides": 2}, 5 * 4, 5 * 4, 5 * 4),
        ({"kernel_size": 1, "strides": 3, "padding": "same"}, 3 * 3, 3 * 3, 3 * 3),
    ],
)
def test_dictionary_stage_is_counted_where_the_convention_says(
    ones, arguments, unpadded, padded, outputs
):
    m, k, n = 4, 3, 6
    model = chain((9, 7, m), LookupConv2D(n, dictionary_size=k, **arguments))
    kh, kw = model.layers[-1].kernel_size
    for convention, positions in (("unpadded", unpadded), ("padded", padded)):
        (layer,) = profile(model, convention=convention).layers
        assert layer.dictionary_multiplications == positions * m * k
        assert layer.lookup_multiplications == outputs * kh * kw * k * n
        assert layer.dense_multiplications == outputs * kh * kw * m * n


def test_unpadded_is_the_default_and_the_convention_is_named():
    model = chain((8, 8, 3), LookupConv2D(4, 3, 2, padding="same"))
    assert profile(model) == profile(model, convention="unpadded")
    assert profile(model).convention == "unpadded"
    assert "unpadded" in str(profile(model))
    with pytest.raises(ValueError, match="unpadded, padded"):
        profile(model, convention="same")


@pytest.mark.parametrize("nested", [False, True])
def test_zero_padding_before_a_valid_convolution_is_padding(nested):
    members = layers.ZeroPadding2D(((1, 2), (0, 3))), LookupConv2D(4, 3, 2)
    model = chain((8, 9, 3), *members)
    if nested:
        model = chain((8, 9, 3), model)
    assert profile(model).dictionary_multiplications == 8 * 9 * 3 * 2
    padded = profile(model, convention="padded")
    assert padded.dictionary_multiplications == (8 + 3) * (9 + 3) * 3 * 2


def test_two_zero_paddings_in_a_row_are_padding_both():
    pads = layers.ZeroPadding2D(1), layers.ZeroPadding2D(1)
    model = chain((8, 8, 3), *pads, LookupConv2D(4, 5, 2))
    assert profile(model).dictionary_multiplications == 8 * 8 * 3 * 2


def test_zero_padding_before_pooling_is_not_the_convolutions():
    pad_and_pool = layers.ZeroPadding2D(1), layers.MaxPooling2D(2)
    model = chain((8, 8, 3), *pad_and_pool, LookupConv2D(4, 3, 2))
    assert profile(model).dictionary_multiplications == 5 * 5 * 3 * 2


@pytest.mark.parametrize("shape, positions", [((5,), 1), ((7, 5), 7), ((2, 3, 5), 6)])
def test_lookup_dense_counts_every_position_of_its_input(ones, shape, positions):
    (layer,) = profile(chain(shape, LookupDense(8, 3))).layers
    assert layer.dictionary_multiplications == positions * 5 * 3
    assert layer.lookup_multiplications == positions * 3 * 8
    assert layer.dense_multiplications == positions * 5 * 8


# channels_first.


@pytest.fixture
def channels_first():
    try:
        layers.Conv2D(5, 3, data_format="channels_first")(np.zeros((1, 3, 8, 10), "float32"))
    except Exception as error:
        pytest.skip(f"the backend does not run channels_first here: {type(error).__name__}")
    return {"data_format": "channels_first"}


def test_channels_first_counts_as_channels_last(ones, channels_first):
    dense = profile(chain((3, 8, 10), layers.Conv2D(5, 3, **channels_first)))
    assert dense.multiplications == 6 * 8 * 5 * 27
    lookup = LookupConv2D(5, 3, 4, padding="same", **channels_first)
    model = chain((3, 8, 10), layers.ZeroPadding2D(1, **channels_first), lookup)
    (layer,) = profile(model).layers
    assert layer.dictionary_multiplications == 8 * 10 * 3 * 4
    assert layer.lookup_multiplications == 10 * 12 * 9 * 4 * 5
    (layer,) = profile(model, convention="padded").layers
    assert layer.dictionary_multiplications == 12 * 14 * 3 * 4


def test_channels_first_bytes_count_a_bias_per_filter(channels_first):
    conv = layers.Conv2D(5, 3, use_bias=False, **channels_first)
    assert profile(chain((3, 8, 10), conv)).bytes == 4 * (5 * 27 + 5)


# Lookups.


def sparse_pattern(layer, seed):
    """Fills P with 0 to k lookups a position, none in filter 0, and entries that delta zeroes."""
    rng = np.random.default_rng(seed)
    *taps, k, n = layer.coefficients.shape
    s = rng.integers(0, k + 1, (*taps, 1, n))
    s[..., 0] = 0
    order = rng.random((*taps, k, n)).argsort(axis=-2)
    values = rng.choice([-1.0, 1.0], (*taps, k, n)) * rng.uniform(2, 3, (*taps, k, n))
    inside = rng.choice([0.0, 0.5, -1.0], (*taps, k, n)) * np.float32(layer.epsilon)
    pattern = np.where(order < s, values, inside).astype("float32")
    layer.coefficients.assign(pattern)
    return order < s


def test_lookups_density_and_s_equal_plain_numpy_on_a_sparse_pattern():
    conv = LookupConv2D(5, (2, 3), 4, threshold_scale=0.1, bias_initializer="ones")
    dense = LookupDense(7, 3, threshold_scale=0.1, use_bias=False)
    model = chain((6, 6, 2), conv, layers.GlobalAveragePooling2D(), dense)
    assert conv.epsilon > 0 and dense.epsilon > 0
    patterns = sparse_pattern(conv, 0), sparse_pattern(dense, 1)
    measured = profile(model)
    outputs, rows = (5 * 4, 1), (2 * 4, 5 * 3)
    for layer, found, out, d in zip(measured.layers, patterns, outputs, rows, strict=True):
        s = found.sum(axis=-2)
        assert s.min() == 0 and len(np.unique(s)) > 2
        assert layer.lookups == found.sum()
        assert layer.lookup_multiplications == out * found.sum()
        assert layer.density == pytest.approx(found.mean())
        assert layer.mean_s == pytest.approx(s.mean())
        assert layer.max_s == s.max()
        biases = 5 if layer.type == "LookupConv2D" else 0
        assert layer.nonzeros == d + found.sum() + biases
    every_s = np.concatenate([found.sum(axis=-2).ravel() for found in patterns])
    every_entry = np.concatenate([found.ravel() for found in patterns])
    assert measured.mean_s == pytest.approx(every_s.mean())
    assert measured.max_s == every_s.max()
    assert measured.density == pytest.approx(every_entry.mean())


def test_a_lookup_layer_without_lookups_still_pays_its_dictionary_stage():
    layer = LookupConv2D(4, 3, 2)
    model = chain((8, 8, 3), layer)
    layer.coefficients.assign(np.zeros(layer.coefficients.shape))
    measured = profile(model)
    assert measured.multiplications == 64 * 3 * 2
    assert (measured.density, measured.mean_s, measured.max_s) == (0, 0, 0)


def test_a_model_without_lookups_is_its_own_twin():
    measured = profile(chain((8, 8, 3), layers.Conv2D(4, 3), layers.Flatten(), layers.Dense(2)))
    assert measured.speedup == measured.density == 1
    assert measured.mean_s == measured.max_s == 0
    assert measured.bytes == measured.twin_bytes
    assert measured.parameters == measured.twin_parameters


def test_a_lookup_layer_without_a_dictionary_counts_as_the_plain_layer():
    plain = profile(chain((8, 8, 3), layers.Conv2D(4, 3), layers.Dense(2)))
    none = profile(chain((8, 8, 3), LookupConv2D(4, 3), LookupDense(2)))
    for field in ("multiplications", "dense_multiplications", "parameters", "bytes"):
        assert getattr(none, field) == getattr(plain, field)
    assert not any(layer.is_lookup for layer in none.layers)


def test_totals_are_sums_of_the_layers_and_speedup_their_ratio():
    model = build("resnet20_lcnn")
    measured = profile(model)
    for field in (
        *("multiplications", "dense_multiplications", "dictionary_multiplications"),
        *("lookup_multiplications", "parameters", "twin_parameters", "nonzeros", "bytes"),
        "twin_bytes",
    ):
        assert getattr(measured, field) == sum(getattr(layer, field) for layer in measured.layers)
    assert measured.speedup == measured.dense_multiplications / measured.multiplications
    for layer in measured.layers:
        if layer.is_lookup:
            parts = layer.dictionary_multiplications + layer.lookup_multiplications
            assert layer.multiplications == parts
            assert layer.speedup == layer.dense_multiplications / parts
    assert measured.twin_parameters == build("resnet20").count_params()


# Every kind of model.


def functional(members):
    return chain((8, 8, 3), *members)


def sequential(members):
    return keras.Sequential([keras.Input((8, 8, 3)), *members])


def functional_in_functional(members):
    return chain((8, 8, 3), members[0], chain((6, 6, 4), *members[1:3]), *members[3:])


def sequential_in_functional(members):
    return chain((8, 8, 3), keras.Sequential(members[:3]), *members[3:])


def functional_in_sequential(members):
    return keras.Sequential([keras.Input((8, 8, 3)), chain((8, 8, 3), *members[:2]), *members[2:]])


def unbuilt_sequential(members):
    return keras.Sequential(members)


def subclassed(members):
    class Net(keras.Model):
        def __init__(self):
            super().__init__()
            self.head, self.rest = members[0], {"rest": members[1:]}

        def call(self, inputs):
            outputs = self.head(inputs)
            for member in self.rest["rest"]:
                outputs = member(outputs)
            return outputs

    return Net()


@pytest.mark.parametrize(
    "kind",
    [
        *(functional, sequential, functional_in_functional, sequential_in_functional),
        *(functional_in_sequential, unbuilt_sequential, subclassed),
    ],
)
def test_every_kind_of_model_counts_alike(ones, kind):
    conv, lookup = layers.Conv2D(4, 3), LookupConv2D(6, 3, 5)
    model = kind([conv, layers.ReLU(), lookup, layers.GlobalMaxPooling2D(), layers.Dense(2)])
    opened = kind in (subclassed, unbuilt_sequential)
    measured = profile(model, (8, 8, 3) if opened else None)
    assert measured.multiplications == (
        36 * 4 * 27 + (36 * 4 * 5 + 16 * 9 * 5 * 6) + 6 * 2  # each layer's own
    )
    assert measured.dense_multiplications == 36 * 4 * 27 + 16 * 9 * 4 * 6 + 6 * 2
    assert measured.parameters == model.count_params() == 112 + (20 + 270 + 6) + 14
    assert measured.unknown == []
    assert [layer.type for layer in measured.layers] == ["Conv2D", "LookupConv2D", "Dense"]


def test_a_layer_called_twice_multiplies_twice_and_is_stored_once(ones):
    conv, lookup = layers.Conv2D(3, 3, padding="same"), LookupConv2D(3, 3, 2, padding="same")
    pool = layers.MaxPooling2D(2)
    model = chain((8, 8, 3), conv, lookup, pool, conv, lookup)
    plain, sparse = profile(model).layers
    assert plain.multiplications == (64 + 16) * 3 * 27
    assert sparse.dictionary_multiplications == (64 + 16) * 3 * 2
    assert sparse.lookup_multiplications == (64 + 16) * 9 * 2 * 3
    assert plain.parameters + sparse.parameters == model.count_params()
    alone = profile(chain((8, 8, 3), conv, lookup))
    assert profile(model).bytes == alone.bytes


def test_a_model_called_twice_multiplies_twice():
    inner = keras.Sequential([keras.Input((8,)), layers.Dense(8)])
    measured = profile(chain((8,), inner, inner))
    assert (measured.multiplications, measured.parameters) == (2 * 64, 72)


@pytest.mark.parametrize("own_weight", [False, True])
def test_layers_inside_a_composite_layer_are_counted_once(own_weight):
    model = chain((8, 8, 3), Composite(own_weight, name="composite"))
    measured = profile(model)
    assert by_type(measured, layers.Conv2D).multiplications == 36 * 4 * 27
    assert measured.multiplications == 36 * 4 * 27
    assert measured.parameters == model.count_params()
    assert measured.unknown == (["composite"] if own_weight else [])


@pytest.mark.parametrize("as_dict", [False, True])
@pytest.mark.filterwarnings("error::UserWarning")
def test_models_with_several_inputs_are_counted(as_dict):
    a, b = keras.Input((4,), name="a"), keras.Input((6, 6, 2), name="b", dtype="float32")
    both = [layers.Dense(3)(a), layers.Flatten()(layers.Conv2D(2, 3)(b))]
    outputs = layers.Concatenate()(both)
    model = keras.Model({"a": a, "b": b} if as_dict else [a, b], outputs)
    assert profile(model).multiplications == 4 * 3 + 16 * 2 * 18


def test_integer_inputs_are_run_as_integers():
    tokens = keras.Input((6,), dtype="int32")
    outputs = layers.Dense(5)(layers.Embedding(10, 4, name="embedding")(tokens))
    measured = profile(keras.Model(tokens, outputs))
    assert measured.multiplications == 6 * 4 * 5
    assert measured.unknown == ["embedding"]


# What is not known.


def test_unknown_layers_are_named_and_left_out():
    known = layers.Conv2D(4, 3)
    model = chain((8, 8, 3), known, Scale(name="mine"), layers.Dense(2))
    measured = profile(model)
    assert measured.unknown == ["mine"]
    assert measured.multiplications == 36 * 4 * 27 + 36 * 4 * 2
    assert measured.parameters == model.count_params()
    row = next(line for line in str(measured).splitlines() if line.startswith("mine"))
    assert row.split().count("unknown") == 2
    assert str(measured).splitlines()[-1] == "Left out of the totals, unknown: mine."


def test_a_subclass_of_a_known_layer_is_unknown():
    class Doubled(layers.Conv2D):
        def call(self, inputs):
            return super().call(super().call(inputs))

    assert profile(chain((8, 8, 3), Doubled(3, 3, name="doubled"))).unknown == ["doubled"]


@pytest.mark.parametrize("nested", [0, 1, 2])
def test_unknown_operations_are_named_at_any_depth(nested):
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.ops.exp(inputs))
    for _ in range(nested):
        model = chain((8,), model)
    measured = profile(model)
    assert measured.unknown and "exp" in measured.unknown[0]


def test_free_operations_are_not_unknown():
    inputs = keras.Input((8,))
    outputs = keras.ops.relu(layers.Dense(8)(inputs) + inputs)
    assert profile(keras.Model(inputs, outputs)).unknown == []


def test_a_kernel_used_past_its_layer_is_not_lost():
    class Bypass(Composite):
        def call(self, inputs):
            return keras.ops.conv(inputs, self.inner.kernel)

    model = chain((8, 8, 3), Bypass())
    measured = profile(model)
    assert measured.unknown
    assert measured.parameters == model.count_params()


def test_a_quantized_layer_is_not_lost():
    model = chain((8,), layers.Dense(4, name="fc"))
    model.quantize("int8")
    measured = profile(model)
    assert "fc" in [layer.name for layer in measured.layers]


# Shapes left open, and the model afterwards.


def test_operations_at_an_open_size_are_counted_at_the_given_shape():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, inputs * layers.ReLU()(inputs))
    assert profile(model, (8, 6, 3)).multiplications == 8 * 6 * 3


def test_the_first_profile_of_an_unbuilt_model_equals_the_second():
    model = keras.Sequential([Composite(), layers.Flatten(), layers.Dense(2)])
    first = profile(model, (8, 8, 3))
    assert first.multiplications == 36 * 4 * 27 + 36 * 4 * 2
    assert profile(model, (8, 8, 3)) == first


def test_layers_made_in_build_are_counted_at_the_first_profile():
    class Late(keras.Model):
        def build(self, input_shape):
            self.fc = layers.Dense(4)
            self.fc.build(input_shape)

        def call(self, inputs):
            return self.fc(inputs)

    assert profile(Late(), (5,)).multiplications == 5 * 4


@pytest.mark.parametrize("kind", ["open", "subclassed"])
def test_an_open_input_asks_for_a_shape_in_one_line(kind):
    conv = layers.Conv2D(4, 3)
    model = chain((None, None, 3), conv) if kind == "open" else subclassed([conv])
    with pytest.raises(ValueError, match="input_shape") as error:
        profile(model)
    assert "\n" not in str(error.value) and model.name in str(error.value)
    assert profile(model, (8, 8, 3)).multiplications == 36 * 4 * 27
    assert profile(model, input_shape=(5, 6, 3)).multiplications == 12 * 4 * 27


def overridden_calls(model):
    return [layer.name for layer in sublayers(model) if "call" in vars(layer)]


def test_profiling_changes_nothing_in_the_model():
    inner = chain((6, 6, 4), layers.BatchNormalization(), layers.Dropout(0.5), Scale())
    model = chain((8, 8, 3), LookupConv2D(4, 3, 2), inner, Composite(), layers.Dense(2))
    images = np.random.default_rng(0).normal(size=(2, 8, 8, 3)).astype("float32")
    weights, outputs = model.get_weights(), np.asarray(model(images))
    first = profile(model)
    assert profile(model) == first
    for before, after in zip(weights, model.get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(outputs, np.asarray(model(images)))
    assert overridden_calls(model) == []
    model.compile("sgd", "mse")
    model.fit(images, np.zeros((2, 4, 4, 2)), verbose=0)


def test_profiling_restores_the_model_after_an_exception():
    class Fragile(keras.layers.Layer):
        broken = False

        def call(self, inputs):
            if self.broken:
                raise RuntimeError("broken on purpose")
            return inputs

    fragile = Fragile()
    model = chain((8,), layers.Dense(4), fragile, layers.Dense(2))
    fragile.broken = True
    with pytest.raises(RuntimeError, match="broken on purpose"):
        profile(model)
    assert overridden_calls(model) == []
    fragile.broken = False
    assert model(np.zeros((1, 8), "float32")).shape == (1, 2)
    assert profile(model).multiplications == 8 * 4 + 4 * 2


# Plain layers.


@pytest.mark.parametrize(
    "layer, shape, multiplications",
    [
        (lambda: layers.Conv1D(4, 3), (10, 5), 8 * 4 * 15),
        (lambda: layers.Conv1D(4, 3, padding="causal"), (10, 5), 10 * 4 * 15),
        (lambda: layers.Conv2D(4, (3, 2), 2, padding="same"), (9, 8, 3), 5 * 4 * 4 * 18),
        (lambda: layers.Conv2D(4, 3, dilation_rate=2), (8, 8, 3), 4 * 4 * 4 * 27),
        (lambda: layers.Conv2D(6, 3, groups=3), (8, 8, 9), 36 * 6 * 27),
        (lambda: layers.Conv3D(2, 2), (4, 5, 6, 3), 3 * 4 * 5 * 2 * 24),
        (lambda: layers.DepthwiseConv1D(3), (10, 5), 8 * 5 * 3),
        (lambda: layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 5), 36 * 10 * 9),
        (lambda: layers.SeparableConv1D(7, 3), (10, 5), 8 * (5 * 3 + 5 * 7)),
        (
            lambda: layers.SeparableConv2D(7, 3, 2, padding="same", depth_multiplier=2),
            (8, 8, 5),
            16 * (10 * 9 + 10 * 7),
        ),
        (lambda: layers.Conv1DTranspose(4, 3, strides=2), (10, 5), 10 * 4 * 15),
        (lambda: layers.Conv2DTranspose(4, 3, 2, padding="same"), (5, 6, 3), 30 * 4 * 27),
        (lambda: layers.Conv3DTranspose(2, 2), (4, 5, 6, 3), 120 * 2 * 24),
        (lambda: layers.Dense(7), (5,), 35),
        (lambda: layers.Dense(7), (4, 6, 5), 24 * 35),
    ],
)
def test_plain_layers_cost_what_the_hand_counts(layer, shape, multiplications):
    model = chain(shape, layer())
    measured = profile(model)
    assert measured.multiplications == measured.dense_multiplications == multiplications
    assert measured.parameters == model.count_params()


def test_multiply_costs_one_per_element_and_the_free_layers_nothing():
    inputs = keras.Input((8, 8, 3))
    outputs = layers.BatchNormalization()(layers.MaxPooling2D(2)(layers.ReLU()(inputs)))
    outputs = layers.Multiply()([outputs, layers.Dropout(0.5)(outputs)])
    outputs = outputs * layers.ReLU()(outputs)
    measured = profile(keras.Model(inputs, layers.Softmax()(layers.Flatten()(outputs))))
    assert measured.multiplications == 2 * (4 * 4 * 3)
    assert measured.unknown == []


@pytest.mark.parametrize(
    "make",
    [
        *(lambda: build("resnet18"), lambda: build("resnet20_lcnn")),
        lambda: keras.applications.MobileNetV2((64, 64, 3), weights=None),
        lambda: keras.applications.EfficientNetB0(weights=None, input_shape=(64, 64, 3)),
    ],
)
def test_parameters_equal_count_params(ones, make):
    model = make()
    assert profile(model).parameters == model.count_params()


# Bytes.


@pytest.mark.parametrize(
    "shape, nonzeros, expected",
    [
        # Indices up to 255 take one byte, beyond it two.
        ((256, 4), 10, 10 * (4 + 1) + 5 * 1),
        ((257, 4), 10, 10 * (4 + 2) + 5 * 1),
        ((65_536, 4), 10, 10 * (4 + 2) + 5 * 1),
        ((65_537, 4), 10, 10 * (4 + 4) + 5 * 1),
        # Row ends up to 255 take one byte, up to 65535 two, beyond it four.
        ((256, 4), 255, 255 * 5 + 5 * 1),
        ((256, 4), 256, 256 * 5 + 5 * 2),
        # Rows along n, where those are fewer than along k.
        ((3, 3, 200, 64), 65_535, 65_535 * 5 + 577 * 2),
        ((3, 3, 64, 200), 65_535, 65_535 * 5 + 577 * 2),
        ((3, 3, 64, 200), 65_536, 65_536 * 5 + 577 * 4),
        ((2, 2, 8, 4), 0, 17),
        # Dense where sparse is no smaller.
        ((4, 2), 8, 4 * 8),
        ((3, 3, 5, 6), 270, 4 * 270),
    ],
)
def test_sparse_bytes_equal_the_hand_count(shape, nonzeros, expected):
    assert sparse_bytes(shape, nonzeros) == expected


@pytest.mark.parametrize("use_bias", [True, False])
def test_a_lookup_layer_stores_dictionary_biases_and_sparse_coefficients(use_bias):
    layer = LookupConv2D(16, 3, 8, use_bias=use_bias, threshold_scale=0)
    model = chain((8, 8, 3), layer)
    coefficients = np.zeros((3, 3, 8, 16), "float32")
    coefficients[0, 1, :5] = coefficients[2, 2, 7, 3:9] = 2.0
    layer.coefficients.assign(coefficients)
    sparse = (80 + 6) * (4 + 1) + (9 * 8 + 1) * 1
    # LiteRT's convolutions have a bias always.
    assert profile(model).bytes == 4 * (3 * 8 + 16) + sparse
    assert profile(model).twin_bytes == 4 * (27 * 16 + 16)


@pytest.mark.parametrize("convolution", [layers.Conv2D, LookupConv2D])
def test_batch_normalization_folded_into_a_convolution_has_no_bytes(convolution):
    conv = convolution(8, 3, use_bias=False)
    alone = profile(chain((8, 8, 3), conv)).bytes
    assert alone == 4 * (27 * 8 + 8)
    measured = profile(chain((8, 8, 3), conv, layers.BatchNormalization(), layers.ReLU()))
    assert measured.bytes == alone
    assert by_type(measured, layers.BatchNormalization).bytes == 0


def test_batch_normalization_that_cannot_be_folded_stores_scale_and_offset():
    first = chain((8, 8, 3), layers.BatchNormalization())
    assert profile(first).bytes == 4 * 2 * 3
    behind_relu = chain((8, 8, 3), layers.Conv2D(4, 3, activation="relu"))
    conv_bytes = profile(behind_relu).bytes
    model = chain((8, 8, 3), behind_relu, layers.BatchNormalization())
    assert profile(model).bytes == conv_bytes + 4 * 2 * 4


@pytest.mark.parametrize("convolution", [layers.Conv2D, LookupConv2D])
def test_batch_normalization_of_a_convolution_with_two_readers_is_not_folded(convolution):
    image = keras.Input((8, 8, 3))
    y = convolution(8, 3, use_bias=False)(image)
    alone = profile(keras.Model(image, y)).bytes
    model = keras.Model(image, layers.Add()([layers.BatchNormalization()(y), y]))
    assert profile(model).bytes == alone + 4 * 2 * 8


# Files.


def mixed_profile():
    members = LookupConv2D(4, 3, 2, name="lookup"), Scale(name="mine"), layers.Dense(2, name="fc")
    return profile(chain((8, 8, 3), *members))


def test_the_json_file_holds_the_profile(tmp_path):
    measured = mixed_profile()
    path = tmp_path / "profile.json"
    path.write_text("old")
    measured.write_json(path)
    data = json.loads(path.read_text())
    assert [entry.name for entry in tmp_path.iterdir()] == ["profile.json"]
    rows = data.pop("layers")
    for field, value in data.items():
        assert value == getattr(measured, field), field
    assert {"name", "convention", "multiplications", "bytes", "unknown"} <= data.keys()
    assert [row["name"] for row in rows] == ["lookup", "mine", "fc"]
    for row, layer in zip(rows, measured.layers, strict=True):
        for field, value in row.items():
            expected = getattr(layer, field)
            assert value == (list(expected) if isinstance(expected, tuple) else expected), field
    assert rows[1]["multiplications"] is None


def test_the_csv_file_holds_a_row_per_layer(tmp_path):
    measured = mixed_profile()
    measured.write_csv(str(tmp_path / "profile.csv"))
    assert [entry.name for entry in tmp_path.iterdir()] == ["profile.csv"]
    with open(tmp_path / "profile.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["name"] for row in rows] == ["lookup", "mine", "fc"]
    for row, layer in zip(rows, measured.layers, strict=True):
        for field, value in row.items():
            of_numbers = field.startswith("bytes_")
            expected = layer.sizes[field[6:]] if of_numbers else getattr(layer, field)
            assert value == ("" if expected is None else str(expected)), field


def test_a_table_is_counted_in_reads():
    """3x3 positions, 18 products of each of 5 filters; the plain layers as ever."""
    model = chain(
        (5, 5, 2),
        DeepLookupConv2D(5, 3, 16, 8, table="low_rank", table_rank=2, name="read"),
        DeepLookupConv2D(4, 1, name="plain"),
    )
    counted = profile(model)
    read, plain = counted.layers
    assert (read.table_reads, read.multiplications, read.dense_multiplications) == (810, 0, 810)
    assert read.speedup is None
    assert (read.twin_parameters, read.parameters) == (95, 95 + 2 + 2 * 15 + 2 * 7 + 2)
    assert (read.bytes, read.twin_bytes) == (4 * (2 * (16 + 90) + 5), 4 * 95)
    assert (plain.table_reads, plain.multiplications) == (0, 180)
    assert counted.as_dict()["table_reads"] == 810
    assert "Beside them 810 table reads, and an addition for each." in str(counted)
    assert not counted.unknown


def test_a_notebook_shows_the_same_cells_as_the_text():
    model = chain((8, 8, 1), keras.layers.Conv2D(4, 3, name="a<b"), keras.layers.Flatten())
    found = profile(model)
    shown = found._repr_html_()
    assert "<td>a&lt;b</td>" in shown and f"<td>{found.multiplications:,}</td>" in shown
    assert shown.count("<tr>") == len(str(found).splitlines()) - 5
    assert "multiplications (unpadded count)" in shown
