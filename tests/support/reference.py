"""An independent reference in float64 numpy: the paper's shifts and lookups, literally."""

import math

import numpy as np


def pads(size, kernel, stride, dilation, padding):
    """(output size, zeros in front, zeros behind) along one axis."""
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return (size - reach) // stride + 1, 0, 0
    out = math.ceil(size / stride)
    total = max((out - 1) * stride + reach - size, 0)
    return out, total // 2, total - total // 2


def lookup_conv(x, dictionary, indices, values, strides, padding, dilation):
    """Equations 2 and 5, without bias.

    x (batch, h, w, m), dictionary (m, k), indices and values (kh, kw, n, s)
    -> (batch, ho, wo, n).
    """
    x, dictionary, values = (np.asarray(a, np.float64) for a in (x, dictionary, values))
    kh, kw, n, lookups = indices.shape
    s = np.einsum("bhwm,mk->bhwk", x, dictionary)
    ho, top, bottom = pads(x.shape[1], kh, strides[0], dilation[0], padding)
    wo, left, right = pads(x.shape[2], kw, strides[1], dilation[1], padding)
    s = np.pad(s, ((0, 0), (top, bottom), (left, right), (0, 0)))
    y = np.zeros((len(x), ho, wo, n))
    for r in range(kh):
        for c in range(kw):
            rows = r * dilation[0] + strides[0] * np.arange(ho)
            columns = c * dilation[1] + strides[1] * np.arange(wo)
            shifted = s[:, rows][:, :, columns]
            for t in range(lookups):
                y += values[r, c, :, t] * shifted[..., indices[r, c, :, t]]
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
