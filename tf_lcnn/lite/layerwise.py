"""Each lookup layer of a model alone, on its real inputs: its time, and its noise in int8."""

import contextlib
import dataclasses

import numpy as np

from tf_lcnn.layers import lookup_layers
from tf_lcnn.lite import lowering
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.plan import lowered
from tf_lcnn.lite.runtime import Interpreter, median_seconds


@dataclasses.dataclass(frozen=True)
class LayerFigures:
    """Measured of one lookup layer alone, in a file of its own.

    Attributes:
        seconds: of a run, one thread, median.
        decibels: signal to noise of its output against float32.
    """

    seconds: float
    decibels: float


def signal_to_noise(expected, found):
    """10 log10(sum expected^2 / sum (expected - found)^2), in dB; infinite where they are equal."""
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    noise = ((expected - found) ** 2).sum()
    return float(10 * np.log10((expected**2).sum() / noise)) if noise else float("inf")


@contextlib.contextmanager
def watched(model, plans, watch):
    """Within this context the lowered model calls watch(plan, input) for each lookup layer."""
    by_name = {plan.layer.name: plan for plan in plans}
    with lowered(model, plans):
        for layer in lookup_layers(model):
            if layer.name in by_name:
                run, plan = layer.call, by_name[layer.name]

                def call(x, run=run, plan=plan, **_):
                    watch(plan, x)
                    return run(x)

                layer.call = call
        yield


def measure(model, plans, examples, quantize=None):
    """Runs each lookup layer alone.

    Args:
        model, plans: see `plan`.
        examples: array (count, ...) of real inputs of the model.
        quantize: see `converter.to_tflite`.

    Returns:
        dict: layer name -> LayerFigures.
    """
    inputs = {plan.layer.name: [] for plan in plans}
    with watched(model, plans, lambda plan, x: inputs[plan.layer.name].append(x.numpy()[0])):
        for example in examples:
            model(example[None], training=False)
    files, decibels = [], []
    for plan in plans:

        def run(x, plan=plan):
            return lowering.apply(plan.layer, x, plan.lowering)

        x = np.stack(inputs[plan.layer.name])
        content = to_tflite(run, (1, *x.shape[1:]), quantize=quantize, examples=x)
        files.append(Interpreter(content=content))
        expected = np.concatenate([run(image[None]).numpy() for image in x])
        decibels.append(signal_to_noise(expected, files[-1].predict(x)))
    figures = map(LayerFigures, map(float, median_seconds(files)), decibels)
    return dict(zip(inputs, figures, strict=True))
