"""Deep lookup layers by plain loops, written without the library: in float64, and in integers as
they are on a device, uint8 indices, an int8 table and int32 sums.
"""

import numpy as np

from support.reference import shifts

TABLE_STEPS = 127


def indices(x, scale, levels, signed):
    """uint8, computed in float32 as a device would."""
    x = np.clip(np.float32(x) / np.float32(scale), np.float32(-1 if signed else 0), np.float32(1))
    if signed:
        x = (x + np.float32(1)) / np.float32(2)
    return np.rint(x * np.float32(levels - 1)).astype(np.uint8)


def sums(table, activations, weights, strides, padding, dilation, groups=1):
    """Of table entries, over channels and positions: (batch, *positions, filters).

    Nothing is read for the zeros of padding.

    Args:
        table: (activation levels, weight levels), of any dtype, which the sums have too.
        activations: indices (batch, *positions, channels).
        weights: indices (*taps, channels / groups, filters).
    """
    where = weights.shape[:-2], strides, padding, dilation
    there = np.ones((*activations.shape[:-1], 1), table.dtype)
    total = 0
    seen = zip(shifts(activations, *where), shifts(there, *where), strict=True)
    for (tap, f), (_, inside) in seen:
        parts = zip(
            np.split(f, groups, axis=-1), np.split(weights[tap], groups, axis=-1), strict=True
        )
        read = [table[part[..., None], w].sum(axis=-2, dtype=table.dtype) for part, w in parts]
        total = total + inside * np.concatenate(read, axis=-1)
    return total
