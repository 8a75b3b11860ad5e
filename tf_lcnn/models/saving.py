"""Trained models as files: saved whole or not at all, loaded with one-line errors."""

import contextlib
import pathlib
import shutil
import tempfile
import zipfile

import keras

from tf_lcnn import checks, files

# How an HDF5 file begins.
_H5 = b"\x89HDF\r\n\x1a\n"


def save_model(model, path, enclosed=None):
    """Saves a .keras file, never a half-written one. One host of several may do it alone.

    Args:
        model: a Keras model.
        path: the file.
        enclosed: name -> bytes that the file holds too; see `read_enclosed`.
    """
    with files.replacing(path) as beside, _of_this_host():
        model.save(beside)
        if enclosed:
            with zipfile.ZipFile(beside, "a") as archive:
                for name, content in enclosed.items():
                    archive.writestr(name, content)


def read_enclosed(path, name):
    """What `save_model` enclosed under this name, bytes; None where there is nothing."""
    with zipfile.ZipFile(path) as archive:
        return archive.read(name) if name in archive.namelist() else None


@contextlib.contextmanager
def _of_this_host():
    """Within this context no variable is made for other hosts, which would have to take part.

    Keras makes some while it saves, an optimizer to compare with for example.
    """
    distribution = keras.distribution.distribution()
    keras.distribution.set_distribution(None)
    try:
        yield
    finally:
        keras.distribution.set_distribution(distribution)


def load_model(path, dataset=None):
    """Loads a .keras file, or an .h5 file as Keras 2 wrote it.

    Args:
        path: the file.
        dataset: a data set (`data.examples.Examples`) that the model has to fit.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, a SavedModel, no Keras model that can be loaded here, or
            its input or classes are not those of the data set.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").is_file():
        raise ValueError(
            f"{path} is a SavedModel, whose layers Keras 3 cannot read: load it where it was made "
            'and save it with model.save("model.keras") or, in Keras 2, model.save("model.h5").'
        )
    if not path.is_file():
        raise FileNotFoundError(f"No model file {path}.")
    with open(path, "rb") as file:
        is_h5 = file.read(len(_H5)) == _H5
    if not is_h5 and not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged, or no .keras or .h5 file.")
    try:
        model = _load_h5(path) if is_h5 else keras.models.load_model(path)
    except Exception as error:
        reason = checks.first_line(error)
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error
    if dataset is not None:
        dataset.refuse_mismatch(model, path)
    return model


def _load_h5(path):
    # The optimizer of Keras 2 is another; a new training compiles anyway. Keras goes by the name.
    if path.suffix in (".h5", ".hdf5"):
        return keras.models.load_model(path, compile=False)
    with tempfile.TemporaryDirectory() as folder:
        named = shutil.copy(path, pathlib.Path(folder) / "model.h5")
        return keras.models.load_model(named, compile=False)
