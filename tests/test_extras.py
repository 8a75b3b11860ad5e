"""What the package does where only its base is installed, and what it says of an extra."""

import re
import sys

import pytest
from support import processes

from tf_lcnn import checks
from tf_lcnn.data import datasets

# What the extras bring, each as it is imported; JAX is a backend.
BROUGHT = ("ai_edge_litert", "tensorflow_datasets", "tensorboard", "segno", "matplotlib", "rawpy")


def in_the_base(code):
    """Runs code in a process in which nothing can be imported that an extra brings."""
    hide = f"sys.modules.update(dict.fromkeys({BROUGHT!r}))\n"
    return processes.run(f"{processes.FORGET}{hide}{code}")


def test_all_is_imported_counted_and_converted_in_the_base():
    done = in_the_base(
        "import importlib, pkgutil, keras, tf_lcnn\n"
        "for module in pkgutil.walk_packages(tf_lcnn.__path__, 'tf_lcnn.'):\n"
        # The delegate is a library; commands have flags of equal names.
        "    if 'liblcnn' not in module.name and '.commands.' not in module.name:\n"
        "        importlib.import_module(module.name)\n"
        "dense = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(16, 3)])\n"
        "lcnn = tf_lcnn.lookupify(dense, dictionary_size=4)\n"
        "print(tf_lcnn.profile(dense).multiplications, type(lcnn.layers[0]).__name__)\n"
        "from tf_lcnn.runtime.interpreter import Interpreter\n"
        "Interpreter(content=b'')\n"
    )
    assert done.stdout.split() == [str(6 * 6 * 16 * 3 * 3 * 3), "LookupConv2D"], done.stderr
    assert re.search(
        r"MissingExtraError: Making and running .tflite files need ai_edge_litert, which is not "
        r'installed: pip install "tf-lcnn\[litert\]"\.$',
        done.stderr,
    )


def test_a_run_trains_without_litert_and_says_that_it_does_not_export(tmp_path):
    done = in_the_base(
        "import runpy\n"
        f"sys.argv = ['train.py', '--run_dir={tmp_path}/a', '--epochs=0', '--model=resnet8_lcnn']\n"
        "runpy.run_path('train.py', run_name='__main__')\n"
    )
    assert done.returncode == 0, done.stderr
    assert 'Not exported: that needs LiteRT. pip install "tf-lcnn[litert]"' in done.stdout
    assert (tmp_path / "a" / "model.keras").is_file()


def test_timing_without_litert_is_refused_in_one_line(tmp_path):
    (tmp_path / "ai_edge_litert.py").write_text(
        "raise ModuleNotFoundError('No module', name='ai_edge_litert')\n"
    )
    (tmp_path / "model.tflite").write_bytes(b"")
    done = in_the_base(
        "import runpy\n"
        f"sys.argv = ['export/benchmark.py', '{tmp_path}/model.tflite']\n"
        # For the processes that time.
        f"sys.path.insert(0, '{tmp_path}')\n"
        "runpy.run_path(sys.argv[0], run_name='__main__')\n"
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        "benchmark.py: Making and running .tflite files need ai_edge_litert, which is not "
        'installed: pip install "tf-lcnn[litert]".\n'
    )


def test_a_data_set_of_tfds_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow_datasets", None)
    with pytest.raises(checks.MissingExtraError, match=r"'cifar10'.*tf-lcnn\[tfds\]") as error:
        datasets.load("cifar10")
    assert "\n" not in str(error.value)


def test_an_error_inside_a_package_of_an_extra_is_its_own(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken_extra.py").write_text("import no_such_module_at_all\n")
    with pytest.raises(ModuleNotFoundError, match="no_such_module_at_all") as error:
        checks.imported("broken_extra", "x", "Tests")
    assert not isinstance(error.value, checks.MissingExtraError)
