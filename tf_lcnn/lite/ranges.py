"""What int8 needs beside the converter: ranges that fit."""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_lcnn.lite.layerwise import watched


def equalize(model, choices, examples):
    """Scales the dictionary rows so that all channels of S have the same range.

    D and P are defined up to a scale per row: what a row of D is divided by, the matching slice
    of P is multiplied with, and the layer computes the same. int8 gives S one scale per tensor,
    so equal ranges waste none of it.

    Args:
        model, choices: see `choice.choose_lowerings`.
        examples: array (count, ...) of real inputs.

    Returns:
        list of LoweringChoice.
    """
    largest = [0] * len(choices)

    def watch(index, x):
        constants = choices[index].layer
        x = constants.form.before(constants, x)
        s = tf.abs(constants.form.one_by_one(constants, x, constants.dictionary, (1,) * _rank(x)))
        seen = tf.reduce_max(s, axis=list(range(len(s.shape) - 1))).numpy()
        largest[index] = np.maximum(largest[index], seen)

    with watched(choices, watch):
        for example in examples:
            model(example[None], training=False)
    return [
        dataclasses.replace(choice, layer=_scaled(choice.layer, ranges))
        for choice, ranges in zip(choices, largest, strict=True)
    ]


def _rank(x):
    return len(x.shape) - 2


def _scaled(constants, ranges):
    top = ranges.max()
    # A row that never answers has no range to fit.
    scale = np.where(ranges > 0, ranges / top if top else 1, 1).astype(np.float32)
    # Each group of filters has rows of its own.
    parts = np.split(constants.coefficients, constants.groups, axis=-1)
    scales = np.split(scale, constants.groups)
    coefficients = [part * rows[:, None] for part, rows in zip(parts, scales, strict=True)]
    return dataclasses.replace(
        constants,
        dictionary=constants.dictionary / scale,
        coefficients=np.concatenate(coefficients, axis=-1),
    )
