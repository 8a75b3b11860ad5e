"""The native library by its C functions, and an independent reference, with numpy alone.

Run as a program it checks the kernels that are named, on ARM64 under qemu too:
native.py LIBRARY NAME...
"""

import ctypes
import dataclasses
import importlib.util
import math
import mmap
import os
import pathlib
import sys
import time
from typing import NamedTuple

import numpy as np

NAMES = ("avx512", "avxvnni", "avx2", "neondot", "neon", "portable")
FORMS = {np.float32: ("registers", "planes"), np.int8: ("registers",)}
UNIT = 2.0**-24  # the largest relative error of one float32 rounding


def library_path():
    """The library to test, from LCNN_LIBRARY or the installed package, or None."""
    if os.environ.get("LCNN_LIBRARY"):
        return pathlib.Path(os.environ["LCNN_LIBRARY"]).absolute()
    package = importlib.util.find_spec("tf_lcnn")
    for folder in package.submodule_search_locations if package else ():
        path = pathlib.Path(folder, "runtime", "liblcnn_delegate.so")
        if path.exists():
            return path
    return None


@dataclasses.dataclass(frozen=True)
class Case:
    """A layer; m = 0 is one without dictionary, whose S is X."""

    size: tuple = (5, 6)  # of X
    m: int = 8
    k: int = 8
    n: int = 8
    batch: int = 1
    kernel: tuple = (3, 3)
    strides: tuple = (1, 1)
    dilation: tuple = (1, 1)
    padding: str = "same"
    dictionary_stride: int = 1
    # Lookups per filter position: a number, "full", or "uneven" for another at each.
    s: object = 3
    limits: str = "none"  # of S and Y: "none", "relu", "relu6"
    zero_points: tuple = (3, -7, 11)  # of X, S and Y
    values: str = "random"  # of int8 X, D and P: see `_int8`
    seed: int = 0

    def __str__(self):
        changed = (
            f"{field.name}={getattr(self, field.name)}"
            for field in dataclasses.fields(self)
            if getattr(self, field.name) != field.default
        )
        return " ".join(changed).replace(" ", "_").replace(",_", ",") or "default"


class Geometry(NamedTuple):
    """The 20 numbers that describe a layer to the library, in its order."""

    batch: int
    in_h: int
    in_w: int
    m: int
    dictionary_stride_h: int
    dictionary_stride_w: int
    h: int
    w: int
    k: int
    kh: int
    kw: int
    stride_h: int
    stride_w: int
    dilation_h: int
    dilation_w: int
    pad_top: int
    pad_left: int
    out_h: int
    out_w: int
    n: int


def geometry(case):
    stride = case.dictionary_stride if case.m else 1
    s_size = [(extent - 1) // stride + 1 for extent in case.size]
    reach = [(kernel - 1) * d + 1 for kernel, d in zip(case.kernel, case.dilation, strict=True)]
    valid = case.padding == "valid" and all(r <= e for r, e in zip(reach, s_size, strict=True))
    out, pad = [], []
    for extent, r, step in zip(s_size, reach, case.strides, strict=True):
        out.append((extent - r) // step + 1 if valid else math.ceil(extent / step))
        pad.append(0 if valid else max((out[-1] - 1) * step + r - extent, 0) // 2)
    return Geometry(
        case.batch, *case.size, case.m or case.k, stride, stride, *s_size, case.k,
        *case.kernel, *case.strides, *case.dilation, *pad, *out, case.n,
    )  # fmt: skip


class Layer(NamedTuple):
    """What the library is given, and what it should give back within `bound`."""

    shape: Geometry
    arguments: tuple  # of lcnn_layer_*, after the shape
    x: np.ndarray
    y: np.ndarray
    bound: np.ndarray  # the largest error of each value


def _lookups(case, shape, rng):
    """Which coefficients of P (n, kh, kw, k) are not zero."""
    everywhere = (shape.n, shape.kh, shape.kw, shape.k)
    if case.s == "full":
        return np.ones(everywhere, bool)
    counts = rng.integers(0, shape.k + 1, everywhere[:3]) if case.s == "uneven" else case.s
    order = rng.random(everywhere).argsort(axis=-1).argsort(axis=-1)
    return order < np.broadcast_to(counts, everywhere[:3])[..., None]


def _convolve(s, p, shape):
    """Equation 5: a convolution of s (batch, h, w, k), zeros around it, with p (n, kh, kw, k)."""
    low = (shape.pad_top, shape.pad_left)
    reach = [
        (shape.out_h - 1) * shape.stride_h + (shape.kh - 1) * shape.dilation_h + 1,
        (shape.out_w - 1) * shape.stride_w + (shape.kw - 1) * shape.dilation_w + 1,
    ]
    pads = [
        (before, max(r - before - e, 0))
        for before, r, e in zip(low, reach, s.shape[1:3], strict=True)
    ]
    s = np.pad(s, ((0, 0), *pads, (0, 0)))
    y = np.zeros((shape.batch, shape.out_h, shape.out_w, shape.n), s.dtype)
    for r in range(shape.kh):
        for c in range(shape.kw):
            rows = r * shape.dilation_h + shape.stride_h * np.arange(shape.out_h)
            columns = c * shape.dilation_w + shape.stride_w * np.arange(shape.out_w)
            y += s[:, rows][:, :, columns] @ p[:, r, c].T
    return y


def _pixels(x, shape):
    """The pixels of X that the dictionary stage reads."""
    return x[:, :: shape.dictionary_stride_h, :: shape.dictionary_stride_w]


def layer_f32(case):
    shape, rng = geometry(case), np.random.default_rng(case.seed)
    lowest = -np.inf if case.limits == "none" else 0
    highest = 6 if case.limits == "relu6" else np.inf

    def normal(*extents):
        return rng.normal(size=extents).astype(np.float32)

    x = normal(shape.batch, shape.in_h, shape.in_w, shape.m)
    s = x.astype(np.float64)
    dictionary = s_bias = None
    s_bound = np.zeros_like(s)
    if case.m:
        dictionary, s_bias = normal(shape.k, shape.m), normal(shape.k)
        pixels, d = _pixels(s, shape), dictionary.astype(np.float64).T
        s = np.clip(pixels @ d + s_bias, lowest, highest)
        s_bound = (shape.m + 1) * UNIT * (np.abs(pixels) @ np.abs(d) + np.abs(s_bias))
    p = normal(shape.n, shape.kh, shape.kw, shape.k) * _lookups(case, shape, rng)
    y_bias = normal(shape.n)
    y = np.clip(_convolve(s, p.astype(np.float64), shape) + y_bias, lowest, highest)
    # Every product and every addition is rounded once, or less.
    terms = np.count_nonzero(p, axis=(1, 2, 3)) + 1
    size = np.abs(p).astype(np.float64)
    bound = _convolve(s_bound, size, shape) + terms * UNIT * (
        _convolve(np.abs(s) + s_bound, size, shape) + np.abs(y_bias)
    )
    limits = np.array([lowest, highest, lowest, highest], np.float32)
    # The bound itself leaves out errors of errors.
    return Layer(shape, (dictionary, s_bias, p, y_bias, limits), x, y, 1.01 * bound)


def _int8(rng, extents, values, weights):
    """int8 numbers; "lowest" and "largest" make the largest products that there can be, with
    weights of -128, and without them, as converters write."""
    if values == "extreme":
        return rng.choice(np.array([-128, 127], np.int8), extents)
    if values in ("lowest", "largest"):
        return np.full(extents, -127 if weights and values == "largest" else -128, np.int8)
    return rng.integers(-127 if weights else -128, 128, extents).astype(np.int8)


def _scales(rng, sums):
    """float32 scales per last axis that spread sums over int8; half of them make ties.

    They stay below 1: a layer of other scales is refused.
    """
    spread = np.maximum(np.abs(sums).reshape(-1, sums.shape[-1]).max(axis=0), 1)
    scales = np.minimum(rng.uniform(50, 400, sums.shape[-1]) / spread, 0.7)
    ties = rng.random(sums.shape[-1]) < 0.5
    return np.where(ties, 2.0 ** np.round(np.log2(scales)), scales).astype(np.float32)


def _requantize(sums, scale, zero_point, limits):
    x = sums.astype(np.float32) * scale
    low, high = (np.float32(limit - zero_point) for limit in limits)
    return np.rint(np.clip(x, low, high)).astype(np.int64) + zero_point


def layer_s8(case):
    shape, rng = geometry(case), np.random.default_rng(case.seed)
    x_zero, s_zero, y_zero = case.zero_points

    def limits(zero_point):
        lowest = -128 if case.limits == "none" else zero_point
        return lowest, min(127, zero_point + 90) if case.limits == "relu6" else 127

    x = _int8(rng, (shape.batch, shape.in_h, shape.in_w, shape.m), case.values, False)
    s = x.astype(np.int64)
    dictionary = s_scale = s_bias = None
    if case.m:
        dictionary = _int8(rng, (shape.k, shape.m), case.values, True)
        sums = (_pixels(s, shape) - x_zero) @ dictionary.astype(np.int64).T
        s_bias = rng.integers(-3000, 3000, shape.k).astype(np.int32)
        sums += s_bias
        s_scale = _scales(rng, sums)
        s = _requantize(sums, s_scale, s_zero, limits(s_zero))
    p = _int8(rng, (shape.n, shape.kh, shape.kw, shape.k), case.values, True)
    p = p * _lookups(case, shape, rng)
    sums = _convolve(s - s_zero, p.astype(np.int64), shape)
    y_bias = rng.integers(-3000, 3000, shape.n).astype(np.int32)
    sums += y_bias
    y_scale = _scales(rng, sums)
    y = _requantize(sums, y_scale, y_zero, limits(y_zero)).astype(np.int8)
    arguments = (
        dictionary, s_scale, s_bias, p, y_scale, y_bias,
        np.array(case.zero_points, np.int32),
        np.array([*limits(s_zero), *limits(y_zero)], np.int32),
    )  # fmt: skip
    return Layer(shape, arguments, x, y, np.zeros(y.shape))


MAKE = {np.float32: layer_f32, np.int8: layer_s8}


def guarded(shape, dtype):
    """An array whose end is the end of what the process may touch."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    pages = -(-size // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, pages + mmap.PAGESIZE)
    address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mprotect(ctypes.c_void_p(address + pages), ctypes.c_size_t(mmap.PAGESIZE), 0) != 0:
        raise OSError(ctypes.get_errno(), "mprotect")
    flat = np.frombuffer(memory, dtype, math.prod(shape), offset=pages - size)
    return flat.reshape(shape)


def _pointer(array):
    if array is None:
        return None
    assert array.flags.c_contiguous
    return ctypes.c_void_p(array.ctypes.data)


class Library:
    def __init__(self, path):
        self._c = ctypes.CDLL(str(path))
        pointer = ctypes.c_void_p
        for name, arrays in (("lcnn_layer_f32", 6), ("lcnn_layer_s8", 9)):
            function = getattr(self._c, name)
            function.restype = pointer
            function.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_int]
            function.argtypes += [pointer] * arrays
        for name, result, arguments in (
            ("run", None, [pointer] * 3),
            ("kernel", ctypes.c_char_p, [pointer]),
            ("seconds", ctypes.c_double, [pointer]),
            ("bytes", ctypes.c_size_t, [pointer]),
            ("free", None, [pointer]),
        ):
            function = getattr(self._c, f"lcnn_layer_{name}")
            function.restype, function.argtypes = result, arguments

    def layer(self, layer, kernels=None, form=None, threads=1):
        """A native layer, or None where this processor has none of that name and form."""
        make = self._c.lcnn_layer_s8 if layer.x.dtype == np.int8 else self._c.lcnn_layer_f32
        names = (name.encode() if name else None for name in (kernels, form))
        shape = np.array(layer.shape, np.int32)
        handle = make(*names, threads, _pointer(shape), *map(_pointer, layer.arguments))
        return NativeLayer(self._c, handle, layer) if handle else None

    def available(self):
        """The kernels that this processor runs."""
        layer = layer_f32(Case(size=(1, 1), n=1))
        return [name for name in NAMES if self.layer(layer, name)]


class NativeLayer:
    def __init__(self, c, handle, layer):
        self._c, self._handle = c, handle
        self._x = guarded(layer.x.shape, layer.x.dtype)
        self._x[:] = layer.x
        self._y = guarded(layer.y.shape, layer.x.dtype)

    def __del__(self):
        self._c.lcnn_layer_free(self._handle)

    @property
    def kernel(self):
        return self._c.lcnn_layer_kernel(self._handle).decode()

    @property
    def seconds(self):
        return self._c.lcnn_layer_seconds(self._handle)

    @property
    def bytes(self):
        return self._c.lcnn_layer_bytes(self._handle)

    def run(self):
        """Y of the layer's X."""
        self._y.view(np.uint8)[:] = 0x55
        self._c.lcnn_layer_run(self._handle, _pointer(self._x), _pointer(self._y))
        return self._y.copy()

    def time(self, seconds=0.2):
        """Seconds of the fastest of many runs."""
        x, y = _pointer(self._x), _pointer(self._y)
        best, end = math.inf, time.perf_counter() + seconds
        while time.perf_counter() < end:
            start = time.perf_counter()
            for _ in range(8):
                self._c.lcnn_layer_run(self._handle, x, y)
            best = min(best, (time.perf_counter() - start) / 8)
        return best


def assert_right(layer, y, what):
    error = np.abs(y.astype(np.float64) - layer.y)
    wrong = ~(error <= layer.bound)
    if wrong.any():
        at = tuple(np.argwhere(wrong)[0].tolist())
        raise AssertionError(
            f"{what}: {wrong.sum()} of {wrong.size} values are wrong, the first at {at}:"
            f" {y[at]}, not {layer.y[at]} within {layer.bound[at]:.3g}"
        )


def check(library, case, dtype, kernels, form, layer=None):
    """Runs a case, compares it, and returns it."""
    layer = layer or MAKE[dtype](case)
    native = library.layer(layer, kernels, form)
    what = f"{kernels} {form} {np.dtype(dtype).name} {case}"
    assert native is not None, what
    y = native.run()
    assert_right(layer, y, what)
    return y


def check_again(library, case, dtype, kernels, form, layer=None):
    """The same bits from every run and from any number of threads."""
    layer = layer or MAKE[dtype](case)
    y = check(library, case, dtype, kernels, form, layer).tobytes()
    for threads in (1, 2, 3):
        native = library.layer(layer, kernels, form, threads)
        for run in (1, 2):
            what = f"{kernels} {form} {np.dtype(dtype).name} {case}: {threads} threads, run {run}"
            assert native.run().tobytes() == y, what


def grid():
    """Layers that reach every branch of the kernels: sizes around lanes, tiles and windows."""
    cases = [
        Case(),
        Case(size=(1, 1), m=1, k=1, n=1, kernel=(1, 1), s=1),
        Case(size=(1, 1), m=5, k=3, n=9, kernel=(11, 11), s="uneven"),
        Case(size=(1, 1), m=20, k=150, n=70, kernel=(1, 1), s="uneven", limits="relu6"),
        Case(size=(9, 13), m=3, k=7, n=5, batch=3),
        Case(size=(3, 37), m=1, k=20, n=24, batch=2),
        Case(size=(1, 2), m=1, k=9, n=9, batch=3, kernel=(1, 1)),
        Case(size=(7, 7), m=17, k=128, n=24, s=4),
        Case(size=(14, 14), m=33, k=64, n=19, s=4),
        Case(size=(13, 28), m=16, k=32, n=32, s=4),
        Case(size=(6, 56), m=12, k=16, n=16, s=4),
        Case(size=(3, 300), m=6, k=16, n=9),
        Case(size=(40, 3), m=2, k=65, n=7, s=2),
        # Several strips of planes.
        Case(size=(41, 10), m=2, k=512, n=9, s=1),
        Case(size=(43, 9), m=2, k=600, n=5, s=1, kernel=(5, 2), strides=(2, 1), dilation=(3, 1)),
        Case(size=(4, 5), m=10, k=300, n=11, s=5),
        Case(size=(4, 5), m=530, k=20, n=6),
        Case(size=(3, 3), m=1030, k=9, n=3),
        Case(size=(6, 6), m=6, k=40, n=13, s="full"),
        Case(size=(6, 6), m=7, k=10, n=13, s="uneven"),
        Case(size=(6, 6), m=7, k=100, n=17, s="uneven"),
        Case(size=(5, 5), s=0),
        Case(size=(5, 5), m=9, k=2, n=10, s="full", kernel=(1, 1)),
        Case(size=(12, 11), kernel=(2, 5), s=2, padding="valid"),
        Case(size=(17, 19), kernel=(11, 7), s=2, m=5, padding="valid"),
        Case(size=(8, 9), m=6, dictionary_stride=2, kernel=(1, 1)),
        Case(size=(9, 10), m=6, dictionary_stride=2, batch=2, strides=(2, 1)),
        Case(size=(23, 22), m=11, k=24, dilation=(2, 3), s=4),
        Case(size=(23, 22), dilation=(3, 2), strides=(3, 4), s=1, padding="valid"),
        Case(size=(16, 15), strides=(4, 4), m=13, k=12, n=6),
        Case(size=(10, 10), m=0, k=24, s=4),
        Case(size=(9, 8), m=0, k=3, kernel=(5, 3), strides=(2, 2), s=1, batch=2),
        Case(size=(4, 7), m=0, k=70, s="uneven", limits="relu"),
    ]
    # A first layer's few channels and rows of D; blocks of up to four vectors of filters.
    cases += [
        Case(size=(4, 37), m=3, k=3, n=20, kernel=(7, 7), strides=(2, 2), limits="relu"),
        Case(size=(3, 51), m=4, k=4, n=9, limits="relu6"),
        Case(size=(5, 33), m=1, k=2, n=5, batch=2, padding="valid"),
        Case(size=(2, 16), m=2, k=1, n=3, kernel=(1, 1), s=1),
        Case(size=(3, 40), m=3, k=4, n=7, dictionary_stride=2),
    ]
    cases += [Case(size=(3, 11), m=5, k=n // 3, n=n, s=4, seed=n) for n in (33, 48, 50, 64, 112)]
    cases += [Case(size=(6, 2 + k), m=k + 3, k=k, n=k, s=2, seed=k) for k in range(1, 20, 3)]
    cases += [Case(size=(3, w), m=4, k=16, n=10, seed=w) for w in range(1, 31, 4)]
    cases += [
        Case(size=(7, 9), m=6, k=20, strides=(a, b), padding=padding, seed=a + b)
        for a, b in ((1, 2), (2, 2), (3, 1), (4, 3))
        for padding in ("same", "valid")
    ]
    cases += [
        Case(size=(5, 6), m=9, k=k, n=9, limits=limits, zero_points=zero_points, seed=k)
        for limits in ("none", "relu", "relu6")
        for k, *zero_points in ((6, -128, 127, -128), (20, 127, -128, 127), (50, -128, -128, 0))
    ]
    cases += [
        Case(size=(5, 11), m=12, k=k, n=11, s=s, values=values, zero_points=zero_points, seed=k)
        for values in ("extreme", "lowest", "largest")
        for zero_points in ((127, 127, 127), (-128, -128, -128))
        for k, s in ((15, 4), (30, 4), (60, "uneven"), (12, "full"))
    ]
    return [dataclasses.replace(case, zero_points=tuple(case.zero_points)) for case in cases]


def main(arguments):
    library = Library(arguments[0])
    available = library.available()
    if available != list(arguments[1:]):
        return f"found the kernels {' '.join(available)}"
    checks = 0
    for i, case in enumerate(grid()):
        for dtype, forms in FORMS.items():
            layer = MAKE[dtype](case)
            for kernels in available:
                for form in forms:
                    (check if i % 8 else check_again)(library, case, dtype, kernels, form, layer)
                    checks += 1
    print(f"{checks} checks")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
