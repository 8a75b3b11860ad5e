"""Importing this imports TensorFlow, where Keras would, without its notices.

It prints them on every start of every process, some before its own logging is set up, where no
setting stops them. Other lines are handed on. With TF_CPP_MIN_LOG_LEVEL in the environment,
TensorFlow says what that lets pass, and with 0 everything.
"""

import contextlib
import importlib
import os
import re
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"

_NOTICE = re.compile(
    rb"absl::InitializeLog|cudart_stub|cpu_feature_guard|To enable the following instructions|"
    rb"oneDNN|computation_placer|cuda_platform|Unable to register cu|"
    rb"Created TensorFlow Lite XNNPACK delegate|^fully_quantize: |"
    # What a conversion tells where TensorFlow was imported before this package.
    rb"^[IW]\d{4} \S+ +\d+ (flatbuffer_export|tf_tfl_flatbuffer_helpers|reader|loader|"
    rb"mlir_graph_optimization_pass|dump_mlir_util)\.cc:"
)


@contextlib.contextmanager
def notices_dropped():
    """Within this context the notices that this process writes to its standard error are dropped.

    Other lines come out at its end.
    """
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError):
        # A process without a standard error has nothing to keep clean.
        kept = None
    if kept is None or os.environ.get(LEVEL) == "0":
        yield
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            os.write(2, b"".join(line for line in captured if not _NOTICE.search(line)))


def _import_tensorflow():
    if "tensorflow" in sys.modules or os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    os.environ.setdefault(LEVEL, "3")
    # Where it is missing, Keras says so in its own words.
    with notices_dropped(), contextlib.suppress(ImportError):
        importlib.import_module("tensorflow")


_import_tensorflow()
