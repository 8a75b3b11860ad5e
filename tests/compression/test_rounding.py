"""int8 in the loop: the grids, and that a rounded model computes what LiteRT's int8 file does."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random

from tf_lcnn.compression import rounding
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.layers import levels
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.runtime.interpreter import Interpreter


@pytest.mark.parametrize(("low", "high"), [(0.0, 3.0), (-1.0, 2.0), (-2.0, -1.0), (0.5, 1.0)])
def test_the_grid_has_256_values_and_zero(low, high):
    x = np.linspace(-4, 4, 10_001).astype(np.float32)
    rounded = numpy(rounding.on_grid(x, low, high))
    scale = (max(high, 0) - min(low, 0)) / 255
    assert len(np.unique(np.round(rounded / scale))) <= 256
    assert 0.0 in rounded
    inside = (x > min(low, 0) + scale) & (x < max(high, 0) - scale)
    assert np.abs(rounded - x)[inside].max() <= 0.5 * scale * 1.001


def test_weights_have_a_scale_per_filter_and_keep_their_zeros():
    w = random((3, 3, 8, 5)) * np.array([1, 10, 0.1, 3, 0], np.float32)
    w[0] = 0
    rounded = numpy(levels.on_grid(w)).astype(np.float64)
    scales = np.abs(w).max(axis=(0, 1, 2)) / 127
    steps = rounded / np.where(scales > 0, scales, 1)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert not rounded[0].any() and not rounded[..., 4].any()
    assert (np.abs(rounded - w).max(axis=(0, 1, 2)) <= 0.51 * scales).all()


def test_gradients_pass_as_if_nothing_were_rounded():
    inputs = keras.Input((4,))
    outputs = keras.layers.Lambda(lambda x: rounding.on_grid(x, -1.0, 1.0))(
        keras.layers.Dense(4, use_bias=False, kernel_initializer="identity")(inputs)
    )
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.SGD(1.0), loss=lambda _, y: keras.ops.sum(y, axis=-1))
    # The last value is beyond the range: no gradient.
    model.train_on_batch(np.array([[0.1, 0.2, -0.3, 5.0]], np.float32), np.zeros((1, 4)))
    step = np.eye(4) - numpy(model.layers[1].kernel)
    np.testing.assert_allclose(step[:, 0], [0.1, 0.2, -0.3, 5.0], rtol=1e-5)
    assert not step[:, 3].any()


def lcnn():
    keras.utils.set_random_seed(1)
    model = chain(
        (12, 12, 8),
        keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="a"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="relu"),
        keras.layers.Conv2D(16, 3, padding="same", activation="relu", name="b"),
        keras.layers.Conv2D(8, 3, padding="same", name="c"),
    )
    return lookupify(model, 12, init="trained", lookups=4, images=random((20, 12, 12, 8)))


def test_a_rounded_model_errs_as_the_int8_file_does():
    model, images = lcnn(), random((20, 12, 12, 8), 3)
    # The file rounds its input; on the grid already, it stays.
    images = numpy(rounding.on_grid(images, float(images.min()), float(images.max())))
    expected = numpy(model(images))
    with rounding.rounded(model, images):
        rounded = numpy(model(images))
    choices = equalize(model, choose_lowerings(model, "sparse", quantize="int8"), images)
    content = convert(model, choices, "int8", images)
    outputs = Interpreter(content=content).predict(images)
    of_file, of_loop = (signal_to_noise(expected, x) for x in (outputs, rounded))
    assert abs(of_file - of_loop) < 3
    assert signal_to_noise(outputs, rounded) > of_file


def test_outside_the_context_nothing_is_rounded():
    model, images = lcnn(), random((4, 12, 12, 8), 3)
    expected = numpy(model(images))
    with pytest.raises(KeyError), rounding.rounded(model, images):
        assert not np.allclose(numpy(model(images)), expected, rtol=1e-5)
        raise KeyError
    np.testing.assert_allclose(numpy(model(images)), expected, rtol=1e-4, atol=1e-5)


def test_what_becomes_one_operator_is_rounded_once():
    model, seen = lcnn(), []
    original = rounding._rounded_call

    def counted(low, high, run, *args, **kwargs):
        seen.append((low, high))
        return original(low, high, run, *args, **kwargs)

    rounding._rounded_call = counted
    try:
        with rounding.rounded(model, random((4, 12, 12, 8))):
            model(random((1, 12, 12, 8)))
    finally:
        rounding._rounded_call = original
    # The ReLU behind a and bn, b with its own, and c.
    assert len(seen) == 3 and [low for low, _ in seen[:2]] == [0.0, 0.0] and seen[2][0] < 0
