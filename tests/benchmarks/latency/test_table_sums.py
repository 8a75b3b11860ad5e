"""The kernels that add table entries against the layer's own integers, to the last bit."""

import platform
import shutil
import subprocess

import numpy as np
import pytest
from support import deep_reference as reference
from support.helpers import numpy

from benchmarks.latency import table_sums
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D

KERNELS = {"x86_64": ("avx512", "avx2", "plain"), "aarch64": ("neon", "plain")}.get(
    platform.machine(), ("plain",)
)
ARM_COMPILER, QEMU = "aarch64-linux-gnu-g++", "qemu-aarch64-static"

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="no g++")


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return table_sums.library(tmp_path_factory.mktemp("table_sums"))


@pytest.fixture(params=KERNELS)
def kernel(request, library):
    if request.param not in table_sums.kernels(library):
        what = {"avx512": "AVX-512 with VBMI", "avx2": "AVX2"}.get(request.param, request.param)
        pytest.skip(f"this processor has no {what}")
    return request.param


def drawn(rng, levels, weight_levels, size, channels, filters, taps):
    """(table, weights, activations) of any numbers."""
    table = rng.integers(-128, 128, (levels, weight_levels)).astype(np.int8)
    weights = rng.integers(0, weight_levels, (*taps, channels, filters)).astype(np.uint8)
    return table, weights, rng.integers(0, levels, (*size, channels)).astype(np.uint8)


def wanted(table, weights, activations, padding, strides=(1, 1)):
    return reference.sums(
        table.astype(np.int32), activations[None], weights, strides, padding, (1, 1)
    )[0]


@pytest.mark.parametrize("signed", [False, True], ids=["positive", "signed"])
@pytest.mark.parametrize("table", ["free", "separable"])
@pytest.mark.parametrize("levels", [16, 64])
def test_sums_are_those_of_the_layer_with_integers(library, kernel, levels, table, signed):
    layer = DeepLookupConv2D(
        11, 3, levels, 16, padding="same", table=table, signed_input=signed, use_bias=False,
        kernel_initializer="glorot_normal",
    )  # fmt: skip
    layer.build((1, 9, 13, 24))
    rng = np.random.default_rng(levels)
    for variable in layer.weights[1:]:
        moved = rng.normal(size=variable.shape, scale=0.3).astype(np.float32)
        variable.assign(numpy(variable) + moved)
    layer.integers = True
    x = rng.normal(size=(1, 9, 13, 24)).astype(np.float32)
    of_activations, of_weights = (numpy(value) for value in layer.scales)
    weights = reference.indices(numpy(layer.kernel), of_weights, 16, True)
    activations = reference.indices(x, of_activations, levels, signed)[0]
    convolution = table_sums.TableConvolution(
        library, kernel, (9, 13), layer.integer_table(), weights
    )
    sums = convolution(activations)
    scale = of_activations * of_weights * np.float32(1 / reference.TABLE_STEPS)
    np.testing.assert_array_equal(sums.astype(np.float32) * scale, numpy(layer(x))[0])


@pytest.mark.parametrize(
    ("levels", "weight_levels", "size", "channels", "filters", "taps"),
    [
        (16, 16, (5, 67), 3, 5, (3, 3)),
        (64, 64, (7, 5), 17, 3, (2, 5)),
        (2, 256, (1, 1), 1, 1, (1, 1)),
        (33, 33, (3, 130), 40, 2, (3, 1)),
        (17, 2, (12, 23), 1, 9, (4, 4)),
    ],
)
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_sums_of_odd_shapes(
    library, kernel, levels, weight_levels, size, channels, filters, taps, padding
):
    rng = np.random.default_rng(levels)
    padding = "same" if size[0] < taps[0] or size[1] < taps[1] else padding
    arrays = drawn(rng, levels, weight_levels, size, channels, filters, taps)
    convolution = table_sums.TableConvolution(library, kernel, size, *arrays[:2], padding)
    np.testing.assert_array_equal(convolution(arrays[2]), wanted(*arrays, padding))


@pytest.mark.parametrize("levels", [16, 64])
@pytest.mark.parametrize("lowest", [-128, 0, 126])
def test_the_largest_sums_do_not_overflow(library, kernel, levels, lowest):
    """3x3 of 700 channels of the largest entries: 800,000, and groups of 1 to 16 reads."""
    table = np.full((levels, 16), lowest, np.int8)
    table[-1] = np.minimum(127, lowest + 2 ** np.arange(1, 17) // 8)
    table[-1, :2] = 127
    for weight in (0, 9, None):
        rng = np.random.default_rng(0)
        weights = rng.integers(0, 16, (3, 3, 700, 3)).astype(np.uint8)
        if weight is not None:
            weights[:] = weight
        activations = np.full((5, 9, 700), levels - 1, np.uint8)
        activations[1::3] = 0
        convolution = table_sums.TableConvolution(library, kernel, (5, 9), table, weights)
        np.testing.assert_array_equal(
            convolution(activations), wanted(table, weights, activations, "same")
        )


def test_strides_are_the_callers_patches(library, kernel):
    rng = np.random.default_rng(0)
    table, weights, activations = drawn(rng, 16, 16, (9, 11), 5, 7, (3, 3))
    windows = np.lib.stride_tricks.sliding_window_view(activations, (3, 3), (0, 1))[::2, ::2]
    patches = windows.transpose(0, 1, 3, 4, 2).reshape(*windows.shape[:2], -1)
    convolution = table_sums.TableConvolution(
        library, kernel, patches.shape[:2], table, weights.reshape(1, 1, -1, 7)
    )
    np.testing.assert_array_equal(
        convolution(patches), wanted(table, weights, activations, "valid", (2, 2))
    )


def test_reads_of_small_entries_are_added_in_larger_groups(library, kernel):
    """Of columns that reach 127, 63, 31 and 15: 2, 4, 8 and 16."""
    if kernel == "plain":
        pytest.skip("plain loops have no groups")
    weights = np.zeros((3, 3, 32, 4), np.uint8)
    for reach, group in ((255, 1), (127, 2), (63, 4), (31, 8), (15, 16)):
        table = np.rint(np.linspace(0, reach, 16) - 128).astype(np.int8)[:, None]
        convolution = table_sums.TableConvolution(library, kernel, (5, 5), table, weights)
        assert convolution.group == group


def test_what_is_no_layer_is_named(library):
    rng = np.random.default_rng(0)
    table, weights, activations = drawn(rng, 16, 16, (4, 4), 3, 2, (3, 3))

    def made(kernel="plain", size=(4, 4), table=table, weights=weights, padding="same"):
        return table_sums.TableConvolution(library, kernel, size, table, weights, padding)

    for arguments, words in (
        ({"kernel": "avx1024"}, "No kernel 'avx1024' here: .*plain"),
        ({"padding": "causal"}, "padding='causal': same, valid"),
        ({"table": table.astype(float)}, "table is float64 .*, not int8 of 2 axes"),
        ({"weights": weights[0]}, "weights is uint8 .*, not uint8 of 4 axes"),
        ({"table": np.zeros((65, 16), np.int8)}, "65 activation levels, not 2 to 64"),
        ({"table": table[:, :3]}, "A weight of index .*, of 3 levels"),
        ({"size": (2, 4), "padding": "valid"}, "An image of .* under a kernel of"),
    ):
        with pytest.raises(ValueError, match=words):
            made(**arguments)
    with pytest.raises(ValueError, match="An activation of 16, of 16 levels"):
        made()(activations * 0 + 16)
    with pytest.raises(ValueError, match=r"Activations are uint8 .*, not uint8"):
        made()(activations[1:])


def check_random_layers(program, *before):
    done = subprocess.run([*before, program, "200", "5"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.slow
def test_random_layers_against_plain_loops(tmp_path):
    program = table_sums.compile_cpp(("check", *table_sums.KERNELS), tmp_path / "check")
    check_random_layers(program)


@pytest.mark.slow
@pytest.mark.skipif(
    shutil.which(ARM_COMPILER) is None or shutil.which(QEMU) is None,
    reason=f"no {ARM_COMPILER}, or no {QEMU}",
)
def test_random_layers_on_arm64(tmp_path):
    names = ("check", *table_sums.KERNELS)
    program = table_sums.compile_cpp(names, tmp_path / "check", "-static", compiler=ARM_COMPILER)
    check_random_layers(program, QEMU, "-cpu", "cortex-a53")
