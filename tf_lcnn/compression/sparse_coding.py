"""Sparse coding: trained weights -> a dictionary and a few lookups, with the least output error.

A layer computes Y = X.W for patches X of its input, so an error E of the weights changes the
output by X.E, and its mean square is E'.S.E with S the second moment of the patches. That is what
is made small here, not the error of the weights: channels that are alike, and kernel positions
that see alike, can stand in for each other.

Supports come from orthogonal matching pursuit (Pati, Rezaiifar, Krishnaprasad, 1993) on Gram
matrices (Rubinstein, Zibulevsky, Elad, "Efficient implementation of the K-SVD algorithm using
Batch OMP", 2008), all filters at a time; scikit-learn's takes neither the metric S nor a bound per
kernel position. Dictionaries are least squares given the lookups, as in MOD (Engan et al., 1999).
"""

import dataclasses

import numpy as np

# Rounds of lookups and dictionary; most layers stall before.
ROUNDS = 12
# A round that gains less than this share of the error is a stall.
STALL = 0.01
# Least-squares steps of a dictionary per round, by conjugate gradients.
STEPS = 10
# Pursuit picks so many times per filter at most; larger supports grow by several lookups at once.
PICKS = 36

# Rounds of lookups and dictionary that tell sizes apart, see `errors`.
_ERROR_ROUNDS = 2

# Relative to the mean of the diagonal: keeps singular systems solvable and changes no digit that
# float32 weights can hold.
_RIDGE = 1e-10

# Moments are sums of products of float32 numbers: what is smaller than this share of their mean is
# rounding, and weights that grow large where patches hardly vary would make use of it.
_ROUNDING = 1e-5


@dataclasses.dataclass(frozen=True)
class Code:
    """A coded layer.

    Attributes:
        dictionary: D, (m, k) float64. Row i of D and slice i of P have the same norm.
        coefficients: P, (taps, k, n) float64, at most s non-zeros along k.
        error: the share of the output's second moment that is lost, from 0 to 1.
    """

    dictionary: np.ndarray
    coefficients: np.ndarray
    error: float

    @property
    def kernel(self):
        """D.P, (taps, m, n)."""
        return np.einsum("mk,akn->amn", self.dictionary, self.coefficients, optimize=True)


def code(weights, moment, dictionary_size, lookups, seed=0, rounds=ROUNDS):
    """Codes the weights of one layer.

    Args:
        weights: (taps, m, n): taps kernel positions, m channels, n filters.
        moment: second moment of the patches, (taps*m, taps*m), channels fastest.
        dictionary_size: k.
        lookups: s, the largest number of non-zeros per kernel position and filter, at most k.
        seed: of the first dictionary.
        rounds: at most so many alternations.

    Returns:
        Code. Exact, up to rounding, where min(s, k) >= m or the weights need no more.
    """
    taps, m, n = weights.shape
    given, moment = moment, moment + _ridge(moment, _ROUNDING)
    rng = np.random.default_rng(seed)
    vectors = np.moveaxis(weights, 1, 0).reshape(m, taps * n)
    channels = np.einsum("amab->mb", moment.reshape(taps, m, taps, m)) / taps
    # First every weight vector by itself: cheap, and a good dictionary to start from.
    dictionary = _code_vectors(vectors, channels, dictionary_size, lookups, rng, rounds)
    best = None
    for _ in range(rounds):
        dictionary, current = _round(weights, moment, channels, dictionary, lookups)
        gain = 1.0 if best is None else 1 - current.error / max(best.error, 1e-300)
        if gain > 0:
            best = current
        if gain < STALL or best.error < 1e-14:
            break
    error = relative_error(weights - best.kernel, weights, given)
    return _balanced(dataclasses.replace(best, error=error))


def errors(weights, moment, dictionary_size, lookups, seed=0):
    """What coding a layer in several sizes would lose, for a fraction of the time of `code`.

    The weight vectors are coded each by itself, with one dictionary for each s, which starts as
    that of the s before; then the coefficients of all kernel positions are refitted together.
    These errors are larger than those of `code`, in about the same ratio for all sizes.

    Args:
        weights, moment, dictionary_size, seed: see `code`.
        lookups: the s to try.

    Returns:
        dict: s -> error, the share of the output's second moment that is lost; of those that
        are at most dictionary_size.
    """
    taps, m, n = weights.shape
    given, moment = moment, moment + _ridge(moment, _ROUNDING)
    rng = np.random.default_rng(seed)
    vectors = np.moveaxis(weights, 1, 0).reshape(m, taps * n)
    factor = _factor(np.einsum("amab->mb", moment.reshape(taps, m, taps, m)) / taps)
    seen = factor.T @ vectors
    target = moment @ weights.reshape(taps * m, n)
    rows = _first_rows(seen, dictionary_size, rng)
    lost = {}
    for s in sorted(s for s in lookups if s <= dictionary_size):
        for _ in range(_ERROR_ROUNDS):
            rows, support, _ = _vector_round(rows, seen, s)
        dictionary = np.linalg.solve(factor.T, _normalized(rows, np.eye(m)))
        rows, support, _ = _vector_round(rows, seen, s)
        # From one row of indices per vector to one per filter.
        joint = support.reshape(taps, n, s) + dictionary_size * np.arange(taps)[:, None, None]
        gram, correlations = _normal(dictionary, moment, target, taps)
        joint = joint.transpose(1, 0, 2).reshape(n, taps * s)
        coefficients = refit(gram, correlations, joint).reshape(taps, dictionary_size, n)
        residual = weights - np.einsum("mk,akn->amn", dictionary, coefficients, optimize=True)
        lost[s] = relative_error(residual, weights, given)
    return lost


def _round(weights, moment, channels, dictionary, s):
    """New lookups for a dictionary, then both by least squares: (next dictionary, Code)."""
    taps, m, n = weights.shape
    k = dictionary.shape[1]
    target = moment @ weights.reshape(taps * m, n)
    dictionary = _normalized(dictionary, channels)
    support = pursue(*_normal(dictionary, moment, target, taps), s, taps)
    coefficients = None
    for _ in range(2):
        gram, correlations = _normal(dictionary, moment, target, taps)
        coefficients = refit(gram, correlations, support).reshape(taps, k, n)
        dictionary = _dictionary_step(dictionary, coefficients, moment, target, channels)
    gram, correlations = _normal(dictionary, moment, target, taps)
    coefficients = refit(gram, correlations, support).reshape(taps, k, n)
    residual = weights - np.einsum("mk,akn->amn", dictionary, coefficients, optimize=True)
    current = Code(dictionary, coefficients, relative_error(residual, weights, moment))
    dead = ~coefficients.any(axis=(0, 2))
    return _revive(dictionary, dead, np.moveaxis(residual, 1, 0).reshape(m, -1), channels), current


def relative_error(residual, weights, moment):
    """The share of the output's second moment that a residual of the weights takes away."""
    lost, whole = (
        float(np.einsum("in,in->", flat, moment @ flat))
        for flat in (x.reshape(len(moment), -1) for x in (residual, weights))
    )
    return max(lost, 0.0) / whole if whole else 0.0


def pursue(gram, correlations, s, taps=1):
    """Orthogonal matching pursuit with at most s rows per kernel position, for all filters.

    Args:
        gram: (taps*k, taps*k), of the dictionary rows at every kernel position.
        correlations: (taps*k, n), of these with the targets.
        s: rows per kernel position.

    Returns:
        the support: rows, (n, taps*s), of indices into taps*k.
    """
    size, n = correlations.shape
    k = size // taps
    norms = np.sqrt(np.maximum(np.diag(gram), 1e-300))[:, None]
    counts = np.zeros((taps, n), int)
    free = np.ones((size, n), bool)
    support = np.zeros((n, 0), int)
    columns = np.arange(n)
    residual = correlations
    per_pick = -(-s * taps // PICKS) if taps > 1 else 1
    while support.shape[1] < s * taps:
        gain = np.where(free, np.abs(residual) / norms, -1.0).reshape(taps, k, n)
        gain[np.broadcast_to((counts >= s)[:, None], gain.shape)] = -2.0
        # The best row of each position, then the positions that gain most.
        rows, gains = gain.argmax(axis=1), gain.max(axis=1)
        open_positions = int((counts < s).sum(axis=0).min())
        picked = np.argsort(-gains, axis=0, kind="stable")[: min(per_pick, max(open_positions, 1))]
        chosen = picked * k + np.take_along_axis(rows, picked, axis=0)
        for row, position in zip(chosen, picked, strict=True):
            free[row, columns] = False
            counts[position, columns] += 1
        support = np.concatenate([support, chosen.T], axis=1)
        if support.shape[1] < s * taps:
            residual = correlations - gram @ refit(gram, correlations, support)
    return support


def refit(gram, correlations, support):
    """Least-squares coefficients (taps*k, n) of a support (n, size)."""
    size = len(gram)
    sub = gram[support[:, :, None], support[:, None, :]]
    diagonal = np.einsum("nii->ni", sub)
    # Adds to the diagonal in place.
    diagonal += _RIDGE * diagonal.mean(axis=1, keepdims=True) + 1e-300
    wanted = np.take_along_axis(correlations.T, support, axis=1)[..., None]
    coefficients = np.zeros((size, len(support)))
    np.put_along_axis(coefficients, support.T, np.linalg.solve(sub, wanted)[..., 0].T, axis=0)
    return coefficients


def _normal(dictionary, moment, target, taps):
    """Gram matrix of the dictionary at every kernel position, and correlations with the target."""
    m, k = dictionary.shape
    half = (moment.reshape(-1, m) @ dictionary).reshape(taps, m, taps * k)
    gram = np.einsum("mk,amb->akb", dictionary, half, optimize=True).reshape(taps * k, taps * k)
    correlations = np.einsum("mk,amn->akn", dictionary, target.reshape(taps, m, -1), optimize=True)
    return gram, correlations.reshape(taps * k, -1)


def _dictionary_step(dictionary, coefficients, moment, target, channels):
    """Least squares for D given P: conjugate gradients, preconditioned by channels and lookups."""
    taps, m = len(coefficients), len(dictionary)

    def gradient(rows):
        kernel = np.einsum("mk,akn->amn", rows, coefficients, optimize=True)
        seen = (moment @ kernel.reshape(taps * m, -1)).reshape(taps, m, -1)
        return np.einsum("amn,akn->mk", seen, coefficients, optimize=True)

    wanted = np.einsum("amn,akn->mk", target.reshape(taps, m, -1), coefficients, optimize=True)
    left = np.linalg.inv(channels + _ridge(channels, 1e-6))
    lookups = np.einsum("akn,aln->kl", coefficients, coefficients, optimize=True)
    right = np.linalg.inv(lookups + _ridge(lookups, 1e-6))
    residual = wanted - gradient(dictionary)
    scaled = left @ residual @ right
    direction, power = scaled, float((residual * scaled).sum())
    for _ in range(STEPS):
        moved = gradient(direction)
        curvature = float((direction * moved).sum())
        if curvature <= 0 or power <= 0:
            break
        dictionary = dictionary + power / curvature * direction
        residual = residual - power / curvature * moved
        scaled = left @ residual @ right
        before, power = power, float((residual * scaled).sum())
        direction = scaled + power / before * direction
    return dictionary


def _ridge(matrix, share):
    size = len(matrix)
    return (share * np.trace(matrix) / size + 1e-300) * np.eye(size)


def _code_vectors(vectors, channels, k, s, rng, rounds):
    """A dictionary (m, k) for vectors (m, count), each coded by itself in the metric `channels`."""
    factor = _factor(channels)
    seen = factor.T @ vectors
    rows = _first_rows(seen, k, rng)
    best_error, best = np.inf, rows
    for _ in range(rounds):
        rows, _, error = _vector_round(rows, seen, s)
        gain = 1 - error / best_error if np.isfinite(best_error) and best_error else 1.0
        if gain > 0:
            best_error, best = error, rows
        if gain < STALL:
            break
    return np.linalg.solve(factor.T, best)


def _factor(channels):
    """Of the metric: in the coordinates factor.T @ vectors it is the usual one."""
    values, directions = np.linalg.eigh(channels)
    # A moment of rounded products can have eigenvalues below zero.
    return directions * np.sqrt(np.maximum(values, 1e-9 * max(values[-1], 1e-300)))


def _vector_round(rows, seen, s):
    """New lookups for vectors that are coded each by itself, then new rows by least squares.

    Returns:
        (next rows, support of these vectors (count, s), squared error that is left).
    """
    rows = _normalized(rows, np.eye(len(rows)))
    gram, correlations = rows.T @ rows, rows.T @ seen
    support = pursue(gram, correlations, s)
    coefficients = refit(gram, correlations, support)
    lookups = coefficients @ coefficients.T
    dead = np.diag(lookups) == 0
    rows = np.linalg.solve(lookups + _ridge(lookups, _RIDGE), coefficients @ seen.T).T
    residual = seen - rows @ coefficients
    return _revive(rows, dead, residual, np.eye(len(rows))), support, float((residual**2).sum())


def _first_rows(vectors, k, rng):
    """k directions of the vectors, far from each other, as k-means++ draws its centres."""
    m, count = vectors.shape
    squares = (vectors**2).sum(axis=0)
    rows, far = np.zeros((m, k)), squares.copy()
    for i in range(k):
        whole = far.sum()
        pick = rng.choice(count, p=far / whole) if whole > 0 else None
        # All vectors are covered already: any direction will do.
        row = rng.normal(size=m) if pick is None else vectors[:, pick]
        rows[:, i] = row / np.linalg.norm(row)
        far = np.maximum(np.minimum(far, squares - (rows[:, i] @ vectors) ** 2), 0.0)
        far[far < 1e-12 * squares.max(initial=0.0)] = 0.0
    return rows


def _normalized(rows, metric):
    norms = np.sqrt(np.maximum(np.einsum("mk,mk->k", rows, metric @ rows), 0.0))
    return rows / np.where(norms > 0, norms, 1.0)


def _revive(rows, dead, residual, metric):
    """Dictionary rows that no lookup uses become the vectors that are coded worst."""
    if not dead.any():
        return rows
    lost = np.einsum("mi,mi->i", residual, metric @ residual)
    worst = np.argsort(-lost, kind="stable")[: dead.sum()]
    rows = rows.copy()
    places = np.flatnonzero(dead)[: len(worst)]
    rows[:, places] = residual[:, worst]
    # A residual of zero would be no direction.
    empty = places[~rows[:, places].any(axis=0)]
    rows[0, empty] = 1.0
    return rows


def _balanced(code):
    """Moves scale between D and P until both have the same norm, row by row: W stays."""
    d = np.linalg.norm(code.dictionary, axis=0)
    p = np.sqrt((code.coefficients**2).sum(axis=(0, 2)))
    scale = np.where((d > 0) & (p > 0), np.sqrt(p / np.where(d > 0, d, 1.0)), 1.0)
    # An unused row keeps its direction, at unit norm.
    scale = np.where((d > 0) & (p == 0), 1 / np.where(d > 0, d, 1.0), scale)
    return Code(code.dictionary * scale, code.coefficients / scale[:, None], code.error)
