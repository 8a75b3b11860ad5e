"""What finished runs of train.py came to, for a table of docs/results.md.

    python -m benchmarks.accuracy.runs docs/quickstart.json runs/seed0 runs/seed1

The first path is the file to write, the others are directories of runs.
"""

import csv
import json
import pathlib

import numpy as np

from tf_lcnn import files, programs
from tf_lcnn.tasks import restoration
from tf_lcnn.training import run_directory


def figures_of(directory):
    """The figures of one run, for `benchmarks.common.tables`.

    Raises:
        ValueError: the run was not finished.
    """
    directory = pathlib.Path(directory)
    parts = {}
    for name in ("profile.json", run_directory.RESULT):
        path = directory / name
        if not path.is_file():
            raise ValueError(f"{directory} has no {name}: is it a run that was finished?")
        parts[name] = json.loads(path.read_text(encoding="utf-8"))
    counts, result = parts["profile.json"], parts[run_directory.RESULT]
    exported = result["export"]
    photos = directory / restoration.FIGURES
    return {
        "run": directory.name,
        **{x: counts[x] for x in ("name", "multiplications", "dense_multiplications", "max_s")},
        "test": result["test"],
        "bytes": exported and exported["bytes"],
        "relative_difference": exported and exported["proof"]["relative_difference"],
        "photos": _means(photos) if photos.is_file() else None,
    }


def _means(path):
    """Test set -> {figure: its mean over the photos}."""
    with open(path, encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {
        name: {
            figure: float(np.mean([float(row[figure]) for row in rows if row["set"] == name]))
            for figure in list(rows[0])[2:]
        }
        for name in dict.fromkeys(row["set"] for row in rows)
    }


def main(arguments):
    if len(arguments) < 2:
        raise ValueError("Give the .json to write and the directories of runs.")
    found = [figures_of(path) for path in arguments[1:]]
    files.write(arguments[0], json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
