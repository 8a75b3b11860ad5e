"""The proof that a .tflite computes what its Keras model computes."""

import dataclasses

import keras
import numpy as np

from tf_lcnn.runtime.interpreter import Interpreter

# Of the largest logit; float32 rounding in other orders gives about 1e-6.
TOLERANCE = 1e-4


# What a quantized file has to keep: dB of signal to noise of the logits, and accuracy.
MINIMUM_DECIBELS = {"float16": 40.0, "dynamic": 10.0, "int8": 10.0}


MAXIMUM_ACCURACY_LOSS = 0.02


class ProofError(Exception):
    """The file does not compute what the Keras model computes."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """A .tflite file beside its Keras model, on the same examples.

    `largest_difference` is absolute, of the logits; `relative_difference` is that over the
    largest absolute logit of the Keras model; `decibels` is the logits' ratio of signal to
    noise. Accuracies are from 0 to 1.
    """

    examples: int
    largest_difference: float
    relative_difference: float
    decibels: float
    keras_accuracy: float
    tflite_accuracy: float

    def holds(self, quantize=None):
        """Whether the file is good enough for its quantization. NaN is not."""
        if quantize is None:
            return self.relative_difference <= TOLERANCE
        loss = self.keras_accuracy - self.tflite_accuracy
        return self.decibels >= MINIMUM_DECIBELS[quantize] and loss <= MAXIMUM_ACCURACY_LOSS

    def __str__(self):
        return (
            f"{self.examples} examples: largest difference of the logits "
            f"{self.largest_difference:.2e} ({self.relative_difference:.1e} relative, "
            f"{self.decibels:.1f} dB), accuracy {self.keras_accuracy:.2%} in Keras, "
            f"{self.tflite_accuracy:.2%} in LiteRT"
        )


def compare(model, path, batches):
    """Runs Keras and LiteRT on the same examples.

    Args:
        model: a Keras model that returns logits.
        path: a .tflite file.
        batches: iterable of (images, labels).

    Returns:
        Proof.
    """
    interpreter = Interpreter(path)
    expected, found, labels = [], [], []
    for images, batch_labels in batches:
        expected.append(keras.ops.convert_to_numpy(model(images, training=False)))
        found.append(interpreter.predict(keras.ops.convert_to_numpy(images)))
        labels.append(keras.ops.convert_to_numpy(batch_labels))
    expected, found = np.concatenate(expected), np.concatenate(found)
    labels = np.concatenate(labels)
    difference = float(np.abs(expected - found).max())
    return Proof(
        examples=len(labels),
        largest_difference=difference,
        relative_difference=difference / float(np.abs(expected).max()),
        decibels=signal_to_noise(expected, found),
        keras_accuracy=float((expected.argmax(axis=-1) == labels).mean()),
        tflite_accuracy=float((found.argmax(axis=-1) == labels).mean()),
    )


def signal_to_noise(expected, found):
    """10 log10(sum expected^2 / sum (expected - found)^2), in dB; infinite where they are equal."""
    expected, found = np.asarray(expected, np.float64), np.asarray(found, np.float64)
    noise = ((expected - found) ** 2).sum()
    return float(10 * np.log10((expected**2).sum() / noise)) if noise else float("inf")
