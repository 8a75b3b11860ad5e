"""The native delegate: what it runs equals what LiteRT's own operators compute from the file."""

import pathlib
import re
import subprocess
import sys
import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import interpreter as litert
from support.helpers import chain, random

from tf_lcnn import LookupConv2D, LookupDense, lookupify, models
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.export import convert, operators
from tf_lcnn.runtime import native
from tf_lcnn.runtime.interpreter import Interpreter, parse
from tf_lcnn.training.callbacks import project

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="the native delegate was not built"),
    pytest.mark.skipif(
        keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
    ),
]

QUANTIZATIONS = (None, "int8")
NO_XNNPACK = litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
# Each of them claims every layer that it can.
WAYS = ({"force": 1}, {"force": 1, "threads": 2}, {"force": 1, "threads": 3})


def file_of(model, quantize=None):
    """The bytes of a .tflite, lookup layers as pairs of convolutions; int8 in and out for int8."""
    if quantize is None:
        return convert(model, choose_lowerings(model, "sparse"))
    examples = random((8, *model.input_shape[1:]), 5)
    return convert(
        model, choose_lowerings(model, "sparse", quantize="int8"), "int8", examples, "int8"
    )


def function_file(function, shape, quantize=None):
    """The bytes of a .tflite of a function of one image."""
    examples = random((8, *shape), 5)
    io = "float32" if quantize is None else "int8"
    return to_tflite(function, (1, *shape), (), quantize, examples, io)


def load(content, options=None, resolver=litert.OpResolverType.AUTO):
    """LiteRT's interpreter, with the delegate if there are options, and what it claims."""
    delegates = [] if options is None else [native.load_delegate(**options)]
    interpreter = litert.Interpreter(
        model_content=content,
        experimental_delegates=delegates,
        experimental_op_resolver_type=resolver,
    )
    claims = native.report() if delegates else ""
    interpreter.allocate_tensors()
    return interpreter, claims


def run(interpreter, images):
    """The outputs, as they are in the file, for float images; a list of arrays."""
    (source,) = interpreter.get_input_details()
    if source["dtype"] == np.int8:
        scale, zero_point = source["quantization"]
        images = np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)
    results = []
    for image in images:
        interpreter.set_tensor(source["index"], image[None])
        interpreter.invoke()
        details = interpreter.get_output_details()
        results.append([interpreter.get_tensor(output["index"]) for output in details])
    return [np.concatenate(parts) for parts in zip(*results, strict=True)]


def really_run(content):
    """How many layers the delegate claims whose S LiteRT has no memory for: they run in it."""
    graph = parse(content).subgraphs[0]
    sources = [(graph.tensors[op.outputs[0]].name.decode(), op.inputs[0]) for op in graph.operators]
    # XNNPACK keeps tensors to itself too.
    interpreter, claims = load(content, WAYS[0], NO_XNNPACK)

    def has_memory(source):
        try:
            interpreter.get_tensor(source)
        except ValueError:
            return False
        return True

    count = 0
    for line in claims.splitlines():
        if not line.startswith("claimed "):
            continue
        name, rest = line.removeprefix("claimed ").split(": ", 1)
        k = int(re.search(r"k=(\d+)", rest)[1])
        # Both stages have the layer's name, and the report cuts long ones.
        looked_up = [
            source
            for long, source in sources
            if long[:200] == name[:200] and graph.tensors[source].shape[-1] == k
        ]
        assert looked_up
        count += not all(map(has_memory, looked_up))
    return count


def check(content, images, claimed, pairs=True, between=None):
    """That the delegate computes what LiteRT computes, each time and on any number of threads.

    Args:
        claimed: how many layers it has to run; None for any.
        pairs: whether all of them have a dictionary.
        between: what it has to run between them, a word of each; None for anything.
    """
    expected = run(load(content)[0], images)
    first = None
    for options in WAYS:
        interpreter, claims = load(content, options)
        lines = [line for line in claims.splitlines() if line.startswith("claimed")]
        assert claimed is None or len(lines) == claimed, claims
        others = [line for line in claims.splitlines() if line.startswith("between")]
        assert between is None or [line.split("; ")[1].split()[-1] for line in others] == between
        for _ in range(2):
            outputs = run(interpreter, images)
            for one, other in zip(outputs, first or outputs, strict=True):
                np.testing.assert_array_equal(one, other)
            first = outputs
    assert not pairs or really_run(content) == claimed
    for ours, theirs in zip(first, expected, strict=True):
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        # Outputs that hardly depend on the input would show nothing.
        assert np.isfinite(theirs).all() and theirs.std(axis=0).mean() > 0.1 * theirs.std() > 0
        difference = np.abs(ours.astype(np.float64) - theirs.astype(np.float64))
        if ours.dtype == np.int8:
            assert difference.max() <= 1
            assert (difference == 0).mean() >= 0.999
        else:
            assert difference.max() <= 1e-5 * np.abs(theirs).max()


def relu6(**arguments):
    return {"activation": keras.activations.relu6, **arguments}


LAYERS = {
    "3x3 same": ((9, 11, 5), lambda: LookupConv2D(7, 3, 6, padding="same"), 3),
    "3x3 valid": ((9, 11, 5), lambda: LookupConv2D(17, 3, 6, activation="relu"), 3),
    "5x2, stride 2x1": (
        (13, 9, 6),
        lambda: LookupConv2D(19, (5, 2), 10, strides=(2, 1), padding="same", **relu6()),
        4,
    ),
    "3x3, stride 3": ((14, 17, 4), lambda: LookupConv2D(33, 3, 40, strides=3), 5),
    "dilated": (
        (12, 12, 8),
        lambda: LookupConv2D(16, 3, 16, dilation_rate=(2, 3), padding="same", activation="relu"),
        4,
    ),
    "dilated, valid": ((16, 13, 3), lambda: LookupConv2D(5, 3, 2, dilation_rate=2), 2),
    "1x1": ((7, 5, 24), lambda: LookupConv2D(31, 1, 9, **relu6()), 3),
    "1x1, stride 2": ((9, 8, 24), lambda: LookupConv2D(31, 1, 9, strides=2, activation="relu"), 3),
    "1x1 map": ((1, 1, 64), lambda: LookupConv2D(48, 3, 32, padding="same"), 4),
    "kernel of the map's size": ((6, 6, 16), lambda: LookupConv2D(40, 6, 20), 2),
    "one row": ((6, 7, 12), lambda: LookupConv2D(18, 3, 1, padding="same"), 1),
    "wide map": ((3, 150, 4), lambda: LookupConv2D(6, 3, 8, padding="same"), 3),
    "k = 70, every lookup": ((8, 8, 20), lambda: LookupConv2D(21, 3, 70, padding="same"), 70),
    "k = 200": ((10, 10, 30), lambda: LookupConv2D(36, 3, 200, padding="same"), 4),
    "11x11, stride 4": ((35, 35, 3), lambda: LookupConv2D(24, 11, 3, strides=4, **relu6()), 3),
    "dense": ((70,), lambda: LookupDense(45, 12, activation="relu"), 3),
    "dense, k = 300": ((350,), lambda: LookupDense(400, 300), 4),
}


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize("name", LAYERS)
def test_layers_of_odd_shapes(name, quantize):
    shape, make, lookups = LAYERS[name]
    keras.utils.set_random_seed(0)
    layer = make()
    model = chain(shape, layer)
    layer.bias.assign(random(layer.bias.shape, 3) / 8)
    project(model, lookups)
    check(file_of(model, quantize), random((3, *shape), 7), 1)


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_layers_in_a_row_and_around_a_sum(quantize):
    keras.utils.set_random_seed(1)
    inputs = keras.Input((12, 10, 6))
    x = LookupConv2D(16, 3, 12, padding="same", activation="relu")(inputs)
    shortcut = x
    x = LookupConv2D(16, 3, 8, padding="same", use_bias=False)(x)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = LookupConv2D(16, 3, 9, padding="same")(keras.layers.ReLU()(x))
    x = keras.layers.ReLU()(keras.layers.Add()([x, shortcut]))
    x = LookupConv2D(24, 3, 16, strides=2)(x)
    x = LookupDense(20, 10, activation="relu")(keras.layers.Flatten()(x))
    model = keras.Model(inputs, LookupDense(9, 7)(x))
    model.get_layer("bn").set_weights([random(16, seed) ** 2 + 0.1 for seed in range(4)])
    project(model, 3)
    check(file_of(model, quantize), random((4, 12, 10, 6), 7), 6, between=["sum"])


def block(quantize, channels, strides, activation):
    """Two lookup layers around maximum pooling, beside a 1x1 shortcut, and one behind their sum."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((13, 11, 4))
    first = LookupConv2D(channels, 3, 6, padding="same", activation="relu")(inputs)
    pooled = keras.layers.MaxPooling2D(3, strides, padding="same")(first)
    x = LookupConv2D(channels, 3, 8, padding="same")(pooled)
    shortcut = keras.layers.Conv2D(channels, 1, strides=strides)(first)
    x = keras.layers.Activation(activation)(keras.layers.Add()([x, shortcut]))
    model = keras.Model(inputs, LookupConv2D(9, 3, 7)(x))
    project(model, 3)
    return file_of(model, quantize)


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize(
    ("channels", "strides", "activation"),
    [(16, 2, "relu"), (36, 1, "linear"), (20, (2, 1), "relu6")],
)
def test_what_lies_between_layers(channels, strides, activation, quantize):
    content = block(quantize, channels, strides, activation)
    # Of a NaN and a number, what the maximum is depends on their order: left to LiteRT.
    between = ["1x1", "sum"] if quantize is None else ["maximum", "1x1", "sum"]
    images = random((4, 13, 11, 4), 7)
    _, claims = load(content, WAYS[0])
    told = [line for line in claims.splitlines() if line.startswith("between")]
    assert sorted(line.split("; ")[1].split()[-1] for line in told) == sorted(between), claims
    check(content, images, 3)


@pytest.mark.parametrize("seed", range(3))
def test_int8_between_layers_is_equal_to_the_bit(seed):
    # Numbers of all sizes: where the sum is, the scales of its operands are far apart.
    keras.utils.set_random_seed(seed)
    inputs = keras.Input((9, 7, 8))
    x = shortcut = LookupConv2D(20, 3, 8, padding="same")(inputs)
    x = LookupConv2D(20, 3, 8, padding="same")(x)
    last = LookupConv2D(20, 1, 8)
    model = keras.Model(inputs, last(keras.layers.Add()([x, shortcut])))
    project(model, 3)
    kernel = model.layers[2].coefficients
    kernel.assign(kernel * (0.02, 1.0, 50.0)[seed])
    content = file_of(model, "int8")
    images = random((20, 9, 7, 8), seed)
    (expected,), (outputs,) = (run(load(content, how)[0], images) for how in (None, WAYS[1]))
    assert "sum of" in load(content, WAYS[1])[1]
    np.testing.assert_array_equal(outputs, expected)


def test_infinities_and_nan_go_through_a_sum():
    content = block(None, 16, 1, "relu")
    images = random((3, 13, 11, 4), 7)
    images[0, 3, 4, 1], images[1, 5, 5, 0], images[2, 8, 2, 3] = np.nan, np.inf, -np.inf
    (expected,), (outputs,) = (run(load(content, how)[0], images) for how in (None, WAYS[0]))
    np.testing.assert_array_equal(np.isnan(outputs), np.isnan(expected))
    assert np.isnan(expected).any()


def test_a_sum_that_only_others_read_is_left():
    keras.utils.set_random_seed(0)
    inputs = keras.Input((8, 8, 8))
    x = LookupConv2D(8, 3, 6, padding="same")(inputs)
    model = keras.Model(inputs, keras.layers.Softmax()(keras.layers.Add()([x, inputs])))
    project(model, 2)
    check(file_of(model), random((3, 8, 8, 8), 7), 1, between=[])


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize(
    ("zeros", "case", "taken"),
    [
        (((1, 1), (1, 1)), "stride 2", True),
        (((0, 2), (1, 0)), "", True),
        # More than the kernel reaches over: some outputs see zeros alone.
        (((3, 0), (0, 1)), "", False),
        (((1, 1), (1, 1)), "biased", False),
        (((1, 1), (1, 1)), "read twice", False),
    ],
)
def test_zeros_around_the_input_are_the_layer_s_own_padding(zeros, case, taken, quantize):
    dictionary, coefficients = random((1, 1, 6, 8)), sparse_kernel((3, 3, 8, 20), 0.6)

    def function(x):
        x = tf.pad(tf.nn.relu(x), [(0, 0), *zeros, (0, 0)])
        s = tf.nn.conv2d(x, dictionary, 1, "VALID")
        if case == "biased":
            s = s + random(8, 9)
        y = tf.nn.conv2d(s, coefficients, 2 if case == "stride 2" else 1, "VALID")
        return (y, tf.sin(x)) if case == "read twice" else y

    content = function_file(function, (8, 10, 6), quantize)
    assert operators(content)["PAD"] == 1
    check(content, random((3, 8, 10, 6), 7), 1)
    assert ("with its PAD" in load(content, WAYS[0])[1]) == taken


def sparse_kernel(shape, share=0.9, seed=1):
    kernel = random(shape, seed)
    return kernel * (np.random.default_rng(seed).random(shape) >= share)


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_convolutions_with_many_zeros_need_no_dictionary(quantize):
    first, second = sparse_kernel((3, 3, 24, 40)), sparse_kernel((5, 5, 40, 33), seed=2)
    # The third has too few zeros to be worth it.
    third = sparse_kernel((3, 3, 33, 17), 0.4, seed=3)

    def function(x):
        x = tf.nn.relu(tf.nn.conv2d(x, first, 1, "SAME"))
        x = tf.nn.conv2d(x, second, (2, 1), "VALID") + random(33, 4)
        return tf.nn.conv2d(x, third, 1, "VALID")

    content = function_file(function, (15, 12, 24), quantize)
    check(content, random((3, 15, 12, 24), 7), 2, pairs=False)


def test_few_channels_cost_a_tile_of_the_runtime_what_many_do():
    """Tiles of int8 (AMX) have rows of 64 channels, which a k of 16 fills to a fourth."""
    predicted = {}
    for k in (16, 64):
        weights = sparse_kernel((3, 3, k, 64))
        content = function_file(
            lambda x, weights=weights: tf.nn.conv2d(x, weights, 1, "SAME"), (56, 56, k), "int8"
        )
        _, claims = load(content, {"kernels": "portable"})
        predicted[k] = float(re.search(r"against (\S+) us", claims)[1])
    cpu = pathlib.Path("/proc/cpuinfo")
    tiles = cpu.is_file() and "amx_int8" in cpu.read_text(encoding="utf-8")
    assert predicted[64] / predicted[16] == pytest.approx(1 if tiles else 4, rel=0.1)


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
@pytest.mark.parametrize("case", ["S is an output", "S is read twice", "P is read twice"])
def test_tensors_that_others_need_too(case, quantize):
    dictionary, coefficients = random((1, 1, 6, 8)), sparse_kernel((3, 3, 8, 20))
    others = random((1, 1, 8, 8), 2), sparse_kernel((3, 3, 8, 20), seed=3)

    def function(x):
        s = tf.nn.conv2d(x, dictionary, 1, "SAME")
        y = tf.nn.relu(tf.nn.conv2d(s, coefficients, 1, "SAME"))
        if case == "S is an output":
            return s, y
        if case == "S is read twice":
            return y, tf.nn.conv2d(s, others[1], 1, "SAME")
        s = tf.nn.conv2d(tf.sin(s), others[0], 1, "SAME")
        return y, tf.nn.conv2d(s, coefficients, 1, "SAME")

    content = function_file(function, (7, 9, 6), quantize)
    # TensorFlow stores a constant that is used twice once.
    assert operators(content)["DENSIFY"] == (2 if case == "S is read twice" else 1)
    check(content, random((3, 7, 9, 6), 7), None, pairs=False)


@pytest.mark.parametrize("first", [None, (2, 7, 9, 6)])
@pytest.mark.parametrize("shape", [(4, 7, 9, 6), (1, 5, 11, 6)])
@pytest.mark.parametrize("batch", [None, 1])
def test_inputs_can_be_resized(batch, shape, first):
    dictionary, coefficients = random((1, 1, 6, 8)), sparse_kernel((3, 3, 8, 20))

    def function(x):
        return tf.nn.conv2d(tf.nn.conv2d(x, dictionary, 1, "SAME"), coefficients, 1, "SAME")

    interpreter, claims = load(to_tflite(function, (batch, 7, 9, 6)), WAYS[0])
    assert claims.startswith("claimed")
    index = interpreter.get_input_details()[0]["index"]
    for size in (first, shape):
        if size is None:
            continue
        images = random(size, 7)
        interpreter.resize_tensor_input(index, size)
        interpreter.allocate_tensors()
        interpreter.set_tensor(index, images)
        interpreter.invoke()
        outputs = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        expected = function(images).numpy()
        assert outputs.shape == expected.shape
        assert np.abs(outputs - expected).max() <= 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("quantize", QUANTIZATIONS)
def test_a_model_without_lookup_layers_is_left_alone(quantize):
    model = chain(
        (9, 9, 3),
        keras.layers.Conv2D(8, 3, activation="relu"),
        keras.layers.MaxPooling2D(2),
        keras.layers.Flatten(),
        keras.layers.Dense(20),
    )
    content = file_of(model, quantize)
    images = random((3, 9, 9, 3), 7)
    (expected,), (outputs,) = (
        run(load(content, options)[0], images) for options in (None, WAYS[1])
    )
    np.testing.assert_array_equal(outputs, expected)
    assert load(content, WAYS[1])[1] == ""


def network(name):
    """A whole network at a small input, with batch normalization that is not trivial."""
    keras.utils.set_random_seed(0)
    if name == "mobilenet":
        dense = keras.applications.MobileNetV2(
            weights=None,
            input_shape=(64, 64, 3),
            alpha=0.35,
            classes=200,
            classifier_activation=None,
        )
        with warnings.catch_warnings():
            # Of the layers that stay as they are.
            warnings.simplefilter("ignore")
            model = lookupify(dense, dictionary_size=16)
    else:
        net, sizes = name.split(":")
        model = models.build(f"{net}_lcnn", (64, 64, 3), 200, sizes)
    project(model, 4)
    for i, layer in enumerate(model.layers):
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0
            layer.gamma.assign(1 + random(layer.gamma.shape, i) / 8)
            layer.beta.assign(random(layer.beta.shape, -i % 97) / 8)
    # The statistics become those of this batch, so that signals survive all layers.
    model(random((8, *model.input_shape[1:]), 3), training=True)
    return model


@pytest.mark.parametrize(
    ("name", "quantizations"),
    [
        ("resnet18:fast", QUANTIZATIONS),
        pytest.param("resnet18:accurate", (None,), marks=pytest.mark.slow),
        # Half as deep, because it takes long to convert.
        pytest.param("resnet10:accurate", ("int8",), marks=pytest.mark.slow),
        ("alexnet:fast", QUANTIZATIONS),
        ("mobilenet", QUANTIZATIONS),
    ],
)
def test_whole_networks(name, quantizations):
    model = network(name)
    images = random((5, *model.input_shape[1:]), 7)
    for quantize in quantizations:
        check(file_of(model, quantize), images, len(lookup_layers(model)))


@pytest.fixture(scope="module")
def small():
    """A .tflite of one lookup layer."""
    keras.utils.set_random_seed(0)
    model = chain((6, 5, 4), LookupConv2D(7, 3, 6, padding="same"))
    project(model, 3)
    return file_of(model)


@pytest.mark.parametrize(
    ("threads", "options", "told"),
    [
        (0, True, ["threads", "1 to 64", "not 0"]),
        (65, {}, ["threads", "1 to 64", "not 65"]),
        (1, {"threads": "two"}, ["threads=two", "1 to 64"]),
        (1, {"fast": 1}, ["fast", "threads, min_speedup, force"]),
        (1, {"kernels": "x"}, ["kernels=x", "portable"]),
        (1, {"force": True}, ["force=True", "0 and 1"]),
        (1, {"min_speedup": -1}, ["min_speedup=-1"]),
        (1, {"min_speedup": "nan"}, ["min_speedup=nan"]),
    ],
)
def test_a_wrong_option_is_one_line_that_names_what_works(small, threads, options, told):
    with pytest.raises(ValueError) as error:
        Interpreter(content=small, threads=threads, delegate=options)
    assert "\n" not in str(error.value)
    for word in told:
        assert word in str(error.value)


def test_a_library_that_was_not_built_is_named(small, monkeypatch, tmp_path):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.so")
    native.library.cache_clear()
    with pytest.raises(ValueError, match="was not built: install the package") as error:
        Interpreter(content=small, delegate=True)
    assert "\n" not in str(error.value)
    Interpreter(content=small)


def test_a_library_that_is_none_is_named(small, monkeypatch, tmp_path):
    (tmp_path / "broken.so").write_bytes(b"none")
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "broken.so")
    native.library.cache_clear()
    with pytest.raises(ValueError, match=r"broken\.so") as error:
        Interpreter(content=small, delegate=True)
    assert "\n" not in str(error.value)


@pytest.fixture(autouse=True)
def _forget_the_library():
    yield
    native.library.cache_clear()


def test_nothing_is_printed_when_python_ends(small, tmp_path):
    path = tmp_path / "small.tflite"
    path.write_bytes(small)
    code = (
        "from tf_lcnn.runtime.interpreter import Interpreter\n"
        f"kept = Interpreter({str(path)!r}, delegate=True)\n"
        f"Interpreter({str(path)!r}, delegate={{'force': 1}}).run()\n"
        "raise SystemExit('done')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stderr.strip().endswith("done") and "Delegate" not in done.stderr
