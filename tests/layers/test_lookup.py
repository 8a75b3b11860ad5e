"""What is not in the contract: gradients, forward paths, what is refused, odd convolutions."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import reference
from support.helpers import numpy, random

from tf_lcnn import LookupConv2D, LookupDense
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.family import lookup_layers

HALF_ULP = 2.0**-24


def sparse(shape, density, seed):
    rng = np.random.default_rng(seed)
    return random(shape, seed) * (rng.random(shape) < density)


def assert_rounding_only(found, reference_of, x, dictionary, values, terms):
    """`found` differs from the reference by what `terms` float32 roundings can add up to."""
    expected = reference_of(x, dictionary, values)
    magnitude = reference_of(np.abs(x), np.abs(dictionary), np.abs(values))
    assert found.shape == expected.shape
    assert np.all(np.abs(found - expected) <= 2 * HALF_ULP * (terms + 2) * magnitude + 1e-30)


@st.composite
def convolutions(draw):
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stretched = draw(st.sampled_from(["strides", "dilation_rate"]))
    pair = draw(st.tuples(st.integers(1, 3), st.integers(1, 3)))
    n = draw(st.integers(2, 5))
    return {
        "arguments": {
            "filters": n,
            "kernel_size": kernel,
            "dictionary_size": draw(st.integers(1, min(6, n * kernel[0] * kernel[1] - 1))),
            "padding": draw(st.sampled_from(["same", "valid"])),
            stretched: pair,
        },
        # Large enough for the widest kernel at the widest dilation.
        "shape": (draw(st.integers(1, 2)), *draw(st.tuples(*[st.integers(10, 13)] * 2))),
        "channels": draw(st.integers(1, 5)),
        "density": draw(st.sampled_from([0.0, 0.3, 1.0])),
        "seed": draw(st.integers(0, 1000)),
    }


@pytest.mark.parametrize("forward", ["stages", "folded"])
@given(case=convolutions())
@settings(max_examples=15 if keras.backend.backend() == "jax" else 40, deadline=None)
def test_convolution_equals_the_reference(forward, case):
    layer = LookupConv2D(**case["arguments"], forward=forward, threshold_scale=0)
    x = random((*case["shape"], case["channels"]), case["seed"])
    layer.build(x.shape)
    coefficients = sparse(layer.coefficients.shape, case["density"], case["seed"] + 1)
    layer.coefficients.assign(coefficients)
    indices, values = reference.lookups(coefficients)

    def expected(x, dictionary, values):
        where = (layer.strides, layer.padding, layer.dilation_rate)
        return reference.lookup_conv(x, dictionary, indices, values, *where)

    terms = case["channels"] + layer.dictionary_size + indices.size / indices.shape[2]
    found = numpy(layer(x))
    assert_rounding_only(found, expected, x, numpy(layer.dictionary), values, terms)


def test_entries_inside_the_threshold_do_not_count():
    layer = LookupConv2D(4, 3, 5, threshold_scale=1.0, kernel_initializer="he_normal")
    x = random((1, 6, 6, 3))
    before = numpy(layer(x))
    inside = np.abs(numpy(layer.coefficients)) <= layer.epsilon
    assert 0 < inside.sum() < inside.size
    layer.coefficients.assign(np.where(inside, 0, numpy(layer.coefficients)))
    np.testing.assert_array_equal(numpy(layer(x)), before)


@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("size", [(7, 8), (8, 9)])
def test_strided_1x1_computes_the_dictionary_stage_only_where_it_is_read(padding, size):
    arguments = {"strides": (2, 3), "padding": padding, "threshold_scale": 0}
    staged = LookupConv2D(6, 1, 4, forward="stages", **arguments)
    x = random((2, *size, 5))
    folded = LookupConv2D(6, 1, 4, forward="folded", **arguments)
    staged.build(x.shape)
    folded.build(x.shape)
    folded.set_weights(staged.get_weights())
    np.testing.assert_allclose(numpy(staged(x)), numpy(folded(x)), atol=1e-5, rtol=0)
    assert staged.stage_positions(x.shape)[0] == np.prod(staged.compute_output_shape(x.shape)[1:3])


def test_auto_takes_the_path_with_fewer_multiplications():
    small, large = LookupConv2D(64, 3, 16), LookupConv2D(64, 3, 128)
    for layer in (small, large):
        layer.build((None, 14, 14, 64))
    # 16 rows: 64*16 + 16*9*64 < 64*9*64 per pixel; 128 rows cost more than the dense layer.
    assert small.forward_path((None, 14, 14, 64)) == "stages"
    assert large.forward_path((None, 14, 14, 64)) == "folded"
    # A strided layer computes S at every pixel, for a quarter of the outputs.
    strided = LookupConv2D(64, 3, 48, strides=2, padding="same")
    strided.build((None, None, None, 64))
    for shape in [(128, 64, 64, 64), (None, None, None, 64)]:
        stages = 4 * 64 * 48 + 9 * 48 * 64
        folded = 9 * 64 * 64
        assert (strided.forward_path(shape) == "stages") == (stages <= folded)


def test_the_product_of_the_folded_path_counts_once_per_batch():
    layer = LookupDense(1024, 64)
    layer.build((None, 256))
    # Two stages: 256*64 + 64*1024 a row; folded: 256*1024 a row and 256*64*1024 a batch.
    assert layer.forward_path((1, 256)) == "stages"
    wide = LookupDense(1024, 250)
    wide.build((None, 256))
    assert wide.forward_path((1, 256)) == "stages"
    assert wide.forward_path((2000, 256)) == "folded"


def analytic_gradients(layer, x, weight):
    """dL/dD and dL/dP of L = sum(weight * layer(x)), read off one step of plain SGD."""
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.compile(keras.optimizers.SGD(1.0), loss=lambda y, out: keras.ops.sum(y * out) / len(x))
    before = [numpy(w) for w in layer.trainable_weights]
    model.train_on_batch(x, weight * len(x))
    return [b - numpy(w) for b, w in zip(before, layer.trainable_weights, strict=True)]


@pytest.mark.parametrize("forward", ["stages", "folded"])
@pytest.mark.parametrize("gradient", ["masked", "straight_through"])
def test_gradients_equal_finite_differences_outside_the_threshold(forward, gradient):
    layer = LookupConv2D(
        3,
        2,
        4,
        use_bias=False,
        forward=forward,
        threshold_scale=0.8,
        threshold_gradient=gradient,
        padding="same",
        strides=2,
    )
    x = random((2, 5, 5, 3))
    layer.build(x.shape)
    dictionary, coefficients = numpy(layer.dictionary), numpy(layer.coefficients)
    kept = np.where(np.abs(coefficients) > layer.epsilon, coefficients, 0)
    weight = random((2, 3, 3, 3), 5)
    every = np.broadcast_to(np.arange(4), (2, 2, 3, 4))

    def loss(dictionary, coefficients):
        values = np.moveaxis(coefficients, -2, -1)
        y = reference.lookup_conv(x, dictionary, every, values, (2, 2), "same", (1, 1))
        return (weight * y).sum()

    def difference(f, at):
        result = np.zeros(at.shape)
        for place in np.ndindex(at.shape):
            step = np.zeros(at.shape)
            # L is linear in D and in P, so a whole step has no truncation error.
            step[place] = 1.0
            result[place] = (f(at + step) - f(at - step)) / 2
        return result

    by_dictionary, by_coefficients = analytic_gradients(layer, x, weight)
    expected = difference(lambda d: loss(d, kept.astype(np.float64)), dictionary.astype(np.float64))
    np.testing.assert_allclose(by_dictionary, expected, rtol=0, atol=2e-5)
    expected = difference(lambda p: loss(dictionary, p), kept.astype(np.float64))
    inside = kept == 0
    assert 0 < inside.sum() < inside.size
    if gradient == "masked":
        assert np.all(by_coefficients[inside] == 0)
    else:
        np.testing.assert_allclose(by_coefficients[inside], expected[inside], rtol=0, atol=2e-5)
    np.testing.assert_allclose(by_coefficients[~inside], expected[~inside], rtol=0, atol=2e-5)


def test_kernel_and_lookups_are_exact_views_of_the_weights():
    layer = LookupConv2D(6, 3, 8, threshold_scale=1.0)
    layer.build((None, 8, 8, 4))
    kept = numpy(layer.sparse_coefficients())
    indices, values = layer.lookups()
    expected = np.zeros((3, 3, 4, 6))
    dictionary = numpy(layer.dictionary).astype(np.float64)
    for place in np.ndindex(3, 3, 6):
        for row, value in zip(indices[place], values[place], strict=True):
            expected[place[0], place[1], :, place[2]] += np.float64(value) * dictionary[:, row]
    np.testing.assert_allclose(numpy(layer.kernel), expected, rtol=0, atol=1e-6)
    assert (values != 0).sum() == (kept != 0).sum()


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv = LookupConv2D(6, 3, 4, threshold_scale=1.0, padding="same")
        self.dense = LookupDense(5, 4, threshold_scale=1.0)

    def call(self, x):
        return self.dense(keras.ops.mean(self.conv(x), axis=(1, 2)))


@pytest.mark.parametrize("jit_compile", [False, True])
def test_a_subclassed_model_trains(jit_compile):
    keras.utils.set_random_seed(0)
    model = Subclassed()
    model.compile("adam", "mse", jit_compile=jit_compile)
    x, y = random((16, 8, 8, 3)), random((16, 5), 1)
    losses = model.fit(x, y, epochs=8, batch_size=8, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    assert len(lookup_layers(model)) == 2


def test_a_subclassed_model_saves_and_loads_its_weights(tmp_path):
    model, other, x = Subclassed(), Subclassed(), random((4, 8, 8, 3))
    expected = numpy(model(x))
    other(x)
    model.save_weights(tmp_path / "only.weights.h5")
    other.load_weights(tmp_path / "only.weights.h5")
    np.testing.assert_array_equal(numpy(other(x)), expected)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"dictionary_size": 54}, "smaller than its 54 weight vectors"),
        ({"dictionary_size": 0}, "from 1 to 53"),
        ({"dictionary_size": 2.5}, "whole number"),
        ({"dictionary_size": True}, "whole number"),
        ({"dictionary_size": 27, "groups": 2}, "smaller than its 27 weight vectors per group"),
        ({"dictionary_size": "4"}, "whole number"),
        ({"dictionary_size": 4, "threshold_scale": "small"}, "threshold_scale"),
        ({"dictionary": np.zeros((3, 4))}, "not the dictionary of a lookup layer"),
        ({"dictionary_size": 4, "threshold_scale": -1}, "threshold_scale"),
        ({"dictionary_size": 4, "threshold_scale": float("nan")}, "threshold_scale"),
        ({"dictionary_size": 4, "threshold_gradient": "soft"}, "masked or straight_through"),
        ({"dictionary_size": 4, "forward": "fold"}, "auto, stages, folded"),
        ({"dictionary_size": 4, "lora_rank": 2}, "LoRA"),
    ],
)
def test_bad_arguments_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        LookupConv2D(6, 3, **arguments)
    assert "\n" not in str(error.value)


def test_a_dictionary_size_may_be_of_numpy():
    layer = LookupConv2D(6, 3, np.int64(4))
    assert layer.dictionary_size == 4 and type(layer.dictionary_size) is int


def test_channels_that_groups_cannot_share_out_are_refused():
    layer = LookupConv2D(6, 3, 4, groups=2, name="grouped")
    with pytest.raises(ValueError, match=r"grouped: 5 input channels.*groups=2"):
        layer.build((None, 8, 8, 5))


def test_dense_refuses_a_dictionary_as_large_as_its_units():
    with pytest.raises(ValueError, match="smaller than its 6 weight vectors"):
        LookupDense(6, 6)


def test_methods_that_need_a_kernel_are_refused():
    layer = LookupDense(6, 4)
    layer.build((None, 3))
    with pytest.raises(ValueError, match="LoRA"):
        layer.enable_lora(2)
    with pytest.raises(ValueError, match="quantize"):
        layer.quantize("int8")


def test_constraints_and_regularizers_reach_dictionary_and_coefficients():
    layer = LookupDense(
        6,
        4,
        dictionary_constraint=keras.constraints.UnitNorm(axis=0),
        kernel_constraint=keras.constraints.NonNeg(),
        dictionary_regularizer=keras.regularizers.L2(0.5),
        kernel_regularizer=keras.regularizers.L2(0.25),
    )
    model = keras.Sequential([keras.Input((3,)), layer])
    d, p = numpy(layer.dictionary), numpy(layer.coefficients)
    expected = 0.5 * (d**2).sum() + 0.25 * (p**2).sum()
    np.testing.assert_allclose(sum(float(x) for x in model.losses), expected, rtol=1e-6)
    model.compile(keras.optimizers.SGD(0.1), "mse")
    model.train_on_batch(random((8, 3)), random((8, 6), 1))
    np.testing.assert_allclose(np.linalg.norm(numpy(layer.dictionary), axis=0), 1, atol=1e-6)
    assert numpy(layer.coefficients).min() >= 0


def test_sublayers_are_found_at_any_depth_and_once():
    class Block(keras.layers.Layer):
        def __init__(self):
            super().__init__()
            self.convs = [LookupConv2D(6, 3, 4), LookupConv2D(6, 3, 4)]

        def call(self, x):
            return self.convs[1](self.convs[0](x))

    block = Block()
    inner = keras.Sequential([keras.Input((8, 8, 6)), block])
    model = keras.Sequential([keras.Input((8, 8, 6)), inner])
    assert lookup_layers(model) == block.convs
    assert len(sublayers(model)) == len({id(layer) for layer in sublayers(model)})
