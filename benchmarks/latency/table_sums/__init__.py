"""Sums of table reads in C++, as Python calls them.

What is built lies in a folder of the caller's.
"""

import ctypes
import pathlib

import numpy as np

from benchmarks.common import compiling

SOURCES = pathlib.Path(__file__).parent
KERNELS = ("avx2", "avx512", "neon", "packing", "table_sums")
MOST_LEVELS = 64


def compile_cpp(names, to, *options, compiler="g++"):
    """Builds sources of this folder, by name, to a path, as `compiling.build` does."""
    return compiling.build(
        [SOURCES / f"{name}.cpp" for name in names], to, *options, compiler=compiler
    )


def library(folder):
    """The kernels as a ctypes.CDLL, built into a folder."""
    path = compile_cpp(KERNELS, pathlib.Path(folder) / "table_sums.so", "-shared", "-fPIC")
    loaded = ctypes.CDLL(str(path))
    loaded.table_sums_kernels.restype = ctypes.c_char_p
    loaded.table_sums_new.restype = ctypes.c_void_p
    pointer = ctypes.c_void_p
    loaded.table_sums_new.argtypes = [ctypes.c_char_p, pointer, ctypes.c_int, pointer, pointer]
    loaded.table_sums_run.argtypes = [pointer, pointer, pointer]
    loaded.table_sums_group.restype = ctypes.c_double
    for name in ("table_sums_run_planes", "table_sums_group", "table_sums_free"):
        getattr(loaded, name).argtypes = [pointer]
    return loaded


def kernels(loaded):
    """Names of the kernels that this processor runs, the fastest first; "plain" is the last."""
    return loaded.table_sums_kernels().decode().split(",")


class TableConvolution:
    """A convolution of stride 1 by table reads.

    Args:
        loaded: `library`.
        kernel: one of `kernels`.
        size: (height, width) of an image.
        table: int8 (activation levels, weight levels).
        weights: uint8 (kernel height, kernel width, channels, filters), below weight levels.
        padding: "same" or "valid".

    Attributes:
        group: table entries that are added as bytes before they are widened, on average.

    Raises:
        ValueError: what is above is not so, or the processor has no such kernel.
    """

    def __init__(self, loaded, kernel, size, table, weights, padding="same"):
        self.handle = None
        if kernel not in kernels(loaded):
            raise ValueError(f"No kernel {kernel!r} here: {', '.join(kernels(loaded))}.")
        if padding not in ("same", "valid"):
            raise ValueError(f"padding={padding!r}: same, valid.")
        for name, array, dtype, axes in (
            ("table", table, np.int8, 2),
            ("weights", weights, np.uint8, 4),
        ):
            if array.dtype != dtype or array.ndim != axes:
                raise ValueError(
                    f"{name} is {array.dtype} {array.shape}, not {dtype.__name__} of {axes} axes."
                )
        if not 2 <= len(table) <= MOST_LEVELS:
            raise ValueError(f"{len(table)} activation levels, not 2 to {MOST_LEVELS}.")
        if weights.max() >= table.shape[1]:
            raise ValueError(f"A weight of index {weights.max()}, of {table.shape[1]} levels.")
        high, wide, channels, filters = weights.shape
        if padding == "valid" and (size[0] < high or size[1] < wide):
            raise ValueError(f"An image of {size} under a kernel of {(high, wide)}.")
        self._library, self._levels = loaded, len(table)
        self._shape = (*size, channels)
        shrunk = (0, 0) if padding == "same" else (high - 1, wide - 1)
        self._sums = (size[0] - shrunk[0], size[1] - shrunk[1], filters)
        shape = np.array([*size, channels, filters, high, wide, *table.shape], np.int32)
        arrays = np.ascontiguousarray(table), np.ascontiguousarray(weights.transpose(3, 0, 1, 2))
        self.handle = loaded.table_sums_new(
            kernel.encode(), shape.ctypes.data, padding == "same", *(x.ctypes.data for x in arrays)
        )
        if not self.handle:
            raise ValueError(f"No memory for {tuple(shape)}.")
        self.group = loaded.table_sums_group(self.handle)

    def __call__(self, activations):
        """int32 sums (height, width, filters) of uint8 (height, width, channels)."""
        if activations.dtype != np.uint8 or activations.shape != self._shape:
            raise ValueError(
                f"Activations are {activations.dtype} {activations.shape}, not uint8 {self._shape}."
            )
        if activations.max() >= self._levels:
            raise ValueError(f"An activation of {activations.max()}, of {self._levels} levels.")
        activations, sums = np.ascontiguousarray(activations), np.empty(self._sums, np.int32)
        self._library.table_sums_run(self.handle, activations.ctypes.data, sums.ctypes.data)
        return sums

    def bound(self, activations):
        """A function that computes the sums of these activations, and keeps them to itself."""
        self(activations)
        activations, sums = np.ascontiguousarray(activations), np.empty(self._sums, np.int32)
        where = self.handle, activations.ctypes.data, sums.ctypes.data
        # It holds what it points to, and this layer.
        return lambda held=(self, activations, sums): self._library.table_sums_run(*where)

    def run_planes(self):
        """The sums of the activations of the last call, without bringing them in and out."""
        self._library.table_sums_run_planes(self.handle)

    def __del__(self):
        if self.handle:
            self._library.table_sums_free(self.handle)
