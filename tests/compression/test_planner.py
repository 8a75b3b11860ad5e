"""Plans: within budget, never above dense, the least error a brute force finds, and files."""

import dataclasses
import itertools
import json

import keras
import numpy as np
import pytest
from support import processes
from support.helpers import chain, numpy, random, settle

from tf_lcnn import lookupify, profile
from tf_lcnn.compression import planner, sensitivity, size_plan
from tf_lcnn.compression.sites import sites
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import prices
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.plan_prices import PlanPrices
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
    assert any(layer.dictionary_size for layer in made.layers)
    with pytest.warns(UserWarning, match="depthwise"):
        lcnn = coded(parent, made)
    costs = profile(lcnn)
    assert costs.multiplications == made.cost
    by_name = {layer.name: layer for layer in costs.layers}
    for choice in made.layers:
        layer = by_name[choice.name]
        assert layer.multiplications == choice.cost <= choice.dense_cost
        assert layer.dictionary_size == choice.dictionary_size
        assert layer.max_s == choice.lookups


@pytest.mark.parametrize("numbers", ["float32", "int8", "binary"])
def test_bytes_are_those_of_the_profile(parent, numbers):
    budget = 0.8 * profile(parent).size(numbers)
    plan = planner.plan(parent, budget, "bytes", images=IMAGES, numbers=numbers)
    assert plan.cost <= plan.budget
    with pytest.warns(UserWarning, match="depthwise"):
        assert profile(coded(parent, plan)).size(numbers) == plan.cost


def test_milliseconds_are_those_of_the_cost_model(parent):
    machine = prices.DEFAULT
    dense = planner.plan(parent, 1e9, "milliseconds", IMAGES, PlanPrices(machine))
    assert all(layer.dictionary_size is None for layer in dense.layers)
    taps, m, n, positions = 9, 8, 16, 9
    rates = machine.float32.convolution
    expected = np.dot([positions * taps * m * n, positions * n, taps * m * n, 1], rates)
    by_name = {layer.name: layer for layer in dense.layers}
    assert by_name["conv"].cost == pytest.approx(1e3 * expected)


def test_no_size_multiplies_more_than_the_dense_layer_whatever_the_prices(parent):
    class Lookups:
        """A machine on which lookups cost nothing."""

        def seconds(self, layer, call, k, s):
            return 1.0 if k is None else 0.0

    plan = planner.plan(parent, 1e9, "milliseconds", IMAGES, Lookups())
    by_name = {site.name: site for site in sites(parent)}
    offered = {
        name: planner._options(site, "milliseconds", Lookups()) for name, site in by_name.items()
    }
    assert any(len(rows) > 1 for rows in offered.values())
    for name, rows in offered.items():
        site = by_name[name]
        assert all(site.multiplications(*row[:2]) <= site.multiplications() for row in rows[1:])
    assert plan.cost <= plan.dense_cost


@pytest.mark.skipif(not native.available(), reason="no native library")
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_milliseconds_with_the_delegate_are_those_that_it_predicts(quantize, monkeypatch):
    """The lookup layer of a plan costs what its exporter's report says of the same layer."""
    monkeypatch.setattr(planner, "SIZES", (8, 16, 32))
    monkeypatch.setattr(planner, "LOOKUPS", (2, 4))
    keras.utils.set_random_seed(0)
    wide = chain((28, 28, 64), keras.layers.Conv2D(64, 3, padding="same", name="conv"))
    images = random((4, 28, 28, 64), 3)
    (site,) = sites(wide)
    # A machine on which the delegate gains, whatever this one is.
    rates = {name: getattr(prices.DEFAULT, name) for name in ("float32", "int8")}
    rates = {name: dataclasses.replace(x, delegate=0.1) for name, x in rates.items()}
    machine = prices.Prices(**rates)
    without, with_it = (PlanPrices(machine, quantize, x) for x in (False, True))
    budget = site.milliseconds(without, 16, 4)
    assert site.milliseconds(with_it, 16, 4) < budget
    # The same budget buys more with it.
    plans = [
        planner.plan(wide, 0.9 * budget, "milliseconds", images, x) for x in (without, with_it)
    ]
    assert plans[1].layers[0].error < plans[0].layers[0].error
    lcnn = lookupify(wide, plan=plans[1], init="trained", images=images)
    (exported,) = choose_lowerings(lcnn, prices=machine, quantize=quantize, delegate=True)
    assert 1e3 * exported.delegate.seconds == pytest.approx(plans[1].cost, rel=0.2)


def test_a_second_budget_asks_nothing_of_the_model(parent, monkeypatch):
    whole = profile(parent)
    first = planner.plan(parent, whole.multiplications / 2, images=IMAGES)
    monkeypatch.setattr(sensitivity, "_errors", None)
    again = planner.plan(parent, whole.multiplications / 2.5, images=IMAGES)
    assert again.cost <= whole.multiplications / 2.5 < first.cost
    planner.plan(parent, 0.7 * whole.bytes, "bytes", IMAGES)


def test_an_interrupted_plan_goes_on_from_the_layers_that_are_done(parent, tmp_path, monkeypatch):
    budget, seen = profile(parent).multiplications / 2, []

    def interrupt(name, number, count):
        seen.append((name, number, count))
        if number == 2:
            raise KeyboardInterrupt

    how = {"images": IMAGES, "cache": tmp_path / "cache"}
    monkeypatch.setattr(sensitivity, "_KEPT", {})
    with pytest.raises(KeyboardInterrupt):
        planner.plan(parent, budget, progress=interrupt, **how)
    assert seen == [("first", 0, 4), ("conv", 1, 4), ("point", 2, 4)]
    errors, calls = sensitivity._errors, []

    def counting(*args):
        calls.append(args)
        return errors(*args)

    monkeypatch.setattr(sensitivity, "_errors", counting)
    plan = planner.plan(parent, budget, **how)
    assert len(calls) == 2
    # A file that was damaged is made again.
    (tmp_path / "cache" / "errors001.npz").write_bytes(b"PK")
    monkeypatch.setattr(sensitivity, "_KEPT", {})
    assert planner.plan(parent, budget, **how) == plan and len(calls) == 3
    monkeypatch.setattr(sensitivity, "_KEPT", {})
    with pytest.raises(ValueError, match="cache holds errors files of another model"):
        planner.plan(parent, budget, seed=1, **how)


def test_multiplications_are_planned_where_litert_is_not_installed():
    code = """
sys.modules["ai_edge_litert"] = None
import keras, numpy as np
from tf_lcnn.compression import planner
net = keras.Sequential([keras.Input((6, 6, 2)), keras.layers.Conv2D(8, 3), keras.layers.Flatten()])
images = np.random.default_rng(0).normal(size=(5, 6, 6, 2))
plan = planner.plan(net, 16 * 9 * 2 * 8 - 1, images=images)
print(plan.cost < plan.dense_cost)
"""
    run = processes.run(processes.FORGET + code)
    assert run.stdout == "True\n", run.stderr


FAMILIES = {
    "Conv1D": (keras.layers.Conv1D(12, 3, padding="causal", name="layer"), (8, 6)),
    "Conv3D": (keras.layers.Conv3D(8, 2, name="layer"), (4, 5, 4, 3)),
    "transposed": (keras.layers.Conv2DTranspose(6, 3, strides=2, name="layer"), (5, 4, 8)),
    "groups": (keras.layers.Conv2D(12, 3, groups=2, padding="same", name="layer"), (6, 6, 8)),
    "separable": (keras.layers.SeparableConv2D(24, 3, name="layer"), (6, 6, 12)),
}


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_planned_coded_and_counted(name):
    layer, shape = FAMILIES[name]
    keras.utils.set_random_seed(3)
    model = chain(shape, layer)
    images = random((12, *shape), 4)
    for unit in ("multiplications", "bytes"):
        whole = getattr(profile(model), unit)
        plan = planner.plan(model, 0.8 * whole, unit, images)
        assert plan.dense_cost == whole and plan.layers[0].dictionary_size
        lcnn = lookupify(model, plan=plan, init="trained", images=images)
        assert getattr(profile(lcnn), unit) <= plan.cost <= plan.budget
    # With every row and lookup that its weight vectors need, the layer computes the same.
    (site,) = sites(model)
    rank = min(site.kernel[1], site.weight_vectors - 1)
    lcnn = lookupify(model, rank, init="trained", lookups=rank, images=images)
    if rank == site.kernel[1]:
        np.testing.assert_allclose(numpy(lcnn(images)), numpy(model(images)), rtol=0, atol=2e-4)


def test_a_large_budget_keeps_everything_dense(parent):
    plan = planner.plan(parent, profile(parent).multiplications, images=IMAGES)
    assert all(layer.dictionary_size is None and layer.error == 0 for layer in plan.layers)
    with pytest.warns(UserWarning, match="depthwise"):
        lcnn = coded(parent, plan)
    assert not lookup_layers(lcnn)
    np.testing.assert_array_equal(numpy(lcnn(IMAGES)), numpy(parent(IMAGES)))


def test_a_smaller_budget_costs_more_error(parent):
    whole = profile(parent).multiplications
    errors = [
        sum(layer.error for layer in planner.plan(parent, whole / x, images=IMAGES).layers)
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


def test_milliseconds_alone_have_prices(parent):
    for unit, machine in (("bytes", PlanPrices(prices.DEFAULT)), ("milliseconds", None)):
        with pytest.raises(ValueError, match=r"Milliseconds need prices.*PlanPrices\(lite\.prices"):
            planner.plan(parent, 1e9, unit, IMAGES, machine)


@pytest.mark.parametrize("budget", [float("nan"), float("inf"), 0, -1, "8e6", None, True])
def test_a_budget_that_is_no_number_is_refused(parent, budget):
    with pytest.raises(ValueError, match="The budget in multiplications must be a finite number"):
        planner.plan(parent, budget, images=IMAGES)


def with_weights(change):
    model = net()
    layer, index, value = change
    weights = model.get_layer(layer).get_weights()
    weights[index].flat[0] = value
    model.get_layer(layer).set_weights(weights)
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: with_weights(("conv", 0, np.nan)), "layer conv have NaN"),
        (lambda: with_weights(("bn", 3, np.inf)), "layer bn have NaN"),
        (lambda: chain((8, 8, 3), keras.layers.ReLU()), "no layer that can have lookups"),
        (lambda: "model.keras", r"not 'model.keras': keras.models.load_model"),
        (
            lambda: keras.Model(
                inputs := [keras.Input((8, 8, 3)), keras.Input((8, 8, 3))],
                keras.layers.Conv2D(9, 3)(keras.layers.Add()(inputs)),
            ),
            "2 inputs: a built model with one",
        ),
    ],
)
def test_a_model_that_cannot_be_planned_is_refused(make, message):
    with pytest.raises(ValueError, match=message):
        planner.plan(make(), 1e9, images=IMAGES)


def test_images_that_all_give_the_same_output_are_refused(parent):
    for images in (IMAGES[:1], np.zeros_like(IMAGES)):
        with pytest.raises(ValueError, match=r"the same output for all .* calibration images"):
            planner.plan(parent, profile(parent).multiplications / 2, images=images)


def test_the_names_of_a_plan_are_names_not_patterns():
    keras.utils.set_random_seed(0)
    model = chain(
        (8, 8, 3),
        keras.layers.Conv2D(8, 3, name="c*"),
        keras.layers.Conv2D(8, 3, name="c[1]"),
        keras.layers.Conv2D(8, 3, name="c1"),
    )
    layers = [
        size_plan.Choice(layer.name, tuple(layer.kernel.shape), k, s, 1.0, 2.0, 0.0)
        for layer, (k, s) in zip(model.layers[1:], ((5, 1), (None, None), (7, 2)), strict=True)
    ]
    plan = size_plan.Plan(model.name, "bytes", 9.0, 0.0, tuple(layers))
    lcnn = lookupify(model, plan=plan)
    assert [getattr(layer, "dictionary_size", None) for layer in lcnn.layers[1:]] == [5, None, 7]


def test_a_plan_is_taken_as_path_or_dict(made, parent, tmp_path):
    made.save(tmp_path / "plan.json")
    for plan in (tmp_path / "plan.json", json.loads((tmp_path / "plan.json").read_text())):
        assert size_plan.taken(plan) == made
    with pytest.raises(ValueError, match="A plan is a Plan, the path of one or a dict, not 3"):
        lookupify(parent, plan=3)


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
        ('{"model": "m", "unit": "joules", "budget": 1, "other_cost": 0, "layers": []}', "joules"),
        ('{"model": "m", "unit": "bytes", "budget": NaN, "other_cost": 0, "layers": []}', "budget"),
    ],
)
def test_a_file_that_is_no_plan_is_refused(tmp_path, text, message):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        size_plan.load(path)
    with pytest.raises(FileNotFoundError, match=r"No plan .*other\.json"):
        size_plan.load(tmp_path / "other.json")


def test_a_layer_that_is_listed_twice_is_refused(made, tmp_path):
    dataclasses.replace(made, layers=(*made.layers, made.layers[1])).save(tmp_path / "plan.json")
    with pytest.raises(ValueError, match="lists layer conv 2 times"):
        size_plan.load(tmp_path / "plan.json")


@pytest.mark.parametrize("sizes", [(4, None), (None, 2), (4, 5), (0, 1), (4.5, 2), ("8", 2)])
def test_sizes_that_do_not_fit_are_refused(made, tmp_path, sizes):
    path = tmp_path / "plan.json"
    made.save(path)
    data = json.loads(path.read_text())
    data["layers"][1]["dictionary_size"], data["layers"][1]["lookups"] = sizes
    path.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=r"layer conv: dictionary_size .* lookups"):
        size_plan.load(path)
