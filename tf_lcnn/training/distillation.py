"""Teaching an LCNN with its dense parent: what the parent answers becomes part of the labels.

    rows = distillation.with_answers(images, labels, parent)
    loss = distillation.DistillationLoss(classes)
    model.compile(optimizer, loss, metrics=[distillation.LabelAccuracy(classes)])
    model.fit(images, rows, epochs=3, validation_data=(other_images, other_labels))

The labels then are rows: the class, the parent's logits, and, where they are asked for, outputs of
its layers. The loss and the metric take plain labels too, as in validation. Images that are drawn
anew in every epoch are answered batch by batch, by `with_teacher`.

Source: Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", 2015; layers'
outputs as hints: Romero et al., "FitNets", ICLR 2015.
"""

import keras
import numpy as np
from keras import ops

_JOINED = "logits_and_hints"


def with_hints(model, layers):
    """A model whose output is the logits of `model`, then the outputs of these layers, flat.

    It shares all layers with `model`. Without layers it is `model` itself.

    Args:
        model: functional, with one output (batch, classes).
        layers: names of layers.

    Raises:
        ValueError: there is no such layer.
    """
    if not layers:
        return model
    known = [layer.name for layer in model.layers]
    for name in layers:
        if name not in known:
            raise ValueError(f"{model.name} has no layer {name!r}; it has: {', '.join(known)}.")
    flat = [keras.layers.Flatten(name=f"hint_{x}")(model.get_layer(x).output) for x in layers]
    joined = keras.layers.Concatenate(name=_JOINED)([model.output, *flat])
    return keras.Model(model.inputs, joined, name=model.name)


def without_hints(model):
    """The model of the logits alone, of a model that `with_hints` made; others as they are."""
    joined = [layer for layer in model.layers if layer.name == _JOINED]
    return keras.Model(model.inputs, joined[0].input[0], name=model.name) if joined else model


def with_teacher(batches, teacher):
    """Yields (images, rows): the label of each image, then the teacher's output for it.

    Args:
        batches: iterable of (images, labels).
        teacher: a model, `with_hints` or not, of the images' shape.
    """
    for batch in batches:
        # JAX takes no tensors of a tf.data.Dataset.
        images, labels = map(np.asarray, batch)
        yield images, ops.convert_to_numpy(rows(labels, teacher.predict_on_batch(images)))


def data_set_with_teacher(batches, teacher):
    """`with_teacher` as a tf.data.Dataset, for TensorFlow.

    On several devices Keras begins with it twice, and would lose what it drew of a generator.

    Args:
        batches: tf.data.Dataset of (images, labels), of one size all.
        teacher: see `with_teacher`.
    """
    import tensorflow as tf

    images, labels = batches.element_spec
    # Hints of a teacher whose inputs have any size have any number.
    width = teacher.output_shape[-1]
    shape = (*labels.shape[:1], None if width is None else 1 + width)
    answers = tf.TensorSpec(shape, tf.float32)
    return tf.data.Dataset.from_generator(
        lambda: with_teacher(batches, teacher), output_signature=(images, answers)
    ).prefetch(tf.data.AUTOTUNE)


def with_answers(images, labels, teacher, batch_size=128):
    """The rows of `with_teacher` for all images at once: float32 array (count, 1 + outputs).

    Args:
        images: array (count, ...) as the teacher takes them.
        labels: class numbers, (count,) or (count, 1).
        teacher: a model, `with_hints` or not.
        batch_size: images that it answers at a time.

    Raises:
        ValueError: there are more images than labels, or fewer.
    """
    if len(images) != len(labels):
        raise ValueError(f"There are {len(images)} images, and {len(labels)} labels.")
    answers = teacher.predict(images, batch_size=batch_size, verbose=0)
    return ops.convert_to_numpy(rows(labels, answers))


def rows(labels, answers):
    """What `DistillationLoss` takes, (count, 1 + outputs): class numbers, a teacher's outputs."""
    labels = ops.reshape(ops.cast(labels, "float32"), (-1, 1))
    return ops.concatenate([labels, answers], axis=-1)


def _split(y_true, y_pred, classes):
    """(labels, logits, the teacher's logits, hints, the teacher's hints); the last 3 or None."""
    logits, hints = y_pred[:, :classes], y_pred[:, classes:]
    if len(y_true.shape) == 1 or y_true.shape[-1] == 1:
        return ops.reshape(y_true, (-1,)), logits, None, None, None
    answers = y_true[:, 1:]
    return y_true[:, 0], logits, answers[:, :classes], hints, answers[:, classes:]


@keras.saving.register_keras_serializable(package="tf_lcnn")
class DistillationLoss(keras.losses.Loss):
    """(1 - weight) * cross-entropy + weight * T^2 * KL(teacher || model) + hints * error of hints.

    Both distributions of the second term are softened by the temperature T; the error of the
    hints is their mean square, relative to the mean square of the teacher's. For plain labels
    this is the cross-entropy.

    Args:
        classes: number of classes, the first outputs.
        weight: of the teacher's logits, from 0 (labels only) to 1 (teacher only).
        temperature: T > 0.
        hints: weight of the hints, >= 0.

    Raises:
        ValueError: a weight or temperature outside these bounds.
    """

    def __init__(self, classes, weight=0.5, temperature=4.0, hints=0.0, name="distillation"):
        super().__init__(name=name)
        if not (0 <= weight <= 1 and temperature > 0 and hints >= 0):
            raise ValueError(
                f"Distillation takes a weight from 0 to 1, a temperature > 0 and hints >= 0, not "
                f"{weight}, {temperature} and {hints}."
            )
        self.classes = classes
        self.weight = weight
        self.temperature = temperature
        self.hints = hints

    def call(self, y_true, y_pred):
        labels, logits, answers, hints, wanted = _split(y_true, y_pred, self.classes)
        labels = ops.cast(labels, "int32")
        loss = keras.losses.sparse_categorical_crossentropy(labels, logits, from_logits=True)
        if answers is None:
            return loss
        soft = ops.log_softmax(logits / self.temperature)
        target = ops.log_softmax(answers / self.temperature)
        divergence = ops.sum(ops.exp(target) * (target - soft), axis=-1)
        loss = (1 - self.weight) * loss + self.weight * self.temperature**2 * divergence
        if self.hints:
            error = ops.mean(ops.square(hints - wanted), axis=-1)
            loss = loss + self.hints * error / ops.mean(ops.square(wanted))
        return loss

    def get_config(self):
        return {
            "classes": self.classes,
            "weight": self.weight,
            "temperature": self.temperature,
            "hints": self.hints,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="tf_lcnn")
class LabelAccuracy(keras.metrics.Mean):
    """Accuracy against the labels, whether or not a teacher's output comes with them."""

    def __init__(self, classes, name="accuracy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.classes = classes

    def update_state(self, y_true, y_pred, sample_weight=None):
        labels, logits, *_ = _split(y_true, y_pred, self.classes)
        guesses = ops.argmax(logits, axis=-1)
        right = ops.equal(ops.cast(guesses, "int32"), ops.cast(labels, "int32"))
        return super().update_state(ops.cast(right, self.dtype), sample_weight)

    def get_config(self):
        return {**super().get_config(), "classes": self.classes}
