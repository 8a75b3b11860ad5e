"""The layers of a model that a plan can change, and what each size of them costs."""

import dataclasses
import math

import keras
import numpy as np

from tf_lcnn.compression.convert import decisions
from tf_lcnn.costs.counting import profile, sparse_bytes
from tf_lcnn.graph.trace import sublayers, trace
from tf_lcnn.layers import family
from tf_lcnn.lite import delegate_price, lowerings


@dataclasses.dataclass(frozen=True)
class Site:
    """A layer that can have lookups.

    Attributes:
        layer, name: of the dense model.
        kernel: shape of its kernel.
        runs: a Run for each time that it runs in one pass.
    """

    layer: keras.Layer
    name: str
    kernel: tuple
    runs: tuple

    def constants(self, run, k, s):
        """What the cost model and the delegate ask for: sizes, and s lookups anywhere."""
        *taps, m, n = self.kernel
        shape = (*(taps or (1, 1)), k, n)
        if s < k:
            # Where lookups fall decides how many steps the native kernels take.
            places = np.random.default_rng(0).random(shape).argpartition(s - 1, axis=2)
            coefficients = np.zeros(shape, np.float32)
            np.put_along_axis(coefficients, places[:, :, :s], 1.0, axis=2)
        else:
            coefficients = np.ones(shape, np.float32)
        return lowerings.Constants(
            name=self.name,
            dictionary=np.ones((m, k), np.float32),
            coefficients=coefficients,
            bias=np.zeros(n, np.float32),
            strides=getattr(self.layer, "strides", (1, 1)),
            padding=getattr(self.layer, "padding", "valid").upper(),
            dilation=getattr(self.layer, "dilation_rate", (1, 1)),
            activation=keras.activations.linear,
            input_size=run.input_size,
            dictionary_positions=run.dictionary_positions,
            positions=run.positions,
            dense=not taps,
            rows_dropped=0,
        )


@dataclasses.dataclass(frozen=True)
class Run:
    """One run of a layer on one image.

    Attributes:
        input_size: (height, width) of the input; a dense layer's is one row.
        dictionary_positions, positions: of S and of the output, unpadded.
    """

    input_size: tuple
    dictionary_positions: int
    positions: int


def price(unit, seconds, site, k, s):
    """What a Site costs with k and s, dense if k is None.

    Args:
        unit: one of `planner.UNITS`.
        seconds: for milliseconds, a function of (site, run, k, s).
    """
    *taps, m, n = site.kernel
    area = math.prod(taps)
    if unit == "multiplications":
        if k is None:
            return sum(run.positions for run in site.runs) * area * m * n
        return sum(
            run.dictionary_positions * m * k + run.positions * area * n * s for run in site.runs
        )
    if unit == "bytes":
        if k is None:
            return 4 * (area * m * n + n)
        return 4 * (m * k + n) + sparse_bytes((*taps, k, n), area * n * s)
    return 1e3 * sum(seconds(site, run, k, s) for run in site.runs)


def seconds(costs, quantize, delegate, site, run, k, s):
    """Predicted seconds of a Run with k and s, by the fastest way to leave; see `planner.plan`."""
    if k is None:
        return costs.seconds(site.constants(run, 1, 1), "folded", quantize)
    layer = site.constants(run, k, s)
    ways = [costs.seconds(layer, x, quantize) for x in lowerings.LOWERINGS if x != "folded"]
    prediction = delegate_price.predict(layer, quantize) if delegate else None
    return min(ways + ([costs.delegate_seconds(prediction, quantize)] if prediction else []))


def candidates(model):
    """name -> layer, of those that have a lookup form; ValueError if two have one name."""
    names = [d.name for d in decisions(model, 1) if d.dictionary_size]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"A plan goes by names, and {model.name} has several layers {twice[0]}.")
    by_name = {layer.name: layer for layer in sublayers(model)}
    return {name: by_name[name] for name in names}


def kernels(model):
    """name -> shape of the kernel, of the layers that have a lookup form."""
    return {name: tuple(x.kernel.shape) for name, x in candidates(model).items()}


def find(model):
    """The Sites of a model that run on the way to its outputs."""
    found, calls = [], trace(model)
    for name, layer in candidates(model).items():
        first = getattr(layer, "data_format", "channels_last") == "channels_first"
        inner = slice(1, None) if first else slice(None, -1)
        runs = []
        for call in (call for call in calls if call.layer is layer):
            stages = family.either(layer).stages(layer, call)
            size = tuple(call.input_shape[inner])
            size = size if len(size) == 2 else (1, stages.positions)
            runs.append(Run(size, stages.dictionary_positions, stages.positions))
        if runs:
            found.append(Site(layer, name, tuple(layer.kernel.shape), tuple(runs)))
    return found


def other_cost(model, sites, unit):
    """What the layers without a lookup form cost. Milliseconds are not known of these."""
    names = {site.name for site in sites}
    rest = [x for x in profile(model).layers if x.name not in names]
    if unit == "milliseconds":
        return 0.0
    return sum((x.multiplications or 0) if unit == "multiplications" else x.bytes for x in rest)
