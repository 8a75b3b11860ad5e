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
def _library():
    if not available():
        raise ValueError(
            "The native delegate was not built: install the package where there is a C++ compiler."
        )
    library = ctypes.CDLL(str(LIBRARY))
    library.lcnn_delegate_report.restype = ctypes.c_char_p
    return library


def load_delegate(**options):
    """The delegate, for LiteRT's Interpreter(experimental_delegates=[...]).

    Args:
        options: threads, min_speedup, force and kernels, see native/src/delegate.h.

    Raises:
        ValueError: it was not built, or an option is wrong.
    """
    _library()
    try:
        return litert.load_delegate(str(LIBRARY), options)
    except ValueError as error:
        raise ValueError(str(error).strip().splitlines()[-1]) from None


def report():
    """What the delegate that was attached last has claimed and left, a line per layer."""
    return _library().lcnn_delegate_report().decode()
