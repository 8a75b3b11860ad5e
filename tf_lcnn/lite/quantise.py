"""What int8 needs beside the converter: ranges that fit, and the layers that lose most."""

import contextlib
import dataclasses

import numpy as np
import tensorflow as tf

from tf_lcnn.layers import lookup_layers
from tf_lcnn.lite import lowering
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.plan import lowered
from tf_lcnn.lite.runtime import Interpreter


def signal_to_noise(expected, found):
    """10 log10(sum expected^2 / sum (expected - found)^2), in dB; infinite where they are equal."""
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    noise = ((expected - found) ** 2).sum()
    return float(10 * np.log10((expected**2).sum() / noise)) if noise else float("inf")


@contextlib.contextmanager
def _watched(model, plans, watch):
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


def equalise(model, plans, examples):
    """Scales the dictionary rows so that all channels of S have the same range.

    D and P are defined up to a scale per row: what a row of D is divided by, the matching slice
    of P is multiplied with, and the layer computes the same. int8 gives S one scale per tensor,
    so equal ranges waste none of it.

    Args:
        model, plans: see `plan`.
        examples: array (count, ...) of real inputs.

    Returns:
        list of LayerPlan.
    """
    largest = {}

    def watch(plan, x):
        s = tf.abs(tf.tensordot(x, plan.layer.dictionary, 1))
        found = tf.reduce_max(s, axis=list(range(len(s.shape) - 1))).numpy()
        name = plan.layer.name
        largest[name] = np.maximum(largest.get(name, 0), found)

    with _watched(model, plans, watch):
        for example in examples:
            model(example[None], training=False)
    return [
        dataclasses.replace(plan, layer=_scaled(plan.layer, largest[plan.layer.name]))
        for plan in plans
    ]


def _scaled(layer, ranges):
    top = ranges.max()
    # A row that never answers has no range to fit.
    scale = np.where(ranges > 0, ranges / top if top else 1, 1).astype(np.float32)
    return dataclasses.replace(
        layer,
        dictionary=layer.dictionary / scale,
        coefficients=layer.coefficients * scale[:, None],
    )


def layer_signal_to_noise(model, plans, examples):
    """The signal-to-noise ratio, in dB, of each lookup layer alone in int8, on its real inputs.

    Returns:
        dict: layer name -> dB.
    """
    inputs = {plan.layer.name: [] for plan in plans}
    with _watched(model, plans, lambda plan, x: inputs[plan.layer.name].append(x.numpy()[0])):
        for example in examples:
            model(example[None], training=False)
    ratios = {}
    for plan in plans:
        name = plan.layer.name
        x = np.stack(inputs[name])
        content = single_layer(plan, (1, *x.shape[1:]), "int8", x)
        ways = (lowering.apply(plan.layer, image[None], plan.lowering) for image in x)
        expected = np.concatenate([way.numpy() for way in ways])
        ratios[name] = signal_to_noise(expected, Interpreter(content=content).predict(x))
    return ratios


def single_layer(plan, input_shape, quantize=None, examples=None):
    """The bytes of a .tflite of one lookup layer alone, for measuring it."""

    def run(x):
        return lowering.apply(plan.layer, x, plan.lowering)

    return to_tflite(run, input_shape, quantize=quantize, examples=examples)
