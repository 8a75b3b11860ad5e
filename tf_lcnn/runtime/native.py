"""The native delegate: the library in which lookup layers run as one kernel each."""

import ctypes
import functools
import pathlib

from ai_edge_litert import interpreter as litert

LIBRARY = pathlib.Path(__file__).with_name("liblcnn_delegate.so")


def available():
    """Whether the delegate was built when the package was installed."""
    return LIBRARY.is_file()


@functools.cache
def library():
    if not available():
        raise ValueError(
            "The native delegate was not built: install the package where there is a C++ compiler."
        )
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise ValueError(f"The native delegate cannot be loaded: {error}") from None
    library.lcnn_delegate_report.restype = ctypes.c_char_p
    # native/src/c_api.h: names of kernels and form, threads, then arrays.
    for make, arrays in ((library.lcnn_layer_f32, 6), (library.lcnn_layer_s8, 9)):
        make.restype = ctypes.c_void_p
        make.argtypes = [*[ctypes.c_char_p] * 2, ctypes.c_int, *[ctypes.c_void_p] * arrays]
    for about, kind in (
        (library.lcnn_layer_kernel, ctypes.c_char_p),
        (library.lcnn_layer_seconds, ctypes.c_double),
        (library.lcnn_layer_bytes, ctypes.c_size_t),
        (library.lcnn_layer_free, None),
    ):
        about.argtypes, about.restype = [ctypes.c_void_p], kind
    return library


def load_delegate(**options):
    """The delegate, for LiteRT's Interpreter(experimental_delegates=[...]).

    Args:
        options: threads, min_speedup, force and kernels, see native/src/delegate.h.

    Raises:
        ValueError: it was not built, cannot be loaded, or an option is wrong.
    """
    library()
    try:
        return litert.load_delegate(str(LIBRARY), options)
    except ValueError as error:
        raise ValueError(str(error).strip().rpartition("\n")[2]) from None


def report():
    """What the delegate that was attached last has claimed and left, a line per layer."""
    return library().lcnn_delegate_report().decode()
