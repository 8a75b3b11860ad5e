"""What a finished run is told by in docs/results.md."""

import json

import pytest

from benchmarks.accuracy import runs
from benchmarks.common import tables

COUNTS = {"name": "net", "multiplications": 50, "dense_multiplications": 300, "max_s": 3}
EXPORT = {"bytes": 1234, "proof": {"relative_difference": 4e-7}}


@pytest.fixture
def directory(tmp_path):
    def write(result):
        folder = tmp_path / "seed 0"
        folder.mkdir(exist_ok=True)
        (folder / "profile.json").write_text(json.dumps(COUNTS))
        (folder / "result.json").write_text(json.dumps(result))
        return folder

    return write


def test_a_run_that_classifies_is_a_row(directory):
    found = runs.figures_of(directory({"test": {"accuracy": 0.98886}, "export": EXPORT}))
    rows = tables.classifiers([found]).splitlines()
    assert rows[2:] == ["| seed 0 | 98.89% | 6.00x | 3 | 1,234 | 4.0e-07 |"]


def test_photos_are_told_by_the_means_of_each_set(directory):
    folder = directory({"test": {"psnr": 1}, "export": EXPORT})
    (folder / "test.csv").write_text(
        "set,photo,noisy_psnr,noisy_ssim,psnr,ssim\na,1,20,0.2,30,0.8\na,2,22,0.4,32,0.6\nb,1,9,0,9,0\n"
    )
    rows = tables.photo_tasks([runs.figures_of(folder)]).splitlines()
    assert rows[2] == "| seed 0, a | 6.00x | 1,234 | 21.00 dB, 0.3000 | 31.00 dB, 0.7000 |"
    assert rows[3] == "| seed 0, b | 6.00x | 1,234 | 9.00 dB, 0.0000 | 9.00 dB, 0.0000 |"


def test_a_run_that_was_not_finished_is_refused(directory):
    folder = directory({})
    (folder / "result.json").unlink()
    with pytest.raises(ValueError, match=r"has no result\.json: is it a run that was finished\?"):
        runs.figures_of(folder)
