"""The tables of docs/results.md are those of the figures beside it."""

import numpy as np
import pytest

from benchmarks import results
from benchmarks.common import tables


def test_no_figure_of_a_made_table_is_typed():
    page = (results.DOCS / "results.md").read_text(encoding="utf-8")
    assert results.written(page) == page


def test_a_changed_figure_is_put_back():
    page = (results.DOCS / "results.md").read_text(encoding="utf-8")
    row = tables.frontier(*(results.read("frontier.json")["dncnn"][x] for x in ("nets", "unit")))
    first = row.splitlines()[2]
    assert page.count(first) == 1
    assert results.written(page.replace(first, "| parent | 99.99 | | 1.00 | 1.00 |")) == page


def test_a_table_that_nothing_makes_is_refused():
    page = "<!-- table: own -->\n\n| 1 |\n\n<!-- end of table -->\n"
    with pytest.raises(ValueError, match=r"has the tables \['own'\], made are .*'decoding'"):
        results.written(page)


def test_shares_and_ratios_are_medians_of_pairs():
    ways = {"plain": [100, 200, 400], "decoded": [90, 100, 400]}
    rows = tables.decoding({"photos": {"files": ways}}).splitlines()
    assert rows[2:] == [
        "| photos, files | plain | 200 | 1.00 |",
        "| photos, files | decoded | 100 | 0.90 (0.70 to 0.95) |",
    ]
    pairs = np.array([[100, 110], [200, 200], [100, 130]])
    figures = {"model": "net", "batch": 8, "step_ms": pairs.tolist()}
    assert tables.distributed(figures).splitlines()[2] == (
        "| net | 8 | 100 | 130 | 1.100 (1.050 to 1.200) |"
    )
