"""benchmarks.accuracy.pareto: what it refuses."""

import pytest
from keras import layers
from support import processes
from support.helpers import chain

from tf_lcnn import LookupConv2D

# In a process of its own, as the programs define flags of the same names; once, as it takes long
# to start. As if the peers' packages were not there.
PROGRAM = """
import sys
sys.modules["tf_keras"] = None
from benchmarks.accuracy import pareto
for line in sys.argv[1:]:
    pareto.FLAGS(["pareto.py", *line.split()])
    try:
        pareto.main()
    except ValueError as error:
        print(error)
"""
CASES = {
    ("seven", "lcnn", ""): "7 classes, but digits has (8, 8, 1) and 10",
    ("dense", "dense", ""): "dense.keras has no lookup layers",
    ("lcnn", "lcnn", ""): "lcnn.keras has lookup layers",
    ("dense", "lcnn", "prune:2"): "--peers=prune:2: a peer is like prune:0.8",
    ("dense", "lcnn", "cluster:8"): "tf_keras not installed: pip install -e .[compare]",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("nets")
    for name, conv, classes in (
        ("dense", layers.Conv2D(4, 3), 10),
        ("seven", layers.Conv2D(4, 3), 7),
        ("lcnn", LookupConv2D(4, 3, 8), 10),
    ):
        members = (conv, layers.GlobalAveragePooling2D(), layers.Dense(classes))
        chain((8, 8, 1), *members).save(folder / f"{name}.keras")
    return folder


def test_wrong_flags_end_in_one_line(folder):
    lines = [
        f"--dense={folder / dense}.keras --lcnn={folder / lcnn}.keras --peers={peers} "
        f"--dataset=digits --folder={folder / 'out'}"
        for dense, lcnn, peers in CASES
    ]
    done = processes.run(PROGRAM, *lines)
    assert done.returncode == 0, done.stderr
    for line, told in zip(done.stdout.splitlines(), CASES.values(), strict=True):
        assert told in line
    assert not (folder / "out").exists()
