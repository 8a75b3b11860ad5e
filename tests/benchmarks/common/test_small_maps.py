"""benchmarks.common.small_maps: the same gradients, by another way."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.common import small_maps
from tf_lcnn.graph import intercept


def test_gradients_are_those_of_the_convolution():
    rng = np.random.default_rng(0)
    x, kernel = tf.constant(rng.normal(size=(4, 3, 5, 8))), rng.normal(size=(3, 3, 8, 6))
    kernel, weights = tf.constant(kernel), rng.normal(size=(4, 3, 5, 6))

    def gradients(convolution):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            loss = tf.reduce_sum(weights * convolution(x, kernel))
        return tape.gradient(loss, [x, kernel])

    def plain(x, kernel):
        return tf.nn.conv2d(x, kernel, 1, "SAME")

    for found, expected in zip(gradients(small_maps.convolution), gradients(plain), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


def test_a_net_computes_what_it_did():
    inputs = keras.Input((16, 16, 2))
    x = layers.Conv2D(4, 3, padding="same", strides=2, activation="relu")(inputs)
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="small")(x)
    x = layers.Conv2D(4, 3, padding="same", strides=2)(x)
    model = keras.Model(inputs, layers.Conv2D(3, 1)(x))
    images = np.random.default_rng(0).normal(size=(2, 16, 16, 2)).astype(np.float32)
    calls = small_maps.calls(model)
    assert [x.name for x in calls] == ["small"]
    expected = model(images)
    with intercept.calls(calls):
        np.testing.assert_array_equal(model(images), expected)
