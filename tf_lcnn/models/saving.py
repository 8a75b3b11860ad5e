"""Trained models as .keras files: saved whole or not at all, loaded with one-line errors."""

import pathlib
import zipfile

import keras

from tf_lcnn import checks, files


def save_model(model, path):
    """Saves a .keras file, never a half-written one."""
    with files.replacing(path) as beside:
        model.save(beside)


def load_model(path, images=None):
    """Loads a .keras file.

    Args:
        path: the file.
        images: a `data.DataSet` that the model has to fit.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, no Keras model that can be loaded here, or its input
            or classes are not those of the images.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No model file {path}.")
    if not zipfile.is_zipfile(path):
        raise ValueError(f"{path} is damaged, or no .keras file.")
    try:
        model = keras.models.load_model(path)
    except Exception as error:
        reason = checks.first_line(error)
        raise ValueError(f"{path} cannot be loaded as a Keras model: {reason}") from error
    if images is not None:
        refuse_mismatch(model, images, path)
    return model


def refuse_mismatch(model, images, name):
    """Raises ValueError unless input and classes of a model are those of a `data.DataSet`."""
    shapes = (*images.image_shape, len(images.class_names))
    if (*model.input_shape[1:], model.output_shape[-1]) != shapes:
        raise ValueError(
            f"{name} takes images {model.input_shape[1:]} of {model.output_shape[-1]} classes, "
            f"but {images.name} has {images.image_shape} and {len(images.class_names)}."
        )
