"""Weights in few levels: their grids, and which layers have them."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random

from tf_lcnn import LookupConv2D
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import levels


@pytest.mark.parametrize(("count", "largest"), [(15, 7), (255, 127)])
def test_whole_multiples_of_a_scale_per_filter(count, largest):
    w = random((3, 3, 8, 5)) * np.array([1, 10, 0.1, 3, 0], np.float32)
    rounded = numpy(levels.on_grid(w, count)).astype(np.float64)
    scales = np.abs(w).max(axis=(0, 1, 2)) / largest
    whole = rounded / np.where(scales > 0, scales, 1)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-3)
    assert np.round(np.abs(whole).max(axis=(0, 1, 2))).tolist() == [largest] * 4 + [0]
    assert (np.abs(rounded - w).max(axis=(0, 1, 2)) <= 0.51 * scales).all()


def test_ternary_weights_are_those_of_the_paper():
    w = random((16, 6)).astype(np.float64) * np.array([1, 10, 0.1, 3, 1, 0])
    expected = np.zeros_like(w)
    for j in range(5):
        kept = np.abs(w[:, j]) > 0.7 * np.abs(w[:, j]).mean()
        expected[kept, j] = np.sign(w[kept, j]) * np.abs(w[kept, j]).mean()
    rounded = numpy(levels.on_grid(w.astype(np.float32), 3))
    np.testing.assert_allclose(rounded, expected, rtol=1e-5, atol=1e-7)


def test_binary_weights_are_those_of_the_paper():
    w = random((16, 6)).astype(np.float64) * np.array([1, 10, 0.1, 3, 1, 0])
    w[0, 0] = 0
    expected = np.where(w < 0, -1, 1) * np.abs(w).mean(axis=0)
    rounded = numpy(levels.on_grid(w.astype(np.float32), 2))
    np.testing.assert_allclose(rounded, expected, rtol=1e-5, atol=1e-7)


def test_one_scale_of_all_filters_at_their_sizes_in_the_file():
    w = random((3, 3, 8, 5)).astype(np.float64)
    sizes = np.array([1, -10, 0.1, 3, 0])
    step = np.abs(w * sizes).max() / 7
    expected = np.round(w * sizes / step) * step / np.where(sizes, sizes, 1)
    rounded = numpy(levels.on_grid(w.astype(np.float32), 15, sizes.astype(np.float32)))
    np.testing.assert_allclose(rounded, expected, rtol=1e-5, atol=1e-7)
    assert not rounded[..., 4].any()


@pytest.mark.parametrize("quantize", ["int4_per_tensor", "ternary_per_tensor", "binary_per_tensor"])
def test_scales_of_rows_go_from_the_dictionary_into_the_coefficients(quantize):
    weights, sizes = levels.FORMATS[quantize], np.array([1, 4, 0.5], np.float32)
    dictionary, coefficients = random((16, 6)), random((9, 6, 3), 1)
    dictionary[:, 2] = 0
    d, p = map(numpy, levels.lookups_on_grid(dictionary, coefficients, weights, sizes))
    # D is what it is with a scale per row.
    each = numpy(levels.on_grid(dictionary, weights.dictionary))
    np.testing.assert_array_equal(d, each)
    # P has one scale where D's rows have none.
    steps = np.sort(np.abs(np.where(d == 0, np.inf, d)), axis=0)[0]
    rows = {15: np.abs(d).max(axis=0) / 7}.get(weights.dictionary, steps)
    moved = (p * np.where(np.isin(np.arange(6), 2), 1, rows)[:, None] * sizes).astype(np.float64)
    whole = moved / (np.abs(moved).max() / 7)
    np.testing.assert_allclose(whole, np.round(whole), atol=1e-4)
    # Sizes that go from D to P or back change nothing of the layer.
    by = np.array([1, 2, 1, 0.5, 8, 1], np.float32)
    other = levels.lookups_on_grid(dictionary * by, coefficients / by[:, None], weights, sizes)
    other = [numpy(x).astype(np.float64) for x in other]
    np.testing.assert_allclose(other[0] @ other[1], d @ p.astype(np.float64), rtol=1e-4, atol=1e-5)


def test_the_first_layer_keeps_int8_and_the_last_of_a_binary_net_int4():
    model = chain(
        (8, 8, 3),
        keras.layers.Conv2D(8, 3, name="first"),
        LookupConv2D(8, 3, 4, name="lookups"),
        keras.layers.DepthwiseConv2D(3, name="depthwise"),
        LookupConv2D(8, 1, None, name="plain"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(4, name="logits"),
    )
    for quantize in levels.FORMATS:
        found = levels.layer_formats(trace(model), quantize)
        last = quantize.replace("binary", "int4")
        assert {layer.name: name for layer, name in found.items()} == {
            **{"first": "int8", "lookups": quantize, "plain": quantize, "logits": last}
        }
