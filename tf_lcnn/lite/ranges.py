"""What int8 needs beside the converter: ranges that fit."""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_lcnn.lite.layerwise import watched


def equalize(model, plans, examples):
    """Scales the dictionary rows so that all channels of S have the same range.

    D and P are defined up to a scale per row: what a row of D is divided by, the matching slice
    of P is multiplied with, and the layer computes the same. int8 gives S one scale per tensor,
    so equal ranges waste none of it.

    Args:
        model, plans: see `plan`.
        examples: array (count, ...) of real inputs.

    Returns:
        list of LoweringChoice.
    """
    largest = [0] * len(plans)

    def watch(index, x):
        s = tf.abs(tf.tensordot(x, plans[index].layer.dictionary, 1))
        found = tf.reduce_max(s, axis=list(range(len(s.shape) - 1))).numpy()
        largest[index] = np.maximum(largest[index], found)

    with watched(plans, watch):
        for example in examples:
            model(example[None], training=False)
    return [
        dataclasses.replace(plan, layer=_scaled(plan.layer, ranges))
        for plan, ranges in zip(plans, largest, strict=True)
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
