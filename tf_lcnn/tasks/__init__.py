"""What differs between classification and other tasks; `of` says which task a model is for."""

from tf_lcnn.tasks import classification, images

_BY_RANK = {2: classification.Classification, 4: images.Images}


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
