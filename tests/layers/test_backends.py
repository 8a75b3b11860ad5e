"""The layers, the sparsity and the callbacks on JAX: their own tests, in another process."""

import importlib.util
import os
import pathlib
import subprocess
import sys

import keras
import pytest

# Compiling takes most of the time.
ON_JAX = {
    "KERAS_BACKEND": "jax",
    "JAX_PLATFORMS": "cpu",
    "JAX_DISABLE_MOST_OPTIMIZATIONS": "1",
}
TESTS = pathlib.Path(__file__).resolve().parents[1]


@pytest.mark.slow
@pytest.mark.skipif(keras.backend.backend() == "jax", reason="this is the JAX run")
@pytest.mark.skipif(importlib.util.find_spec("jax") is None, reason="JAX is not installed")
@pytest.mark.parametrize(
    "file",
    [
        *("layers/test_contract.py", "layers/test_lookup.py", "layers/test_sparsity.py"),
        *("layers/test_deep_lookup.py", "layers/test_depth_to_space.py"),
        *("models/test_super_resolution_models.py", "models/test_pointnet.py"),
        *("training/test_callbacks.py", "training/test_mixed_precision.py"),
    ],
)
def test_on_jax(file):
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", file],
        cwd=TESTS,
        env={**os.environ, **ON_JAX},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout[-5000:] + run.stderr[-1000:]


def test_the_library_imports_no_tensorflow_on_jax():
    code = (
        "import sys, tf_lcnn, tf_lcnn.training.callbacks, tf_lcnn.models; "
        "sys.exit('tensorflow' in sys.modules)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "KERAS_BACKEND": "jax"}, check=False
    )
    assert run.returncode == 0
