"""Which lowering is fastest: predicted from constants that are measured once per machine."""

import dataclasses
import functools
import json
import os
import pathlib
import time

import numpy as np
import tensorflow as tf
from scipy.optimize import nnls

from tf_lcnn.lite import lowering
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.runtime import Interpreter
from tf_lcnn.profile import sparse_bytes

OPTIMISE = ("speed", "size")

# Predicted times closer than this are a tie: the model is not better than that.
TIE = 0.03

# What a vector register of XNNPACK's kernels holds; filters come in whole ones.
_FILTERS = 16


def _convolution_features(positions, taps, m, n):
    """What the time of a convolution is a sum of: multiplications, outputs, the call."""
    filters = -(-n // _FILTERS) * _FILTERS
    return np.array([positions * taps * filters * m, positions * n, 1], float)


@dataclasses.dataclass(frozen=True)
class CostModel:
    """Seconds per unit of work of LiteRT on one thread of a machine.

    Attributes:
        convolution: for a multiplication, an output, and a call of a convolution.
        plane: for an element that is gathered, scaled and added.
    """

    convolution: tuple
    plane: float

    def seconds(self, layer, way):
        """Predicted seconds of a lookup layer (`lowering.Constants`) in this lowering."""
        kh, kw, k, n = layer.coefficients.shape
        m = len(layer.dictionary)

        def convolution(positions, taps, m, n):
            return float(_convolution_features(positions, taps, m, n) @ self.convolution)

        if way == "folded":
            return convolution(layer.positions, kh * kw, m, n)
        first = convolution(layer.dictionary_positions, 1, m, k)
        if way == "sparse":
            return first + convolution(layer.positions, kh * kw, k, n)
        gathered = layer.positions * kh * kw * n * layer.lookups
        return first + self.plane * (gathered + layer.dictionary_positions * k)


# Measured by `calibrate` on an x86-64 core with AVX-512. The choice depends on the ratios between
# the constants, which differ less between machines than the constants do.
DEFAULT = CostModel(convolution=(7.9e-12, 7.5e-11, 5.0e-6), plane=5.5e-10)


def stored_bytes(layer, way, weight_bytes=4):
    """Bytes of a lookup layer's constants in the file, in this lowering."""
    kh, kw, k, n = layer.coefficients.shape
    m = len(layer.dictionary)
    bias = 4 * n
    if way == "folded":
        return weight_bytes * kh * kw * m * n + bias
    first = weight_bytes * m * k
    if way == "sparse":
        return (
            first + sparse_bytes((kh, kw, k, n), int(np.count_nonzero(layer.coefficients))) + bias
        )
    # Indices of a gather are 32-bit integers.
    return first + kh * kw * n * layer.lookups * (4 + weight_bytes) + bias


def choose(layer, costs, optimise="speed"):
    """The lowering for a layer: the fastest predicted; among ties the one that `optimise` says.

    Args:
        layer: `lowering.Constants`.
        costs: a CostModel.
        optimise: "speed" or "size".

    Raises:
        ValueError: unknown optimise.
    """
    if optimise not in OPTIMISE:
        raise ValueError(f"Unknown optimise={optimise!r}: {', '.join(OPTIMISE)}.")
    seconds = {way: costs.seconds(layer, way) for way in lowering.LOWERINGS}
    fastest = min(seconds.values())
    tied = [way for way in lowering.LOWERINGS if seconds[way] <= fastest * (1 + TIE)]
    if optimise == "speed":
        return min(tied, key=seconds.get)
    return min(tied, key=lambda way: stored_bytes(layer, way))


# (map, kernel, m, n) of the convolutions that `calibrate` times: the stages of the paper's nets.
_SHAPES = (
    *((56, 1, 64, 16), (56, 3, 16, 64), (56, 3, 64, 64), (28, 1, 128, 32), (28, 3, 32, 128)),
    *((28, 3, 128, 128), (14, 1, 256, 64), (14, 3, 64, 256), (14, 3, 256, 256), (7, 1, 512, 128)),
    *((7, 3, 128, 512), (7, 3, 512, 512), (27, 5, 30, 192), (32, 3, 8, 16), (32, 1, 16, 8)),
)
_RUNS = 15


def calibrate(path=None):
    """Measures the constants of this machine, in about ten seconds.

    Small convolutions and one gather are timed in turn, one thread, medians of 15; the constants
    are the non-negative ones that fit their times best, relatively.

    Args:
        path: where to keep them, as JSON; see `load`.

    Returns:
        CostModel.
    """
    rng = np.random.default_rng(0)
    models, features = [], []
    for size, taps, m, n in _SHAPES:
        kernel = rng.normal(size=(taps, taps, m, n)).astype(np.float32)
        convolve = functools.partial(tf.nn.conv2d, filters=kernel, strides=1, padding="SAME")
        models.append(_compiled(convolve, (size, size, m)))
        features.append(_convolution_features(size * size, taps * taps, m, n))
    size, k, n = 28, 32, 128
    rows = rng.integers(0, k, n)
    scales = rng.normal(size=(n, 1, 1)).astype(np.float32)

    def planes(x):
        s = tf.transpose(x[0], (2, 0, 1))
        y = sum(tf.gather(s[:, i : i + size - 2], rows) * scales for i in range(3))
        return tf.transpose(y, (1, 2, 0))[None]

    models.append(_compiled(planes, (size, size, k)))
    seconds = _median_seconds(models)
    features = np.array(features) / seconds[:-1, None]
    constants, _ = nnls(features, np.ones(len(features)))
    elements = 3 * n * (size - 2) * size + size * size * k
    costs = CostModel(tuple(float(c) for c in constants), float(seconds[-1] / elements))
    if path is not None:
        save(costs, path)
    return costs


def _compiled(function, shape):
    return Interpreter(content=to_tflite(function, (1, *shape)))


def _median_seconds(models):
    seconds = np.zeros((_RUNS, len(models)))
    for i in range(-2, _RUNS):
        for j, model in enumerate(models):
            start = time.perf_counter()
            model.run()
            # The first two runs warm up and are overwritten.
            seconds[max(i, 0), j] = time.perf_counter() - start
    return np.median(seconds, axis=0)


def save(costs, path):
    """Writes a CostModel as JSON, beside its place first, then renamed into it."""
    path = pathlib.Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"partial-{path.name}")
    beside.write_text(json.dumps(dataclasses.asdict(costs), indent=2) + "\n", encoding="utf-8")
    os.replace(beside, path)


def load(path):
    """Reads a CostModel that `calibrate` has written.

    Raises:
        ValueError: the file is none.
    """
    try:
        data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        return CostModel(tuple(float(c) for c in data["convolution"]), float(data["plane"]))
    except (json.JSONDecodeError, KeyError, TypeError) as error:
        raise ValueError(f"{path} holds no constants of a cost model: {error!r}.") from None
