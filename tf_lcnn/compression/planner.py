"""Which k and s each layer of a trained model gets, so that a budget is kept at the least error.

    plan = planner.plan(model, 8e6, images=images)
    plan.save("plan.json")
    lcnn = lookupify(model, plan=plan, init="trained", images=images)

Each layer is coded by itself in several sizes; the error of its output is weighed by what such an
error does to the output of the model, measured once per layer. A greedy walk along the convex
hulls of error over cost then spends the budget where it buys most.
"""

from tf_lcnn import checks
from tf_lcnn.compression import coding
from tf_lcnn.compression.sensitivity import sensitivity
from tf_lcnn.compression.sites import kernel_shape, other_cost, sites
from tf_lcnn.compression.size_plan import UNITS, Choice, Plan
from tf_lcnn.costs import storage
from tf_lcnn.graph import rebuild

# The sizes that are tried. The native kernels run k of 16 to 128 with s of 4 and 8 in registers.
SIZES = (4, 8, 16, 32, 64, 128, 256)
LOOKUPS = (1, 2, 3, 4, 8)


def plan(
    model,
    budget,
    unit="multiplications",
    images=None,
    prices=None,
    seed=0,
    *,
    cache=None,
    progress=None,
    numbers="float32",
):
    """Chooses k and s, or dense, for each layer of a trained model.

    A minute of processor time for a net of eight layers. Another budget, or another unit, for the
    same model and images takes none.

    Args:
        model: functional or Sequential with one input, trained; it is not changed.
        budget: for the whole model: multiplications of one image (unpadded count), bytes of
            weights, or milliseconds of one image on one thread.
        unit: one of `size_plan.UNITS`.
        images: a few hundred real inputs as the model takes them, in any form that
            `checks.inputs` takes.
        prices: for milliseconds, what layers take on the machine: an object with
            `seconds(layer, call, k, s)`, the seconds of a `graph.trace.Call` of a Keras layer
            with k rows and s lookups, or dense for k = None; None where it cannot run so.
            `lite.plan_prices.PlanPrices` is one.
        seed: of the coding.
        cache: folder that keeps the errors of each layer, so that a second call goes on after an
            interruption; None keeps nothing.
        progress: called with (name of the layer, its number from 0, how many) as it begins.
        numbers: that bytes are counted in, one of `costs.storage.NUMBERS`.

    Returns:
        Plan. No lookup layer in it has more of the unit, or more multiplications, than its dense
        one.

    Raises:
        ValueError: an unknown unit or numbers; a budget that is no number above 0, or that no
            choice of sizes keeps; no images, or images that do not fit or all give the same
            output; weights with NaN; several inputs; two layers of one name, or no layer that can
            have lookups; milliseconds without prices, or prices without milliseconds; a cache of
            another model, seed or other images.
    """
    if unit not in UNITS:
        raise ValueError(f"Unknown unit {unit!r}: {', '.join(UNITS)}.")
    if numbers not in storage.NUMBERS:
        raise ValueError(f"Unknown numbers {numbers!r}: {', '.join(storage.NUMBERS)}.")
    checks.number(budget, f"The budget in {unit}", above=0)
    if (unit == "milliseconds") != (prices is not None):
        raise ValueError(
            "Milliseconds need prices, and only they do: "
            "prices=PlanPrices(lite.prices.machine()), of lite.plan_prices."
        )
    rebuild.refuse_other_models(model)
    images = coding.calibration_images(model, images)
    checks.whole_number(seed, "The seed", least=0)
    coding.refuse_unusable_weights(model)
    shape = images.shape[1:]
    places = sites(model, shape, numbers)
    if not places:
        raise ValueError(f"{model.name} has no layer that can have lookups: nothing to plan.")
    dense, other, options, least = _costs(model, places, unit, prices, shape, numbers)
    if budget < least:
        raise ValueError(
            f"A budget of {budget:,.6g} {unit} cannot be kept: the smallest sizes take "
            f"{least:,.6g}, the dense {model.name} {other + sum(dense.values()):,.6g}."
        )
    layers = {site.name: site.layer for site in places}
    how = {"cache": cache, "progress": progress}
    errors = sensitivity(model, layers, SIZES, LOOKUPS, images, seed, **how)
    offers = {
        name: [(cost, errors[name][k, s], k, s) for k, s, cost in rows]
        for name, rows in options.items()
    }
    chosen = _spend(offers, budget - other)
    choices = []
    for name, layer in layers.items():
        cost, error, k, s = chosen[name]
        choices.append(Choice(name, kernel_shape(layer), k, s, cost, dense[name], error))
    return Plan(model.name, unit, float(budget), other, tuple(choices))


def bounds(model, unit="multiplications", prices=None, input_shape=None):
    """(what the smallest sizes cost, what the dense model costs): between them budgets lie.

    Args:
        model, unit, prices: see `plan`.
        input_shape: of one input, needed where the model leaves it open.

    Raises:
        ValueError: the model has no layer that can have lookups.
    """
    places = sites(model, input_shape)
    if not places:
        raise ValueError(f"{model.name} has no layer that can have lookups: nothing to plan.")
    dense, other, _, least = _costs(model, places, unit, prices, input_shape)
    return least, other + sum(dense.values())


def _costs(model, places, unit, prices, shape, numbers="float32"):
    """Of `sites`: (dense cost by name, cost of other layers, options by name, least cost)."""
    dense = {site.name: site.cost(unit, prices) for site in places}
    other = other_cost(model, dense, unit, shape, numbers)
    options = {site.name: _options(site, unit, prices) for site in places}
    least = other + sum(min(cost for _, _, cost in rows) for rows in options.values())
    return dense, other, options, least


def _options(site, unit, prices):
    """[(k, s, cost)]: dense, and what costs less and does not multiply more."""
    dense, multiplications = site.cost(unit, prices), site.multiplications()
    rows = [(None, None, dense)]
    for k in (k for k in SIZES if k < site.weight_vectors):
        for s in (s for s in LOOKUPS if s <= k):
            if site.multiplications(k, s) > multiplications and unit != "bytes":
                continue
            cost = site.cost(unit, prices, k, s)
            if cost is not None and cost < dense:
                rows.append((k, s, cost))
    return rows


def _hull(rows):
    """The rows (cost, error, ...) on the lower convex hull, from the cheapest on."""
    hull = []
    for row in sorted(rows, key=lambda row: row[:2]):
        if hull and row[1] >= hull[-1][1]:
            continue
        while len(hull) > 1:
            (c0, e0, *_), (c1, e1, *_) = hull[-2:]
            if (e0 - e1) * (row[0] - c0) > (e0 - row[1]) * (c1 - c0):
                break
            hull.pop()
        hull.append(row)
    return hull


def _spend(options, budget):
    """name -> the row (cost, error, k, s) that it gets."""
    hulls = {name: _hull(rows) for name, rows in options.items()}
    level = dict.fromkeys(hulls, 0)
    left = budget - sum(hull[0][0] for hull in hulls.values())
    while True:
        # The next step of each layer, best gain per cost first.
        steps = []
        for name, hull in hulls.items():
            if level[name] + 1 < len(hull):
                here, there = hull[level[name]], hull[level[name] + 1]
                price = there[0] - here[0]
                if price <= left:
                    steps.append(((here[1] - there[1]) / price, name, price))
        if not steps:
            break
        _, name, price = max(steps)
        level[name] += 1
        left -= price
    return _fill({name: hull[level[name]] for name, hull in hulls.items()}, options, left)


def _fill(chosen, options, left):
    """Spends what is left on rows off the hulls, the largest gain first."""
    while True:
        better = [
            (chosen[name][1] - row[1], name, row)
            for name, rows in options.items()
            for row in rows
            if row[1] < chosen[name][1] and row[0] - chosen[name][0] <= left
        ]
        if not better:
            return chosen
        _, name, row = max(better, key=lambda gain: gain[0])
        left -= row[0] - chosen[name][0]
        chosen = {**chosen, name: row}
