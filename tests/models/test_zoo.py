"""The trained weights in zoo/ are those that were trained."""

import shutil

import pytest

from tf_lcnn.models import zoo


def test_weights_load_by_name():
    assert "resnet20_cifar10" in zoo.names()
    model = zoo.load("resnet20_cifar10")
    assert model.input_shape == (None, 32, 32, 3) and model.output_shape == (None, 10)
    assert not getattr(model, "compiled", False)
    for name in zoo.names():
        assert (zoo.FOLDER / f"{name}.csv").is_file()


def test_an_unknown_name_is_answered_with_the_known():
    with pytest.raises(FileNotFoundError, match=r"'resnet21'.*resnet20_cifar10"):
        zoo.load("resnet21")


def test_a_damaged_file_is_refused(tmp_path, monkeypatch):
    folder = shutil.copytree(zoo.FOLDER, tmp_path / "zoo")
    monkeypatch.setattr(zoo, "FOLDER", folder)
    file = folder / "resnet20_cifar10.keras"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(ValueError, match="damaged"):
        zoo.load("resnet20_cifar10")
