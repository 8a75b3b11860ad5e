"""The trained weights in zoo/ are those that were trained."""

import re
import shutil

import pytest

from tf_lcnn.models import zoo


def test_weights_load_by_name():
    assert "resnet20_cifar10" in zoo.names()
    model = zoo.load("resnet20_cifar10")
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 10)
    assert not getattr(model, "compiled", False)


@pytest.mark.parametrize("name", zoo.names())
def test_all_weights_load_and_say_where_they_are_from(name):
    model = zoo.load(name)
    assert len(model.inputs) == len(model.outputs) == 1 and model.count_params() > 0
    (row,) = (x for x in (zoo.FOLDER / "README.md").read_text().splitlines() if f"| `{name}`" in x)
    # Weights of our own have the log of their training, others their license.
    license_of = re.search(r"\((licenses/\S+)\)", row)
    beside = license_of[1] if license_of else f"{name}.csv"
    assert (zoo.FOLDER / beside).is_file()


def test_an_unknown_name_is_answered_with_the_known():
    with pytest.raises(FileNotFoundError, match=r"'resnet21'.*resnet20_cifar10"):
        zoo.load("resnet21")


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A copy of the zoo, which may be changed."""
    folder = shutil.copytree(zoo.FOLDER, tmp_path / "zoo")
    monkeypatch.setattr(zoo, "FOLDER", folder)
    return folder


def test_a_damaged_file_is_refused(folder):
    file = folder / "resnet20_cifar10.keras"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        zoo.load("resnet20_cifar10")


def test_a_file_of_the_users_own_is_no_weights_of_the_project(folder):
    before = zoo.names()
    (folder / "mine.keras").write_bytes(b"mine")
    (folder / "notes.txt").write_text("mine")
    assert zoo.names() == before and "resnet20_cifar10" in before
    with pytest.raises(ValueError, match=r"mine\.keras has no checksum in SHA256SUMS") as error:
        zoo.load("mine")
    assert "\n" not in str(error.value)
    with pytest.raises(FileNotFoundError, match="'notes'"):
        zoo.load("notes")


@pytest.mark.parametrize("line", ["not a checksum", "0123abcd  model.keras", 64 * "a"])
def test_a_bad_line_among_the_checksums_is_named(folder, line):
    path = folder / "SHA256SUMS"
    number = len(path.read_text(encoding="utf-8").splitlines()) + 2
    with open(path, "a", encoding="utf-8") as file:
        file.write(f"\n{line}\n")
    told = f"SHA256SUMS, line {number}: '{line}' is no checksum"
    with pytest.raises(ValueError, match=told) as error:
        zoo.load("resnet20_cifar10")
    assert "\n" not in str(error.value)


def test_without_its_checksums_a_folder_has_no_weights(folder):
    (folder / "SHA256SUMS").unlink()
    assert zoo.names() == []
    with pytest.raises(FileNotFoundError, match="come with a checkout"):
        zoo.load("resnet21")
