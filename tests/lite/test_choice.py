"""Lowerings, their costs, int8, metadata, and the programs around the file."""

import dataclasses
import functools
import json
import math
import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import constant_bytes, random

from tf_lcnn import LookupConv2D, LookupDense, models, profile
from tf_lcnn.data import datasets
from tf_lcnn.lite import delegate_price, export, layerwise, metadata, prices, proof, ranges
from tf_lcnn.lite.choice import choose_lowerings, lowered
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.lowerings import LOWERINGS
from tf_lcnn.runtime import interpreter, litert, native
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.training.callbacks import TopS, project

ROOT = pathlib.Path(__file__).resolve().parents[2]


def one_layer(layer, shape):
    model = keras.Sequential([keras.Input(shape), layer])
    return model, layer


@pytest.fixture(scope="module")
def trained():
    """A small ResNet-LCNN, trained until it tells some digits apart, and their data set."""
    keras.utils.set_random_seed(0)
    images = datasets.load("digits")
    model = models.build("resnet8_lcnn", images.image_shape, 10, (8, 8, 16))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05, momentum=0.9), loss)
    bound = TopS(3, schedule=lambda epoch: 8 - epoch)
    batches = images.training(64, 0, 12, 0, augment=Classification().augment)
    model.fit(batches, steps_per_epoch=20, epochs=12, callbacks=[bound], verbose=0)
    return model, images


@pytest.fixture(scope="module")
def plain(trained, tmp_path_factory):
    """The report of its file in float32, by lowering."""
    model, images = trained
    test, path = images.evaluation("test", 100), tmp_path_factory.mktemp("plain") / "m.tflite"
    return functools.cache(lambda way: export.export(model, path, test, lowering=way))


@pytest.fixture(scope="module")
def content(trained):
    """The bytes of its file."""
    return export.convert(trained[0])


@pytest.fixture(scope="module")
def examples(trained):
    return np.concatenate([x for x, _ in trained[1].evaluation("train", 50).take(1)])


def test_rows_that_no_lookup_uses_are_dropped():
    model, layer = one_layer(LookupConv2D(6, 3, 8, threshold_scale=0), (7, 7, 4))
    coefficients = random((3, 3, 8, 6))
    coefficients[:, :, [1, 4, 5]] = 0
    layer.coefficients.assign(coefficients)
    x = random((1, 7, 7, 4))
    expected = model(x).numpy()
    for way in LOWERINGS:
        (found,) = choose_lowerings(model, way)
        assert (found.layer.k, found.layer.rows_dropped) == (5, 3)
        with lowered([found]):
            np.testing.assert_allclose(model(x).numpy(), expected, rtol=0, atol=1e-5)
    np.testing.assert_array_equal(model(x).numpy(), expected)


@pytest.mark.parametrize("way", LOWERINGS)
def test_a_layer_without_any_lookup_is_its_bias(way):
    model, layer = one_layer(LookupConv2D(6, 3, 8, padding="same"), (5, 5, 4))
    layer.coefficients.assign(np.zeros((3, 3, 8, 6)))
    layer.bias.assign(np.arange(6))
    with lowered(choose_lowerings(model, way)):
        found = model(random((1, 5, 5, 4))).numpy()
    np.testing.assert_array_equal(found, np.broadcast_to(np.arange(6), (1, 5, 5, 6)))


@pytest.mark.parametrize("way", LOWERINGS)
def test_batch_normalization_is_folded_only_where_nothing_else_needs_the_layer(way):
    inputs = keras.Input((6, 6, 4))
    alone = LookupConv2D(5, 3, 3, padding="same", name="alone")(inputs)
    alone = keras.layers.BatchNormalization(name="folded")(alone)
    shared = LookupConv2D(5, 3, 3, padding="same", name="shared")(inputs)
    normal = keras.layers.BatchNormalization()(shared)
    active = LookupConv2D(5, 3, 3, padding="same", activation="relu", name="active")(inputs)
    active = keras.layers.BatchNormalization()(active)
    model = keras.Model(inputs, keras.layers.Add()([alone, shared, normal, active]))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.set_weights([random(5, 1), random(5, 2), random(5, 3), random(5, 4) ** 2])
    plans = choose_lowerings(model, way)
    assert {each.layer.name: each.folded for each in plans} == {
        "alone": model.get_layer("folded"),
        "shared": None,
        "active": None,
    }
    x = random((1, 6, 6, 4))
    expected = model(x).numpy()
    with lowered(plans):
        found = model(x).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


RATES = prices.Rates(convolution=(1.0, 0.0, 0.0, 0.0), plane=1.0, call=0.0)


def test_the_cost_model_counts_what_it_says():
    model, _ = one_layer(LookupConv2D(16, 3, 8, padding="same", threshold_scale=0), (5, 6, 4))
    layer = choose_lowerings(model)[0].layer
    pixels = 30
    costs = prices.Prices(RATES, RATES)
    # Eight dictionary rows take a whole register of sixteen.
    assert costs.seconds(layer, "sparse") == pixels * (16 * 4 + 9 * 16 * 8)
    assert costs.seconds(layer, "folded") == pixels * 9 * 16 * 4
    gathered = pixels * 9 * 16 * 8 + pixels * 8
    assert costs.seconds(layer, "gather") == pixels * 16 * 4 + gathered


def test_the_fastest_way_is_chosen_and_optimize_decides_ties(monkeypatch):
    model, _ = one_layer(LookupConv2D(16, 3, 8, padding="same"), (5, 6, 4))
    project(model, 2)
    layer = choose_lowerings(model)[0].layer

    class Costs:
        def __init__(self, **seconds):
            self.seconds = lambda layer, way, quantize: seconds[way]

    assert prices.best_lowering(layer, Costs(sparse=1.0, gather=2.0, folded=0.5)) == "folded"
    assert prices.best_lowering(layer, Costs(sparse=1.0, gather=0.5, folded=2.0)) == "gather"
    tie = Costs(sparse=1.02, gather=9.0, folded=1.0)
    assert prices.best_lowering(layer, tie, "speed") == "folded"
    assert prices.best_lowering(layer, tie, "size") == "sparse"
    with pytest.raises(ValueError, match="speed, size"):
        prices.best_lowering(layer, tie, "both")


@pytest.mark.parametrize("way", LOWERINGS)
@pytest.mark.parametrize("kind", ["conv", "dense"])
def test_stored_bytes_are_those_of_the_file(way, kind):
    if kind == "conv":
        model, _ = one_layer(LookupConv2D(16, 3, 8, activation="relu"), (6, 6, 12))
    else:
        model, _ = one_layer(LookupDense(40, 8, activation="relu"), (64,))
    project(model, 2)
    (found,) = choose_lowerings(model, way)
    parsed = interpreter.parse(export.convert(model, [found]))
    stored = constant_bytes(parsed)
    # Shapes, axes and the zero bias of the dictionary stage come on top, and are small.
    assert 0 <= stored - found.bytes[way] <= 300


def test_calibration_gives_rates_that_can_be_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "_SHAPES", prices._SHAPES[-6:-1])
    # The machine may be busy; what it takes does not matter here.
    monkeypatch.setattr(prices.timing, "LEAST_SHARE", 0.0)
    monkeypatch.setattr(prices, "_MOST_SPREAD", math.inf)
    costs = prices.calibrate(tmp_path / "cache" / "costs.json")
    assert prices.load(tmp_path / "cache" / "costs.json") == costs
    for rates in (costs.float32, costs.int8):
        every = (*rates.convolution, rates.plane, rates.call, rates.delegate)
        assert all(math.isfinite(rate) and rate >= 0 for rate in every)
        assert max(rates.convolution) > 0
    (tmp_path / "other.json").write_text('{"float32": 1}')
    with pytest.raises(ValueError, match=r"other\.json holds no cost model"):
        prices.load(tmp_path / "other.json")


def test_a_busy_machine_is_refused_and_nothing_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(prices, "_SHAPES", prices._SHAPES[-3:-1])
    times = iter([1.0, 2.0] * 20)
    monkeypatch.setattr(
        prices.timing, "median_seconds", lambda models: np.full(len(models), next(times))
    )
    with pytest.raises(ValueError, match=r"busy: .* differ by 100%"):
        prices.machine(tmp_path / "prices.json")
    monkeypatch.setattr(prices.timing, "median_seconds", lambda models: np.ones(len(models)))
    monkeypatch.setattr(prices.timing.time, "process_time", lambda: 0.0)
    with pytest.raises(ValueError, match="had 0% of a processor"):
        prices.machine(tmp_path / "prices.json")
    assert not list(tmp_path.iterdir())


def test_prices_of_a_machine_are_measured_once(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(prices, "_rates", lambda quantize: prices.DEFAULT.int8)
    measured = prices.machine()
    assert measured.float32 == prices.DEFAULT.int8
    assert "Measuring" in capsys.readouterr().err
    monkeypatch.setattr(prices, "_rates", None)
    assert prices.machine() == measured and not capsys.readouterr().err
    prices.save(prices.DEFAULT, tmp_path / "given.json")
    assert prices.machine(tmp_path / "given.json") == prices.DEFAULT


@pytest.mark.parametrize("way", LOWERINGS)
def test_layers_of_one_name_in_nested_models_are_told_apart(way, tmp_path):
    def inner():
        conv = LookupConv2D(4, 3, 3, padding="same", use_bias=False, name="conv")
        return keras.Sequential([conv, keras.layers.BatchNormalization(name="bn")])

    model = keras.Sequential([keras.Input((6, 6, 4)), inner(), inner(), keras.layers.Flatten()])
    for i, layer in enumerate(model.layers[:2]):
        layer.layers[1].set_weights([random(4, 10 * i + j) ** 2 for j in range(4)])
    batches = [(random((3, 6, 6, 4)), np.arange(3))]
    report = export.export(model, tmp_path / "m.tflite", batches, lowering=way)
    assert report.proof.relative_difference <= 1e-5
    assert [each.folded for each in report.choices] == [x.layers[1] for x in model.layers[:2]]


def test_unknown_ways_are_refused():
    model, _ = one_layer(LookupDense(6, 4), (5,))
    with pytest.raises(ValueError, match="auto, sparse, gather, folded"):
        choose_lowerings(model, "dense")


@pytest.mark.parametrize("quantize", ["float16", "dynamic", "int8"])
@pytest.mark.parametrize("way", ["sparse", "folded"])
def test_quantized_files_keep_the_accuracy(trained, plain, examples, quantize, way, tmp_path):
    model, images = trained
    path = tmp_path / "model.tflite"
    test = images.evaluation("test", 100)
    report = export.export(model, path, test, lowering=way, quantize=quantize, calibration=examples)
    assert report.proof.keras_score > 0.8
    assert report.proof.keras_score - report.proof.tflite_score <= 0.01
    assert report.proof.decibels > {"float16": 55, "dynamic": 25, "int8": 20}[quantize]
    # Without sparse storage, P of eight-bit zeros is as large as its float32 non-zeros.
    share = 1.1 if (quantize, way) == ("dynamic", "sparse") else 0.9
    assert report.bytes < share * plain(way).bytes
    sparse = [t for t in interpreter.parse(path.read_bytes()).subgraphs[0].tensors if t.sparsity]
    assert bool(sparse) == (way == "sparse" and quantize != "dynamic")
    json.dumps(report.as_dict())


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_each_layer_is_measured_alone_on_its_real_inputs(trained, examples, quantize):
    model, _ = trained
    plans = choose_lowerings(model, "sparse")
    figures = layerwise.measure(model, plans, examples[:8], quantize)
    assert len(figures) == len(plans)
    assert all(found.seconds > 0 for found in figures)
    low, high = (20, 80) if quantize else (100, float("inf"))
    assert all(low < found.decibels < high for found in figures)


def test_int8_input_and_output_are_int8(trained, examples):
    model, _ = trained
    content = export.convert(model, None, "int8", examples, "int8")
    graph = interpreter.parse(content).subgraphs[0]
    kinds = {graph.tensors[i].type for i in (*graph.inputs, *graph.outputs)}
    assert kinds == {litert.schema.TensorType.INT8}
    x = examples[:8]
    found = interpreter.Interpreter(content=content).predict(x)
    assert proof.signal_to_noise(model(x).numpy(), found) > 20


def test_equalizing_gives_all_channels_of_s_one_range_and_changes_nothing(trained, examples):
    model, _ = trained
    plans = choose_lowerings(model, "sparse")
    even = ranges.equalize(model, plans, examples)
    with lowered(even):
        found = model(examples, training=False).numpy()
    expected = model(examples, training=False).numpy()
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    seen = {}

    def watch(index, x):
        s = np.abs(np.tensordot(x.numpy(), even[index].layer.dictionary, 1))
        seen.setdefault(index, []).append(s.max(axis=(0, 1, 2)))

    with layerwise.watched(even, watch):
        model(examples, training=False)
    for found in seen.values():
        top = np.max(found, axis=0)
        np.testing.assert_allclose(top[top > 0], top.max(), rtol=1e-4)


def test_a_dictionary_row_that_never_answers_stays_as_it_is():
    model, layer = one_layer(LookupConv2D(6, 3, 4, threshold_scale=0), (5, 5, 3))
    dictionary = random((3, 4))
    dictionary[:, 2] = 0
    layer.dictionary.assign(dictionary)
    (even,) = ranges.equalize(model, choose_lowerings(model, "sparse"), random((2, 5, 5, 3)))
    assert np.isfinite(even.layer.dictionary).all() and np.isfinite(even.layer.coefficients).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"quantize": "int2"}, "float16, dynamic, int8, int4, ternary"),
        ({"quantize": "int8"}, "No calibration inputs"),
        ({"quantize": "int8", "calibration": np.zeros((0, 3))}, "No calibration inputs"),
        ({"io": "int8"}, "needs quantize='int8'"),
    ],
)
def test_impossible_settings_are_refused_in_one_line(arguments, message):
    with pytest.raises(ValueError, match=message) as error:
        to_tflite(lambda x: x, (1, 3), **arguments)
    assert "\n" not in str(error.value)


def test_an_operation_that_a_phone_lacks_is_refused_in_one_line():
    with pytest.raises(ValueError, match="No conversion to builtin operators") as error:
        to_tflite(lambda x: tf.py_function(lambda y: y, [x], tf.float32), (1, 3))
    assert "\n" not in str(error.value)


def test_a_model_without_lookup_layers_leaves_and_says_so(tmp_path):
    model = keras.Sequential([keras.Input((5, 5, 3)), keras.layers.Conv2D(2, 3)])
    model.add(keras.layers.Flatten())
    report = export.export(model, tmp_path / "m.tflite", [(random((2, 5, 5, 3)), np.array([0, 1]))])
    assert "No lookup layers" in str(report)


def test_a_quantized_file_that_loses_too_much_is_rejected_with_its_worst_layer(
    trained, examples, tmp_path, monkeypatch
):
    model, images = trained
    monkeypatch.setitem(proof.MINIMUM_DECIBELS, "int8", 200.0)
    with pytest.raises(proof.ProofError, match="the layer that loses most is stage"):
        export.export(
            model,
            tmp_path / "m.tflite",
            images.evaluation("test", 100),
            quantize="int8",
            calibration=examples,
        )
    assert [path.name for path in tmp_path.iterdir()] == ["m.rejected.tflite"]


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    path = tmp_path / "m.tflite"
    path.write_text("an older file")

    def full(self, content):
        with open(self, "wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pathlib.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        export.export(model, path, [(random((2, 3)), np.array([0, 1]))])
    assert [file.name for file in tmp_path.iterdir()] == ["m.tflite"]
    assert path.read_text() == "an older file"


def test_the_file_tells_the_phone_what_it_needs(trained, tmp_path):
    model, images = trained
    path = tmp_path / "model.tflite"
    export.export(model, path, images.evaluation("test", 100), dataset=images)
    found = metadata.read(path)
    assert found["labels"] == [str(digit) for digit in range(10)]
    assert found["input"] == {
        "height": 8,
        "width": 8,
        "channels": 1,
        "mean": list(images.mean),
        "std": list(images.std),
        "short_side": None,
    }
    assert found["profile"]["multiplications"] == profile(model).multiplications
    assert found["output"] == "logits" and found["format"] == 1


def test_a_file_without_metadata_is_named(tmp_path):
    path = tmp_path / "plain.tflite"
    path.write_bytes(to_tflite(lambda x: x + 1, (1, 3)))
    with pytest.raises(ValueError, match=r"plain\.tflite has no metadata"):
        metadata.read(path)


@pytest.mark.parametrize("kept", [0, 4, 20, 1000, 0.5, 0.99])
def test_a_file_cut_short_is_an_error_not_a_crash(content, kept, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(content[: kept if isinstance(kept, int) else int(kept * len(content))])
    with pytest.raises(ValueError, match=r"cut\.tflite (is damaged|is no \.tflite)"):
        interpreter.Interpreter(path)


def test_a_channels_first_layer_is_refused():
    model, _ = one_layer(LookupConv2D(6, 3, 4, data_format="channels_first"), (3, 8, 8))
    with pytest.raises(ValueError, match="channels_first") as error:
        choose_lowerings(model)
    assert "\n" not in str(error.value)


def test_plans_are_plain_data(trained):
    found = choose_lowerings(trained[0])
    assert all(dataclasses.is_dataclass(each) for each in found)
    assert [each.layer.name for each in found] == [
        layer.name for layer in trained[0].layers if isinstance(layer, LookupConv2D)
    ]


needs_delegate = pytest.mark.skipif(
    not native.available(), reason="the native delegate was not built"
)


def odd_layers():
    """Layers whose places of S and of the output differ, one of them dense."""
    inputs = keras.Input((13, 10, 24))
    x = LookupConv2D(40, 3, 16, strides=(2, 1), padding="same", dilation_rate=1)(inputs)
    x = LookupConv2D(48, 1, 24, strides=2)(x)
    x = LookupConv2D(32, 3, 20, dilation_rate=(1, 2), padding="same")(x)
    x = LookupConv2D(64, 2, 16)(x)
    model = keras.Model(inputs, LookupDense(128, 32)(keras.layers.Flatten()(x)))
    project(model, 3)
    return model


@needs_delegate
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_the_delegate_says_of_a_layer_what_it_says_of_the_file(quantize):
    model = odd_layers()
    plans = choose_lowerings(model, "sparse", quantize=quantize)
    examples = random((4, 13, 10, 24))
    content = export.convert(model, plans, quantize, examples, "int8" if quantize else "float32")
    claims = interpreter.Interpreter(content=content, delegate={"force": 1}).claims.splitlines()
    assert len(claims) == len(plans)
    for each, line in zip(plans, claims, strict=True):
        found = delegate_price.predict(each.layer, quantize)
        assert f"; {found.kernel}, predicted {1e6 * found.seconds:.1f} us" in line
        assert found.bytes > 0


@needs_delegate
def test_the_delegate_takes_no_weights_that_are_unpacked_for_each_run():
    model, _ = one_layer(LookupConv2D(16, 3, 8), (6, 6, 12))
    (found,) = choose_lowerings(model, "sparse")
    assert delegate_price.predict(found.layer, "float16") is None
    assert delegate_price.predict(found.layer, "dynamic") is None
    assert choose_lowerings(model, "sparse", quantize="float16", delegate=True)[0].delegate is None


@needs_delegate
def test_auto_takes_sparse_where_the_delegate_is_faster_than_all_else(monkeypatch):
    model, _ = one_layer(LookupConv2D(16, 3, 8, padding="same"), (5, 6, 4))
    project(model, 2)
    layer = choose_lowerings(model)[0].layer
    stock = {way: prices.DEFAULT.seconds(layer, way) for way in LOWERINGS}
    assert min(stock, key=stock.get) == "folded"

    def chosen(seconds, way="auto", **arguments):
        dense = prices.DEFAULT.float32.convolution[0]
        prediction = delegate_price.Prediction("some kernel", seconds, dense, 100)
        monkeypatch.setattr(delegate_price, "predict", lambda layer, quantize: prediction)
        (found,) = choose_lowerings(model, way, **arguments)
        return found.lowering, found.delegate and found.delegate.kernel

    assert chosen(0.5 * stock["folded"], delegate=True) == ("sparse", "some kernel")
    # Faster than LiteRT's own `sparse`, and slower than another way.
    between = (stock["folded"] + stock["sparse"]) / 2
    assert chosen(between, delegate=True) == ("folded", None)
    assert chosen(2 * stock["sparse"], delegate=True) == ("folded", None)
    # Without it, only the report knows of the delegate.
    assert chosen(0.5 * stock["folded"]) == ("folded", None)
    assert chosen(0.5 * stock["folded"], "sparse") == ("sparse", "some kernel")
    # On a machine where it takes longer than it predicts.
    slow = dataclasses.replace(
        prices.DEFAULT, float32=dataclasses.replace(prices.DEFAULT.float32, delegate=9.0)
    )
    assert chosen(0.5 * stock["folded"], delegate=True, prices=slow) == ("folded", None)


def test_without_a_delegate_plans_say_so(monkeypatch, tmp_path):
    monkeypatch.setattr(native, "LIBRARY", tmp_path / "none.so")
    native.library.cache_clear()
    model, _ = one_layer(LookupConv2D(16, 3, 8), (6, 6, 12))
    assert [each.delegate for each in choose_lowerings(model, "sparse")] == [None]
    with pytest.raises(ValueError, match="was not built"):
        choose_lowerings(model, delegate=True)


@needs_delegate
def test_the_report_names_the_kernel_of_the_delegate(tmp_path):
    model, _ = one_layer(LookupConv2D(128, 3, 32, padding="same"), (14, 14, 64))
    model.add(keras.layers.Flatten())
    project(model, 3)
    batches = [(random((2, 14, 14, 64)), np.array([0, 1]))]
    path = tmp_path / "m.tflite"
    report = export.export(model, path, batches, delegate=True)
    (layer,) = report.as_dict()["layers"]
    assert layer["delegate"] == delegate_price.predict(report.choices[0].layer).kernel
    assert f"; native delegate: {layer['delegate']}, " in str(report)
    report = export.export(model, path, batches, lowering="folded")
    assert report.as_dict()["layers"][0]["delegate"] is None
    assert "delegate" not in str(report)
