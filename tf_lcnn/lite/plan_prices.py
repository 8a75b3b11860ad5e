"""What the layers of a size plan would take in LiteRT, for `compression.planner`."""

import keras
import numpy as np

from tf_lcnn.layers import family
from tf_lcnn.lite import delegate_price, lowerings


class PlanPrices:
    """Seconds of layers on one thread, with lookups that are not chosen yet.

    Args:
        machine: a `prices.Prices`, of `prices.machine()` for this machine.
        quantize: the number format, None for float32 or "int8".
        delegate: whether LiteRT will run the file with the native delegate, which runs k of 16
            to 128 with s of 4 and 8 in registers.
    """

    def __init__(self, machine, quantize=None, delegate=False):
        self.machine = machine
        self.quantize = quantize
        self.delegate = delegate

    def seconds(self, layer, call, k, s):
        """Predicted seconds of a call of a Keras layer.

        Args:
            layer: of a family.
            call: a `graph.trace.Call` of it.
            k, s: rows and lookups; None for the dense layer.

        Returns:
            the seconds of the fastest lowering, or None where a lookup layer has none.
        """
        if k is None:
            constants = _constants(layer, call, 1, 1)
            return self.machine.seconds(constants, "folded", self.quantize)
        constants = _constants(layer, call, k, s)
        seconds = [
            self.machine.seconds(constants, lowering, self.quantize)
            for lowering in lowerings.LOWERINGS
            if lowering != "folded"
        ]
        if self.delegate:
            prediction = delegate_price.predict(constants, self.quantize)
            if prediction is not None:
                seconds.append(self.machine.delegate_seconds(prediction, self.quantize))
        return min(seconds)


def _constants(layer, call, k, s):
    """`lowerings.Constants` with s lookups anywhere; where they are decides the native kernels."""
    kind = family.replacing(layer)
    stages = kind.stages(layer, call)
    *taps, m, n = kind.kernel_variable(layer).shape
    shape = (*(taps or (1, 1)), k, n)
    coefficients = np.ones(shape, np.float32)
    if s < k:
        places = np.random.default_rng(0).random(shape).argpartition(s - 1, axis=2)
        coefficients = np.zeros(shape, np.float32)
        np.put_along_axis(coefficients, places[:, :, :s], 1.0, axis=2)
    size = tuple(call.input_shape[:-1])
    return lowerings.Constants(
        name=layer.name,
        dictionary=np.ones((m, k), np.float32),
        coefficients=coefficients,
        bias=np.zeros(n, np.float32),
        strides=getattr(layer, "strides", (1, 1)),
        padding=getattr(layer, "padding", "valid").upper(),
        dilation=getattr(layer, "dilation_rate", (1, 1)),
        activation=keras.activations.linear,
        input_size=size if len(size) == 2 else (1, stages.positions),
        dictionary_positions=stages.dictionary_positions,
        positions=stages.positions,
        dense=not taps,
        rows_dropped=0,
    )
