"""Sparse coding of weights, against plain loops in float64 and on cases with a known answer."""

import itertools

import numpy as np
import pytest

from tf_lcnn.compression import sparse_coding


def problem(taps, m, n, seed=0):
    """Weights (taps, m, n) and the second moment of correlated patches."""
    rng = np.random.default_rng(seed)
    patches = rng.normal(size=(400, taps * m)) @ rng.normal(size=(taps * m, taps * m))
    return rng.normal(size=(taps, m, n)), patches.T @ patches / len(patches), patches


def output_error(weights, kernel, patches):
    flat = (weights - kernel).reshape(patches.shape[1], -1)
    whole = patches @ weights.reshape(patches.shape[1], -1)
    return ((patches @ flat) ** 2).sum() / (whole**2).sum()


@pytest.mark.parametrize(("k", "s"), [(5, 5), (7, 7), (11, 5), (11, 11)])
def test_large_dictionaries_are_exact(k, s):
    weights, moment, _ = problem(4, 5, 3)
    found = sparse_coding.code(weights, moment, k, s)
    np.testing.assert_allclose(found.kernel, weights, atol=2e-6)
    assert found.error < 1e-12


@pytest.mark.parametrize(("taps", "k", "s"), [(1, 6, 2), (9, 6, 1), (9, 6, 2), (9, 16, 5)])
def test_a_code_keeps_to_its_sizes_and_tells_its_error(taps, k, s):
    weights, moment, patches = problem(taps, 8, 7)
    found = sparse_coding.code(weights, moment, k, s)
    assert found.dictionary.shape == (8, k) and found.coefficients.shape == (taps, k, 7)
    assert (found.coefficients != 0).sum(axis=1).max() <= s
    assert found.error == pytest.approx(output_error(weights, found.kernel, patches), rel=1e-9)
    assert 0 < found.error < 1


def test_more_lookups_lose_less():
    weights, moment, _ = problem(9, 8, 16)
    errors = [sparse_coding.code(weights, moment, 8, s).error for s in (1, 2, 4, 8)]
    assert all(b < 0.8 * a for a, b in itertools.pairwise(errors))
    assert errors[-1] < 1e-12


def test_the_output_is_coded_better_than_by_the_weights_alone():
    weights, moment, patches = problem(9, 8, 16)
    seen = sparse_coding.code(weights, moment, 6, 2)
    blind = sparse_coding.code(weights, np.eye(len(moment)), 6, 2)
    error = output_error(weights, blind.kernel, patches)
    assert seen.error < 0.5 * error


def test_coding_is_deterministic_by_seed():
    weights, moment, _ = problem(9, 6, 5)
    first, again, other = (sparse_coding.code(weights, moment, 4, 2, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.kernel, again.kernel)
    np.testing.assert_array_equal(first.coefficients, again.coefficients)
    assert (first.kernel != other.kernel).any()


def test_dictionary_and_coefficients_share_the_scale():
    found = sparse_coding.code(*problem(9, 6, 5)[:2], 4, 2)
    slices = np.sqrt((found.coefficients**2).sum(axis=(0, 2)))
    np.testing.assert_allclose(np.linalg.norm(found.dictionary, axis=0), slices, rtol=1e-9)


def test_few_vectors_and_zeros_leave_no_nan():
    weights, moment, _ = problem(4, 5, 3)
    weights[:, :, 1] = 0
    weights[:, :, 2] = weights[:, :, 0]
    found = sparse_coding.code(weights, moment, 9, 2)
    assert np.isfinite(found.dictionary).all() and np.isfinite(found.coefficients).all()
    nothing = sparse_coding.code(np.zeros_like(weights), moment, 3, 2)
    np.testing.assert_array_equal(nothing.kernel, 0)
    assert nothing.error == 0


def plain_pursuit(gram, correlations, s, taps):
    """One filter, one row at a time, the normal equations solved anew for each."""
    k = len(gram) // taps
    chosen, residual = [], correlations
    while len(chosen) < s * taps:
        gains = np.abs(residual) / np.sqrt(np.diag(gram))
        for i in range(len(gram)):
            full = sum(j // k == i // k for j in chosen) >= s
            if full or i in chosen:
                gains[i] = -1
        chosen.append(int(gains.argmax()))
        values = np.linalg.lstsq(gram[np.ix_(chosen, chosen)], correlations[chosen], rcond=None)[0]
        residual = correlations - gram[:, chosen] @ values
    return chosen


@pytest.mark.parametrize(("taps", "s"), [(1, 3), (4, 1), (4, 2)])
def test_pursuit_is_the_plain_one(taps, s):
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(30, taps * 5))
    gram, correlations = rows.T @ rows, rows.T @ rng.normal(size=(30, 6))
    found = sparse_coding.pursue(gram, correlations, s, taps)
    for i in range(6):
        assert list(found[i]) == plain_pursuit(gram, correlations[:, i], s, taps)


def test_pursuit_of_many_picks_at_once_keeps_to_the_bound(monkeypatch):
    monkeypatch.setattr(sparse_coding, "PICKS", 5)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(40, 9 * 4))
    found = sparse_coding.pursue(rows.T @ rows, rows.T @ rng.normal(size=(40, 3)), 2, 9)
    assert found.shape == (3, 18)
    for each in found:
        assert len(set(each)) == 18
        assert (np.bincount(each // 4, minlength=9) == 2).all()


def test_least_squares_of_a_support_is_that_of_numpy():
    rng = np.random.default_rng(2)
    rows, targets = rng.normal(size=(50, 12)), rng.normal(size=(50, 4))
    support = np.array([rng.choice(12, 5, replace=False) for _ in range(4)])
    found = sparse_coding.refit(rows.T @ rows, rows.T @ targets, support)
    for i, each in enumerate(support):
        expected = np.linalg.lstsq(rows[:, each], targets[:, i], rcond=None)[0]
        np.testing.assert_allclose(found[each, i], expected, rtol=1e-7)
        assert np.count_nonzero(found[:, i]) == 5


@pytest.mark.parametrize("seed", range(4))
def test_weights_do_not_grow_where_patches_do_not_vary(seed):
    rng = np.random.default_rng(seed)
    x = np.float32(rng.normal(size=(40, 4)) @ rng.normal(size=(4, 16)))
    moment = np.float64(x.T @ x)
    # Such as sums in float32 leave.
    noise = 1e-7 * moment.trace() / 16 * rng.normal(size=moment.shape)
    weights = rng.normal(size=(1, 16, 10))
    code = sparse_coding.code(weights, moment + noise + noise.T, 6, 2)
    assert np.linalg.norm(code.kernel) < 1.1 * np.linalg.norm(weights)
