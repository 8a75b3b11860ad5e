"""The layers of a model that a plan can change, and what each size of them costs."""

import dataclasses

import keras
import numpy as np

from tf_lcnn.compression.decisions import decisions
from tf_lcnn.costs.counting import profile
from tf_lcnn.costs.storage import sparse_bytes
from tf_lcnn.graph.trace import sublayers, trace
from tf_lcnn.layers import family


@dataclasses.dataclass(frozen=True)
class Site:
    """A layer that can have lookups.

    Attributes:
        layer, name: of the dense model.
        calls: a `graph.trace.Call` for each time that it runs in one pass.
        stages: the `family.Stages` of each call.
        kernel: (taps, m, n), the shape of the weights that lookups replace; m is the length of a
            weight vector.
    """

    layer: keras.Layer
    name: str
    calls: tuple
    stages: tuple
    kernel: tuple

    @property
    def weight_vectors(self):
        """How many vectors one dictionary replaces: it has to have fewer rows."""
        return family.replacing(self.layer).weight_vectors(self.layer)

    def multiplications(self, k=None, s=None):
        """Of one image, unpadded, with k rows and s lookups; dense for k = None."""
        if k is None:
            return sum(stage.dense for stage in self.stages)
        taps, _, n = self.kernel
        return sum(stage.dictionary(k) + stage.lookup(taps * n * s) for stage in self.stages)

    def bytes(self, k=None, s=None):
        """Of the float32 weights in a .tflite, as `profile` counts them."""
        taps, m, n = self.kernel
        kind = family.replacing(self.layer)
        beside = n + sum(np.prod(w.shape, dtype=int) for w in kind.fixed_weights(self.layer))
        if k is None:
            return 4 * int(taps * m * n + beside)
        rows = kind.groups(self.layer) * m * k
        return 4 * int(rows + beside) + sparse_bytes((taps, k, n), taps * n * s)

    def milliseconds(self, prices, k=None, s=None):
        """Of one image, by these prices, see `planner.plan`."""
        return 1e3 * sum(prices.seconds(self.layer, call, k, s) for call in self.calls)

    def cost(self, unit, prices, k=None, s=None):
        """In one of `size_plan.UNITS`, with k rows and s lookups; dense for k = None."""
        if unit == "milliseconds":
            return self.milliseconds(prices, k, s)
        return self.multiplications(k, s) if unit == "multiplications" else self.bytes(k, s)


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
    return {name: kernel_shape(layer) for name, layer in candidates(model).items()}


def kernel_shape(layer):
    """The shape of the kernel that lookups replace, as Keras stores it."""
    return tuple(family.replacing(layer).kernel_variable(layer).shape)


def sites(model, input_shape=None):
    """The Sites of a model that run on the way to its outputs.

    `input_shape`, of one input, is needed where the model leaves it open: costs are of that size.
    """
    by_layer = {}
    for call in trace(model, input_shape):
        if call.output_shape is not None:
            by_layer.setdefault(id(call.layer), []).append(call)
    rows = []
    for name, layer in candidates(model).items():
        calls = tuple(by_layer.get(id(layer), ()))
        if calls:
            kind = family.replacing(layer)
            stages = tuple(kind.stages(layer, call) for call in calls)
            rows.append(Site(layer, name, calls, stages, kind.kernel(layer).shape))
    return rows


def other_cost(model, names, unit, input_shape=None):
    """What the layers cost that are none of `names`. Milliseconds are not known of these."""
    if unit == "milliseconds":
        return 0.0
    rest = [layer for layer in profile(model, input_shape).layers if layer.name not in names]
    if unit == "multiplications":
        return sum(layer.multiplications or 0 for layer in rest)
    return sum(layer.bytes for layer in rest)
