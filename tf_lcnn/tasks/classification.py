"""Classification: logits out, a class number or a one-hot row as the label."""

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.data import datasets, mosaics

# What a quantized file may lose of the accuracy, from 0 to 1.
MAXIMUM_LOSS = 0.02

# With more classes than this, top-5 accuracy is told too.
_FEW_CLASSES = 10


class Classification:
    """The task of a network that returns a logit per class."""

    figure = "accuracy"

    name = networks = "classification"
    dataset = "digits"
    model = "resnet20_lcnn"
    flags = ("image_size", "class_names", "preprocessing", "download", "mosaic", "shot", "read")
    taught_by_logits = True

    @classmethod
    def of_run(cls, settings):
        return cls()

    def load(self, settings, own_shape, parent=None):
        """The data set of a run, at the size of its flags, its parent or its network.

        Args:
            settings: a `training.run.Run`.
            own_shape: of an input of the network, without the batch; None where it is open.
            parent: the trained model that it starts from, or None.
        """
        size, channels = settings.image_size, 3
        if parent is not None:
            size = size or (None if None in parent.input_shape[1:3] else parent.input_shape[1:3])
            channels = parent.input_shape[-1]
        raw = settings.mosaic is not None
        dataset = datasets.load(
            settings.dataset,
            settings.data_dir,
            size,
            own_shape[0] or 224,
            settings.download,
            channels=3 if raw else channels,
            class_names=settings.class_names,
            preprocessing="0..1" if raw else settings.preprocessing,
        )
        return mosaics.of(dataset, settings.sensor) if raw else dataset

    def refuse_parent(self, results, dataset, settings):
        """Raises ValueError unless a parent is better than chance, by three standard errors."""
        chance, count = 1 / len(dataset.class_names), len(dataset.validation)
        if results["accuracy"] <= chance + 3 * (chance * (1 - chance) / count) ** 0.5:
            raise ValueError(
                f"{settings.init_from} has an accuracy of {results['accuracy']:.1%} here, near the "
                f"{chance:.1%} of chance: {self.suspicion(settings)}"
            )

    def suspicion(self, settings):
        """What may be wrong where a parent is no better than chance."""
        return (
            f"is --preprocessing ({settings.preprocessing}) that of its training, and "
            "--class_names the order of its outputs?"
        )

    def tell_more(self, model, dataset, directory):
        """The accuracy is all."""

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
        shape = np.array(dataset.image_shape[:2])
        pad = shape // 8
        if dataset.fixed_size:
            image, size = dataset.fitted(image), shape + 2 * pad
        else:
            size = dataset.resized_size(image)
        room = size - shape + 1
        place = tf.random.stateless_uniform((2,), draw, maxval=tf.int32.max, dtype=tf.int32) % room
        if dataset.mirror:
            # Mirrored before it is cut, where the crop then lies: what is decoded has fewer bytes.
            mirrored = tf.random.stateless_uniform((), draw + 1) < 0.5
            image = tf.cond(mirrored, lambda: tf.reverse(image, [1]), lambda: image)
            place = tf.where(mirrored, [place[0], room[1] - 1 - place[1]], place)
        if dataset.fixed_size:
            image = tf.pad(dataset.normalize(image), (*((x, x) for x in pad), (0, 0)))
            return tf.slice(image, tf.concat([place, [0]], axis=0), dataset.image_shape)
        return dataset.normalize(dataset.window(image, place))

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
        return {
            "labels": list(dataset.class_names),
            "input": dataset.describe_input(),
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
