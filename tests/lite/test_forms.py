"""The layers of every family, lowered in each way that they have, compute what Keras computes."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random, settle

from tf_lcnn import (
    LookupConv1D,
    LookupConv2D,
    LookupConv2DTranspose,
    LookupConv3D,
    LookupDense,
    LookupSeparableConv1D,
    LookupSeparableConv2D,
    lookupify,
    profile,
)
from tf_lcnn.layers.sparsity import top_s
from tf_lcnn.lite import lowerings
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import export
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import Interpreter

ALL, TWO = ("sparse", "gather", "folded"), ("sparse", "folded")
LAYERS = {
    "Conv1D": (LookupConv1D(12, 3, 5, padding="same"), (9, 4), TWO),
    "Conv1D causal": (LookupConv1D(12, 3, 5, padding="causal", dilation_rate=2), (9, 4), TWO),
    "Conv1D strided, groups": (LookupConv1D(12, 3, 5, strides=2, groups=2), (9, 4), TWO),
    "Conv2D": (LookupConv2D(12, 3, 5, strides=2, padding="same"), (7, 8, 4), ALL),
    "groups": (LookupConv2D(12, 3, 5, groups=2, padding="same"), (7, 8, 4), TWO),
    "groups 1x1": (LookupConv2D(12, 1, 3, groups=3, strides=2), (7, 8, 6), TWO),
    "Conv3D": (LookupConv3D(12, 2, 5, padding="same"), (4, 5, 6, 3), TWO),
    "Dense": (LookupDense(12, 5), (7, 4), ALL),
    "separable": (LookupSeparableConv2D(12, 3, 5, strides=2, depth_multiplier=2), (9, 8, 4), ALL),
    "separable 1D": (LookupSeparableConv1D(12, 3, 5, padding="same"), (9, 4), TWO),
    "separable 1D strided": (LookupSeparableConv1D(12, 3, 5, strides=2), (9, 4), TWO),
    "transposed": (LookupConv2DTranspose(12, 3, 5, strides=2, padding="same"), (5, 4, 6), TWO),
    "transposed valid": (LookupConv2DTranspose(6, (3, 2), 5), (5, 4, 6), TWO),
}


def model_of(name):
    """The layer between a bias that is not zero and a batch normalization that folds."""
    layer, shape, ways = LAYERS[name]
    keras.utils.set_random_seed(0)
    layer = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    model = chain(
        shape,
        layer,
        keras.layers.BatchNormalization(axis=-1),
        keras.layers.ReLU(),
        keras.layers.Flatten(),
        keras.layers.Dense(3),
    )
    settle(model, 2)
    layer.coefficients.assign(top_s(layer.coefficients, 2))
    return model, layer, random((6, *shape), 5), ways


@pytest.mark.parametrize("name", LAYERS)
def test_every_lowering_is_proved_and_folds_the_normalization(name, tmp_path):
    model, _, examples, ways = model_of(name)
    (choice,) = choose_lowerings(model)
    assert tuple(choice.seconds) == tuple(choice.bytes) == ways
    assert choice.folded is not None
    for lowering in ways:
        report = export(model, tmp_path / "file.tflite", examples, lowering=lowering)
        assert report.proof.relative_difference < 2e-6
        # Folded; planes that are gathered are scaled one by one.
        assert lowering == "gather" or "MUL" not in report.operators
        found = Interpreter(tmp_path / "file.tflite").predict(examples)
        np.testing.assert_allclose(found, numpy(model(examples)), rtol=0, atol=1e-5)
    if len(ways) == 2:
        with pytest.raises(ValueError, match="has no lowering 'gather': auto, sparse, folded"):
            export(model, tmp_path / "file.tflite", examples, lowering="gather")


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "Conv3D"])
def test_int8_keeps_most_of_the_signal(name, tmp_path):
    model, _, examples, _ = model_of(name)
    how = {"quantize": "int8", "calibration": examples, "lowering": "sparse"}
    report = export(model, tmp_path / "file.tflite", examples, **how)
    assert report.proof.decibels > 25


def test_a_layer_that_has_no_int8_is_named(tmp_path):
    model, layer, examples, _ = model_of("Conv3D")
    with pytest.raises(ValueError, match=f"{layer.name} .LookupConv3D.: LiteRT has its .* float32"):
        export(model, tmp_path / "x.tflite", examples, quantize="int8", calibration=examples)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not native.available(), reason="no native library")
@pytest.mark.parametrize("name", ["groups", "transposed", "separable", "Conv1D"])
def test_the_delegate_leaves_alone_or_computes_what_stock_does(name, tmp_path):
    model, _, examples, _ = model_of(name)
    export(model, tmp_path / "file.tflite", examples, lowering="sparse", delegate=True)
    outputs = [
        Interpreter(tmp_path / "file.tflite", delegate=delegate).predict(examples)
        for delegate in (False, {"force": 1})
    ]
    np.testing.assert_allclose(*outputs, rtol=0, atol=2e-6)


def test_a_family_without_a_form_is_named():
    with pytest.raises(ValueError, match=r"Layer plain .DepthwiseConv2D. has no lowering"):
        lowerings.form_of(keras.layers.DepthwiseConv2D(3, name="plain"))


def test_a_net_of_every_family_goes_from_keras_to_a_file(tmp_path):
    keras.utils.set_random_seed(1)
    net = chain(
        (12, 12, 8),
        keras.layers.Conv2D(16, 3, groups=2, padding="same", name="groups"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.SeparableConv2D(24, 3, padding="same", name="separable"),
        keras.layers.Conv2DTranspose(12, 2, strides=2, name="transposed"),
        keras.layers.ReLU(),
        keras.layers.Reshape((24, 24 * 12)),
        keras.layers.Conv1D(10, 3, name="axis"),
        keras.layers.GlobalAveragePooling1D(),
        keras.layers.Dense(10, name="dense"),
    )
    settle(net, 2)
    images = random((20, 12, 12, 8), 2)
    lcnn = lookupify(net, 4, init="trained", lookups=2, images=images)
    counts = profile(lcnn)
    assert [layer.name for layer in counts.layers if layer.is_lookup] == [
        *("groups", "separable", "transposed", "axis", "dense")
    ]
    assert counts.multiplications < counts.dense_multiplications and not counts.unheld
    report = export(lcnn, tmp_path / "net.tflite", images)
    # Of outputs that five layers and two means leave small.
    assert report.proof.relative_difference < 5e-6 and len(report.choices) == 5
