"""The proof that a .tflite computes what its Keras model computes."""

import dataclasses

import keras
import numpy as np

from tf_lcnn import checks, tasks
from tf_lcnn.runtime.interpreter import Interpreter

# Of the largest output; float32 rounding in other orders gives about 1e-6.
TOLERANCE = 1e-4

# What a quantized file has to keep: dB of signal to noise of the outputs.
MINIMUM_DECIBELS = {"float16": 40.0, "dynamic": 10.0, "int8": 10.0}


class ProofError(Exception):
    """The file does not compute what the Keras model computes."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """A .tflite file beside its Keras model, on the same examples.

    Attributes:
        examples: how many.
        largest_difference: absolute, of the outputs (logits, or images).
        relative_difference: that over the largest absolute output of the Keras model.
        decibels: the outputs' ratio of signal to noise.
        task: what the outputs are for, one of `tasks`.
        keras_score, tflite_score: the task's figure against the labels, like the accuracy from 0
            to 1; None without labels.
    """

    examples: int
    largest_difference: float
    relative_difference: float
    decibels: float
    task: object
    keras_score: float | None = None
    tflite_score: float | None = None

    def holds(self, quantize=None):
        """Whether the file is good enough for its quantization. NaN is not."""
        if quantize is None:
            return self.relative_difference <= TOLERANCE
        enough = self.decibels >= MINIMUM_DECIBELS[quantize]
        if self.keras_score is None:
            return enough
        return enough and self.task.holds(self.keras_score, self.tflite_score)

    def as_dict(self):
        """Everything in plain Python types."""
        shown = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return {**shown, "task": type(self.task).__name__.lower()}

    def __str__(self):
        text = (
            f"{self.examples} examples: largest difference of the outputs "
            f"{self.largest_difference:.2e} ({self.relative_difference:.1e} relative, "
            f"{self.decibels:.1f} dB)"
        )
        if self.keras_score is None:
            return f"{text}, no labels"
        in_keras, in_tflite = map(self.task.show, (self.keras_score, self.tflite_score))
        return f"{text}, {self.task.figure} {in_keras} in Keras, {in_tflite} in LiteRT"


def compare(model, path, examples):
    """Runs Keras and LiteRT on the same examples.

    Args:
        model: a Keras model.
        path: a .tflite file.
        examples: inputs with or without labels, in any form that `checks.batches` takes.

    Returns:
        Proof.

    Raises:
        ValueError: see `checks.batches`; or labels that do not fit the outputs.
    """
    interpreter, task = Interpreter(path), tasks.of(model)
    expected, outputs, labels = [], [], []
    for inputs, batch_labels in checks.batches(examples, checks.input_shape(model)):
        expected.append(keras.ops.convert_to_numpy(model(inputs, training=False)))
        outputs.append(interpreter.predict(inputs))
        labels.append(batch_labels)
    scores = ()
    if not any(batch is None for batch in labels):
        scores = tuple(
            float(np.average([task.score(*pair) for pair in pairs], weights=list(map(len, labels))))
            for pairs in (zip(expected, labels, strict=True), zip(outputs, labels, strict=True))
        )
    expected, outputs = np.concatenate(expected), np.concatenate(outputs)
    difference = float(np.abs(expected - outputs).max())
    largest = float(np.abs(expected).max())
    return Proof(
        len(expected),
        difference,
        difference / largest if largest else float("inf") if difference else 0.0,
        signal_to_noise(expected, outputs),
        task,
        *scores,
    )


def signal_to_noise(expected, outputs):
    """10 log10(sum expected^2 / sum (expected - outputs)^2), in dB; infinite where they agree."""
    expected, outputs = np.asarray(expected, np.float64), np.asarray(outputs, np.float64)
    signal, noise = (expected**2).sum(), ((expected - outputs) ** 2).sum()
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
