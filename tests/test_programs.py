"""Programs start without noise, and say in one line what is wrong."""

import os

import pytest
from support import processes


@pytest.mark.skipif(
    os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow", reason="of TensorFlow"
)
def test_tensorflow_prints_no_notices_and_other_lines_stay():
    code = "import tf_lcnn, keras; keras.ops.zeros(2) + 1; print('done')"
    silent = processes.run_afresh("-c", code)
    assert (silent.returncode, silent.stdout, silent.stderr) == (0, "done\n", "")
    fails = processes.run_afresh(
        "-c", "import sys; sys.modules['tensorflow.python'] = None; import tf_lcnn"
    )
    assert fails.returncode and "tensorflow" in fails.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["stray", "--data_dir=x"], "'stray' is no flag: flags start with --."),
        (["--no_such_flag=1"], "Unknown command line flag 'no_such_flag'"),
        (["--net=x"], "x"),
    ],
)
def test_a_program_says_in_one_line_what_is_wrong(arguments, message):
    done = processes.run_module("benchmarks.latency.coding_time", *arguments)
    assert done.returncode == 1 and not done.stdout
    assert done.stderr.startswith("coding_time.py: ") and message in done.stderr
    assert done.stderr.count("\n") == 1
