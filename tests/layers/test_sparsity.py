"""The threshold, top-s, the lookup conversions and LookupL1."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support import reference
from support.helpers import numpy

from tf_lcnn import LookupConv2D, LookupDense, LookupL1
from tf_lcnn.layers import sparsity

# Few distinct values, so that ties are common.
TIED = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0])
COEFFICIENTS = hnp.arrays(
    np.float32, hnp.array_shapes(min_dims=2, max_dims=4, min_side=1, max_side=5), elements=TIED
)


def gradient(function, x):
    """dsum(function(x))/dx, read off one step of plain SGD, so that every backend can."""

    class Layer(keras.layers.Layer):
        def build(self, _):
            self.w = self.add_weight(shape=x.shape, initializer="zeros")

        def call(self, inputs):
            return inputs * keras.ops.sum(function(self.w))

    layer = Layer()
    model = keras.Sequential([keras.Input((1,)), layer])
    layer.w.assign(x)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, out: keras.ops.sum(out))
    model.train_on_batch(np.ones((1, 1)), np.ones((1, 1)))
    return x - numpy(layer.w)


@pytest.mark.parametrize("kind", sparsity.GRADIENTS)
def test_threshold_is_equation_9(kind):
    x = np.array([-1, -0.5, -0.25, 0, 0.25, 0.5, 1, np.nan], np.float32)
    expected = np.array([-1, -0.5, 0, 0, 0, 0.5, 1, np.nan], np.float32)
    np.testing.assert_array_equal(numpy(sparsity.threshold(x, 0.25, kind)), expected)


def test_the_masked_gradient_is_one_outside_and_zero_inside():
    x = np.array([-1, -0.25, -0.1, 0, 0.1, 0.25, 1], np.float32)
    found = gradient(lambda w: sparsity.threshold(w, 0.25), x)
    np.testing.assert_array_equal(found, [1, 0, 0, 0, 0, 0, 1])


def test_the_straight_through_gradient_is_one():
    x = np.array([-1, -0.1, 0, 0.125, 1], np.float32)
    found = gradient(lambda w: sparsity.threshold(w, 0.25, "straight_through"), x)
    np.testing.assert_array_equal(found, np.ones(5))


def test_without_a_threshold_values_and_gradient_pass_zero_included():
    x = np.array([-1, 0, 1], np.float32)
    np.testing.assert_array_equal(numpy(sparsity.threshold(x, 0)), x)
    np.testing.assert_array_equal(gradient(lambda w: sparsity.threshold(w, 0), x), np.ones(3))


def test_once_zero_stays_zero_under_the_masked_gradient_only():
    def train(kind):
        layer = LookupDense(6, 4, use_bias=False, threshold_scale=0.5, threshold_gradient=kind)
        keras.utils.set_random_seed(1)
        model = keras.Sequential([keras.Input((3,)), layer])
        before = numpy(layer.sparse_coefficients()) == 0
        rng = np.random.default_rng(0)
        model.compile(keras.optimizers.SGD(0.3), "mse")
        x, y = rng.normal(size=(32, 3)), 3 * rng.normal(size=(32, 6))
        model.fit(x, y, epochs=20, verbose=0)
        return before, numpy(layer.sparse_coefficients()) == 0

    before, after = train("masked")
    assert before.any() and np.all(after[before])
    before, after = train("straight_through")
    assert np.any(~after[before])


@pytest.mark.parametrize("epsilon", [-1e-9, float("nan"), float("inf")])
def test_a_negative_or_not_finite_epsilon_is_refused(epsilon):
    with pytest.raises(ValueError, match="epsilon"):
        sparsity.threshold(np.zeros(3), epsilon)


@given(coefficients=COEFFICIENTS, data=st.data())
@settings(max_examples=30 if keras.backend.backend() == "jax" else 100, deadline=None)
def test_top_s_equals_sorting_ties_included(coefficients, data):
    s = data.draw(st.integers(1, coefficients.shape[-2]))
    found = numpy(sparsity.top_s(coefficients, s))
    np.testing.assert_array_equal(found, reference.top_s(coefficients, s))
    assert np.all((found != 0).sum(axis=-2) <= s)


def test_top_s_keeps_nan_so_that_it_is_noticed():
    found = numpy(sparsity.top_s(np.array([[np.nan], [1.0], [2.0]], np.float32), 1))
    assert np.isnan(found[0, 0])


@pytest.mark.parametrize("s", [0, 5, -1, 1.5, True])
def test_top_s_refuses_what_is_no_number_of_lookups(s):
    with pytest.raises(ValueError, match="s"):
        sparsity.top_s(np.zeros((4, 3), np.float32), s)


@given(coefficients=COEFFICIENTS)
@settings(deadline=None)
def test_coefficients_lookups_and_kernel_convert_exactly(coefficients):
    indices, values = sparsity.to_lookups(coefficients)
    k = coefficients.shape[-2]
    np.testing.assert_array_equal(sparsity.from_lookups(indices, values, k), coefficients)
    assert indices.dtype == np.int32 and values.dtype == coefficients.dtype
    assert indices.shape[-1] == (coefficients != 0).sum(axis=-2).max()
    # Powers of two, so that the products and sums of W are exact in float32.
    dictionary = 2.0 ** np.random.default_rng(0).integers(-3, 3, (3, k)).astype(np.float32)
    by_lookups = sum(
        values[..., None, :, t] * np.moveaxis(dictionary[:, indices[..., t]], 0, -2)
        for t in range(indices.shape[-1])
    )
    if indices.shape[-1]:
        kernel = numpy(sparsity.to_kernel(dictionary, coefficients))
        np.testing.assert_array_equal(kernel, by_lookups)


def test_from_lookups_refuses_what_is_no_row():
    with pytest.raises(ValueError, match="Index 4 is not a row"):
        sparsity.from_lookups(np.array([[4]]), np.array([[1.0]]), 4)
    with pytest.raises(ValueError, match="Index -1"):
        sparsity.from_lookups(np.array([[-1]]), np.array([[1.0]]), 4)
    with pytest.raises(ValueError, match="shape"):
        sparsity.from_lookups(np.array([[1]]), np.array([1.0]), 4)


def test_lookups_of_the_same_row_add_up():
    found = sparsity.from_lookups(np.array([[1, 1]]), np.array([[2.0, 3.0]]), 2)
    np.testing.assert_array_equal(found, [[0], [5]])


def test_geometric_schedule_goes_down_once_and_stays():
    schedule = sparsity.geometric_schedule(16, 2, 6)
    values = [schedule(epoch) for epoch in range(9)]
    assert values[0] == 16 and values[6:] == [2, 2, 2]
    assert values == sorted(values, reverse=True)
    with pytest.raises(ValueError, match="goes down"):
        sparsity.geometric_schedule(2, 3, 5)


INITIALIZERS = [
    "glorot_uniform",
    "glorot_normal",
    "he_uniform",
    "he_normal",
    "lecun_normal",
    keras.initializers.VarianceScaling(3.0, "fan_out", "untruncated_normal"),
    keras.initializers.RandomUniform(-0.2, 0.4),
    keras.initializers.RandomNormal(0.1, 0.3),
    keras.initializers.TruncatedNormal(0.0, 0.3),
    keras.initializers.Orthogonal(0.7),
    keras.initializers.Constant(3.0),
    "zeros",
]


@pytest.mark.parametrize("initializer", INITIALIZERS, ids=lambda x: type(x).__name__)
@pytest.mark.parametrize("shape", [(3, 3, 64, 96), (200, 150)])
def test_sigma_is_the_standard_deviation_of_what_is_drawn(initializer, shape):
    keras.utils.set_random_seed(0)
    initializer = keras.initializers.get(initializer)
    drawn = numpy(initializer(shape)).astype(np.float64)
    # A sample's standard deviation is within a few / sqrt(2 N) of the true one.
    sigma = sparsity.initializer_sigma(initializer, shape)
    assert abs(drawn.std() - sigma) <= 4 * sigma / np.sqrt(2 * drawn.size)


def test_sigma_of_a_custom_initializer():
    class Custom(keras.initializers.Initializer):
        def __call__(self, shape, dtype=None):
            return keras.ops.ones(shape, dtype)

    with pytest.raises(ValueError, match=r"Custom is not known.*threshold_scale=0"):
        LookupDense(6, 4, kernel_initializer=Custom()).build((None, 3))
    LookupDense(6, 4, kernel_initializer=Custom(), threshold_scale=0).build((None, 3))
    custom = Custom()
    custom.stddev = 0.25
    layer = LookupDense(6, 4, kernel_initializer=custom, threshold_scale=0.1)
    layer.build((None, 3))
    assert (layer.sigma, layer.epsilon) == (0.25, 0.1 * 0.25)


@pytest.mark.parametrize("build", ["conv", "dense"])
def test_lookup_l1_takes_eps_from_its_layer_and_enters_the_loss(build):
    shared = LookupL1(0.3)
    arguments = {"kernel_regularizer": shared, "threshold_scale": 0.7, "use_bias": False}
    size = (6, 3, 4) if build == "conv" else (6, 4)
    layer = (LookupConv2D if build == "conv" else LookupDense)(*size, **arguments)
    other = LookupDense(9, 4, kernel_regularizer=shared, threshold_scale=0.1)
    layer.build((None, 8, 8, 3))
    other.build((None, 3))
    for each in (layer, other):
        kept = numpy(each.coefficients).astype(np.float64)
        kept = kept[np.abs(kept) > each.epsilon]
        expected = 0.3 * each.epsilon * np.abs(kept).sum()
        np.testing.assert_allclose(float(each.losses[0]), expected, rtol=1e-6)
    assert layer.epsilon != other.epsilon


def test_lookup_l1_leaves_masked_entries_alone():
    layer = LookupDense(6, 4, use_bias=False, kernel_regularizer=LookupL1(1.0), threshold_scale=0.7)
    model = keras.Sequential([keras.Input((3,)), layer])
    before = numpy(layer.coefficients)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, out: 0 * keras.ops.sum(out))
    model.train_on_batch(np.ones((1, 3)), np.ones((1, 6)))
    moved = before - numpy(layer.coefficients)
    outside = np.abs(before) > layer.epsilon
    assert 0 < outside.sum() < outside.size
    expected = np.where(outside, layer.epsilon * np.sign(before), 0)
    np.testing.assert_allclose(moved, expected, rtol=0, atol=1e-7)


def test_lookup_l1_refuses_a_plain_layer_and_bad_strength():
    layer = keras.layers.Dense(3, kernel_regularizer=LookupL1(0.1))
    layer.build((None, 2))
    with pytest.raises(ValueError, match="takes eps from its layer"):
        _ = layer.losses
    with pytest.raises(ValueError, match="strength"):
        LookupL1(-0.1)
