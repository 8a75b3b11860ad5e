"""What the layers of a size plan would take in LiteRT, for `compression.planner`."""

import math

import keras
import numpy as np

from tf_lcnn.layers import family
from tf_lcnn.lite import (
    delegate_price,
    forms,  # noqa: F401
    lowerings,
)


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
            the seconds of the fastest lowering.
        """
        if k is None:
            constants = _constants(layer, call, 1, 1)
            return self.machine.seconds(constants, "folded", self.quantize)
        constants = _constants(layer, call, k, s)
        seconds = [
            self.machine.seconds(constants, lowering, self.quantize)
            for lowering in constants.form.lowerings
            if lowering != "folded"
        ]
        if self.delegate and constants.form.native:
            prediction = delegate_price.predict(constants, self.quantize)
            if prediction is not None:
                seconds.append(self.machine.delegate_seconds(prediction, self.quantize))
        return min(seconds)


def _constants(layer, call, k, s):
    """`lowerings.Constants` with s lookups anywhere; where they are decides the native kernels."""
    kind, form = family.replacing(layer), lowerings.form_of(layer)
    stages, groups = kind.stages(layer, call), kind.groups(layer)
    taps, m, n = kind.kernel(layer).shape
    variable = kind.kernel_variable(layer)
    positions = variable.shape[:-2] if math.prod(variable.shape[:-2]) == taps else (1, 1)
    shape = (*form.kernel_shape(positions), k, n)
    coefficients = np.ones(shape, np.float32)
    if s < k:
        places = np.random.default_rng(0).random(shape).argpartition(s - 1, axis=-2)
        coefficients = np.zeros(shape, np.float32)
        np.put_along_axis(coefficients, places[..., :s, :], 1.0, axis=-2)
    return lowerings.Constants(
        name=layer.name,
        dictionary=np.ones((m, groups * k), np.float32),
        coefficients=coefficients,
        bias=np.zeros(n, np.float32),
        activation=keras.activations.linear,
        dictionary_positions=stages.dictionary_positions,
        positions=stages.positions,
        form=form,
        groups=groups,
        **form.sizes(layer, call),
    )
