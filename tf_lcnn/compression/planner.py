"""Which k and s each layer of a trained model gets, so that a budget is kept at the least error.

    plan = planner.plan(model, 8e6, images=images)
    plan.save("plan.json")
    lcnn = lookupify(model, plan=plan, init="trained", images=images)

Each layer is coded by itself in several sizes; the error of its output is weighed by what such an
error does to the output of the model, measured once per layer. A greedy walk along the convex
hulls of error over cost then spends the budget where it buys most.
"""

import contextlib
import functools
import math

import keras
import numpy as np

from tf_lcnn.compression import activations, coding, sites
from tf_lcnn.compression.size_plan import UNITS, Choice, Plan
from tf_lcnn.lite import prices

# The sizes that are tried. The native kernels run k of 16 to 128 with s of 4 and 8 in registers.
SIZES = (4, 8, 16, 32, 64, 128, 256)
LOOKUPS = (1, 2, 3, 4, 8)

# Rounds of coding that tell sizes apart; the coding itself takes more.
_ROUNDS = 2
_PATCHES = 8_000


def plan(
    model,
    budget,
    unit="multiplications",
    images=None,
    costs=prices.DEFAULT,
    seed=0,
    *,
    quantize=None,
    delegate=False,
):
    """Chooses k and s, or dense, for each layer of a trained model.

    Args:
        model: functional or Sequential, trained; it is not changed.
        budget: for the whole model: multiplications of one image (unpadded count), bytes of
            float32 weights, or milliseconds of one image on one thread.
        unit: one of `UNITS`.
        images: (count, ...) real inputs as the model takes them, a few hundred.
        costs: for milliseconds, the `lite.cost_model.Prices` of the machine.
        seed: of the coding.
        quantize: for milliseconds, the number format: None for float32, or "int8".
        delegate: for milliseconds, whether LiteRT will run the file with the native delegate,
            which likes k of 16 to 128 and s of 4 and 8.

    Returns:
        Plan. No lookup layer in it is dearer than its dense one.

    Raises:
        ValueError: an unknown unit, no images or images that do not fit, two layers of one
            name, a budget that no choice of sizes keeps, or a delegate that was not built.
    """
    if unit not in UNITS:
        raise ValueError(f"Unknown unit {unit!r}: {', '.join(UNITS)}.")
    if unit != "milliseconds" and (quantize or delegate):
        raise ValueError(f"quantize and delegate are for milliseconds, not for {unit}.")
    found = sites.find(model)
    price = functools.partial(
        sites.price, unit, functools.partial(sites.seconds, costs, quantize, delegate)
    )
    dense = {site.name: price(site, None, None) for site in found}
    other = sites.other_cost(model, found, unit)
    options = _priced(found, dense, price)
    least = other + sum(min(cost for _, _, cost in rows) for rows in options.values())
    if budget < least:
        raise ValueError(
            f"A budget of {budget:,.6g} {unit} cannot be kept: the smallest sizes take "
            f"{least:,.6g}, the dense {model.name} {other + sum(dense.values()):,.6g}."
        )
    errors = sensitivity(
        model, {n: [r[:2] for r in rows] for n, rows in options.items()}, images, seed
    )
    offers = {
        name: [(cost, errors[name][k, s], k, s) for k, s, cost in rows]
        for name, rows in options.items()
    }
    chosen = _spend(offers, budget - other)
    layers = tuple(
        Choice(site.name, site.kernel, k, s, cost, dense[site.name], error)
        for site in found
        for cost, error, k, s in (chosen[site.name],)
    )
    return Plan(model.name, unit, budget, other, layers)


def _priced(found, dense, price):
    """name -> [(k, s, cost)]: what is cheaper than dense, and dense."""
    options = {}
    for site in found:
        *taps, _, n = site.kernel
        rows = [(None, None, dense[site.name])]
        for k in SIZES:
            if k >= n * math.prod(taps):
                continue
            for s in LOOKUPS:
                if s <= k:
                    rows.append((k, s, price(site, k, s)))
        options[site.name] = [row for row in rows if row[0] is None or row[2] < rows[0][2]]
    return options


def sensitivity(model, sizes, images, seed=0):
    """What coding each layer in each of these sizes costs the output of the model.

    Args:
        model: trained; it is not changed.
        sizes: layer name -> [(k, s)].
        images: see `plan`.
        seed: of the coding.

    Returns:
        name -> {(k, s): error}: the mean square that this layer's coding alone, all others
        dense, adds to the model's output, as a share of the output's power; 0 for (None, None).
    """
    images = coding.checked_images(model, images)
    counts = activations.call_counts(model)
    layers = sites.candidates(model)
    clean = _outputs(model, images)
    power = float(((clean - clean.mean(axis=0)) ** 2).sum())
    table = {}
    for name, rows in sizes.items():
        layer = layers[name]
        weights = coding.flat_kernel(layer)
        flat = weights.reshape(-1, weights.shape[-1]).astype(np.float32)
        seen = activations.moments(
            (
                (x, x @ flat)
                for x in activations.sample(
                    model, layer, images, counts[id(layer)], seed, patches=_PATCHES
                )
            ),
            centered=True,
        )
        codes = {
            (k, s): coding.code_layer(weights, seen.patches, k, s, seed, _ROUNDS)
            for k, s in rows
            if k is not None
        }
        table[name] = {(None, None): 0.0}
        if not codes:
            continue
        # The errors of all sizes differ in strength more than in kind: one of them, of middle
        # strength, tells what they do to the output.
        middle = sorted(codes, key=lambda size: codes[size].error)[len(codes) // 2]
        factor = 0.0
        if codes[middle].error:
            shift = _output_shift(model, layer, codes[middle].kernel, seen, images, clean)
            factor = shift / power / codes[middle].error
        table[name].update({size: factor * found.error for size, found in codes.items()})
    return table


def _outputs(model, images):
    rows = [
        keras.ops.convert_to_numpy(model(batch, training=False))
        for batch in activations.batches(images)
    ]
    return np.concatenate(rows).astype(np.float64)


def _output_shift(model, layer, coded, seen, images, clean):
    """Sum of squares by which the model's output moves with this kernel in the layer."""
    trained_weights = layer.get_weights()
    difference = (coded - coding.flat_kernel(layer)).reshape(-1, coded.shape[-1])
    # Constant errors are made good, see `patches.Moments`.
    constant = (seen.patch_mean @ difference).astype(np.float32)
    try:
        with _shifted(layer, -constant):
            kernel = coded.reshape(trained_weights[0].shape).astype(np.float32)
            layer.set_weights([kernel, *trained_weights[1:]])
            return float(((_outputs(model, images) - clean) ** 2).sum())
    finally:
        layer.set_weights(trained_weights)


@contextlib.contextmanager
def _shifted(layer, offset):
    """Within this context the layer adds an offset per filter before its activation."""
    activation = layer.activation
    if getattr(layer, "data_format", "channels_last") == "channels_first":
        offset = offset[:, None, None]
    layer.activation = lambda x: activation(x + keras.ops.cast(offset, x.dtype))
    try:
        yield
    finally:
        layer.activation = activation


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
        _, name, row = max(better, key=lambda each: each[0])
        left -= row[0] - chosen[name][0]
        chosen = {**chosen, name: row}
