"""What differs between classification and other tasks; `of` says which task a model is for.

A task is a class in a file of its own:

    figure: what `score` is called, like "accuracy".
    loss(), metrics(classes): what a network is trained with, and told by.
    augment(dataset, image, draw): a training input, where training images are drawn from.
    score(outputs, labels), show(score): the figure against the labels, and as text.
    holds(keras_score, tflite_score): whether a quantized file keeps enough of it.
    describe(dataset): what the file says of itself, see `lite.metadata`.
"""

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
