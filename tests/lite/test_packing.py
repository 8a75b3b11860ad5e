"""Packing: a smaller file of the same results, to the bit."""

import gzip

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from support.helpers import chain, constant_bytes, random

from tf_lcnn import LookupConv2D
from tf_lcnn.lite import converter, export, packing
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.runtime.interpreter import Interpreter, parse
from tf_lcnn.training.callbacks import project

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def lcnn(sizes=(13, 9, 5), s=2):
    """Few rows and many filters, the other way round, a dense layer, and two that are alike."""
    inputs = keras.Input(sizes)
    x = LookupConv2D(40, 3, 6, activation="relu", name="few_rows")(inputs)
    x = LookupConv2D(8, 3, 32, padding="same", activation="relu", name="many_rows")(x)
    alike = [LookupConv2D(8, 3, 32, padding="same", name=f"alike_{i}")(x) for i in range(2)]
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Add()(alike))
    model = keras.Model(inputs, keras.layers.Dense(5, name="logits")(x))
    project(model, s)
    *weights, _ = model.get_layer("alike_0").get_weights()
    model.get_layer("alike_1").set_weights([*weights, random((8,), 1)])
    return model


@pytest.fixture(scope="module")
def model():
    return lcnn()


def converted(model, quantize=None, default_shape=None, pack=True):
    """The file as it is, or as the converter left it."""
    images = random((8, *(default_shape or model.input_shape[1:])))
    choices = choose_lowerings(model, "sparse", quantize=quantize, input_shape=default_shape)
    with pytest.MonkeyPatch.context() as patched:
        if not pack:
            patched.setattr(packing, "packed", lambda content: content)
        return export.convert(model, choices, quantize, images, default_shape=default_shape)


@pytest.mark.parametrize("quantize", [None, *converter.QUANTIZATIONS])
def test_outputs_stay_to_the_bit_and_bytes_go(model, quantize):
    before, after = (converted(model, quantize, pack=pack) for pack in (False, True))
    images = random((8, *model.input_shape[1:]), 4)
    expected, outputs = (Interpreter(content=x).predict(images) for x in (before, after))
    np.testing.assert_array_equal(expected, outputs)
    assert len(after) < 0.92 * len(before)
    assert packing.packed(after) == after


def test_a_file_of_open_size_stays_one():
    model = lcnn((None, None, 5))
    before, after = (converted(model, "int8", (12, 10, 5), pack) for pack in (False, True))
    for size in ((12, 10), (9, 16)):
        images = random((2, *size, 5), 3)
        expected, outputs = (Interpreter(content=x).predict(images) for x in (before, after))
        np.testing.assert_array_equal(expected, outputs)


def sparse_tensors(content):
    return [x for x in parse(content).subgraphs[0].tensors if x.sparsity is not None]


def test_a_sparse_tensor_is_stored_where_it_has_fewer_rows(model):
    by_shape = {tuple(x.shape): x for x in sparse_tensors(converted(model))}
    few, many = by_shape[40, 3, 3, 6], by_shape[8, 3, 3, 32]
    assert list(few.sparsity.traversalOrder) == [1, 2, 3, 0]
    assert list(many.sparsity.traversalOrder) == [0, 1, 2, 3]
    for tensor, rows in ((few, 9 * 6), (many, 9 * 8)):
        level = tensor.sparsity.dimMetadata[-1]
        assert len(level.arraySegments.values) == rows + 1
        assert np.asarray(level.arrayIndices.values).dtype == np.uint8


def test_a_sparse_tensor_that_would_be_smaller_dense_is_dense():
    # Half of the numbers of the first layer are not zero: of a byte each, and an index beside.
    model = lcnn(s=3)
    before, after = (converted(model, "int8", pack=pack) for pack in (False, True))
    counts = [export.operators(x).get("DENSIFY", 0) for x in (before, after)]
    assert counts[1] < counts[0]
    assert constant_bytes(parse(after)) < constant_bytes(parse(before))


def test_weights_of_zeros_alone_are_stored_dense():
    zeros = keras.layers.Conv2D(8, 3, kernel_initializer="zeros", bias_initializer="ones")
    content = converted(chain((8, 8, 8), zeros))
    outputs = Interpreter(content=content).predict(random((1, 8, 8, 8)))
    np.testing.assert_array_equal(outputs, np.ones((1, 6, 6, 8)))


def test_what_is_alike_is_there_once(model):
    parsed = parse(converted(model, "int8"))
    (graph,), data = parsed.subgraphs, [bytes(x.data) for x in parsed.buffers if x.data is not None]
    assert len(set(data)) == len(data) and parsed.buffers[0].data is None
    constants = [packing._contents(x) for x in graph.tensors if x.buffer]
    assert len(set(constants)) == len(constants) >= len(data) - 1
    read = {int(i) for operator in graph.operators for i in operator.inputs}
    assert read - {-1} | {*graph.inputs, *graph.outputs} == set(range(len(graph.tensors)))


def test_layers_keep_their_names_and_constants_have_none(model):
    graph = parse(converted(model)).subgraphs[0]
    made = {graph.tensors[i].name.decode() for x in graph.operators for i in x.outputs}
    assert {"few_rows_1", "many_rows_1", "alike_0_1", "alike_1_1"} <= made
    assert all(x.name == b"" for x in graph.tensors if x.buffer)


def test_data_are_aligned_as_the_schema_asks(model):
    content = converted(model, "int8")
    start = np.frombuffer(content, np.uint8).ctypes.data
    flat, places = schema.Model.GetRootAs(content, 0), []
    for i in range(1, flat.BuffersLength()):
        places.append(flat.Buffers(i).DataAsNumpy().ctypes.data - start)
    assert len(places) > 10 and not any(place % 16 for place in places)


def test_the_signature_still_names_its_tensors(model):
    before, after = (parse(converted(model, pack=pack)) for pack in (False, True))
    for side in ("inputs", "outputs"):
        named = []
        for content in (before, after):
            (signature,) = content.signatureDefs
            (tensor,) = getattr(signature, side)
            assert tensor.tensorIndex == getattr(content.subgraphs[0], side)[0]
            named.append((tensor.name, content.subgraphs[0].tensors[tensor.tensorIndex].name))
        assert named[0] == named[1]


def test_little_is_left_to_compress():
    keras.utils.set_random_seed(0)
    model = chain((8, 8, 256), *(LookupConv2D(256, 3, 64, name=x) for x in "ab"))
    for layer in model.layers[1:]:
        # Of random weights the largest are alike; those of a trained net are not.
        dictionary, coefficients, bias = layer.get_weights()
        places = np.random.default_rng(0).random(coefficients.shape) < 4 / 64
        layer.set_weights([dictionary, random(coefficients.shape) * places, bias])
    content = converted(model, "int8")
    assert len(gzip.compress(content)) > 0.9 * len(content)
