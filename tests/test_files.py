"""Files are whole or not there, whoever else writes them."""

import pytest

from tf_lcnn import files


def test_an_error_leaves_the_file_as_it_was_and_nothing_beside_it(tmp_path):
    path = tmp_path / "kept.txt"
    files.write(path, "old")
    with pytest.raises(OSError, match="disk full"), files.replacing(path) as beside:
        beside.write_text("half")
        raise OSError("disk full")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_that_write_the_same_file_at_once_do_not_meet(tmp_path):
    path = tmp_path / "shared.txt"
    with files.replacing(path) as first:
        first.write_text("first")
        with files.replacing(path) as second:
            second.write_text("second")
            assert first.read_text() == "first"
            assert first.suffix == second.suffix == ".txt"
        assert path.read_text() == "second"
    assert path.read_text() == "first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    target, link = tmp_path / "elsewhere" / "file.txt", tmp_path / "link.txt"
    files.write(target, "old")
    link.symlink_to(target)
    files.write(link, b"new")
    assert link.is_symlink() and target.read_text() == "new"
    assert list((tmp_path / "elsewhere").iterdir()) == [target]


def test_what_a_killed_process_left_of_a_file_is_removed_and_nothing_else(tmp_path):
    path = tmp_path / "a.keras"
    kept = {path, tmp_path / "partial-a.keras", tmp_path / "partial-0123456789ab-b.keras"}
    for file in (*kept, tmp_path / "partial-0123456789ab-a.keras"):
        file.write_text("x")
    files.remove_partial(path)
    assert set(tmp_path.iterdir()) == kept
