"""The rows of a comparison: files that are made once, written and drawn."""

import csv
import dataclasses
import gzip
import json

import numpy as np
import pytest
from support.helpers import random

from benchmarks.common import rows

ROW = rows.Row("dense", "float32", 0.9, 100, 2000, 1000, 0.5, 1.0)


def test_a_file_is_made_once_of_the_same_things(tmp_path):
    path, made = tmp_path / "a.tflite", []

    def make(out):
        made.append(out)
        out.write_bytes(b"file")
        return len(made)

    def find(made_from):
        return rows.once(path, made_from, make)

    assert [find({"epochs": 1}), find({"epochs": 1}), find({"epochs": 2})] == [1, 1, 2]
    assert find({"epochs": 2}) == 2
    path.unlink()
    assert find({"epochs": 2}) == 3


def test_an_interrupted_file_is_made_again(tmp_path):
    path = tmp_path / "a.tflite"

    def make(out):
        out.write_bytes(b"file")
        return 1

    def stopped(out):
        out.write_bytes(b"another")
        raise KeyboardInterrupt

    rows.once(path, {"seed": 0}, make)
    with pytest.raises(KeyboardInterrupt):
        rows.once(path, {"seed": 1}, stopped)
    rows.once(path, {"seed": 0}, make)
    assert path.read_bytes() == b"file"


def test_a_row_has_the_bytes_of_the_file_and_of_the_packed_file(tmp_path):
    def make(content):
        def write(path):
            path.write_bytes(content)
            return {"accuracy": 0.5, "multiplications": 7}

        return write

    few = np.random.default_rng(0).choice(random(16), 4000).tobytes()
    many = random(4000).tobytes()
    path, clustered = rows.row(tmp_path, "clustered 16", "float32", {}, make(few))
    assert path.name == "clustered_16_float32.tflite"
    assert (clustered.bytes, clustered.accuracy, clustered.multiplications) == (16000, 0.5, 7)
    assert clustered.gzip_bytes == len(gzip.compress(few))
    _, dense = rows.row(tmp_path, "dense", "float32", {}, make(many))
    assert clustered.gzip_bytes < 0.4 * dense.gzip_bytes


def test_rows_are_written_and_printed(tmp_path):
    pruned = dataclasses.replace(ROW, net="pruned 75%", multiplications=25, ratio=0.98)
    rows.write(tmp_path, "pareto", [ROW, pruned])
    with open(tmp_path / "pareto.csv", newline="", encoding="utf-8") as file:
        assert [line["multiplications"] for line in csv.DictReader(file)] == ["100", "25"]
    stored = json.loads((tmp_path / "pareto.json").read_text())
    assert [rows.Row(**entry) for entry in stored] == [ROW, pruned]
    *_, last = rows.table([ROW, pruned]).splitlines()
    figures = ["90.00%", "25", "(4.0x)", "2,000", "1.000", "1,000", "0.500", "0.98"]
    assert last.split() == ["pruned", "75%", "float32", *figures]


def test_the_plot_leaves_out_plain_storage_where_there_is_sparse(tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib draws the plot")
    plain = dataclasses.replace(ROW, net="pruned 75%")
    sparse = dataclasses.replace(plain, storage="float32 sparse", bytes=700)
    assert rows.shown([ROW, plain, sparse]) == [ROW, sparse]
    rows.draw([ROW, plain, sparse], tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")
