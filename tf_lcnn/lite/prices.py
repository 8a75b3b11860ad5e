"""Which lowering is fastest: predicted from constants that are measured once per machine."""

import contextlib
import dataclasses
import functools
import hashlib
import json
import math
import pathlib
import platform
import sys
from importlib import metadata

import numpy as np
import tensorflow as tf
from scipy.optimize import nnls

from tf_lcnn import files
from tf_lcnn.costs import storage
from tf_lcnn.layers import levels
from tf_lcnn.lite import delegate_price, lowerings
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.runtime import native, timing
from tf_lcnn.runtime.interpreter import Interpreter

OPTIMIZE = ("speed", "size")

# Predicted times closer than this are a tie: the model is not better than that.
TIE = 0.03

# What XNNPACK's kernels work in: filters of a vector register and, in int8, groups of channels.
# For the three channels of an image that more than doubles the work.
_FILTERS = 16
_CHANNELS_INT8 = 8


def _convolution_features(positions, taps, m, n, quantize=None):
    """What the time of a convolution is a sum of: multiplications, outputs, weights, the call."""
    filters = math.ceil(n / _FILTERS) * _FILTERS
    if quantize in levels.FORMATS:
        m = math.ceil(m / _CHANNELS_INT8) * _CHANNELS_INT8
    weights = taps * m * filters
    return np.array([positions * weights, positions * n, weights, 1], float)


@dataclasses.dataclass(frozen=True)
class Rates:
    """Seconds per unit of work, in one number format.

    Attributes:
        convolution: for a multiplication, an output, a weight (read from memory), and a call of
            a convolution.
        plane: for an element that is gathered, scaled and added.
        call: for a call of any other operator.
        delegate: what the native delegate takes, over what it predicts; None where that is not of
            this machine: then what it predicts in dense multiplications counts.
    """

    convolution: tuple
    plane: float
    call: float
    delegate: float | None = None


@dataclasses.dataclass(frozen=True)
class Prices:
    """What LiteRT takes on one thread of a machine: Rates for float32 and for int8."""

    float32: Rates
    int8: Rates

    def seconds(self, layer, lowering, quantize=None):
        """Predicted seconds of a lookup layer (`lowerings.Constants`) in this lowering.

        With float16 and dynamic LiteRT computes in float32, or close to it.
        """
        rates = self._rates(quantize)
        k, n = layer.coefficients.shape[-2:]
        m, taps = len(layer.dictionary), layer.taps

        def convolution(positions, taps, m, n):
            features = _convolution_features(positions, taps, m, n, quantize)
            return float(features @ rates.convolution)

        if lowering == "folded":
            return convolution(layer.positions, taps, m, n)
        first = convolution(layer.dictionary_positions, 1, m, k)
        if lowering == "sparse":
            return first + convolution(layer.positions, taps, k, n)
        elements = layer.positions * taps * n * layer.lookups + layer.dictionary_positions * k
        # A slice per kernel position; a gather, a product and a sum per lookup; two transposes.
        calls = taps * (1 + 3 * layer.lookups) + 2
        return first + rates.plane * elements + rates.call * calls

    def delegate_seconds(self, prediction, quantize=None):
        """Predicted seconds with the native delegate, of a `delegate_price.Prediction`."""
        rates = self._rates(quantize)
        if rates.delegate is None:
            return prediction.seconds / prediction.dense_seconds * rates.convolution[0]
        return rates.delegate * prediction.seconds

    def _rates(self, quantize):
        return self.int8 if quantize in levels.FORMATS else self.float32


# Measured by `calibrate` on an x86-64 core with AVX-512. The choice depends on the ratios between
# the rates, which differ less between machines than the rates do.
DEFAULT = Prices(
    float32=Rates(convolution=(7.3e-12, 1.3e-10, 7.1e-11, 5.6e-6), plane=5.0e-10, call=2.8e-7),
    int8=Rates(convolution=(1.8e-12, 7.9e-11, 1.2e-11, 2.2e-6), plane=4.6e-10, call=1.5e-7),
)


def stored_bytes(layer, lowering, quantize=None):
    """Bytes of a lookup layer's constants in the file, in this lowering."""
    weight = {None: 4, "float16": 2}.get(quantize, 1)
    *_, k, n = layer.coefficients.shape
    m, taps = len(layer.dictionary), layer.taps
    bias = 4 * n
    if quantize in levels.NARROW:
        lookups = int(np.count_nonzero(layer.coefficients))
        return storage.lookup_layer((taps, m, k, n), lookups, quantize)
    if lowering == "folded":
        return weight * taps * m * n + bias
    first = weight * layer.dictionary.size
    if lowering == "gather":
        # Indices of a gather are 32-bit integers.
        return first + taps * n * layer.lookups * (4 + weight) + bias
    lookups = int(np.count_nonzero(layer.coefficients))
    if quantize == "dynamic":
        # Stored dense, see `converter.to_tflite`.
        return first + weight * taps * k * n + bias
    return first + storage.sparse_bytes((taps, k, n), lookups, weight) + bias


def best_lowering(layer, prices, optimize="speed", quantize=None, delegate=math.inf):
    """The lowering for a layer: the fastest predicted; among ties the one that `optimize` says.

    Args:
        layer: `lowerings.Constants`.
        prices: a Prices.
        optimize: "speed" or "size".
        quantize: see `converter.to_tflite`.
        delegate: predicted seconds of the native delegate, which runs what is lowered as `sparse`.

    Raises:
        ValueError: unknown optimize.
    """
    if optimize not in OPTIMIZE:
        raise ValueError(f"Unknown optimize={optimize!r}: {', '.join(OPTIMIZE)}.")
    seconds = {x: prices.seconds(layer, x, quantize) for x in layer.form.lowerings}
    seconds["sparse"] = min(seconds["sparse"], delegate)
    fastest = min(seconds.values())
    tied = [x for x in seconds if seconds[x] <= fastest * (1 + TIE)]
    if optimize == "speed":
        return min(tied, key=seconds.get)
    return min(tied, key=lambda x: stored_bytes(layer, x, quantize))


# (map, kernel, m, n) of the convolutions that `calibrate` times: the stages of the paper's nets,
# small ones, and one whose weights outweigh its work.
_SHAPES = (
    *((56, 1, 64, 16), (56, 3, 16, 64), (56, 3, 64, 64), (28, 1, 128, 32), (28, 3, 32, 128)),
    *((28, 3, 128, 128), (14, 1, 256, 64), (14, 3, 64, 256), (14, 3, 256, 256), (7, 1, 512, 128)),
    *((7, 3, 128, 512), (7, 3, 512, 512), (27, 5, 30, 192), (32, 3, 8, 16), (32, 1, 16, 8)),
    (1, 1, 4096, 4096),
)


# How far the two halves of a measurement may differ.
_MOST_SPREAD = 0.15


def machine(path=None):
    """The Prices of this machine, measured on first use and kept.

    Args:
        path: JSON where they are kept; None takes a file in the user's cache folder
            (XDG_CACHE_HOME, or ~/.cache), by processor and version of LiteRT.

    Raises:
        ValueError: the file is none, or the machine is busy, see `calibrate`.
    """
    path = kept_path() if path is None else pathlib.Path(path)
    if path.is_file():
        return load(path)
    print(
        f"Measuring what LiteRT takes on this machine, for about a minute; kept in {path}",
        file=sys.stderr,
        flush=True,
    )
    return calibrate(path)


def kept_path():
    """The file that `machine` keeps prices in."""
    made_of = [platform.machine(), platform.processor(), metadata.version("ai-edge-litert")]
    made_of.append(native.ABI if native.available() else None)
    with contextlib.suppress(OSError):
        lines = pathlib.Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        known = ("model name", "flags", "Features", "CPU part")
        made_of += dict.fromkeys(line for line in lines if line.startswith(known))
    mark = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    return files.cache() / f"prices-{mark}.json"


def calibrate(path=None):
    """Measures the rates of this machine, in about a minute.

    Small convolutions and gathers are timed in turn, one thread, medians of 15; the rates are
    the non-negative ones that fit the times best, relatively. If the native delegate was built,
    one lookup layer is timed with it.

    Args:
        path: where to keep them, as JSON; see `load`.

    Returns:
        Prices.

    Raises:
        ValueError: the machine is busy: other work took the processor, or the times of a model
            changed from one half of the measurement to the other. Nothing is kept then.
    """
    measured = Prices(float32=_rates(None), int8=_rates("int8"))
    if path is not None:
        save(measured, path)
    return measured


def _steady_seconds(models):
    """Median seconds of a run of each; ValueError where other work disturbs them."""
    halves, share = timing.with_share(
        lambda: np.stack([timing.median_seconds(models) for _ in range(2)])
    )
    spread = float(np.median(np.ptp(halves, axis=0) / halves.min(axis=0)))
    if share < timing.LEAST_SHARE or spread > _MOST_SPREAD:
        raise ValueError(
            f"This machine is busy: the measurement had {share:.0%} of a processor, and its halves "
            f"differ by {spread:.0%}; prices of it would be wrong. Try again when it is idle."
        )
    return halves.min(axis=0)


def _rates(quantize):
    rng = np.random.default_rng(0)
    models, features = [], []
    for size, taps, m, n in _SHAPES:
        kernel = rng.normal(size=(taps, taps, m, n)).astype(np.float32)
        convolve = functools.partial(tf.nn.conv2d, filters=kernel, strides=1, padding="SAME")
        models.append(_compiled(convolve, (size, size, m), quantize))
        features.append(_convolution_features(size * size, taps * taps, m, n, quantize))
    # Many elements in few calls, and few elements in many calls.
    large, small = _Gathers(28, 32, 128, 3), _Gathers(2, 8, 8, 40)
    models += [_compiled(x.run, x.shape, quantize) for x in (large, small)]
    gathers_end = len(models)
    if native.available():
        looked_up = _lookup_layer(28, 128, 32, 128, 4)
        run = functools.partial(lowerings.apply, looked_up, lowering="sparse")
        models.append(_compiled(run, (28, 28, 128), quantize, {"force": 1}))
    seconds = _steady_seconds(models)
    scaled = np.array(features) / seconds[: len(features), None]
    convolution, _ = nnls(scaled, np.ones(len(features)))
    gathers = np.array([[x.elements, x.calls] for x in (large, small)], float)
    (plane, call), _ = nnls(gathers / seconds[len(features) : gathers_end, None], np.ones(2))
    delegate = None
    if native.available():
        delegate = float(seconds[-1] / delegate_price.predict(looked_up, quantize).seconds)
    return Rates(tuple(float(c) for c in convolution), float(plane), float(call), delegate)


class _Gathers:
    """Some gathers of planes, scaled and summed, to be timed."""

    def __init__(self, size, k, n, terms):
        rng = np.random.default_rng(0)
        self.shape = (size, size, k)
        self.rows = rng.integers(0, k, (terms, n))
        self.scales = rng.normal(size=(terms, n, 1, 1)).astype(np.float32)
        self.elements = size * size * (terms * n + k)
        self.calls = 3 * terms + 2

    def run(self, x):
        s = tf.transpose(x[0], (2, 0, 1))
        y = sum(tf.gather(s, r) * c for r, c in zip(self.rows, self.scales, strict=True))
        return tf.transpose(y, (1, 2, 0))[None]


def _lookup_layer(size, m, k, n, lookups):
    """A 3x3 lookup layer of random values, as it would be lowered."""
    rng = np.random.default_rng(0)
    order = rng.random((3, 3, k, n)).argsort(axis=2)
    coefficients = np.where(order < lookups, rng.normal(size=order.shape), 0)
    return lowerings.Constants(
        name="calibration",
        dictionary=rng.normal(size=(m, k)).astype(np.float32),
        coefficients=coefficients.astype(np.float32),
        bias=np.zeros(n, np.float32),
        strides=(1, 1),
        padding="SAME",
        dilation=(1, 1),
        activation=tf.identity,
        input_size=(size, size),
        dictionary_positions=size**2,
        positions=size**2,
    )


def _compiled(function, shape, quantize, delegate=False):
    images = np.random.default_rng(1).normal(size=(2, *shape)).astype(np.float32)
    io = "float32" if quantize is None else "int8"
    content = to_tflite(function, (1, *shape), (), quantize, images, io)
    return Interpreter(content=content, delegate=delegate)


def save(prices, path):
    """Writes a Prices as JSON."""
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    files.write(path, json.dumps(dataclasses.asdict(prices), indent=2) + "\n")


def load(path):
    """Reads a Prices that `calibrate` has written.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is none.
    """
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        rates = [
            Rates(**{**data[name], "convolution": tuple(data[name]["convolution"])})
            for name in ("float32", "int8")
        ]
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no cost model: {error!r}.") from None
    return Prices(*rates)
