"""LiteRT's modules `interpreter` and `schema`, imported when they are asked for.

It is an extra of this package: what counts, converts and trains does without, and is imported
without.
"""

import functools
import importlib.util

from tf_lcnn import checks

_MODULES = {
    "interpreter": "ai_edge_litert.interpreter",
    "schema": "ai_edge_litert.schema_py_generated",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return checks.imported(_MODULES[name], "litert", "Making and running .tflite files")


def installed():
    return importlib.util.find_spec("ai_edge_litert") is not None


@functools.cache
def operators():
    """Code -> name of the builtin operators."""
    named = vars(__getattr__("schema").BuiltinOperator).items()
    return {code: name for name, code in named if isinstance(code, int)}
