"""Layers with tables go to LiteRT as convolutions of what was looked up: stock operators."""

import dataclasses
import json

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from support.helpers import chain, numpy, random

from tf_lcnn import lookupify
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D, DeepLookupDense
from tf_lcnn.lite import level_grid, table_forms
from tf_lcnn.lite.export import convert, export
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.runtime.interpreter import Interpreter, parse

TABLES = [{"table": "separable"}, {"table": "low_rank", "table_rank": 2}, {"table": "free"}]
IMAGES = random((20, 8, 8, 2), 7).astype(np.float32)


def converted(activation_levels=12, **table):
    """A net with tables in a convolution, whose inputs are signed, and in a dense layer."""
    keras.utils.set_random_seed(3)
    parent = chain(
        (8, 8, 2),
        layers.Conv2D(6, 3),
        layers.Conv2D(8, 3, padding="same", strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(12),
        layers.Dense(4),
    )
    return lookupify(
        parent,
        family="deep_lookup",
        activation_levels=activation_levels,
        weight_levels=9,
        init="trained",
        images=IMAGES,
        **table,
    )


def trained(model):
    """Tables that are no product any more."""
    for i, variable in enumerate(model.trainable_variables):
        if variable.name.endswith("_steps") or variable.name == "mixture":
            variable.assign(numpy(variable) + 0.5 * random(variable.shape, i))
    return model


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["table"])
def test_a_file_with_tables_is_exact(table, tmp_path):
    report = export(trained(converted(**table)), tmp_path / "model.tflite", IMAGES)
    assert report.proof.decibels > 100
    # Flex operators would be named.
    assert "all builtin" in str(report)
    # What only training needs is not in the file.
    assert not {"SUB", "SELECT", "SELECT_V2"} & set(report.operators)
    # A step here and there is no other net; a tenth of the output is.
    worse = dataclasses.replace(report.proof, relative_difference=0.02, decibels=40.0)
    assert worse.holds("tables")
    assert not worse.holds(None)
    assert not dataclasses.replace(worse, decibels=20.0).holds("tables")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table["table"])
def test_int8_loses_little_more_than_its_input_does(table, tmp_path):
    """A net of levels answers to small changes in steps: rounding its input to int8 costs most."""
    model = trained(converted(17, **table))
    report = export(model, tmp_path / "m.tflite", IMAGES, quantize="int8", calibration=IMAGES)
    step = np.ptp(IMAGES) / 255
    rounded = (np.rint(IMAGES / step) * step).astype(np.float32)
    answers = [model.predict(x, verbose=0) for x in (IMAGES, rounded)]
    assert report.proof.decibels > signal_to_noise(*answers) - 2
    assert "all builtin" in str(report)


def test_int8_reads_the_very_levels():
    """Of numbers on the borders' either side, what is read is the entry, but for its rounding."""
    for signed, levels in ((True, 9), (True, 16), (False, 16), (False, 33)):
        layer = DeepLookupDense(7, levels, 5, table="separable", signed_input=signed)
        model = trained(keras.Sequential([keras.Input((6,)), layer]))
        layer.log_activation_scale.assign(0.0)
        step = (2 if signed else 1) / (levels - 1)
        borders = np.arange(-1 if signed else 0, 1, step) + step / 2
        x = np.concatenate([borders - 1e-3, borders + 1e-3, [-2.0, 2.0]])
        x = np.random.default_rng(0).choice(x, (64, 6)).astype(np.float32)
        file = Interpreter(content=convert(model, quantize="int8", calibration=x))
        assert signal_to_noise(model.predict(x, verbose=0), file.predict(x)) > 35


def read_scales(content):
    """The scale of the int8 numbers that each FLOOR_DIV gets, by way of its DEQUANTIZE."""
    model = parse(content)
    graph, builtin = model.subgraphs[0], schema.BuiltinOperator
    codes = [max(x.builtinCode, x.deprecatedBuiltinCode) for x in model.operatorCodes]
    made = {int(x.outputs[0]): x for x in graph.operators}
    return [
        float(graph.tensors[made[int(x.inputs[0])].inputs[0]].quantization.scale[0])
        for x in graph.operators
        if codes[x.opcodeIndex] == builtin.FLOOR_DIV
    ]


@pytest.mark.parametrize(("levels", "fits"), [(17, True), (12, False)])
def test_steps_of_int8_divide_a_level_oddly(levels, fits, monkeypatch):
    """Signed numbers of 12 levels have a border at zero, which int8 has: nothing to gain."""
    model = converted(levels, table="separable", signed_input=True)
    forms = table_forms.of_model(model, "int8")
    content = convert(model, quantize="int8", calibration=IMAGES)
    monkeypatch.setattr(level_grid, "fitted", lambda content, forms: content)
    before = read_scales(convert(model, quantize="int8", calibration=IMAGES))
    # The dense layer's are reshaped on the way, which has one scale on both sides.
    for form, scale, plain in zip(forms, read_scales(content), before, strict=True):
        assert (scale != plain) == fits
        if fits:
            steps = form.step / scale
            assert steps == pytest.approx(round(steps), rel=1e-5)
            assert round(steps) % 2 == 1
            assert plain < scale < plain * 1.5


@pytest.mark.parametrize(
    ("scale", "wanted"), [(0.3, 1 / 3), (0.1999, 1 / 5), (0.21, 1 / 3), (0.9, 1.0), (1.5, 1.5)]
)
def test_the_next_coarser_scale(scale, wanted):
    assert level_grid._coarser(scale, 1.0) == pytest.approx(wanted)


def test_a_free_table_has_the_smallest_exact_rank():
    """A new one is a product; of entries that are drawn none is left out."""
    model = converted(table="free", monotone=False)
    for quantize in (None, "int8"):
        assert [form.rank for form in table_forms.of_model(model, quantize)] == [1, 1]
    for layer in model.layers:
        if isinstance(layer, (DeepLookupConv2D, DeepLookupDense)):
            drawn = random((12, 2), 1), random((2, 9), 2)
            cells = drawn[0] @ drawn[1]
            layer._activation_part.assign(cells / np.abs(cells).max())
    assert [form.rank for form in table_forms.of_model(model)] == [2, 2]
    for form in table_forms.of_model(trained(converted(table="free")), "int8"):
        assert form.rank == 9
        assert 0 < form.error <= 0.51 / 127


def test_the_report_says_ranks(tmp_path):
    model = converted(table="low_rank", table_rank=2)
    report = export(model, tmp_path / "model.tflite", IMAGES)
    names = [form.layer.name for form in report.tables]
    assert f"{names[0]}: table low_rank of 12 x 9, rank 2, largest error of an entry 0.0e" in str(
        report
    )
    assert "No lookup layers" not in str(report)
    row = json.loads(json.dumps(report.as_dict()))["tables"][1]
    assert row == {
        "name": names[1],
        "table": "low_rank",
        "activation_levels": 12,
        "weight_levels": 9,
        "rank": 2,
        "largest_error": 0.0,
    }


def test_a_table_of_integers_is_what_the_file_has():
    model = trained(converted(table="free"))
    for layer in model.layers:
        if isinstance(layer, (DeepLookupConv2D, DeepLookupDense)):
            layer.integers = True
    answers = numpy(model(IMAGES))
    file = Interpreter(content=convert(model))
    assert signal_to_noise(answers, file.predict(IMAGES)) > 90
