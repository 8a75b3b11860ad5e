"""Model files of others: .h5 as Keras 2 wrote them, SavedModels, and errors in one line."""

import keras
import numpy as np
import pytest

from tf_lcnn.data import datasets
from tf_lcnn.models import saving


@pytest.fixture(scope="module")
def model():
    inputs = keras.Input((4, 4, 1))
    x = keras.layers.Conv2D(2, 3)(inputs)
    return keras.Model(inputs, keras.layers.Dense(3)(keras.layers.Flatten()(x)))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", ["model.h5", "weights.hdf5", "without_suffix"])
def test_an_h5_file_loads_whatever_its_name(tmp_path, model, name):
    model.save(tmp_path / "model.h5")
    (tmp_path / "model.h5").rename(tmp_path / name)
    loaded = saving.load_model(tmp_path / name)
    image = np.random.default_rng(0).normal(size=(1, 4, 4, 1)).astype(np.float32)
    np.testing.assert_allclose(loaded(image), model(image), rtol=1e-6)


def test_what_cannot_be_loaded_is_named_in_one_line(tmp_path):
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    (tmp_path / "damaged.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (tmp_path / "text.keras").write_text("no model")
    for name, mentioned in (
        ("saved", "is a SavedModel"),
        ("damaged.h5", "cannot be loaded as a Keras model"),
        ("text.keras", "damaged, or no .keras or .h5 file"),
    ):
        with pytest.raises(ValueError, match=mentioned) as error:
            saving.load_model(tmp_path / name)
        assert "\n" not in str(error.value) and name in str(error.value)


def test_an_exception_without_a_message_is_named_by_its_class(tmp_path, model, monkeypatch):
    def fail(*_, **__):
        raise KeyError

    model.save(tmp_path / "model.keras")
    monkeypatch.setattr(keras.models, "load_model", fail)
    with pytest.raises(ValueError, match="as a Keras model: KeyError"):
        saving.load_model(tmp_path / "model.keras")


@pytest.mark.parametrize(
    ("shape", "fits"),
    [((8, 8, 1), True), ((None, None, 1), True), ((9, 8, 1), False), ((None, 9, 1), False)],
)
def test_a_size_that_a_model_leaves_open_fits_any_data_set(shape, fits):
    digits = datasets.load("digits")
    head = keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(10)
    model = keras.Sequential([keras.Input(shape), *head])
    if fits:
        digits.refuse_mismatch(model, "m")
    else:
        with pytest.raises(ValueError, match="m takes images"):
            digits.refuse_mismatch(model, "m")
