"""Prices of the very kernels: layers of a file, timed by themselves, and kept."""

import keras
import numpy as np
import pytest
from support.helpers import chain, random

from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.sites import sites
from tf_lcnn.compression.size_plan import Choice, Plan
from tf_lcnn.lite import prices
from tf_lcnn.pipeline import kernel_prices, sizing

SHAPE = (12, 12, 3)


@pytest.fixture(scope="module")
def parent(tmp_path_factory):
    """(model, its file): three convolutions, two of one shape, and a classifier."""
    keras.utils.set_random_seed(0)
    same = {"padding": "same", "activation": "relu"}
    model = chain(
        SHAPE,
        keras.layers.Conv2D(16, 3, name="first", **same),
        keras.layers.Conv2D(16, 3, name="second", **same),
        keras.layers.Conv2D(16, 3, name="third", **same),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, name="logits"),
    )
    path = tmp_path_factory.mktemp("net") / "parent.tflite"
    sizing.write(path, model, random((8, *SHAPE)), prices.DEFAULT, False)
    return model, path


@pytest.fixture
def clock(monkeypatch):
    """Layers take 1, 2, 3, ... seconds, of which a call of LiteRT is 1."""

    def seconds(interpreters, *_):
        layers = len(interpreters) - 1
        alone = np.arange(1.0, layers + 1)
        return np.array([alone.sum() - layers or 1.0, *alone])

    monkeypatch.setattr(kernel_prices.timing, "median_seconds", seconds)
    # The machine may be busy.
    monkeypatch.setattr(kernel_prices.timing, "LEAST_SHARE", 0.0)


def seconds_of(found, model, k=None, s=None):
    return {x.name: found.seconds(x.layer, x.calls[0], k, s) for x in sites(model)}


def test_layers_cost_what_they_took_and_others_as_much_more(parent, clock):
    model, path = parent
    found = kernel_prices.of_machine(prices.DEFAULT, "int8")
    said = seconds_of(found.prices, model)
    assert seconds_of(found, model) == said
    found.measure(model, {}, path, SHAPE)
    took = seconds_of(found, model)
    # In the file quantization comes first. The second and the third are one kernel: one time.
    assert took["first"] == 1.0 and took["second"] == took["third"] == 3.0
    # What the file has no name for was not timed: the middle ratio of those that were counts.
    ratio = np.median([took[x] / said[x] for x in ("first", "second")])
    assert took["logits"] == pytest.approx(ratio * said["logits"])
    # Nothing is known of lookups.
    assert seconds_of(found, model, 8, 2) == seconds_of(found.prices, model, 8, 2)


def test_names_that_keras_gives_are_told_apart(clock, tmp_path):
    keras.backend.clear_session()
    layers = (keras.layers.Conv2D(x, 3, padding="same") for x in (4, 8, 12))
    model = chain(SHAPE, *layers, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4))
    assert [x.name for x in sites(model)] == ["conv2d", "conv2d_1", "conv2d_2", "dense"]
    sizing.write(tmp_path / "x.tflite", model, random((8, *SHAPE)), prices.DEFAULT, False)
    found = kernel_prices.of_machine(prices.DEFAULT, "int8")
    found.measure(model, {}, tmp_path / "x.tflite", SHAPE)
    took = seconds_of(found, model)
    # In the file quantization comes first, and conv2d is called conv2d_1.
    assert [took[x] for x in ("conv2d", "conv2d_1", "conv2d_2")] == [1.0, 2.0, 3.0]


def test_times_are_kept_by_format_and_a_damaged_file_is_refused(parent, clock, tmp_path):
    model, path = parent
    prices.save(prices.DEFAULT, tmp_path / "prices.json")
    found = kernel_prices.of_machine(tmp_path / "prices.json", "int8")
    found.measure(model, {}, path, SHAPE)
    again = kernel_prices.of_machine(tmp_path / "prices.json", "int8")
    assert seconds_of(again, model) == seconds_of(found, model)
    other = kernel_prices.of_machine(tmp_path / "prices.json")
    assert seconds_of(other, model) == seconds_of(other.prices, model)
    (tmp_path / "prices-kernels.json").write_text('{"x": 1}')
    with pytest.raises(ValueError, match=r"prices-kernels\.json holds no times of kernels"):
        kernel_prices.of_machine(tmp_path / "prices.json")


@pytest.mark.parametrize(
    ("ms", "chosen"),
    [
        # Twice as fast as 10 ms is 5. Much faster first, then too slow, then about right.
        ((2.0, 6.0, 4.9), "nearest"),
        # Never fast enough.
        ((9.0, 8.0, 7.0), "fastest"),
        ((4.9,), "first"),
    ],
)
def test_faster_than_wished_is_planned_anew(parent, clock, monkeypatch, tmp_path, ms, chosen):
    model, content = parent
    path = tmp_path / "parent.tflite"
    path.write_bytes(content.read_bytes())
    answers = iter([[10.0], *([10.0, x] for x in ms)])
    monkeypatch.setattr(sizing, "interleaved", lambda *_: np.array([next(answers)]))
    budgets = []

    def plan(model, budget, *_, **__):
        budgets.append(budget)
        row = Choice("second", (3, 3, 16, 16), 8, 2, 0.1, 1.0, 1 / len(budgets))
        dense = [
            Choice(x.name, x.layer.kernel.shape, None, None, 0.1, 1.0, 0.0)
            for x in sites(model)
            if x.name != "second"
        ]
        return Plan(model.name, "milliseconds", budget, 0.0, (row, *dense))

    monkeypatch.setattr(sizing.planner, "plan", plan)
    found = kernel_prices.of_machine(prices.DEFAULT, "int8")
    monkeypatch.setattr(kernel_prices.KernelPrices, "milliseconds", lambda *_: 9.0)
    monkeypatch.setattr(sizing.planner, "bounds", lambda *_: (0.01, 10.0))
    images = random((8, *SHAPE))
    best, tried = sizing.plan_for(
        model, images, ("speedup", 2.0), found, path, lambda line: None, 0
    )
    assert [row["ms"] for row in tried] == list(ms)
    # Errors are 1, 1/2, 1/3.
    wanted = {"nearest": 1 / 3, "fastest": 1 / 3, "first": 1.0}[chosen]
    assert best.layers[0].error == pytest.approx(wanted)
    assert len(budgets) == len(ms)


def test_lookups_are_timed_in_the_file_that_has_them(parent, clock, tmp_path):
    model, _ = parent
    found = kernel_prices.of_machine(prices.DEFAULT, "int8")
    sizes = {"second": (8, 2)}
    lcnn = lookupify(model, 8, rules={x: "keep" for x in ("first", "third", "logits")})
    sizing.write(tmp_path / "x.tflite", lcnn, random((8, *SHAPE)), prices.DEFAULT, False)
    found.measure(model, sizes, tmp_path / "x.tflite", SHAPE)
    (second,) = (x for x in sites(model) if x.name == "second")
    assert found.seconds(second.layer, second.calls[0], 8, 2) == 2.0
    # The same layer with other lookups goes by its ratio.
    ratio = 2.0 / found.prices.seconds(second.layer, second.calls[0], 8, 2)
    four = found.seconds(second.layer, second.calls[0], 8, 4)
    assert four == pytest.approx(ratio * found.prices.seconds(second.layer, second.calls[0], 8, 4))
