"""int4, ternary and binary: files that compute what the rounded model computes, in as few bits."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.helpers import chain, numpy, random

from tf_lcnn import profile
from tf_lcnn.compression import rounding
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.layers import levels
from tf_lcnn.lite import converter, export, narrow
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import Interpreter, parse

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
TYPES = schema.TensorType


def parent():
    keras.utils.set_random_seed(1)
    return chain(
        (12, 12, 8),
        keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="a"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="relu"),
        keras.layers.Conv2D(32, 3, padding="same", activation="relu", name="b"),
        keras.layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="c"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(6, name="d"),
    )


@pytest.fixture(scope="module")
def images():
    # The file rounds its input; on the grid already, it stays.
    images = random((20, 12, 12, 8), 3)
    return numpy(rounding.on_grid(images, float(images.min()), float(images.max())))


@pytest.fixture(scope="module")
def lcnn(images):
    dense = parent()
    return lookupify(
        dense, rules={"d": "keep"}, dictionary_size=16, init="trained", lookups=3, images=images
    )


def converted(model, quantize, images):
    choices = choose_lowerings(model, "sparse", quantize=quantize)
    return export.convert(model, choices, quantize, images)


@pytest.mark.parametrize("quantize", levels.NARROW)
def test_the_file_computes_what_the_loop_computes(lcnn, images, quantize):
    weights = lcnn.get_weights()
    expected = numpy(lcnn(images))
    with rounding.rounded(lcnn, images, quantize):
        loop = numpy(lcnn(images))
    outputs = Interpreter(content=converted(lcnn, quantize, images)).predict(images)
    of_file, of_loop = (signal_to_noise(expected, x) for x in (outputs, loop))
    assert abs(of_file - of_loop) < 1
    assert signal_to_noise(loop, outputs) > of_file + 10
    lcnn.set_weights(weights)


def weights_of(content):
    """(operator's name, type of its weights) of each product."""
    model = parse(content)
    graph = model.subgraphs[0]
    found = []
    for operator in graph.operators:
        name = model.operatorCodes[operator.opcodeIndex].builtinCode
        if name in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED):
            found.append((name, graph.tensors[operator.inputs[1]].type))
    return found


@pytest.mark.parametrize(
    ("quantize", "of_d"), [("int4", TYPES.INT4), ("ternary", TYPES.INT2), ("binary", TYPES.INT2)]
)
def test_dictionaries_are_stored_in_few_bits(lcnn, images, quantize, of_d):
    conv, full = schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.FULLY_CONNECTED
    found = weights_of(converted(lcnn, quantize, images))
    # The first layer keeps int8; P of the others is sparse in int8 or dense in 4 bits.
    assert found[:2] == [(conv, TYPES.INT8)] * 2
    assert found[2] == found[4] == (full, of_d)
    assert {found[3][1], found[5][1]} <= {TYPES.INT8, TYPES.INT4}
    assert found[6] == (full, TYPES.INT4)


def test_int4_and_int8_of_the_same_levels_give_the_same(lcnn, images, monkeypatch):
    packed = converted(lcnn, "int4", images)
    monkeypatch.setattr(narrow, "narrowed", lambda content: content)
    in_bytes = converted(lcnn, "int4", images)
    a, b = (Interpreter(content=x).predict(images) for x in (packed, in_bytes))
    # But for biases, which are rounded to steps 18 times as large.
    assert signal_to_noise(b, a) > 30
    # Two dictionaries and a dense layer, in half a byte each.
    assert len(in_bytes) - len(packed) > 0.4 * (16 * 16 + 16 * 32 + 64 * 6)


@pytest.mark.skipif(not native.available(), reason="the delegate was not built")
@pytest.mark.parametrize("quantize", ["int8", "int4"])
def test_the_delegate_says_how_many_layers_it_does_not_look_at(lcnn, images, quantize):
    content = converted(lcnn, quantize, images)
    left = sum(kind == TYPES.INT4 for _, kind in weights_of(content))
    assert left == {"int8": 0}.get(quantize, left) and (left > 2 or quantize == "int8")
    lines = Interpreter(content=content, delegate=True).claims.splitlines()
    said = f"left {left} with weights of less than int8; the kernels are for int8 and float32"
    assert (said in lines) == (quantize == "int4")
    assert "less than int8" not in Interpreter(content=content).claims


@pytest.mark.parametrize("bits", [2, 4])
def test_bits_are_packed_from_the_lowest_on(bits):
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    whole = np.random.default_rng(0).integers(low, high + 1, 37).astype(np.int8)
    stored = narrow.packed_bits(whole, bits)
    assert len(stored) == -(-37 * bits // 8)
    number = int.from_bytes(stored.tobytes(), "little")
    read = [(number >> bits * i) & ((1 << bits) - 1) for i in range(37)]
    assert [x - (x > high) * (1 << bits) for x in read] == whole.tolist()


@pytest.mark.parametrize("numbers", [None, *converter.QUANTIZATIONS])
def test_the_profile_says_the_bytes_of_the_file(lcnn, images, numbers):
    if numbers == "dynamic":
        pytest.skip("stored dense, see converter.to_tflite")
    content = converted(lcnn, numbers, images)
    said = profile(lcnn).file_size(numbers or "float32")
    assert abs(len(content) - said) < 0.05 * len(content)


@pytest.mark.parametrize("quantize", ["ternary", "binary"])
def test_training_with_few_levels_gains_what_rounding_loses(lcnn, images, quantize):
    dense, weights = parent(), lcnn.get_weights()
    expected = numpy(dense(images))
    before = Interpreter(content=converted(lcnn, quantize, images)).predict(images)
    plan = Schedule(block_steps=0, output_steps=0, rounded_steps=60)
    (phase,) = reconstruct(dense, lcnn, images, plan, quantize=quantize)
    after = Interpreter(content=converted(lcnn, quantize, images)).predict(images)
    # The model has the weights of the file, and all but int8 activations is the same.
    assert signal_to_noise(numpy(lcnn(images)), after) > 20
    kept = lcnn.get_weights()
    rounding.keep(lcnn, images.shape[1:], quantize)
    for once, twice in zip(kept, lcnn.get_weights(), strict=True):
        np.testing.assert_allclose(twice, once, rtol=1e-5, atol=1e-7)
    lcnn.set_weights(weights)
    assert phase.name == quantize
    assert signal_to_noise(expected, after) > signal_to_noise(expected, before) + 2


def test_bad_input_is_refused_in_one_line(lcnn, images, tmp_path):
    with pytest.raises(ValueError, match="float16, dynamic, int8, int4, ternary, binary, or None"):
        converter.check_quantization("int2")
    with pytest.raises(ValueError, match="few levels, which lowering='folded' does not keep"):
        choose_lowerings(lcnn, "folded", quantize="int4")
    with pytest.raises(
        ValueError, match="No phase rounds to quantize='int2': int8, int4, ternary, b"
    ):
        reconstruct(parent(), lcnn, images, quantize="int2")
    with pytest.raises(ValueError, match="Unknown numbers 'int3': float32, float16, int8"):
        profile(lcnn, numbers="int3")
    with pytest.raises(ValueError, match="calibration"):
        export.export(lcnn, tmp_path / "x.tflite", images, quantize="int4")
