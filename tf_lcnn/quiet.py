"""Importing this imports TensorFlow, where Keras would, without its notices.

It prints them on every start of every process, some before its own logging is set up, where no
setting stops them. Other lines are handed on. With TF_CPP_MIN_LOG_LEVEL in the environment,
TensorFlow says what that lets pass, and with 0 everything.
"""

import importlib
import os
import re
import sys
import tempfile

LEVEL = "TF_CPP_MIN_LOG_LEVEL"

_NOTICE = re.compile(
    rb"absl::InitializeLog|cudart_stub|cpu_feature_guard|To enable the following instructions|"
    rb"oneDNN|computation_placer|cuda_platform|Unable to register cu"
)


def _import_tensorflow():
    if "tensorflow" in sys.modules or os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        return
    if os.environ.setdefault(LEVEL, "3") == "0":
        return
    try:
        sys.stderr.flush()
        kept = os.dup(2)
    except (OSError, AttributeError):
        # A process without a standard error has nothing to keep clean.
        return
    with tempfile.TemporaryFile() as captured:
        os.dup2(captured.fileno(), 2)
        try:
            importlib.import_module("tensorflow")
        except ImportError:
            # Keras says so in its own words.
            pass
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            captured.seek(0)
            others = [line for line in captured if not _NOTICE.search(line)]
            os.write(2, b"".join(others))


_import_tensorflow()
