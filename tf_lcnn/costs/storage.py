"""Bytes of weights in a .tflite, by the numbers that they are stored in."""

import math

from tf_lcnn.layers import levels

# Bits of a weight, and of one of D where that differs. LiteRT has no smaller integers than 2 bits.
_BITS = {"float32": 32, "float16": 16, **{name: 8 for name in levels.FORMATS}}
_BITS |= {name: 4 for name in levels.NARROW}
_DICTIONARY_BITS = _BITS | {name: 2 for name, x in levels.FORMATS.items() if x.dictionary <= 3}
# Of a kernel that is a matrix to LiteRT.
_POINTWISE_BITS = _BITS | {name: 2 for name in levels.BINARY}

NUMBERS = tuple(_BITS)

# What the file has beside its numbers, measured in the packed files of this exporter: for an
# operator with its output, a constant, and a tensor stored sparse with its DENSIFY; and for all.
_OPERATOR, _CONSTANT, _SPARSE, _FILE = 112, 56, 250, 700
# A scale and zero point, and a DEQUANTIZE, which float16 has for each constant.
_QUANTIZED, _DEQUANTIZE = 16, 75


def lookup_layer(shape, lookups, numbers, dictionary=True):
    """Bytes of D, P, biases and scales.

    Args:
        shape: (taps, m, k, n); m of all groups.
        lookups: the non-zeros of P.
        numbers: one of `NUMBERS`.
        dictionary: whether D counts; it does not where it is another layer's.
    """
    taps, m, k, n = shape
    first = math.ceil(_DICTIONARY_BITS[numbers] * m * k / 8) if dictionary else 0
    bits = _BITS[numbers]
    stored = max(1, bits // 8)
    second = min(sparse_bytes((taps, k, n), lookups, stored), math.ceil(bits * taps * k * n / 8))
    scales = 4 * k if _has_scales_per_filter(numbers) else 0
    # Below int8 the scale of S is 1, and biases have the scales of P.
    shared = 4 * n if scales and numbers in levels.NARROW else 0
    return first + second + scales + per_filter(n, numbers) - shared


def kernel(weights, n, numbers, pointwise=False):
    """Bytes of a layer without lookups: its kernel, of so many weights, biases and scales."""
    bits = (_POINTWISE_BITS if pointwise else _BITS)[numbers]
    return math.ceil(bits * weights / 8) + per_filter(n, numbers)


def per_filter(n, numbers):
    """Bytes of biases, and of the scales of weights and biases where each filter has its own."""
    return (12 if _has_scales_per_filter(numbers) else 4) * n


def _has_scales_per_filter(numbers):
    return numbers in levels.FORMATS and not levels.FORMATS[numbers].per_tensor


def structure(operators, constants, sparse, filters, numbers):
    """About the bytes of a file beside its numbers.

    Args:
        operators, constants, sparse: how many there are; `sparse` of the constants.
        filters: how many filters products have, rows of dictionaries among them, from the first
            layer on: a pair for each. For as many there is one vector of zero points.
        numbers: one of `NUMBERS`.
    """
    size = _FILE + _OPERATOR * operators + _CONSTANT * constants + _SPARSE * sparse
    if numbers == "float16":
        return size + _DEQUANTIZE * constants
    if numbers not in levels.FORMATS:
        return size
    if levels.FORMATS[numbers].per_tensor:
        # The first layer has int8, and scales of its own.
        filters = filters[:2]
    # Float inputs and outputs are quantized and back.
    tensors = operators + 2 + constants
    return size + 2 * _OPERATOR + _QUANTIZED * tensors + 8 * sum(set(filters))


def sparse_bytes(shape, nonzeros, value_bytes=4):
    """Bytes of a sparse P in a .tflite: values in CSR along k or n; dense if that is less.

    Args:
        shape: (..., k, n) of P.
        nonzeros: the entries stored.
        value_bytes: of an entry, 4 for float32.
    """
    *taps, k, n = shape
    taps = math.prod(taps)
    along = [csr_bytes(nonzeros, taps * rows, size, value_bytes) for rows, size in ((n, k), (k, n))]
    return min(*along, value_bytes * taps * k * n)


def csr_bytes(nonzeros, rows, size, value_bytes):
    """Bytes of values in rows of this size: the values, their places, and where rows begin."""
    places = nonzeros * (value_bytes + integer_bytes(size - 1))
    return places + (rows + 1) * integer_bytes(nonzeros)


def integer_bytes(largest):
    """Bytes of an index of a sparse tensor in a .tflite."""
    return 1 if largest <= 0xFF else 2 if largest <= 0xFFFF else 4
