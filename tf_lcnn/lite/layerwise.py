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
def watched(choices, watch):
    """Within this context the lowered model calls watch(index of the choice, input) on the way."""
    seen = {x.source: functools.partial(watch, index) for index, x in enumerate(choices)}
    with lowered(choices), intercept.inputs(seen):
        yield


def measure(model, choices, examples, quantize=None):
    """Runs each lookup layer alone.

    Args:
        model, choices: see `choice.choose_lowerings`.
        examples: array (count, ...) of real inputs of the model.
        quantize: see `converter.to_tflite`.

    Returns:
        list of LayerFigures, one per choice.
    """
    inputs = [[] for _ in choices]
    with watched(choices, lambda index, x: inputs[index].append(x.numpy()[0])):
        for example in examples:
            model(example[None], training=False)
    files, decibels = [], []
    for choice, seen in zip(choices, inputs, strict=True):

        def run(x, choice=choice):
            return lowerings.apply(choice.layer, x, choice.lowering)

        x = np.stack(seen)
        content = to_tflite(run, (1, *x.shape[1:]), quantize=quantize, calibration=x)
        files.append(Interpreter(content=content))
        expected = np.concatenate([run(image[None]).numpy() for image in x])
        decibels.append(signal_to_noise(expected, files[-1].predict(x)))
    return list(map(LayerFigures, map(float, median_seconds(files)), decibels))
