"""Trained in bfloat16: dictionary and P stay float32, the threshold reads them so, and the
accuracy is that of float32.
"""

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from support.helpers import numpy

from tf_lcnn import LookupConv2D, LookupDense
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.layers.sparsity import LookupL1
from tf_lcnn.training.callbacks import TopS

# Of the 359 images that are tested with, by how much two equally good nets may differ: three
# standard deviations of the difference at 92 %.
NOISE = 0.06


def trained(policy, epochs=10):
    """(an LCNN after some epochs on digits, its accuracy on images that it has not seen)."""
    keras.utils.set_random_seed(0)
    stored = load_digits()
    images, labels = stored.images[..., None].astype(np.float32) / 8 - 1, stored.target
    model = keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            keras.layers.Conv2D(8, 3, dtype=policy),
            LookupConv2D(
                *(16, 3, 8),
                kernel_regularizer=LookupL1(0.01),
                threshold_scale=0.01,
                threshold_gradient="straight_through",
                dtype=policy,
            ),
            keras.layers.BatchNormalization(dtype=policy),
            keras.layers.ReLU(dtype=policy),
            keras.layers.Flatten(dtype=policy),
            LookupDense(10, 8, dtype=policy),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(0.003), loss, metrics=["accuracy"])
    model.fit(
        *(images[:1438], labels[:1438]),
        batch_size=64,
        epochs=epochs,
        callbacks=[TopS(3)],
        verbose=0,
    )
    return model, model.evaluate(images[1438:], labels[1438:], verbose=0)[1]


def test_bfloat16_is_as_good_as_float32_and_its_weights_are_float32():
    (_, expected), (model, accuracy) = trained("float32"), trained("mixed_bfloat16")
    assert expected > 0.85
    assert accuracy == pytest.approx(expected, abs=NOISE)
    for layer in lookup_layers(model):
        assert layer.compute_dtype == "bfloat16"
        for variable in (layer.dictionary, layer.coefficients):
            assert keras.backend.standardize_dtype(variable.dtype) == "float32"
            value = numpy(variable)
            rounded = numpy(keras.ops.cast(keras.ops.cast(value, "bfloat16"), "float32"))
            # Updates that are too small for bfloat16 are not lost.
            assert (value != rounded).sum() > 0.9 * (value != 0).sum()
        assert (numpy(layer.sparse_coefficients()) != 0).sum(axis=-2).max() <= 3


@pytest.mark.parametrize("forward", ["stages", "folded"])
def test_the_threshold_decides_on_what_bfloat16_cannot_tell_apart(forward):
    layer = LookupConv2D(
        *(4, 1, 2), threshold_scale=1.0, forward=forward, use_bias=False, dtype="mixed_bfloat16"
    )
    layer.build((None, 1, 1, 3))
    layer.dictionary.assign(np.ones((3, 2)))
    near = layer.epsilon * (1 + np.array([2.0**-12, -(2.0**-12), 2.0**-12, -(2.0**-12)]))
    coefficients = np.zeros((1, 1, 2, 4), np.float32)
    coefficients[..., 0, :] = near * [1, 1, -1, -1]
    layer.coefficients.assign(coefficients)
    assert len(np.unique(numpy(keras.ops.cast(np.abs(near), "bfloat16")).astype(np.float32))) == 1
    outputs = numpy(layer(np.ones((1, 1, 1, 3), np.float32))).astype(np.float32).ravel()
    np.testing.assert_array_equal(outputs != 0, [True, False, True, False])
