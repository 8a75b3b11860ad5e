"""What differs between classification and other tasks.

A task is a class in a file of its own, listed in `_BY_NAME` where train.py knows it:

    figure: what `score` is called, like "accuracy".
    loss(), metrics(outputs): what a network of so many outputs is trained with, and told by.
    augment(dataset, stored, draw): what is trained on, of one stored example.
    score(outputs, labels), show(score): the figure against the labels, and as text.
    holds(keras_score, tflite_score): whether a quantized file keeps enough of it.
    describe(dataset): what the file says of itself, see `lite.metadata`.

And for train.py:

    name: of --task.
    dataset, model: what --dataset and --model are by default.
    networks: the task whose networks it takes, of `models.task`.
    flags: the flags that not all tasks take, which this one does.
    taught_by_logits: whether a parent teaches by `training.distillation`.
    of_run(settings): the task of a `training.run.Run`.
    load(settings, own_shape, parent): its data set, a `data.examples.Examples`.
    refuse_parent(results, dataset, settings): raises ValueError for a parent no better than chance.
    tell_more(model, dataset, directory): tells and keeps what else there is of a trained model.
"""

from tf_lcnn.tasks import (
    classification,
    demosaicing,
    denoising,
    filters,
    images,
    point_clouds,
    super_resolution,
)

_BY_RANK = {2: classification.Classification, 4: images.Images}
_KNOWN = (
    classification.Classification,
    point_clouds.PointClouds,
    super_resolution.SuperResolution,
    denoising.Denoising,
    filters.Filter,
    demosaicing.Demosaicing,
)
_BY_NAME = {task.name: task for task in _KNOWN}


def names():
    """The tasks that train.py knows."""
    return list(_BY_NAME)


def named(name):
    """The class of a task of `names()`."""
    return _BY_NAME[name]


def of_run(settings):
    """The task of a `training.run.Run`."""
    return named(settings.task).of_run(settings)


def of(model):
    """The task of a model, by its output: (batch, classes), or an image.

    Raises:
        ValueError: the output is neither.
    """
    shape = tuple(model.output_shape)
    if len(shape) not in _BY_RANK:
        raise ValueError(
            f"The output of {model.name} has the shape {shape}: (batch, classes) or "
            "(batch, height, width, channels) works."
        )
    return _BY_RANK[len(shape)]()
