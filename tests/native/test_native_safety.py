"""What a kernel must not do, and what the library must refuse: numbers that are none, layers that
contradict themselves, other sources than those beside the package."""

import ctypes
import re
import runpy
import shutil
import subprocess

import numpy as np
import pytest
from support import native_layers
from support.native_layers import FORMS, MAKE, Case

from tf_lcnn.runtime import native

PATH = native_layers.library_path()
pytestmark = pytest.mark.skipif(
    PATH is None, reason="no native library: none is installed, and LCNN_LIBRARY names none"
)
LIBRARY = native_layers.Library(PATH) if PATH else None
AVAILABLE = LIBRARY.available() if PATH else []
FLOATS = [(kernels, form) for kernels in AVAILABLE for form in FORMS[np.float32]]
NATIVE = native.ROOT / "native"


def with_constants(layer, **changes):
    """A float32 layer with other constants: x, dictionary, s_bias, p, y_bias, limits."""
    names = ("dictionary", "s_bias", "p", "y_bias", "limits")
    arguments = dict(zip(names, layer.arguments, strict=True))
    x = changes.pop("x", layer.x)
    return layer._replace(x=x, arguments=tuple((arguments | changes).values()))


# ----------------------------------------------------------------------------------- denormals


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize(("kernels", "form"), FLOATS)
def test_denormals_are_zeros_in_a_run_and_only_there(kernels, form, threads):
    layer = MAKE[np.float32](Case(size=(12, 9), n=24))
    n, k, m = layer.shape.n, layer.shape.k, layer.shape.m
    layer = with_constants(
        layer,
        # With denormals S would be about 1e-10.
        x=np.full(layer.x.shape, 1e-40, np.float32),
        dictionary=np.full((k, m), 1e30, np.float32),
        s_bias=np.zeros(k, np.float32),
        y_bias=np.zeros(n, np.float32),
    )
    np.testing.assert_array_equal(LIBRARY.layer(layer, kernels, form, threads).run(), 0)
    assert np.float32(1e-40) * np.ones(1, np.float32) != 0


# --------------------------------------------------------------------------- NaN and infinity


def reference(layer):
    """Y in float64, every coefficient multiplied, those of zero too."""
    dictionary, s_bias, p, y_bias, limits = (array.astype(np.float64) for array in layer.arguments)
    with np.errstate(invalid="ignore"):
        s = np.einsum("bhwm,km->bhwk", layer.x.astype(np.float64), dictionary) + s_bias
        s = np.clip(s, *limits[:2])
        y = native_layers._convolve(s, p, layer.shape) + y_bias
    return np.clip(y, *limits[2:])


def assert_alike(y, expected):
    np.testing.assert_array_equal(np.isnan(y), np.isnan(expected))
    np.testing.assert_array_equal(np.isposinf(y), np.isposinf(expected))
    np.testing.assert_array_equal(np.isneginf(y), np.isneginf(expected))


@pytest.mark.parametrize("limits", ["none", "relu", "relu6"])
@pytest.mark.parametrize("size", [(9, 11), (1, 1)], ids=["map", "pixel"])
@pytest.mark.parametrize(("kernels", "form"), FLOATS)
def test_a_nan_stays_one(kernels, form, size, limits):
    for n, k, seed in ((5, 7, 0), (40, 20, 1)):
        layer = MAKE[np.float32](Case(size=size, m=6, k=k, n=n, limits=limits, seed=seed))
        x = layer.x.copy()
        x[0, -1, size[1] // 2, 3] = np.nan
        layer = with_constants(layer, x=x)
        y = LIBRARY.layer(layer, kernels, form).run()
        assert np.isnan(y).any()
        assert_alike(y, reference(layer))


@pytest.mark.parametrize(
    ("s", "limits"), [("full", "none"), ("full", "relu"), ("full", "relu6"), (3, "none")]
)
@pytest.mark.parametrize("value", [np.inf, -np.inf])
@pytest.mark.parametrize(("kernels", "form"), FLOATS)
def test_an_infinity_does_what_it_does_in_a_convolution(kernels, form, value, s, limits):
    layer = MAKE[np.float32](Case(size=(9, 11), m=6, k=7, n=21, s=s, limits=limits))
    x = layer.x.copy()
    x[0, 4, 5, 3] = value
    layer = with_constants(layer, x=x)
    expected = reference(layer)
    assert limits == "relu6" or not np.isfinite(expected).all()
    assert_alike(LIBRARY.layer(layer, kernels, form).run(), expected)


# ------------------------------------------------------------------------------- what is refused

WRONG_SIZES = {
    "nothing": {"batch": 0},
    "less than nothing": {"n": -1},
    "more than there can be": {"n": 1 << 30},
    "sizes whose product overflows": {"k": 1 << 16, "n": 1 << 16, "kh": 1 << 16, "kw": 1 << 16},
    "another S than the dictionary stage makes": {"h": 4},
    "windows beyond the map": {"out_h": 50},
    "no stride": {"stride_w": 0},
    "no stride of the dictionary stage": {"dictionary_stride_h": 0},
    "negative dilation": {"dilation_h": -1},
    "padding of a whole kernel": {"pad_top": 3},
    "negative padding": {"pad_left": -1},
}


@pytest.mark.parametrize("dtype", FORMS, ids=lambda dtype: np.dtype(dtype).name)
@pytest.mark.parametrize("what", WRONG_SIZES)
def test_sizes_that_contradict_each_other_are_refused(what, dtype):
    layer = MAKE[dtype](Case())
    assert LIBRARY.layer(layer) is not None
    assert LIBRARY.layer(layer._replace(shape=layer.shape._replace(**WRONG_SIZES[what]))) is None


@pytest.mark.parametrize("dtype", FORMS, ids=lambda dtype: np.dtype(dtype).name)
def test_without_a_dictionary_s_is_x(dtype):
    layer = MAKE[dtype](Case(m=0))
    assert LIBRARY.layer(layer) is not None
    for change in ({"m": 9}, {"in_h": 6}, {"dictionary_stride_w": 2}):
        assert LIBRARY.layer(layer._replace(shape=layer.shape._replace(**change))) is None


@pytest.mark.parametrize("threads", [-1, 0, 65, 1 << 20])
def test_numbers_of_threads_that_cannot_be_are_refused(threads):
    assert LIBRARY.layer(MAKE[np.float32](Case()), threads=threads) is None


@pytest.mark.parametrize("which", ["dictionary", "s_bias", "p", "y_bias"])
def test_constants_that_are_no_numbers_are_refused(which):
    layer = MAKE[np.float32](Case())
    names = ("dictionary", "s_bias", "p", "y_bias")
    for value in (np.nan, np.inf):
        wrong = layer.arguments[names.index(which)].copy()
        wrong.flat[1] = value
        assert LIBRARY.layer(with_constants(layer, **{which: wrong})) is None


def test_wrong_limits_are_refused():
    layer = MAKE[np.float32](Case())
    for limits in ([1, 0, 0, 1], [0, 1, 1, 0], [np.nan, 1, 0, 1]):
        wrong = with_constants(layer, limits=np.array(limits, np.float32))
        assert LIBRARY.layer(wrong) is None


@pytest.mark.parametrize(
    ("argument", "at", "value"),
    [
        (2, 0, 1 << 31),  # a bias of S: no sum with it stays within int32
        (5, 0, -(1 << 31)),
        (1, 0, np.nan),
        (1, 1, 1),  # a scale: a sum times it may leave int32
        (4, 0, np.inf),
        (4, 2, -1),
        (6, 0, 128),
        (6, 1, -129),
        (6, 2, 300),
        (7, 0, -129),
        (7, 1, 128),
        (7, 3, 200),
    ],
)
def test_int8_numbers_out_of_range_are_refused(argument, at, value):
    layer = MAKE[np.int8](Case())
    arguments = list(layer.arguments)
    wrong = arguments[argument].copy()
    kind = wrong.dtype
    wrong[at] = np.clip(value, -(1 << 31), (1 << 31) - 1) if kind == np.int32 else value
    arguments[argument] = wrong
    assert LIBRARY.layer(layer) is not None
    assert LIBRARY.layer(layer._replace(arguments=tuple(arguments))) is None


def test_int8_sums_that_leave_int32_are_refused():
    # Whatever the activations: 512 x 128 x k x 9 leaves int32 for k beyond 3640.
    for k, fits in ((3600, True), (3700, False)):
        case = Case(size=(1, 1), m=1, k=k, n=1, s="full", values="lowest")
        assert (LIBRARY.layer(MAKE[np.int8](case)) is not None) == fits


# ------------------------------------------------------------------- the library is the package's


def digest():
    return runpy.run_path(str(NATIVE / "sources.py"))["digest"]


def test_the_library_says_which_it_is():
    library = ctypes.CDLL(str(PATH))
    library.lcnn_sources.restype = ctypes.c_char_p
    assert library.lcnn_abi() == native.ABI
    header = (NATIVE / "src" / "c_api.h").read_text()
    assert f"#define LCNN_ABI {native.ABI}\n" in header
    assert library.lcnn_sources().decode() in ("", digest()())


def test_any_change_of_the_sources_changes_their_name(tmp_path):
    folder = tmp_path / "src"
    shutil.copytree(NATIVE / "src", folder)
    assert digest()(folder) == digest()()
    names = {digest()()}
    (folder / "new.h").write_text("")
    names.add(digest()(folder))
    (folder / "new.h").write_text(" ")
    names.add(digest()(folder))
    (folder / "new.h").rename(folder / "other.h")
    names.add(digest()(folder))
    assert len(names) == 4


def test_cmake_and_python_name_the_sources_alike(tmp_path):
    if shutil.which("cmake") is None:
        pytest.skip("no cmake")
    command = ["cmake", "-S", str(NATIVE), "-B", str(tmp_path), "-G", "Unix Makefiles"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    flags = (tmp_path / "CMakeFiles" / "lcnn_objects.dir" / "flags.make").read_text()
    assert re.findall(r"LCNN_SOURCES=\W*(\w+)", flags) == [digest()()]


@pytest.fixture(scope="module")
def libraries(tmp_path_factory):
    """Makes libraries that say of themselves what they are told."""
    if shutil.which("gcc") is None:
        pytest.skip("no compiler")

    def make(abi, sources):
        folder = tmp_path_factory.mktemp("library")
        source, path = folder / "library.c", folder / "library.so"
        source.write_text(
            f"int lcnn_abi(void) {{ return {abi}; }}\n"
            f'const char* lcnn_sources(void) {{ return "{sources}"; }}\n'
            if abi
            else ""
        )
        subprocess.run(["gcc", "-shared", "-fPIC", source, "-o", path], check=True)
        return path

    return make


@pytest.fixture
def load(monkeypatch):
    def load(path):
        monkeypatch.setattr(native, "LIBRARY", path)
        native.library.cache_clear()
        with pytest.raises(ValueError) as error:
            native.library()
        assert "\n" not in str(error.value)
        return str(error.value)

    yield load
    native.library.cache_clear()


@pytest.mark.parametrize(("abi", "sources"), [(None, ""), (native.ABI, "0123"), (native.ABI, "")])
def test_a_stale_library_in_a_checkout_is_refused_with_the_command(libraries, load, abi, sources):
    told = load(libraries(abi, sources))
    assert "stale" in told and "library.so" in told
    assert f"cd {native.ROOT} && python setup.py build_ext --inplace --force" in told


@pytest.mark.parametrize("abi", [None, 1, native.ABI + 1])
def test_an_installed_library_goes_by_its_interface(libraries, load, monkeypatch, tmp_path, abi):
    monkeypatch.setattr(native, "ROOT", tmp_path)
    told = load(libraries(abi, "0123"))
    assert f"interface {abi}" in told and f"needs {native.ABI}" in told
