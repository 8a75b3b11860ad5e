"""Copies of models that compute in another precision."""

import keras
import numpy as np
from support.helpers import numpy, random

from tf_lcnn import LookupConv2D
from tf_lcnn.graph.rebuild import in_precision, leaves


def test_a_model_in_another_precision_has_the_same_weights_and_rounds():
    inner = keras.Sequential([keras.Input((6, 6, 8)), LookupConv2D(8, 3, 4)])
    model = keras.Sequential(
        [keras.Input((6, 6, 4)), keras.layers.Conv2D(8, 1), inner, keras.layers.ReLU()]
    )
    changed = in_precision(model, "mixed_bfloat16")
    assert all(layer.compute_dtype == "bfloat16" for layer in leaves(changed))
    for weight, copied in zip(model.weights, changed.weights, strict=True):
        assert copied.dtype == "float32"
        np.testing.assert_array_equal(numpy(copied), numpy(weight))
    x = random((2, 6, 6, 4))
    given, answer = numpy(model(x)), numpy(changed(x)).astype(np.float32)
    # Eight bits of mantissa.
    assert 0 < np.abs(answer - given).max() < 2.0**-5 * np.abs(given).max()
    assert in_precision(changed, "mixed_bfloat16") is changed
    assert in_precision(model, "float32") is model
    np.testing.assert_array_equal(numpy(in_precision(changed, "float32")(x)), given)
