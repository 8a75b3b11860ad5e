"""Each lookup layer of a model alone, on its real inputs: its time, and its noise in int8."""

import contextlib
import dataclasses
import functools

import numpy as np

from tf_lcnn.graph import intercept
from tf_lcnn.lite import lowerings
from tf_lcnn.lite.choice import lowered
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.runtime.timing import median_seconds


@dataclasses.dataclass(frozen=True)
class LayerFigures:
    """Measured of one lookup layer alone, in a file of its own.

    Attributes:
        seconds: of a run, one thread, median.
        decibels: signal to noise of its output against float32.
    """

    seconds: float
    decibels: float


@contextlib.contextmanager
def watched(plans, watch):
    """Within this context the lowered model calls watch(index of the plan, input) on the way."""
    seen = {plan.source: functools.partial(watch, index) for index, plan in enumerate(plans)}
    with lowered(plans), intercept.inputs(seen):
        yield


def measure(model, plans, examples, quantize=None):
    """Runs each lookup layer alone.

    Args:
        model, plans: see `plan`.
        examples: array (count, ...) of real inputs of the model.
        quantize: see `converter.to_tflite`.

    Returns:
        list of LayerFigures, one per plan.
    """
    inputs = [[] for _ in plans]
    with watched(plans, lambda index, x: inputs[index].append(x.numpy()[0])):
        for example in examples:
            model(example[None], training=False)
    files, decibels = [], []
    for plan, found in zip(plans, inputs, strict=True):

        def run(x, plan=plan):
            return lowerings.apply(plan.layer, x, plan.lowering)

        x = np.stack(found)
        content = to_tflite(run, (1, *x.shape[1:]), quantize=quantize, calibration=x)
        files.append(Interpreter(content=content))
        expected = np.concatenate([run(image[None]).numpy() for image in x])
        decibels.append(signal_to_noise(expected, files[-1].predict(x)))
    return list(map(LayerFigures, map(float, median_seconds(files)), decibels))
