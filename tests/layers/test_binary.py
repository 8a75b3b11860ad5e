"""Binary activations: their values and gradients, where they are put, in a file, and misused."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random

from tf_lcnn import LookupConv2D, LookupDense, profile
from tf_lcnn.layers.binary import BinaryActivation, binary_activations


def lcnn():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((10, 9, 3))
    x = LookupConv2D(6, 3, 4, padding="same", activation="relu", name="first")(inputs)
    shared = LookupConv2D(6, 3, 5, padding="same", activation="relu", name="shared")
    x = keras.layers.Add()([x, shared(shared(x))])
    x = keras.layers.Conv2D(8, 3, strides=2, activation="relu", name="dense")(x)
    x = LookupConv2D(8, 1, 4, activation="relu", name="inner")(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    return keras.Model(inputs, LookupDense(7, 3, name="last")(x))


def test_inputs_become_zero_or_one_and_gradients_pass_between():
    # Gradients by either backend, through a layer that is trained in front of it.
    x = np.array([[-1, -0.01, 0.01, 0.5, 0.51, 0.99, 1.01, 7]], np.float32)
    model = chain((8,), Scales(), BinaryActivation())
    np.testing.assert_array_equal(numpy(model(x)), [[0, 0, 0, 0, 1, 1, 1, 1]])
    model.compile(keras.optimizers.SGD(1.0), lambda y, p: keras.ops.sum(p * y, axis=-1))
    upstream = np.arange(1, 9, dtype=np.float32)[None]
    model.train_on_batch(x, upstream)
    passed = np.array([0, 0, 1, 1, 1, 1, 0, 0])
    np.testing.assert_allclose(numpy(model.layers[1].scales), (1 - upstream * passed * x)[0])


class Scales(keras.layers.Layer):
    """A factor for each input."""

    def build(self, input_shape):
        self.scales = self.add_weight(shape=input_shape[1:], initializer="ones")

    def call(self, inputs):
        return inputs * self.scales


def test_inner_lookup_layers_are_called_on_zeros_and_ones():
    model = lcnn()
    binary = binary_activations(model)
    added = [x for x in binary.layers if isinstance(x, BinaryActivation)]
    assert [x.name for x in added] == ["shared_binary", "inner_binary"]
    images = random((4, 10, 9, 3))

    def step(x):
        return (numpy(x) > 0.5).astype(np.float32)

    of = {layer.name: layer for layer in model.layers}
    x = of["first"](images)
    x = x + of["shared"](step(of["shared"](step(x))))
    x = of["inner"](step(of["dense"](x)))
    expected = numpy(of["last"](keras.ops.mean(x, axis=(1, 2))))
    np.testing.assert_allclose(numpy(binary(images)), expected, rtol=1e-5, atol=1e-6)
    assert profile(binary).multiplications == profile(model).multiplications


def test_a_sequential_model_is_taken_and_saved(tmp_path):
    layers = [LookupConv2D(6, 3, 4, name=name) for name in "abc"]
    model = keras.Sequential([keras.Input((9, 9, 2)), *layers])
    binary = binary_activations(model)
    binary.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = random((2, 9, 9, 2))
    assert [x.name for x in loaded.layers if isinstance(x, BinaryActivation)] == ["b_binary"]
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(binary(x)))


@pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
@pytest.mark.parametrize(("quantize", "decibels"), [(None, 110), ("int8", 15)])
def test_a_file_compares(quantize, decibels):
    from tf_lcnn.lite import export
    from tf_lcnn.lite.choice import choose_lowerings
    from tf_lcnn.lite.proof import signal_to_noise
    from tf_lcnn.runtime.interpreter import Interpreter

    model, images = binary_activations(lcnn()), random((16, 10, 9, 3), 1)
    content = export.convert(model, choose_lowerings(model, "sparse"), quantize, images)
    assert export.operators(content)["GREATER"] == 3
    outputs = Interpreter(content=content).predict(images)
    assert signal_to_noise(numpy(model(images)), outputs) > decibels


def test_a_model_that_has_no_inner_lookups_is_refused():
    dense = chain((6, 6, 3), *(keras.layers.Conv2D(4, 3, name=x) for x in "ab"))
    with pytest.raises(ValueError, match="no lookup layer between its first and its last"):
        binary_activations(dense)
    inner = keras.Sequential([keras.Input((9, 9, 2)), LookupConv2D(2, 3, 4, name="b")])
    nested = chain((9, 9, 2), LookupConv2D(2, 1, 1), inner, keras.layers.Conv2D(2, 3))
    with pytest.raises(ValueError, match="a Sequential model with b in it"):
        binary_activations(nested)
    with pytest.raises(ValueError, match="A Keras model is needed"):
        binary_activations("model.keras")
