"""The native delegate: the library in which lookup layers run as one kernel each."""

import ctypes
import functools
import pathlib
import runpy
import shlex

from tf_lcnn.runtime import litert

LIBRARY = pathlib.Path(__file__).with_name("liblcnn_delegate.so")
ROOT = pathlib.Path(__file__).resolve().parents[2]
# LCNN_ABI of native/src/c_api.h.
ABI = 3


def available():
    """Whether the delegate was built when the package was installed."""
    return LIBRARY.is_file()


def _sources():
    """The name of the sources beside the package, in a checkout; None where it is installed."""
    tool = ROOT / "native" / "sources.py"
    return runpy.run_path(str(tool))["digest"]() if tool.is_file() else None


def _check(library):
    """Raises ValueError for a library that is not the one of this package."""
    try:
        library.lcnn_sources.restype = ctypes.c_char_p
        abi, sources = library.lcnn_abi(), library.lcnn_sources().decode()
    except AttributeError:
        abi = sources = None
    wanted = _sources()
    if wanted is not None and sources != wanted:
        raise ValueError(
            f"{LIBRARY} is stale, it was built from other sources than those in"
            f" {ROOT / 'native'}: run cd {shlex.quote(str(ROOT))} && python setup.py build_ext"
            " --inplace --force"
        )
    if abi != ABI:
        raise ValueError(
            f"{LIBRARY} has interface {abi}, and this package needs {ABI}: install the package"
            " again."
        )


@functools.cache
def library():
    """The library, loaded once.

    Raises:
        ValueError: it was not built, cannot be loaded, or is not the one of this package.
    """
    if not available():
        raise ValueError(
            "The native delegate was not built: install the package where there is a C++ compiler."
        )
    try:
        library = ctypes.CDLL(str(LIBRARY))
    except OSError as error:
        raise ValueError(f"The native delegate cannot be loaded: {error}") from None
    _check(library)
    library.lcnn_delegate_report.restype = ctypes.c_char_p
    # native/src/c_api.h: names of kernels and form, threads, then arrays.
    for make, arrays in ((library.lcnn_layer_f32, 6), (library.lcnn_layer_s8, 9)):
        make.restype = ctypes.c_void_p
        make.argtypes = [*[ctypes.c_char_p] * 2, ctypes.c_int, *[ctypes.c_void_p] * arrays]
    library.lcnn_dense_seconds.argtypes = [ctypes.c_int]
    library.lcnn_dense_seconds.restype = ctypes.c_double
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
        ValueError: it was not built, cannot be loaded, is stale, or an option is wrong.
    """
    library()
    try:
        return litert.interpreter.load_delegate(str(LIBRARY), options)
    except ValueError as error:
        raise ValueError(str(error).strip().rpartition("\n")[2]) from None


def report():
    """What the delegate that was attached last has claimed and left, a line per layer."""
    return library().lcnn_delegate_report().decode(errors="replace")
