"""Classification: logits out, a class number or a one-hot row as the label."""

import keras
import numpy as np
import tensorflow as tf

# What a quantized file may lose of the accuracy, from 0 to 1.
MAXIMUM_LOSS = 0.02

# With more classes than this, top-5 accuracy is told too.
_FEW_CLASSES = 10


class Classification:
    """The task of a network that returns a logit per class."""

    figure = "accuracy"

    def loss(self):
        return keras.losses.SparseCategoricalCrossentropy(from_logits=True)

    def metrics(self, classes):
        top5 = keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5")
        return ["accuracy", top5] if classes > _FEW_CLASSES else ["accuracy"]

    def augment(self, dataset, image, draw):
        """A training input: a random crop, mirrored at random where mirroring keeps the class.

        An image that has the size of the input is padded by an eighth first, as is the custom
        for CIFAR (4 pixels around 32 x 32); a larger one is resized as ImageNet's are.

        Args:
            dataset: a `data.datasets.DataSet`.
            image: decoded, uint8 (height, width, channels).
            draw: two integers that seed what is drawn.

        Returns:
            float32 tensor of dataset.image_shape, normalized.
        """
        height, width, _ = dataset.image_shape
        if dataset.fixed_size:
            pad = ((height // 8,) * 2, (width // 8,) * 2, (0, 0))
            image = tf.pad(dataset.normalize(dataset.fitted(image)), pad)
        else:
            image = dataset.normalize(dataset.resize(image))
        image = tf.image.stateless_random_crop(image, dataset.image_shape, draw)
        if dataset.mirror:
            image = tf.image.stateless_random_flip_left_right(image, draw + 1)
        return image

    def score(self, outputs, labels):
        """Accuracy, from 0 to 1, of logits (count, classes)."""
        return float((outputs.argmax(axis=-1) == class_numbers(labels, outputs.shape[-1])).mean())

    def holds(self, keras_score, tflite_score):
        """Whether a quantized file keeps enough of the accuracy."""
        return keras_score - tflite_score <= MAXIMUM_LOSS

    def show(self, score):
        return f"{score:.2%}"

    def describe(self, dataset):
        """What the file says of labels and input, see `lite.metadata`."""
        height, width, channels = dataset.image_shape
        return {
            "labels": list(dataset.class_names),
            "input": {
                "height": height,
                "width": width,
                "channels": channels,
                "mean": list(dataset.mean),
                "std": list(dataset.std),
                "short_side": dataset.short_side,
            },
            "output": "logits",
        }


def class_numbers(labels, classes):
    """Labels as class numbers (count,).

    Args:
        labels: (count,) or (count, 1) class numbers, as `keras.datasets` gives them, or one-hot
            rows (count, classes).
        classes: how many there are.

    Raises:
        ValueError: labels of another shape, or a number that is no class.
    """
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    elif labels.ndim == 2 and labels.shape[1] == classes:
        labels = labels.argmax(axis=-1)
    if labels.ndim != 1:
        raise ValueError(
            f"The labels have the shape {labels.shape}: class numbers (count,) or (count, 1), or "
            f"one-hot rows (count, {classes}) work."
        )
    wrong = labels[(labels < 0) | (labels >= classes) | (labels != np.floor(labels))]
    if wrong.size:
        raise ValueError(f"The label {wrong[0]} is no class: whole numbers 0 to {classes - 1} are.")
    return labels.astype(np.int64)
