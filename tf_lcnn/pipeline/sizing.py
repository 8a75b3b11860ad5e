"""Sizes for a speedup that is measured: plan, time the file, plan again."""

import pathlib
import tempfile

import numpy as np

from tf_lcnn.compression import planner
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.pipeline import kernel_prices
from tf_lcnn.runtime import timing
from tf_lcnn.runtime.interpreter import Interpreter

# How often sizes are chosen; how far behind the wish a file may be; the share of the limit that it
# has to use, for else there are sizes nearer to the parent; and the share that is aimed at then.
_TRIES = 3
_SHORT = 0.02
_SPENT = 0.95
_AIM = 0.99

# Turns that files are timed in, and runs of a turn.
RUNS = 20
_SECONDS_PER_TURN = 0.05


def interleaved(paths, delegates):
    """Milliseconds (turns, files) of .tflite files that run in turn, on one thread.

    Raises:
        ValueError: other work takes the processor, now and a little later.
    """
    pairs = zip(paths, delegates, strict=True)
    interpreters = [Interpreter(path, delegate=delegate) for path, delegate in pairs]
    fastest = timing.median_seconds(interpreters, 3).min()
    # Several runs in a turn, so that a network finds its weights in the caches.
    batch = int(np.clip(_SECONDS_PER_TURN / fastest, 1, 200))
    return 1e3 * timing.undisturbed(lambda: timing.turns(interpreters, RUNS, batch))


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


def plan_for(model, images, wish, prices, parent, tell, seed):
    """The plan whose file, timed on this machine, is as fast as is wished.

    Args:
        model: dense.
        images: float32 array (count, ...).
        wish: ("speedup", factor) or ("budget", milliseconds).
        prices: a `kernel_prices.KernelPrices`, of how the LCNN will run.
        parent: the int8 file of the model. Its folder keeps what was measured of sizes, for a
            second call.
        tell: function of a line of text.
        seed: of the coding.

    Returns:
        (Plan, list of dicts: what was tried).

    Raises:
        ValueError: no sizes are as fast; it says what the most is.
    """
    kind, value = wish
    shape, delegate = images.shape[1:], prices.delegate
    prices.stock.measure(model, {}, parent, shape)
    least, _ = planner.bounds(model, "milliseconds", prices, shape)
    whole = float(np.median(interleaved([parent], [False])))
    # What has no price: the layers that stay as they are, and the calls themselves.
    rest = max(0.0, whole - prices.stock.milliseconds(model, {}, shape))
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
    tried, found, budget = [], [], wanted - rest
    for _ in range(_TRIES):
        plan = planner.plan(
            *(model, budget, "milliseconds", images, prices, seed),
            cache=parent.parent / "errors",
            progress=lambda name, i, n: tell(f"Errors of sizes: layer {i + 1} of {n}, {name}"),
        )
        trial = parent.parent / "trial.tflite"
        write(trial, empty(model, plan), images, prices.machine, delegate)
        times = np.median(interleaved([parent, trial], [False, delegate]), axis=0)
        tried.append(
            {"budget_ms": budget, "predicted_ms": plan.cost + rest, "ms": float(times[1])}
            | {"parent_ms": float(times[0]), "error": sum(x.error for x in plan.layers)}
        )
        tell(f"Planned {plan.cost + rest:.3g} ms: the file takes {times[1]:.3g} ms")
        limit = times[0] / value if kind == "speedup" else value
        spent, error = float(times[1]) / limit, tried[-1]["error"]
        slow = spent > 1 + _SHORT
        found.append((slow, spent if slow else error, len(found), plan))
        if not slow and (spent >= _SPENT or not error):
            break
        # By what its layers took, and the rest of it, the next plan is nearer.
        prices.measure(model, plan.sizes, trial, shape)
        rest = float(times[1]) - prices.milliseconds(model, plan.sizes, shape)
        budget = _AIM * limit - rest
        least, _ = planner.bounds(model, "milliseconds", prices, shape)
        if budget <= least:
            break
    trial.unlink()
    # Of those that are fast enough the one nearest to the parent; else the fastest.
    return min(found)[-1], tried


def plan_for_speedup(model, images, speedup, prices, delegate, tell, seed=0):
    """As `plan_for`; prices are as `compress` takes them, and nothing is kept but the plan."""
    with tempfile.TemporaryDirectory() as folder:
        parent = pathlib.Path(folder) / "parent.tflite"
        kernels = kernel_prices.of_machine(prices, "int8", delegate)
        write(parent, model, images, kernels.machine, False)
        wish = "speedup", speedup
        plan, _ = plan_for(model, images, wish, kernels, parent, tell, seed)
    return plan
