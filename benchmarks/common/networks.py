"""Networks of random weights as .tflite files."""

import time

import numpy as np

from tf_lcnn.lite.choice import AUTO, choose_lowerings
from tf_lcnn.lite.export import convert


def write(path, model, lowering=AUTO, quantize=None, delegate=False):
    """Converts a model into a .tflite, and says how long that took.

    Args:
        path: where to.
        model: a Keras model; int8 measures ranges on random input.
        lowering, quantize, delegate: see `choice.choose_lowerings`.
    """
    start = time.perf_counter()
    shape = model.input_shape[1:]
    examples = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    choices = choose_lowerings(model, lowering, quantize=quantize, delegate=delegate)
    path.write_bytes(convert(model, choices, quantize, examples))
    print(f"  {path.name}: converted in {time.perf_counter() - start:.1f} s", flush=True)
