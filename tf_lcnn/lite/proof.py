"""The proof that a .tflite computes what its Keras model computes."""

import dataclasses

import keras
import numpy as np

from tf_lcnn import checks, tasks
from tf_lcnn.layers import levels
from tf_lcnn.runtime.interpreter import Interpreter

# Of the largest output; float32 rounding in other orders gives about 1e-6.
TOLERANCE = 1e-4

# What a quantized file has to keep: dB of signal to noise of the outputs. Layers with tables round
# to indices in float32 too: numbers halfway fall to either side by the last bit of what is before
# them, and a file that computes the same differs by a step here and there.
TABLES = "tables"
MINIMUM_DECIBELS = {
    **{"float16": 40.0, "dynamic": 10.0, TABLES: 30.0},
    # Below int8 too: what was trained with few levels has them in Keras, and its file keeps what
    # one of int8 keeps. Of two nets that were not (digits, CIFAR-10) int4 kept 12 dB and lost 1.4
    # and 3.8 points of accuracy; ternary kept 3.6 and 0.1 dB and lost 31 and 69.
    **dict.fromkeys(levels.FORMATS, 10.0),
    # With binary activations it is less, 9.2 on digits: what int8 rounds across their threshold
    # becomes the other number. Binary weights that were not trained so kept -1 and -2 dB.
    **dict.fromkeys(levels.BINARY, 6.0),
}


class ProofError(Exception):
    """The file does not compute what the Keras model computes."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """A .tflite file beside its Keras model, on the same examples.

    Of examples in several sizes, the figures are those of the size where they are worst.

    Attributes:
        examples: how many.
        largest_difference: absolute, of the outputs (logits, or images).
        relative_difference: that over the largest absolute output of the Keras model.
        decibels: the outputs' ratio of signal to noise.
        task: what the outputs are for, one of `tasks`.
        keras_score, tflite_score: the task's figure against the labels, like the accuracy from 0
            to 1; None without labels.
        shapes: of one input, without the batch; all that were compared, the one with the fewest
            decibels first.
    """

    examples: int
    largest_difference: float
    relative_difference: float
    decibels: float
    task: object
    keras_score: float | None = None
    tflite_score: float | None = None
    shapes: tuple = ()

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
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        fields["shapes"] = [list(shape) for shape in self.shapes]
        return {**fields, "task": type(self.task).__name__.lower()}

    def __str__(self):
        text = f"{self.examples} examples"
        if len(self.shapes) > 1:
            sizes = ", ".join("x".join(map(str, shape)) for shape in self.shapes)
            text += f" of {len(self.shapes)} sizes ({sizes}, worst first)"
        text += (
            f": largest difference of the outputs {self.largest_difference:.2e} "
            f"({self.relative_difference:.1e} relative, {self.decibels:.1f} dB)"
        )
        if self.keras_score is None:
            return f"{text}, no labels"
        in_keras, in_tflite = map(self.task.show, (self.keras_score, self.tflite_score))
        return f"{text}, {self.task.figure} {in_keras} in Keras, {in_tflite} in LiteRT"


def compare(model, path, examples, task=None, front=None):
    """Runs Keras and LiteRT on the same examples.

    Args:
        model: a Keras model.
        path: a .tflite file.
        examples: inputs with or without labels, in any form that `checks.batches` takes; in
            several sizes where the model takes any. The scores are of those with labels.
        task: what the outputs are for, one of `tasks`; None goes by their shape.
        front: the `frames.Front` of a file that takes frames: it gets frames that show the inputs,
            and Keras what `front.reference` makes of them.

    Returns:
        Proof.

    Raises:
        ProofError: LiteRT cannot load the file, or run it on these inputs, or its outputs have
            another shape than the model's.
        FileNotFoundError: there is no file.
        ValueError: see `checks.batches`; or labels that do not fit the outputs.
    """
    task, by_shape, scores, counts = task or tasks.of(model), {}, [], []
    try:
        interpreter = Interpreter(path)
    except ValueError as error:
        raise ProofError(str(error)) from None
    for inputs, labels in checks.batches(examples, checks.input_shape(model)):
        given = inputs if front is None else front.frames(inputs)
        if front is not None:
            inputs = front.reference(given).astype(np.float32)
        expected = keras.ops.convert_to_numpy(model(inputs, training=False))
        outputs = _outputs(interpreter, given, expected.shape)
        by_shape.setdefault(inputs.shape[1:], []).append((expected, outputs))
        if labels is not None:
            scores.append([task.score(values, labels) for values in (expected, outputs)])
            counts.append(len(inputs))
    differences = {}
    for shape, pairs in by_shape.items():
        expected, outputs = map(np.concatenate, zip(*pairs, strict=True))
        difference, largest = np.abs(expected - outputs).max(), np.abs(expected).max()
        relative = difference / largest if largest else np.inf if difference else 0.0
        differences[shape] = difference, relative, -signal_to_noise(expected, outputs)
    # NaN stays NaN.
    difference, relative, noise = map(float, np.max(list(differences.values()), axis=0))
    return Proof(
        sum(len(expected) for pairs in by_shape.values() for expected, _ in pairs),
        difference,
        relative,
        -noise,
        task,
        *(map(float, np.average(scores, axis=0, weights=counts)) if scores else ()),
        shapes=tuple(sorted(differences, key=lambda shape: differences[shape][2], reverse=True)),
    )


def _outputs(interpreter, inputs, shape):
    try:
        outputs = interpreter.predict(inputs)
    except ValueError as error:
        raise ProofError(str(error)) from None
    if outputs.shape != shape:
        raise ProofError(
            f"On inputs of shape {inputs.shape} the file's outputs have the shape {outputs.shape}, "
            f"the model's {shape}."
        )
    return outputs


def signal_to_noise(expected, outputs):
    """10 log10(sum expected^2 / sum (expected - outputs)^2), in dB; infinite where they agree."""
    expected, outputs = np.asarray(expected, np.float64), np.asarray(outputs, np.float64)
    signal, noise = (expected**2).sum(), ((expected - outputs) ** 2).sum()
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")
