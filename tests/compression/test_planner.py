"""Plans: within budget, never dearer than dense, the least error a brute force finds, and files."""

import dataclasses
import functools
import itertools
import json

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random, settle

from tf_lcnn import lookupify, profile
from tf_lcnn.compression import planner, sites, size_plan
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import prices
from tf_lcnn.lite.choice import choose_lowerings as plan_export
from tf_lcnn.runtime import native

IMAGES = random((30, 8, 8, 3), 7)


def net(width=16):
    keras.utils.set_random_seed(1)
    model = chain(
        (8, 8, 3),
        keras.layers.Conv2D(8, 3, padding="same", name="first"),
        keras.layers.ReLU(),
        keras.layers.DepthwiseConv2D(3, name="depthwise"),
        keras.layers.Conv2D(width, 3, strides=2, padding="same", use_bias=False, name="conv"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(),
        keras.layers.Conv2D(24, 1, name="point"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, name="dense"),
    )
    return settle(model, 4)


@pytest.fixture(scope="module")
def parent():
    return net()


@pytest.fixture(scope="module")
def made(parent):
    return planner.plan(parent, profile(parent).multiplications / 2, images=IMAGES)


def coded(parent, plan):
    return lookupify(parent, plan=plan, init="trained", images=IMAGES)


def test_a_plan_keeps_its_budget_and_costs_what_the_profile_counts(parent, made):
    assert made.cost <= made.budget == profile(parent).multiplications / 2
    assert made.dense_cost == profile(parent).multiplications
    assert any(each.dictionary_size for each in made.layers)
    with pytest.warns(UserWarning, match="depthwise"):
        lcnn = coded(parent, made)
    costs = profile(lcnn)
    assert costs.multiplications == made.cost
    by_name = {layer.name: layer for layer in costs.layers}
    for each in made.layers:
        layer = by_name[each.name]
        assert layer.multiplications == each.cost <= each.dense_cost
        assert layer.dictionary_size == each.dictionary_size
        assert layer.max_s == each.lookups


def test_bytes_are_those_of_the_profile(parent):
    plan = planner.plan(parent, 0.7 * profile(parent).bytes, "bytes", images=IMAGES)
    assert plan.cost <= plan.budget
    with pytest.warns(UserWarning, match="depthwise"):
        assert profile(coded(parent, plan)).bytes == plan.cost


def test_milliseconds_are_those_of_the_cost_model(parent):
    costs = prices.DEFAULT
    dense = planner.plan(parent, 1e9, "milliseconds", images=IMAGES, costs=costs)
    assert all(each.dictionary_size is None for each in dense.layers)
    taps, m, n, positions = 9, 8, 16, 9
    rates = costs.float32.convolution
    expected = np.dot([positions * taps * m * n, positions * n, taps * m * n, 1], rates)
    found = {each.name: each for each in dense.layers}
    assert found["conv"].cost == pytest.approx(1e3 * expected)


@pytest.mark.skipif(not native.available(), reason="no native library")
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_milliseconds_with_the_delegate_are_those_that_it_predicts(quantize, monkeypatch):
    """The lookup layer of a plan costs what its exporter's report says of the same layer."""
    monkeypatch.setattr(planner, "SIZES", (8, 16, 32))
    monkeypatch.setattr(planner, "LOOKUPS", (2, 4))
    keras.utils.set_random_seed(0)
    wide = chain((28, 28, 64), keras.layers.Conv2D(64, 3, padding="same", name="conv"))
    images = random((4, 28, 28, 64), 3)
    ms = {}
    for delegate in (False, True):
        (site,) = sites.find(wide)
        seconds = functools.partial(sites.seconds, prices.DEFAULT, quantize, delegate)
        ms[delegate] = sites.price("milliseconds", seconds, site, 16, 4)
    assert ms[True] < ms[False]
    # The same budget buys more with it.
    how = {"images": images, "quantize": quantize}
    without, with_it = (
        planner.plan(wide, 0.9 * ms[False], "milliseconds", delegate=delegate, **how)
        for delegate in (False, True)
    )
    assert with_it.layers[0].error < without.layers[0].error
    lcnn = lookupify(wide, plan=with_it, init="trained", images=images)
    (exported,) = plan_export(lcnn, quantize=quantize, delegate=True)
    assert 1e3 * exported.delegate.seconds == pytest.approx(with_it.cost, rel=0.2)


def test_a_large_budget_keeps_everything_dense(parent):
    plan = planner.plan(parent, profile(parent).multiplications, images=IMAGES)
    assert all(each.dictionary_size is None and each.error == 0 for each in plan.layers)
    with pytest.warns(UserWarning, match="depthwise"):
        lcnn = coded(parent, plan)
    assert not lookup_layers(lcnn)
    np.testing.assert_array_equal(numpy(lcnn(IMAGES)), numpy(parent(IMAGES)))


def test_a_smaller_budget_costs_more_error(parent):
    whole = profile(parent).multiplications
    errors = [
        sum(each.error for each in planner.plan(parent, whole / x, images=IMAGES).layers)
        for x in (1.2, 1.6, 2.2)
    ]
    assert errors == sorted(errors) and errors[0] < errors[-1]


def test_planning_leaves_the_model_as_it_was(parent):
    before = parent.get_weights()
    planner.plan(parent, profile(parent).multiplications / 2, images=IMAGES)
    for a, b in zip(parent.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    assert not any("call" in vars(layer) for layer in parent.layers)
    assert parent.get_layer("conv").activation is keras.activations.linear


def test_the_walk_spends_nearly_as_well_as_trying_all():
    rng = np.random.default_rng(0)
    for _ in range(20):
        options = {
            name: [
                (float(c), float(1 / (c + rng.uniform(0, 3))), i, 1)
                for i, c in enumerate(rng.integers(1, 20, 5))
            ]
            for name in "abc"
        }
        least = sum(min(row[0] for row in rows) for rows in options.values())
        budget = least + rng.integers(0, 25)
        found = planner._spend(options, budget)
        assert sum(row[0] for row in found.values()) <= budget
        best = min(
            sum(row[1] for row in rows)
            for rows in itertools.product(*options.values())
            if sum(row[0] for row in rows) <= budget
        )
        cheapest = sum(min(rows)[1] for rows in options.values())
        assert sum(row[1] for row in found.values()) <= best + 0.25 * (cheapest - best) + 1e-12


def test_a_plan_survives_its_file_and_an_edit_by_hand(made, parent, tmp_path):
    path = tmp_path / "plan.json"
    made.save(path)
    assert size_plan.load(path) == made
    assert f"{made.cost:,.0f} multiplications" in str(made)
    data = json.loads(path.read_text())
    edited = next(x for x in data["layers"] if x["name"] == "conv")
    edited["dictionary_size"], edited["lookups"] = 5, 2
    path.write_text(json.dumps(data))
    with pytest.warns(UserWarning, match="depthwise"):
        lcnn = lookupify(parent, plan=size_plan.load(path))
    assert lcnn.get_layer("conv").dictionary_size == 5


# Bad input


def test_a_plan_for_another_model_is_refused(made):
    with pytest.raises(
        ValueError, match=r"another model.* conv .*\(3, 3, 8, 16\).*\(3, 3, 8, 12\)"
    ):
        lookupify(net(12), plan=made)
    other = chain((8, 8, 3), keras.layers.Conv2D(8, 3, padding="same", name="first"))
    with pytest.raises(ValueError, match=r"another model.* conv .*no such layer"):
        lookupify(other, plan=made)


def test_a_plan_with_layers_missing_is_refused(made, parent):
    fewer = dataclasses.replace(made, layers=made.layers[1:])
    with pytest.raises(ValueError, match="lacks first"):
        lookupify(parent, plan=fewer)


@pytest.mark.parametrize(
    ("budget", "unit", "message"),
    [
        (1000, "multiplications", "budget of 1,000 multiplications cannot be kept: the smallest"),
        (1000, "joules", "Unknown unit 'joules': multiplications, bytes, milliseconds"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(parent, budget, unit, message):
    with pytest.raises(ValueError, match=message):
        planner.plan(parent, budget, unit, images=IMAGES)


def test_only_milliseconds_know_of_the_delegate(parent):
    with pytest.raises(ValueError, match="are for milliseconds, not for bytes"):
        planner.plan(parent, 1e9, "bytes", images=IMAGES, delegate=True)


@pytest.mark.parametrize("images", [None, IMAGES[:0], IMAGES[:, 1:]])
def test_images_that_do_not_fit_are_refused(parent, images):
    with pytest.raises(ValueError, match="images"):
        planner.plan(parent, 1e9, images=images)


def test_names_have_to_be_clear():
    inner = chain((8, 8, 3), keras.layers.Conv2D(8, 3, name="conv"))
    twice = chain((8, 8, 3), inner, keras.layers.Conv2D(8, 3, name="conv"))
    with pytest.raises(ValueError, match="several layers conv"):
        planner.plan(twice, 1e9, images=IMAGES)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no plan"),
        ("[]", "is no plan"),
        ('{"layers": [{}]}', "is no plan"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        size_plan.load(path)
    with pytest.raises(FileNotFoundError, match=r"No plan .*other\.json"):
        size_plan.load(tmp_path / "other.json")


@pytest.mark.parametrize("sizes", [(4, None), (None, 2), (4, 5), (0, 1), (4.5, 2), ("8", 2)])
def test_sizes_that_do_not_fit_are_refused(made, tmp_path, sizes):
    path = tmp_path / "plan.json"
    made.save(path)
    data = json.loads(path.read_text())
    data["layers"][1]["dictionary_size"], data["layers"][1]["lookups"] = sizes
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"layer conv: dictionary_size .* lookups"):
        size_plan.load(path)
