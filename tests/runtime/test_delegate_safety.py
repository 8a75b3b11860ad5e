"""The native delegate where things go wrong: it computes what LiteRT does, or leaves it alone."""

import subprocess
import sys
import threading

import flatbuffers
import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from support.helpers import random

from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import parse

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the native delegate was not built"),
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
    ),
]

NO_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
FORCE = {"force": 1}


def lookups(shape, count, seed):
    """Coefficients with `count` lookups at each position of each filter."""
    order = np.random.default_rng(seed).random(shape).argsort(axis=2).argsort(axis=2)
    return random(shape, seed) * (order < count)


D1, P1 = random((1, 1, 6, 8)), lookups((3, 3, 8, 20), 2, 2)
D2, P2 = random((1, 1, 20, 12), 3), lookups((3, 3, 12, 9), 2, 4)


def two_layers(x):
    x = tf.nn.conv2d(x, D1, 1, "SAME") + random(8, 5)
    x = tf.nn.relu6(tf.nn.conv2d(x, P1, 2, "SAME") + random(20, 6))
    x = tf.nn.conv2d(x, D2, 1, "SAME") + random(12, 7)
    return tf.nn.conv2d(x, P2, 1, "VALID")


def file_of(function=two_layers, shape=(7, 9, 6), quantize=None, batch=1):
    io = "float32" if quantize is None else "int8"
    return to_tflite(function, (batch, *shape), (), quantize, random((8, *shape), 5), io)


def packed(model):
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def load(content, options=None, resolver=litert.OpResolverType.AUTO, delegates=None):
    if delegates is None:
        delegates = [] if options is None else [native.load_delegate(**options)]
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_delegates=delegates,
        experimental_op_resolver_type=resolver,
    )
    claims = native.report()
    interpreter.allocate_tensors()
    return interpreter, claims


def run(interpreter, x):
    (source,) = interpreter.get_input_details()
    (out,) = interpreter.get_output_details()
    if source["dtype"] == np.int8 and x.dtype != np.int8:
        scale, zero_point = source["quantization"]
        x = np.clip(np.round(x / scale) + zero_point, -128, 127).astype(np.int8)
    interpreter.set_tensor(source["index"], x)
    interpreter.invoke()
    return interpreter.get_tensor(out["index"])


def assert_close(found, expected):
    assert found.shape == expected.shape and found.dtype == expected.dtype
    if found.dtype == np.int8:
        assert np.abs(found.astype(int) - expected).max() <= 1
    else:
        assert np.abs(found - expected).max() <= 1e-5 * np.abs(expected).max()


def claimed(claims):
    return sum(line.startswith("claimed ") for line in claims.splitlines())


# -------------------------------------------------------------------------- batches and resizing


@pytest.mark.parametrize("quantize", [None, "int8"])
@pytest.mark.parametrize("threads", [1, 3])
def test_batches_and_resizes_after_attaching(quantize, threads):
    content = file_of(quantize=quantize)
    stock, _ = load(content)
    interpreter, claims = load(content, {"force": 1, "threads": threads})
    assert claimed(claims) == 2
    index = interpreter.get_input_details()[0]["index"]
    for shape in ((1, 7, 9, 6), (4, 7, 9, 6), (2, 9, 7, 6), (3, 16, 5, 6), (1, 7, 9, 6)):
        x = random(shape, sum(shape))
        for each in (stock, interpreter):
            each.resize_tensor_input(index, shape)
            each.allocate_tensors()
        assert claimed(native.report()) == 2
        for scale in (1, -1):
            found = run(interpreter, scale * x)
            assert_close(found, run(stock, scale * x))
        assert len(found) == shape[0] and np.ptp(found.astype(float)) > 0


def test_a_batch_is_its_images_one_by_one():
    content = file_of(batch=5)
    interpreter, claims = load(content, FORCE)
    assert claimed(claims) == 2
    x = random((5, 7, 9, 6), 8)
    one, _ = load(file_of(), FORCE)
    np.testing.assert_array_equal(
        run(interpreter, x), np.concatenate([run(one, image[None]) for image in x])
    )


# ----------------------------------------------------------------------------- NaN and infinity


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_spread_as_in_litert(value):
    # With every coefficient used, LiteRT and the delegate multiply the same numbers.
    p = random((3, 3, 8, 20), 2)

    def function(x):
        x = tf.nn.relu6(tf.nn.conv2d(x, D1, 1, "SAME"))
        return tf.nn.relu(tf.nn.conv2d(x, p, 1, "SAME"))

    content = file_of(function)
    interpreter, claims = load(content, FORCE)
    assert claimed(claims) == 1
    x = random((1, 7, 9, 6), 3)
    x[0, 3, 4, 2] = value
    found, expected = run(interpreter, x), run(load(content)[0], x)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert np.isnan(found).any() == np.isnan(value)
    assert_close(np.nan_to_num(found), np.nan_to_num(expected))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38])
def test_a_network_of_lookups_gives_nan_where_litert_does(value):
    content = file_of()
    interpreter, claims = load(content, FORCE)
    assert claimed(claims) == 2
    x = random((1, 7, 9, 6), 3)
    x[0, 1, 2] = value
    found, expected = run(interpreter, x), run(load(content)[0], x)
    assert np.isnan(expected).any() and np.isfinite(expected).any()
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    assert_close(np.nan_to_num(found), np.nan_to_num(expected))


def constants(model):
    """The indices of the float32 constants of a file's first graph."""
    graph = model.subgraphs[0]
    return [
        i
        for i, tensor in enumerate(graph.tensors)
        if tensor.type == 0 and model.buffers[tensor.buffer].data is not None
    ]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_layers_with_constants_that_are_no_numbers_are_left_to_litert(value):
    content = file_of()
    x = random((1, 7, 9, 6), 3)
    tried = 0
    for i in constants(parse(content)):
        model = parse(content)
        data = model.buffers[model.subgraphs[0].tensors[i].buffer].data
        numbers = data.view(np.float32).copy()
        numbers[len(numbers) // 2] = value
        model.buffers[model.subgraphs[0].tensors[i].buffer].data = numbers.view(np.uint8)
        interpreter, claims = load(packed(model), FORCE)
        assert claims == "left all float32 layers: a constant of the model is no finite number\n"
        expected = run(load(packed(model))[0], x)
        found = run(interpreter, x)
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
        tried += 1
    assert tried >= 6


@pytest.mark.parametrize("zero_point", [1, 128, -129, 300])
def test_zero_points_that_litert_refuses_are_left_to_it(zero_point):
    content = file_of(quantize="int8")
    x = np.random.default_rng(0).integers(-128, 128, (1, 7, 9, 6)).astype(np.int8)
    for i, tensor in enumerate(parse(content).subgraphs[0].tensors):
        if tensor.quantization is None or tensor.quantization.zeroPoint is None:
            continue
        model = parse(content)
        quantization = model.subgraphs[0].tensors[i].quantization
        quantization.zeroPoint = np.full(len(quantization.zeroPoint), zero_point, np.int64)
        # XNNPACK leaves to LiteRT's own kernels what it refuses where another delegate was first.
        try:
            expected = run(load(packed(model), resolver=NO_XNNPACK)[0], x)
        except (RuntimeError, ValueError):
            with pytest.raises((RuntimeError, ValueError)):
                load(packed(model), FORCE, NO_XNNPACK)
            continue
        assert_close(run(load(packed(model), FORCE, NO_XNNPACK)[0], x), expected)


def test_outputs_finer_than_the_products_of_their_sums_are_left_to_litert():
    model = parse(file_of(quantize="int8"))
    graph = model.subgraphs[0]
    graph.tensors[graph.outputs[0]].quantization.scale = np.full(1, 1e-7, np.float32)
    claims = load(packed(model), FORCE)[1]
    assert claimed(claims) < claimed(load(file_of(quantize="int8"), FORCE)[1])


# --------------------------------------------------------------------------- threads and forks


@pytest.mark.parametrize("threads", [1, 3])
def test_two_interpreters_share_a_delegate_on_two_threads(threads):
    contents = [file_of(), file_of(shape=(16, 5, 6))]
    delegate = native.load_delegate(force=1, threads=threads)
    shared = [load(content, delegates=[delegate])[0] for content in contents]
    xs = [random((1, 7, 9, 6), 1), random((1, 16, 5, 6), 2)]
    expected = [run(load(content, FORCE)[0], x) for content, x in zip(contents, xs, strict=True)]
    wrong = []

    def loop(which):
        for _ in range(100):
            if not np.array_equal(run(shared[which], xs[which]), expected[which]):
                wrong.append(which)

    callers = [threading.Thread(target=loop, args=(which,)) for which in (0, 1)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join(60)
        assert not caller.is_alive()
    assert not wrong


FORK = """
import os, sys
import numpy as np
from ai_edge_litert import interpreter as litert

path, library = sys.argv[1:]
delegate = litert.load_delegate(library, {"force": "1", "threads": "3"})

def load():
    made = litert.Interpreter(path, experimental_delegates=[delegate])
    made.allocate_tensors()
    return made

def run(interpreter):
    interpreter.set_tensor(0, np.ones((1, 7, 9, 6), np.float32))
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])

before = load()
expected = run(before)
child = os.fork()
if child == 0:
    same = [np.array_equal(run(each), expected) for each in (before, before, load())]
    os._exit(0 if all(same) else 1)
_, status = os.waitpid(child, 0)
print(os.waitstatus_to_exitcode(status), np.array_equal(run(before), expected))
os._exit(0)
"""


def test_a_fork_after_loading(tmp_path):
    path = tmp_path / "model.tflite"
    path.write_bytes(file_of())
    command = [sys.executable, "-c", FORK, str(path), str(native.LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout.split() == ["0", "True"], done.stderr


# -------------------------------------------------------------------------------- the report


def test_the_report_tells_of_all_subgraphs(tmp_path):
    class Model(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((1, 7, 9, 6), tf.float32)])
        def first(self, x):
            return {"first": tf.nn.conv2d(tf.nn.conv2d(x, D1, 1, "SAME"), P1, 1, "SAME")}

        @tf.function(input_signature=[tf.TensorSpec((1, 9, 9, 20), tf.float32)])
        def second(self, x):
            return {"second": tf.nn.conv2d(tf.nn.conv2d(x, D2, 1, "SAME"), P2, 1, "SAME")}

    model = Model()
    tf.saved_model.save(model, str(tmp_path), {"first": model.first, "second": model.second})
    content = tf.lite.TFLiteConverter.from_saved_model(
        str(tmp_path), signature_keys=["first", "second"]
    ).convert()
    assert len(parse(content).subgraphs) == 2
    delegate = native.load_delegate(force=1)
    # The same again with the next interpreter, not in addition.
    for _ in range(2):
        _, claims = load(content, delegates=[delegate])
        lines = claims.splitlines()
        assert len(lines) == 2 and "k=8" in lines[0] and "k=12" in lines[1], claims
    _, claims = load(file_of(), delegates=[delegate])
    assert claimed(claims) == 2


# Prints how many KiB more it takes, at most, to load a model with the delegate.
PEAK = """
import sys
from ai_edge_litert import interpreter as litert

model = open(sys.argv[1], "rb").read()
delegate = litert.load_delegate(sys.argv[2], {})

def memory(name):
    line = next(line for line in open("/proc/self/status") if line.startswith(name))
    return int(line.split()[1])

def load(delegates):
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = memory("VmRSS")
    litert.Interpreter(
        model_content=model,
        experimental_delegates=delegates,
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return memory("VmHWM") - before

load([])
plain = load([])
print(load([delegate]) - plain)
"""


def test_large_dense_layers_are_counted_and_not_copied(tmp_path):
    """A million dense weights: copied with their places they took 57 MB."""
    path = tmp_path / "model.tflite"
    weights = random((512, 2048), 1)
    path.write_bytes(file_of(lambda x: tf.matmul(tf.matmul(x, weights), weights.T), (512,)))
    command = [sys.executable, "-c", PEAK, str(path), str(native.LIBRARY)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 4 << 10
