"""Every native kernel against an independent reference, one layer at a time."""

import ctypes
import dataclasses
import functools
import pathlib
import platform

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import native_layers
from support.native_layers import FORMS, MAKE, NAMES, Case

PATH = native_layers.library_path()
pytestmark = pytest.mark.skipif(
    PATH is None, reason="no native library: none is installed, and LCNN_LIBRARY names none"
)
LIBRARY = native_layers.Library(PATH) if PATH else None
AVAILABLE = LIBRARY.available() if PATH else []
PLACES = [
    pytest.param(kernels, form, dtype, id=f"{kernels}-{form}-{np.dtype(dtype).name}")
    for kernels in AVAILABLE
    for dtype, forms in FORMS.items()
    for form in forms
]

make = functools.lru_cache(None)(lambda case, dtype: MAKE[dtype](case))


def processor_flags():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return set(value.split())
    return set()


def test_every_kernel_that_the_processor_runs_is_there():
    needs = {
        "x86_64": {
            "avx512": {
                "avx512f",
                "avx512bw",
                "avx512vl",
                "avx512dq",
                "avx512vbmi",
                "avx512_vnni",
            },
            "avxvnni": {"avx2", "fma", "avx_vnni"},
            "avx2": {"avx2", "fma"},
        },
        "aarch64": {"neondot": {"asimddp"}, "neon": {"asimd"}},
    }.get(platform.machine(), {})
    flags = processor_flags()
    wanted = [name for name in NAMES if name in needs and needs[name] <= flags]
    assert [*wanted, "portable"] == AVAILABLE


def test_the_fastest_kernels_are_the_default():
    layer = make(Case(), np.int8)
    assert LIBRARY.layer(layer).kernel == LIBRARY.layer(layer, AVAILABLE[0]).kernel


@pytest.mark.parametrize("dtype", FORMS, ids=lambda dtype: np.dtype(dtype).name)
def test_unknown_kernels_and_forms_are_none(dtype):
    layer = make(Case(), dtype)
    assert LIBRARY.layer(layer, "sse2") is None
    assert LIBRARY.layer(layer, form="circles") is None
    for kernels in set(NAMES) - set(AVAILABLE):
        assert LIBRARY.layer(layer, kernels) is None
    for kernels in AVAILABLE:
        there = [form for form in ("registers", "planes") if LIBRARY.layer(layer, kernels, form)]
        assert there == list(FORMS[dtype])


@pytest.mark.parametrize(("kernels", "form", "dtype"), PLACES)
def test_a_layer_says_what_it_is(kernels, form, dtype):
    layer = LIBRARY.layer(make(Case(), dtype), kernels, form)
    assert layer.kernel.startswith(f"{kernels} {form}")
    assert 0 < layer.seconds < 1
    assert layer.bytes > 0


@pytest.mark.parametrize("case", native_layers.grid(), ids=str)
@pytest.mark.parametrize(("kernels", "form", "dtype"), PLACES)
def test_layer(kernels, form, dtype, case):
    native_layers.check(LIBRARY, case, dtype, kernels, form, make(case, dtype))


@pytest.mark.parametrize("case", native_layers.grid()[::6], ids=str)
@pytest.mark.parametrize(("kernels", "form", "dtype"), PLACES)
def test_runs_and_thread_counts_give_the_same_bits(kernels, form, dtype, case):
    native_layers.check_again(LIBRARY, case, dtype, kernels, form, make(case, dtype))


def test_the_reference_is_a_convolution_with_a_product():
    """P and D multiplied give one dense convolution: equation 2 turned round."""
    case = Case(size=(6, 5), m=3, k=4, n=5, kernel=(3, 2), strides=(2, 1), dilation=(1, 2))
    layer = make(case, np.float32)
    dictionary, s_bias, p, y_bias = (array.astype(np.float64) for array in layer.arguments[:4])
    weights = (p @ dictionary).reshape(case.n, 3, 2, case.m)
    shape, x = layer.shape, layer.x[0].astype(np.float64)
    for row, column, filter_ in np.ndindex(shape.out_h, shape.out_w, case.n):
        y = y_bias[filter_]
        for r, c in np.ndindex(3, 2):
            at = row * 2 - shape.pad_top + r, column - shape.pad_left + c * 2
            if 0 <= at[0] < 6 and 0 <= at[1] < 5:
                y += weights[filter_, r, c] @ x[at] + p[filter_, r, c] @ s_bias
        assert np.isclose(layer.y[0, row, column, filter_], y, rtol=1e-12, atol=1e-12)


def test_a_wrong_value_is_found():
    layer = make(Case(), np.float32)
    y = layer.y.astype(np.float32)
    native_layers.assert_right(layer, y, "right")
    y[0, 1, 2, 3] += 1e-5 * np.abs(y).max()
    with pytest.raises(AssertionError, match=r"1 of 240 values are wrong, the first at \(0, 1, 2"):
        native_layers.assert_right(layer, y, "wrong")


sizes = st.tuples(st.integers(1, 17), st.integers(1, 40))
cases = st.builds(
    Case,
    size=sizes,
    m=st.one_of(st.just(0), st.integers(1, 40)),
    k=st.one_of(st.integers(1, 40), st.sampled_from([63, 64, 65, 127, 128, 129, 200])),
    n=st.integers(1, 40),
    batch=st.integers(1, 3),
    kernel=st.tuples(st.integers(1, 5), st.integers(1, 5)),
    strides=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    dilation=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.sampled_from(["same", "valid"]),
    dictionary_stride=st.integers(1, 2),
    s=st.one_of(st.integers(0, 6), st.sampled_from(["uneven", "full"])),
    limits=st.sampled_from(["none", "relu", "relu6"]),
    zero_points=st.tuples(*[st.sampled_from([-128, -5, 0, 9, 127])] * 3),
    values=st.sampled_from(["random", "random", "extreme", "lowest", "largest"]),
    seed=st.integers(0, 99),
)


@pytest.mark.parametrize("dtype", FORMS, ids=lambda dtype: np.dtype(dtype).name)
@settings(max_examples=300, deadline=None)
@given(case=cases)
def test_any_layer(dtype, case):
    layer = MAKE[dtype](case)
    for kernels in AVAILABLE:
        for form in FORMS[dtype]:
            native_layers.check(LIBRARY, case, dtype, kernels, form, layer)


@settings(max_examples=20, deadline=None)
@given(case=cases)
def test_any_layer_on_any_number_of_threads(case):
    for kernels, form, dtype in (place.values for place in PLACES):
        native_layers.check_again(LIBRARY, case, dtype, kernels, form, make(case, dtype))


def test_kernels_agree_on_int8_to_the_last_bit():
    for seed in range(5):
        case = dataclasses.replace(Case(size=(9, 30), m=50, k=30, n=37, s=4), seed=seed)
        layer = make(case, np.int8)
        results = {LIBRARY.layer(layer, name).run().tobytes() for name in AVAILABLE}
        assert len(results) == 1


def test_guarded_arrays_end_where_memory_does():
    array = native_layers.guarded((3, 5), np.int8)
    assert (ctypes.addressof(ctypes.c_char.from_buffer(array)) + 15) % 4096 == 0
