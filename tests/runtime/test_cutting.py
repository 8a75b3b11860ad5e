"""A file cut into its layers: run one after the other they compute what the whole file does."""

import keras
import numpy as np
import pytest
from keras import layers
from support.helpers import chain, random

from tf_lcnn import LookupConv2D
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.runtime import cutting
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.training.callbacks import project

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def file_of(model, lowering, quantize):
    images = random((4, *model.input_shape[1:]))
    choices = choose_lowerings(model, lowering, quantize=quantize)
    return convert(model, choices, quantize, images, "int8" if quantize else "float32")


def net():
    keras.utils.set_random_seed(0)
    model = chain(
        (9, 7, 5),
        LookupConv2D(24, 3, 6, activation="relu", name="first"),
        layers.MaxPooling2D(2, name="pool"),
        layers.Conv2D(8, 2, use_bias=False, name="second"),
        layers.BatchNormalization(name="norm"),
        layers.ReLU(name="relu"),
        layers.GlobalAveragePooling2D(name="mean"),
        layers.Dense(3, name="classes"),
    )
    project(model, 2)
    return model


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("lowering", ["sparse", "folded"])
def test_the_layers_of_a_chain_compute_what_the_file_does(lowering, quantize):
    content = file_of(net(), lowering, quantize)
    cut = cutting.layers(content)
    values = inputs = random((1, 9, 7, 5), seed=1)
    for layer in cut:
        values = Interpreter(content=layer.content).predict(values)
    np.testing.assert_array_equal(values, Interpreter(content=content).predict(inputs))


def test_a_row_is_a_keras_layer():
    cut = cutting.layers(file_of(net(), "sparse", None))
    operators = {layer.name.removesuffix("_1"): layer.operators for layer in cut}
    assert operators["first"] == ("CONV_2D", "DENSIFY", "CONV_2D")
    # Batch normalization and activation are part of the product that they follow.
    assert operators["second"] == ("CONV_2D",)
    assert operators["pool"] == ("MAX_POOL_2D",) and "relu" not in operators


def test_a_second_operand_is_drawn():
    inputs = keras.Input((6, 6, 4))
    one = layers.Conv2D(4, 3, padding="same", name="one")(inputs)
    model = keras.Model(inputs, layers.Add(name="sum")([one, inputs]))
    (add,) = (x for x in cutting.layers(file_of(model, "sparse", None)) if "ADD" in x.operators)
    zeros, noise = (
        Interpreter(content=add.content).predict(x)
        for x in (np.zeros((1, 6, 6, 4), np.float32), random((1, 6, 6, 4)))
    )
    # The drawn operand is no constant zero, and the other one is the input.
    assert len(np.unique(zeros)) > 100
    np.testing.assert_allclose(noise - zeros, random((1, 6, 6, 4)), rtol=0, atol=1e-6)


def test_a_damaged_file_is_named():
    with pytest.raises(ValueError, match=r"net.tflite is no \.tflite"):
        cutting.layers(b"noise" * 9, "net.tflite")
