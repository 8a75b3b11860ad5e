"""That no file is slower with the native delegate than without, by more than 2 %.

    python -m benchmarks.latency.no_slower FILES_AND_FOLDERS --threads=1

Each .tflite is timed as it is and with the delegate as it is loaded by default, in turn, each in a
process of its own, on random input. A file of which the delegate claims nothing runs as it does
without. Ends with 1 if one is slower.
"""

import pathlib
import sys

import numpy as np
from absl import flags

from benchmarks.common import timing
from tf_lcnn import programs
from tf_lcnn.runtime.interpreter import Interpreter

FLAGS = flags.FLAGS

MOST = 1.02
# Files that are timed at once: each has two processes, and all of them stay in memory.
AT_ONCE = 4


def files_of(paths):
    """The files, and of those which have something that the delegate claims."""
    found = []
    for path in map(pathlib.Path, paths):
        found += sorted(path.rglob("*.tflite")) if path.is_dir() else [path]
    if not found:
        raise ValueError("Name .tflite files, or folders that have some.")
    return found, [x for x in found if "claimed " in Interpreter(x, delegate=True).claims]


def main(paths):
    slower = 0
    print("file                                                  alone ms  delegate ms  ratio")
    found, claimed = files_of(paths)
    for start in range(0, len(claimed), AT_ONCE):
        some = claimed[start : start + AT_ONCE]
        pairs = [str(path) for path in some for _ in range(2)]
        seconds, _ = timing.measure(pairs, delegates=[False, True] * len(some))
        for j, path in enumerate(some):
            alone, delegate = seconds[:, 2 * j], seconds[:, 2 * j + 1]
            ratio = float(np.median(delegate / alone))
            slower += ratio > MOST
            print(
                f"{path.name[:50]:50}  {1e3 * np.median(alone):10.3f}  "
                f"{1e3 * np.median(delegate):11.3f}  {ratio:5.3f}"
                f"{'  slower' if ratio > MOST else ''}",
                flush=True,
            )
    print(
        f"{len(found)} files, of which {len(found) - len(claimed)} have nothing to claim; "
        f"{slower} slower by more than {MOST - 1:.0%}"
    )
    sys.exit(slower > 0)


if __name__ == "__main__":
    programs.run(main)
