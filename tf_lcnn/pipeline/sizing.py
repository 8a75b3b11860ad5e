"""Sizes for a speedup that is measured: plan, time the file, plan again."""

import numpy as np

from tf_lcnn.compression import planner
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.runtime import timing
from tf_lcnn.runtime.interpreter import Interpreter

# How often sizes are chosen, and how far below the wish a measured speedup may lie.
_TRIES = 3
_SHORT = 0.02

# Turns that files are timed in, and runs of a turn.
RUNS = 20
_SECONDS_PER_TURN = 0.05


def interleaved(paths, delegates):
    """Milliseconds (turns, files) of .tflite files that run in turn, on one thread."""
    pairs = zip(paths, delegates, strict=True)
    interpreters = [Interpreter(path, delegate=delegate) for path, delegate in pairs]
    fastest = timing.median_seconds(interpreters, 3).min()
    # Several runs in a turn, so that a network finds its weights in the caches.
    batch = int(np.clip(_SECONDS_PER_TURN / fastest, 1, 200))
    return 1e3 * timing.turns(interpreters, RUNS, batch)


def empty(model, plan):
    """The LCNN of a plan, with random weights and as many lookups as the plan says."""
    lcnn = lookupify(model, plan=plan, threshold_scale=sparsity.HOLDING_SCALE)
    for layer in lookup_layers(lcnn):
        _, s = plan.sizes[layer.name]
        layer.coefficients.assign(sparsity.top_s(layer.coefficients, s))
    return lcnn


def write(path, model, images, prices, delegate):
    """Writes the int8 .tflite of a model without a proof: to be timed alone."""
    shape = images.shape[1:]
    choices = choose_lowerings(
        model, prices=prices, quantize="int8", delegate=delegate, input_shape=shape
    )
    path.write_bytes(convert(model, choices, "int8", images[:8], default_shape=shape))


def plan_for(model, images, wish, prices, delegate, stages, tell, seed):
    """The plan whose file, timed on this machine, is as fast as is wished.

    Args:
        model: dense; `parent.tflite` among the stages is its int8 file.
        images: float32 array (count, ...).
        wish: ("speedup", factor) or ("budget", milliseconds).
        prices: a `plan_prices.PlanPrices`.
        delegate: whether the LCNN runs with the native delegate.
        stages: a `stages.Stages`.
        tell: function of a line of text.
        seed: of the coding.

    Returns:
        (Plan, list of dicts: what was tried).

    Raises:
        ValueError: no sizes are as fast; it says what the most is.
    """
    kind, value = wish
    shape = images.shape[1:]
    least, dense = planner.bounds(model, "milliseconds", prices, shape)
    parent = stages / "parent.tflite"
    whole = float(np.median(interleaved([parent], [False])))
    # What has no price: the layers that stay as they are, and the calls themselves.
    rest = max(0.0, whole - dense)
    wanted = whole / value if kind == "speedup" else value
    if wanted - rest <= least:
        if kind == "speedup":
            most = whole / (rest + least)
            raise ValueError(
                f"No sizes make {model.name} {value:g} times as fast: about {most:.2f} is the most."
            )
        raise ValueError(
            f"No sizes run {model.name} in {value:g} ms: about {rest + least:.3g} is the least."
        )
    tried, budget = [], wanted - rest
    for _ in range(_TRIES):
        plan = planner.plan(
            *(model, budget, "milliseconds", images, prices, seed),
            cache=stages / "errors",
            progress=lambda name, i, n: tell(f"Errors of sizes: layer {i + 1} of {n}, {name}"),
        )
        trial = stages / "trial.tflite"
        write(trial, empty(model, plan), images, prices.machine, delegate)
        times = np.median(interleaved([parent, trial], [False, delegate]), axis=0)
        trial.unlink()
        tried.append(
            {"budget_ms": budget, "predicted_ms": plan.cost + rest, "ms": float(times[1])}
            | {"parent_ms": float(times[0]), "error": sum(x.error for x in plan.layers)}
        )
        tell(f"Planned {budget + rest:.3g} ms: the file takes {times[1]:.3g} ms")
        limit = times[0] / value if kind == "speedup" else value
        if times[1] <= limit * (1 + _SHORT):
            break
        budget *= 0.98 * limit / times[1]
        if budget <= least:
            break
    return plan, tried
