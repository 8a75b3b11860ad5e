"""int4, ternary and binary: files that compute what the rounded model computes, in as few bits."""

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.helpers import chain, numpy, random

from tf_lcnn import LookupConv2D, profile
from tf_lcnn.compression import rounding
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.layers import levels
from tf_lcnn.lite import converter, export, narrow
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import Interpreter, parse
from tf_lcnn.training import callbacks

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


@pytest.fixture(scope="module")
def normalized():
    """Batch normalization, strides, groups, and a layer that is called twice."""
    keras.utils.set_random_seed(0)
    again = LookupConv2D(16, 3, 8, padding="same", activation="relu")
    model = chain(
        (12, 12, 8),
        *(keras.layers.Conv2D(16, 3, padding="same"), again, again),
        LookupConv2D(24, 3, 8, padding="same", groups=2, use_bias=False),
        *(keras.layers.BatchNormalization(), keras.layers.ReLU()),
        keras.layers.Conv2D(32, 1, use_bias=False),
        *(keras.layers.BatchNormalization(), keras.layers.ReLU()),
        *(LookupConv2D(24, 1, 8, strides=2) for _ in range(2)),
        *(keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(6)),
    )
    callbacks.project(model, 3)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.gamma.assign(rng.normal(size=layer.gamma.shape))
            layer.moving_variance.assign(rng.uniform(0.2, 3, layer.gamma.shape))
    return model


@pytest.mark.parametrize("quantize", ["int4", "int4_per_tensor", "binary_per_tensor"])
def test_a_file_has_the_scales_that_its_format_says(normalized, images, quantize):
    weights = normalized.get_weights()
    rounding.keep(normalized, images.shape[1:], quantize)
    content = converted(normalized, quantize, images)
    outputs = Interpreter(content=content).predict(images)
    assert signal_to_noise(numpy(normalized(images)), outputs) > 30
    normalized.set_weights(weights)
    model = parse(content)
    graph, found = model.subgraphs[0], []
    for operator in graph.operators:
        tensors = [graph.tensors[i] for i in operator.inputs if i >= 0]
        constants = [x for x in tensors if model.buffers[x.buffer].data is not None]
        scaled = [x.quantization for x in constants if x.quantization.scale is not None]
        found += [(len(x.scale), len(x.zeroPoint)) for x in scaled]
    # Those of the first layer and its biases stand first.
    assert found[:2] == [(16, 16)] * 2
    if quantize == "int4":
        assert min(found) == (6, 6)
    else:
        assert len(found) > 10 and set(found[2:]) == {(1, 1)}


def test_one_scale_takes_what_the_profile_says_off(lcnn, images):
    sizes = {x: len(converted(lcnn, x, images)) for x in ("int4", "int4_per_tensor")}
    said = {x: profile(lcnn).file_size(x) for x in sizes}
    less, said = (x["int4"] - x["int4_per_tensor"] for x in (sizes, said))
    assert less > 1000 and abs(less - said) < 0.05 * less


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
    with pytest.raises(
        ValueError, match="binary, int4_per_tensor, ternary_per_tensor, binary_per_t"
    ):
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
