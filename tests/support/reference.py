"""An independent reference in float64 numpy: the paper's shifts and lookups, literally."""

import math

import numpy as np


def pads(size, kernel, stride, dilation, padding):
    """(output size, zeros in front, zeros behind) along one axis."""
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0, 0
    out = math.ceil(size / stride)
    if padding == "causal":
        return out, reach - 1, 0
    total = max((out - 1) * stride + reach - size, 0)
    return out, total // 2, total - total // 2


def shifts(x, kernel, strides, padding, dilation):
    """Yields (tap, what it sees of x): x (batch, *sizes, ...) padded, shifted and strided."""
    sizes = x.shape[1 : len(kernel) + 1]
    axes = [pads(*row, padding) for row in zip(sizes, kernel, strides, dilation, strict=True)]
    around = [(0, 0), *(zeros for _, *zeros in axes)]
    x = np.pad(x, around + [(0, 0)] * (x.ndim - len(around)))
    for tap in np.ndindex(*kernel):
        places = [
            t * d + s * np.arange(out)
            for t, d, s, (out, *_) in zip(tap, dilation, strides, axes, strict=True)
        ]
        yield tap, x[np.ix_(np.arange(len(x)), *places)]


def looked_up(x, dictionary, groups):
    """S of equation 2, (..., groups, k): each group of channels by its rows of D."""
    x, dictionary = np.asarray(x, np.float64), np.asarray(dictionary, np.float64)
    parts = zip(np.split(x, groups, axis=-1), np.split(dictionary, groups), strict=True)
    return np.stack([part @ rows for part, rows in parts], axis=-2)


def look_up(s, indices, values):
    """Equation 5 for one tap: s (..., groups, k), indices and values (n, lookups) -> (..., n)."""
    n, groups = len(indices), s.shape[-2]
    y = np.zeros((*s.shape[:-2], n))
    for j in range(n):
        for index, value in zip(indices[j], values[j], strict=True):
            y[..., j] += float(value) * s[..., j * groups // n, index]
    return y


def lookup_conv(x, dictionary, indices, values, strides, padding, dilation, groups=1):
    """Equations 2 and 5, without bias, of any rank.

    x (batch, *sizes, m), dictionary (m, k), indices and values (*kernel, n, s)
    -> (batch, *sizes out, n).
    """
    s = looked_up(x, dictionary, groups)
    seen = shifts(s, indices.shape[:-2], strides, padding, dilation)
    return sum(look_up(part, indices[tap], values[tap]) for tap, part in seen)


def lookup_transposed(x, dictionary, indices, values, strides, padding, dilation, out):
    """The transpose: each pixel of S is looked up for each tap, and added where it belongs.

    As `lookup_conv`; `out` is the size of the output.
    """
    s, kernel = looked_up(x, dictionary, 1), indices.shape[:-2]
    axes = list(zip(x.shape[1:-1], kernel, strides, dilation, strict=True))
    whole = [(size - 1) * stride + (k - 1) * d + 1 for size, k, stride, d in axes]
    y = np.zeros((len(x), *map(max, whole, out), indices.shape[-2]))
    for tap in np.ndindex(*kernel):
        places = [
            t * d + stride * np.arange(size)
            for t, (size, _, stride, d) in zip(tap, axes, strict=True)
        ]
        y[np.ix_(np.arange(len(x)), *places)] += look_up(s, indices[tap], values[tap])
    sizes = zip(whole, out, strict=True)
    zeros = [max(a - b, 0) // 2 if padding == "same" else 0 for a, b in sizes]
    return y[(slice(None), *(slice(z, z + size) for z, size in zip(zeros, out, strict=True)))]


def depthwise_conv(x, kernel, strides, padding, dilation):
    """x (batch, *sizes, channels), kernel (*taps, channels, multiplier)."""
    x, kernel = np.asarray(x, np.float64), np.asarray(kernel, np.float64)
    y = 0
    for tap, part in shifts(x, kernel.shape[:-2], strides, padding, dilation):
        y = y + (part[..., None] * kernel[tap]).reshape(*part.shape[:-1], -1)
    return y


def lookup_dense(x, dictionary, indices, values):
    """The 1x1 case: x (..., m), dictionary (m, k), indices and values (n, s) -> (..., n)."""
    s = np.asarray(x, np.float64) @ np.asarray(dictionary, np.float64)
    lookups = indices.shape[-1]
    y = np.zeros((*s.shape[:-1], len(indices)))
    for t in range(lookups):
        y += np.asarray(values[:, t], np.float64) * s[..., indices[:, t]]
    return y


def lookups(coefficients):
    """(I, C) of P (..., k, n) by plain loops, for P with no entry inside a threshold."""
    by_filter = np.moveaxis(np.asarray(coefficients, np.float64), -2, -1)
    s = max(int((by_filter != 0).sum(axis=-1).max()), 1)
    indices = np.zeros((*by_filter.shape[:-1], s), int)
    values = np.zeros((*by_filter.shape[:-1], s))
    for place in np.ndindex(by_filter.shape[:-1]):
        found = np.flatnonzero(by_filter[place])
        indices[place][: len(found)] = found
        values[place][: len(found)] = by_filter[place][found]
    return indices, values


def top_s(coefficients, s):
    """Top-s of P (..., k, n) by plain sorting; ties go to the lower row."""
    result = np.zeros_like(coefficients)
    by_filter, kept = np.moveaxis(coefficients, -2, -1), np.moveaxis(result, -2, -1)
    for place in np.ndindex(by_filter.shape[:-1]):
        order = sorted(range(by_filter.shape[-1]), key=lambda i: (-abs(by_filter[place][i]), i))
        for i in order[:s]:
            kept[place][i] = by_filter[place][i]
    return result
