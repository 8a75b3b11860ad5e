"""The layers, the sparsity and the callbacks on JAX: their own tests, in another process."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the JAX run")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize("name", ["layers", "sparsity", "callbacks"])
def test_on_jax(name):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"test_{name}.py"],
        cwd=HERE,
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-1000:]


def test_the_library_imports_no_tensorflow_on_jax():
    code = (
        "import sys, tf_lcnn, tf_lcnn.callbacks, tf_lcnn.models; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "jax"}, check=False
    )
    assert run.returncode == 0
