"""What keeps the coefficients P sparse: pure functions on P, used by layers and callbacks alike.

P has shape (..., k, n): k dictionary rows, n filters, and the kernel positions in front
(kh, kw for a convolution, none for a dense layer). A lookup is a non-zero of P; s counts the
lookups of one filter at one kernel position, so it is counted along the axis of k.

Source: Bagherinezhad, Rastegari, Farhadi, "LCNN: Lookup-based Convolutional Neural Network",
CVPR 2017 (arXiv 1611.06473), section 3.
"""

import math

import keras
import numpy as np
from keras import ops

from tf_lcnn import checks

GRADIENTS = ("masked", "straight_through")

# threshold_scale of layers whose weights are coded: so small that no coefficient is lost, and
# with the masked gradient what is zero stays zero all the same.
HOLDING_SCALE = 1e-6


def check_epsilon(epsilon, what="epsilon"):
    """Raises ValueError unless `epsilon` is a finite number >= 0."""
    checks.number(epsilon, what, least=0)


def check_gradient(gradient):
    """Raises ValueError unless `gradient` names a gradient of the threshold."""
    if gradient not in GRADIENTS:
        raise ValueError(f"Unknown threshold gradient {gradient!r}: {' or '.join(GRADIENTS)}.")


def threshold(x, epsilon, gradient="masked"):
    """delta(x) of equation 9: x where |x| > epsilon, else exactly 0. NaN stays NaN.

    Args:
        x: tensor of any shape.
        epsilon: number >= 0. At 0 the threshold is the identity, gradient included.
        gradient: "masked", the paper's: 1 outside the threshold and 0 inside, so that what
            once is zero stays zero; or "straight_through": 1 everywhere, so that entries can
            come back.

    Raises:
        ValueError: epsilon is negative or not finite, or the gradient is unknown.
    """
    check_epsilon(epsilon)
    check_gradient(gradient)
    x = ops.convert_to_tensor(x)
    if epsilon == 0:
        return x
    inside = ops.less_equal(ops.abs(x), epsilon)
    if gradient == "masked":
        return ops.where(inside, ops.zeros_like(x), x)
    return x + ops.stop_gradient(ops.where(inside, -x, ops.zeros_like(x)))


def check_lookups(s, dictionary_size=None):
    """Raises ValueError unless `s` is a whole number >= 1, and at most `dictionary_size`."""
    if isinstance(s, bool) or not isinstance(s, (int, np.integer)) or s < 1:
        raise ValueError(f"s, the lookups per position, must be a whole number >= 1, not {s!r}.")
    if dictionary_size is not None and s > dictionary_size:
        raise ValueError(
            f"s = {s} lookups per position, but the dictionary has only {dictionary_size} rows: "
            f"s <= {dictionary_size} works."
        )


def top_s(coefficients, s):
    """Keeps the s entries of largest magnitude of each filter at each kernel position.

    Entries of equal magnitude are kept in the order of their dictionary rows, so the result is
    deterministic and never has more than s non-zeros along axis -2. NaN stays NaN.

    Args:
        coefficients: tensor (..., k, n).
        s: whole number, 1 <= s <= k.

    Raises:
        ValueError: s is not a whole number from 1 to k.
    """
    coefficients = ops.convert_to_tensor(coefficients)
    k = coefficients.shape[-2]
    check_lookups(s, k)
    if s == k:
        return coefficients
    by_filter = ops.swapaxes(coefficients, -1, -2)
    # No order has NaN in it; as the largest it is kept, and noticed.
    magnitude = ops.where(ops.isnan(by_filter), float("inf"), ops.abs(by_filter))
    # Of equal entries top_k takes the one of lower index.
    _, rows = ops.top_k(ops.reshape(magnitude, (-1, k)), s)
    places = ops.reshape(k * ops.expand_dims(ops.arange(rows.shape[0]), -1) + rows, (-1, 1))
    kept = ops.take(ops.reshape(by_filter, (-1,)), places[:, 0])
    flat = ops.scatter(places, kept, (math.prod(by_filter.shape),))
    return ops.swapaxes(ops.reshape(flat, by_filter.shape), -1, -2)


def geometric_schedule(start, end, epochs):
    """A schedule for `TopS`: from `start` lookups in epoch 0 down to `end` in epoch `epochs`.

    Each epoch keeps the same share of the lookups that were left, as magnitude pruning does.

    Raises:
        ValueError: start or end is not a whole number >= 1, start < end, or epochs < 1.
    """
    check_lookups(start)
    check_lookups(end)
    if start < end or epochs < 1:
        raise ValueError(
            f"A schedule goes down over at least one epoch, not from {start} to {end} lookups "
            f"over {epochs}."
        )

    def lookups(epoch):
        progress = min(epoch / epochs, 1.0)
        return round(start * (end / start) ** progress)

    return lookups


def to_lookups(coefficients):
    """P -> (I, C), exactly: indices and coefficients of the lookups of equation 1.

    Args:
        coefficients: array (..., k, n).

    Returns:
        (indices, values): int32 and P's dtype, both (..., n, s), s the largest number of lookups
        at any position. Indices rise; a position with fewer lookups ends in index 0, value 0.
    """
    by_filter = np.swapaxes(np.asarray(coefficients), -1, -2)
    nonzero = by_filter != 0
    s = int(nonzero.sum(axis=-1).max(initial=0))
    order = np.argsort(~nonzero, axis=-1, kind="stable")[..., :s]
    values = np.take_along_axis(by_filter, order, axis=-1)
    return np.where(values != 0, order, 0).astype(np.int32), values


def from_lookups(indices, values, dictionary_size):
    """(I, C) -> P, exactly; the inverse of `to_lookups`. Lookups of the same row add up.

    Args:
        indices: whole numbers (..., n, s), each from 0 to dictionary_size - 1.
        values: array of the same shape.
        dictionary_size: k, the rows of the dictionary.

    Returns:
        array (..., k, n) of values' dtype.

    Raises:
        ValueError: the shapes differ, or an index is not a row of the dictionary.
    """
    indices, values = np.asarray(indices), np.asarray(values)
    if indices.shape != values.shape:
        raise ValueError(f"indices {indices.shape} and values {values.shape} differ in shape.")
    outside = indices[(indices < 0) | (indices >= dictionary_size)]
    if outside.size:
        raise ValueError(
            f"Index {outside[0]} is not a row of a dictionary of {dictionary_size}: 0 to "
            f"{dictionary_size - 1} are."
        )
    by_filter = np.zeros((*indices.shape[:-1], dictionary_size), values.dtype)
    flat = by_filter.reshape(-1, dictionary_size)
    rows = np.arange(len(flat))[:, None]
    np.add.at(flat, (rows, indices.reshape(len(flat), -1)), values.reshape(len(flat), -1))
    return np.swapaxes(by_filter, -1, -2)


def to_kernel(dictionary, coefficients, groups=1):
    """W = D.P of equation 1: (m, k) and (..., k, n) -> (..., m, n).

    With several groups each has m / groups rows of D and n / groups filters of its own, in turn,
    and the kernel is that of a grouped convolution, (..., m / groups, n).
    """
    if groups == 1:
        return ops.matmul(dictionary, coefficients)
    m, k = dictionary.shape
    *taps, _, n = coefficients.shape
    by_group = ops.reshape(dictionary, (groups, m // groups, k))
    per_tap = ops.reshape(coefficients, (-1, k, groups, n // groups))
    product = ops.einsum("gmk,tkgn->tmgn", by_group, per_tap)
    return ops.reshape(product, (*taps, m // groups, n))


def initializer_sigma(initializer, shape):
    """The standard deviation of what a Keras initializer draws for `shape`, in closed form.

    Args:
        initializer: a Keras initializer, or any object with an attribute `stddev`.
        shape: the shape of P, (..., k, n).

    Raises:
        ValueError: the standard deviation of this initializer is not known.
    """
    if isinstance(initializer, keras.initializers.VarianceScaling):
        positions = math.prod(shape[:-2])
        fan_in, fan_out = positions * shape[-2], positions * shape[-1]
        fans = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}
        return math.sqrt(initializer.scale / max(1.0, fans[initializer.mode]))
    if isinstance(initializer, keras.initializers.RandomUniform):
        return (initializer.maxval - initializer.minval) / math.sqrt(12)
    if isinstance(initializer, keras.initializers.TruncatedNormal):
        # A normal distribution cut at two standard deviations.
        return 0.87962566103423978 * initializer.stddev
    if isinstance(initializer, keras.initializers.Orthogonal):
        rows, columns = math.prod(shape[:-1]), shape[-1]
        return initializer.gain / math.sqrt(max(rows, columns))
    constants = (
        keras.initializers.Zeros,
        keras.initializers.Ones,
        keras.initializers.Constant,
    )
    if isinstance(initializer, constants):
        return 0.0
    if hasattr(initializer, "stddev"):
        return float(initializer.stddev)
    raise ValueError(
        f"The threshold needs the standard deviation of the initializer, and that of "
        f"{type(initializer).__name__} is not known: give it an attribute `stddev`, or set "
        "threshold_scale=0."
    )


def has_sigma(initializer):
    """Whether a threshold_scale > 0 gives a threshold > 0 with this initializer."""
    try:
        return initializer_sigma(initializer, (2, 2)) > 0
    except ValueError:
        return False


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LookupL1(keras.regularizers.Regularizer):
    """The sparsity term of the loss, equation 8: lambda' * eps * sum of |delta(P)|.

    It weighs on the entries outside the threshold only; inside it both loss and gradient are
    zero. A lookup layer given this as `kernel_regularizer` fills in its own eps. At eps = 0
    the term is zero.

    Args:
        strength: lambda' >= 0; the paper takes 0.3 for its fast and 0.1 for its accurate nets.

    Raises:
        ValueError: strength is negative or not finite; or, when called, no lookup layer has
            filled in eps.
    """

    def __init__(self, strength):
        check_epsilon(strength, "strength")
        self.strength = float(strength)
        self.epsilon = None

    def with_epsilon(self, epsilon):
        """A copy of this regularizer for a layer with this eps."""
        copy = LookupL1(self.strength)
        copy.epsilon = epsilon
        return copy

    def __call__(self, x):
        if self.epsilon is None:
            raise ValueError(
                "LookupL1 takes eps from its layer: pass it as kernel_regularizer of "
                "LookupConv2D or LookupDense with a dictionary_size."
            )
        return self.strength * self.epsilon * ops.sum(ops.abs(threshold(x, self.epsilon)))

    def get_config(self):
        return {"strength": self.strength}
