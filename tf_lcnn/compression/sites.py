"""The layers of a model that a plan can change, and what each size of them costs."""

import dataclasses
import math

import keras

from tf_lcnn.compression.decisions import decisions
from tf_lcnn.costs import storage
from tf_lcnn.costs.counting import profile
from tf_lcnn.graph.trace import sublayers, trace
from tf_lcnn.layers import family, levels


@dataclasses.dataclass(frozen=True)
class Site:
    """A layer that can have lookups.

    Attributes:
        layer, name: of the dense model.
        calls: a `graph.trace.Call` for each time that it runs in one pass.
        stages: the `family.Stages` of each call.
        kernel: (taps, m, n), the shape of the weights that lookups replace; m is the length of a
            weight vector.
        numbers: of its lookups in a file, one of `costs.storage.NUMBERS`.
    """

    layer: keras.Layer
    name: str
    calls: tuple
    stages: tuple
    kernel: tuple
    numbers: str = "float32"

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
        """Of the weights in a .tflite, as `profile` counts them."""
        taps, m, n = self.kernel
        kind = family.replacing(self.layer)
        fixed = sum(math.prod(w.shape) for w in kind.fixed_weights(self.layer))
        if k is None:
            numbers = self.numbers
            if numbers in levels.NARROW and not levels.has_kernel(self.layer):
                numbers = "int8"
            return storage.kernel(taps * m * n + fixed, n, numbers, levels.is_pointwise(self.layer))
        shape = taps, kind.groups(self.layer) * m, k, n
        beside = storage.kernel(fixed, 0, self.numbers) if fixed else 0
        return storage.lookup_layer(shape, taps * n * s, self.numbers) + beside

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


def sites(model, input_shape=None, numbers="float32"):
    """The Sites of a model that run on the way to its outputs.

    `input_shape`, of one input, is needed where the model leaves it open: costs are of that size.
    `numbers` are those of the file.
    """
    by_layer, calls = {}, trace(model, input_shape)
    narrow = levels.layer_formats(calls, numbers) if numbers in levels.NARROW else {}
    for call in calls:
        if call.output_shape is not None:
            by_layer.setdefault(id(call.layer), []).append(call)
    rows = []
    for name, layer in candidates(model).items():
        calls = tuple(by_layer.get(id(layer), ()))
        if calls:
            kind = family.replacing(layer)
            stages = tuple(kind.stages(layer, call) for call in calls)
            shape = kind.kernel(layer).shape
            rows.append(Site(layer, name, calls, stages, shape, narrow.get(layer, numbers)))
    return rows


def other_cost(model, names, unit, input_shape=None, numbers="float32"):
    """What the layers cost that are none of `names`. Milliseconds are not known of these."""
    if unit == "milliseconds":
        return 0.0
    rest = [layer for layer in profile(model, input_shape).layers if layer.name not in names]
    if unit == "multiplications":
        return sum(layer.multiplications or 0 for layer in rest)
    return sum(layer.sizes[numbers] for layer in rest)
