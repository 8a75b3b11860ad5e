"""What the very kernels of layers take on this machine: layers of files, cut out and timed."""

import copy
import json
import pathlib
import re

import numpy as np

from tf_lcnn import files
from tf_lcnn.compression.sites import sites
from tf_lcnn.layers import family
from tf_lcnn.lite import prices as machine_prices
from tf_lcnn.lite.plan_prices import PlanPrices
from tf_lcnn.runtime import cutting, timing
from tf_lcnn.runtime.interpreter import Interpreter

# Turns that layers are timed in, and seconds of the whole file in a turn.
_RUNS = 10
_SECONDS_PER_TURN = 0.03


def of_machine(prices=None, quantize=None, delegate=False):
    """The KernelPrices of this machine.

    Args:
        prices: a `prices.Prices`, beside which nothing is kept; or the path of one, or None for
            that of `prices.machine()`: times of kernels are then kept beside it.
        quantize, delegate: see `PlanPrices`.
    """
    path = None
    if not isinstance(prices, machine_prices.Prices):
        path = machine_prices.kept_path() if prices is None else pathlib.Path(prices)
        prices, path = machine_prices.machine(path), path.with_name(f"{path.stem}-kernels.json")
    return KernelPrices(PlanPrices(prices, quantize, delegate), path)


class KernelPrices:
    """`plan_prices.PlanPrices`, in which layers that were timed cost what they took.

    Others cost what the prices say, times the middle of measured over said of the layers that were
    timed: those of the same shape if there are any, with lookups or without.

    Args:
        prices: a PlanPrices.
        path: JSON in which the times are kept, of this machine alone; None keeps nothing.

    Raises:
        ValueError: the file holds something else.
    """

    def __init__(self, prices, path=None):
        self.prices = prices
        self.path = None if path is None else pathlib.Path(path)
        # (shape, how it runs, sizes) -> (seconds that it took, seconds that the prices say).
        self._timed = self._load()

    @property
    def machine(self):
        """The `prices.Prices` beneath."""
        return self.prices.machine

    @property
    def delegate(self):
        """Whether files run with the native delegate."""
        return self.prices.delegate

    @property
    def stock(self):
        """The same of files that LiteRT runs without the delegate, like the parent's."""
        found = copy.copy(self)
        found.prices = PlanPrices(self.machine, self.prices.quantize)
        return found

    def _load(self):
        if self.path is None or not self.path.is_file():
            return {}
        try:
            rows = json.loads(self.path.read_text(encoding="utf-8"))
            return {tuple(key): (float(took), float(said)) for *key, took, said in rows}
        except (ValueError, TypeError):
            raise ValueError(f"{self.path} holds no times of kernels: remove it.") from None

    def seconds(self, layer, call, k, s):
        """As `PlanPrices.seconds`."""
        key = shape, how, _ = self._key(layer, call, k, s)
        if key in self._timed:
            return self._timed[key][0]
        if k is None and self.delegate:
            # A dense layer may be the delegate's too, between its own; it is no worse than stock.
            return self.stock.seconds(layer, call, k, s)
        ratios = {x: took / said for x, (took, said) in self._timed.items() if x[1] == how}
        near = [ratio for x, ratio in ratios.items() if x[0] == shape]
        usual = float(np.median(near or list(ratios.values()))) if ratios else 1.0
        return usual * self.prices.seconds(layer, call, k, s)

    def milliseconds(self, model, sizes, input_shape):
        """Of all layers of a model that can have lookups, with these sizes; see `measure`."""
        return sum(
            place.milliseconds(self, *sizes.get(place.name, (None, None)))
            for place in sites(model, input_shape)
        )

    def measure(self, model, sizes, path, input_shape):
        """Times the layers of a file, and knows them from then on.

        What a call of LiteRT takes by itself is in the time of every layer that is cut out, and is
        taken off: the layers together take what the file takes.

        Args:
            model: the dense model.
            sizes: name -> (k, s) of the layers that have lookups in the file.
            path: its int8 or float32 .tflite, as the prices are for.
            input_shape: of one input.

        Raises:
            ValueError: the machine is busy.
        """
        content = pathlib.Path(path).read_bytes()
        layers = cutting.layers(content, path)
        parts = (content, *(layer.content for layer in layers))
        interpreters = [Interpreter(content=x, delegate=self.delegate) for x in parts]
        first = timing.median_seconds(interpreters[:1], 3)[0]
        batch = int(np.clip(_SECONDS_PER_TURN / first, 1, 200))
        whole, *alone = timing.undisturbed(
            lambda: timing.median_seconds(interpreters, _RUNS, batch)
        )
        call_of_litert = max(0.0, (sum(alone) - whole) / len(layers))
        took = {}
        for layer, seconds in zip(layers, alone, strict=True):
            took.setdefault(layer.name, []).append(max(0.0, float(seconds) - call_of_litert))
        # With several calls it is not known which is which.
        places = {x.name: x for x in sites(model, input_shape) if len(x.calls) == 1}
        for name, seconds in _by_layer(took, places).items():
            layer, (call,) = places[name].layer, places[name].calls
            k, s = sizes.get(name, (None, None))
            said = self.prices.seconds(layer, call, k, s)
            self._timed[self._key(layer, call, k, s)] = seconds, said
        if self.path is not None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            rows = [[*key, *seconds] for key, seconds in self._timed.items()]
            files.write(self.path, json.dumps(rows, indent=0) + "\n")

    def _key(self, layer, call, k, s):
        kernel = family.replacing(layer).kernel_variable(layer).shape
        about = type(layer).__name__, kernel, getattr(layer, "strides", ()), call.input_shape
        runs = "delegate" if self.delegate else "stock"
        how = f"{self.prices.quantize or 'float32'} {runs} {'dense' if k is None else 'lookups'}"
        return " ".join(str(x) for x in about), how, "" if k is None else f"{k}:{s}"


def _by_layer(took, places):
    """name -> seconds: what the file calls a layer has a number behind it, or has none at all.

    With its number the name may be that of another layer: conv2d is conv2d_1 in the file, and
    conv2d_1 is conv2d_1_2. So all names are read in one way, in the one that finds more layers.
    """

    def found(name_of):
        read = {}
        for name, seconds in took.items():
            read.setdefault(name_of(name), []).extend(seconds)
        return {x: seconds[0] for x, seconds in read.items() if x in places and len(seconds) == 1}

    return max(found(lambda name: re.sub(r"_\d+$", "", name)), found(str), key=len)
