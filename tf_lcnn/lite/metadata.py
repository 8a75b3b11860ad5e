"""What a phone app needs to know of a .tflite, in the file itself.

The metadata is a ZIP archive appended to the model, as LiteRT's associated files are: the runtime
ignores it, and any ZIP reader finds it. `labels.txt` of a classifier has a class name per line, in
the order of the outputs; `tf_lcnn.json` the rest.
"""

import io
import json
import zipfile

import tf_lcnn
from tf_lcnn import tasks

FORMAT = 1
LABELS = "labels.txt"
DESCRIPTION = "tf_lcnn.json"
# ZIP cannot tell earlier; the same model is to give the same bytes.
_DATE = (1980, 1, 1, 0, 0, 0)


def describe(model, dataset, model_profile, task=None, front=None):
    """The metadata of a model for a data set, as plain Python types.

    Args:
        model: the Keras model.
        dataset: a `data.datasets.DataSet`, of which the model's task tells labels, input and
            normalization, or what else an app needs.
        model_profile: the model's `ModelProfile`.
        task: see `proof.compare`.
        front: the `frames.Front` of a file that takes frames; `input` is of what it makes of them.
    """
    task = task or tasks.of(model)
    about = task.describe(dataset) if hasattr(task, "describe") else {}
    if front is not None:
        about["frame"] = front.describe()
    return {
        "format": FORMAT,
        "version": tf_lcnn.__version__,
        "name": model.name,
        **about,
        "profile": model_profile.as_dict(),
    }


def append(content, description):
    """The bytes of a .tflite with metadata appended.

    Args:
        content: the bytes of the model.
        description: see `describe`.
    """
    file = io.BytesIO(content)
    rest = {key: value for key, value in description.items() if key != "labels"}
    members = {DESCRIPTION: json.dumps(rest, indent=1)}
    if "labels" in description:
        lines = "".join(f"{label}\n" for label in description["labels"])
        members = {LABELS: lines, **members}
    with zipfile.ZipFile(file, "a", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(zipfile.ZipInfo(name, _DATE), text, zipfile.ZIP_DEFLATED)
    return file.getvalue()


def read(path):
    """The metadata of a .tflite file, as `describe` made it.

    Raises:
        ValueError: the file has none.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            description = json.loads(archive.read(DESCRIPTION))
            if LABELS in archive.namelist():
                description["labels"] = archive.read(LABELS).decode("utf-8").splitlines()
    except (zipfile.BadZipFile, KeyError, json.JSONDecodeError):
        raise ValueError(f"{path} has no metadata of tf-lcnn.") from None
    return description
