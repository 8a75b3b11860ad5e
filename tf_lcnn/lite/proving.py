"""What an export proves of its file, and what it says where it cannot."""

import contextlib
import dataclasses

import keras

from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.deep_lookup import has_table
from tf_lcnn.lite import learning_proof, open_size
from tf_lcnn.lite.layerwise import measure
from tf_lcnn.lite.proof import TABLES, ProofError, compare

# Examples that are shown in frames, for their proof.
_FRAMES = 50


@dataclasses.dataclass(frozen=True)
class Prover:
    """Proves files that were made of a model; ProofError says why there is no proof.

    Attributes:
        model: the Keras model, in float32.
        choices: the LoweringChoices of the file.
        examples: list of batches (inputs, labels), see `checks.batches`.
        quantize, calibration: see `converter.to_tflite`.
        task: see `proof.compare`.
    """

    model: keras.Model
    choices: list
    examples: list
    quantize: str | None
    calibration: object
    task: object

    def outputs(self, path):
        """The Proof that a file computes what the model computes, in all sizes that it takes."""
        others = open_size.other_sizes(self.model, self.examples)
        return self._checked(compare(self.model, path, [*self.examples, *others], self.task))

    def of_frames(self, path, front):
        """The Proof of a file behind a `frames.Front`, from the bytes of frames on."""
        return self._checked(compare(self.model, path, _some(self.examples), self.task, front))

    def learning(self, path, plan):
        """The LearningProof of a file that learns by a `learning.Plan`."""
        try:
            proof = learning_proof.compare(plan, path, self.examples)
        except ValueError as error:
            raise ProofError(f"the file does not learn: {error}") from None
        if not proof.holds():
            raise ProofError(f"the file does not learn what {self.model.name} learns: {proof}.")
        return proof

    def _checked(self, proof):
        with_tables = self.quantize is None and any(map(has_table, sublayers(self.model)))
        if proof.holds(TABLES if with_tables else self.quantize):
            return proof
        message = f"the file does not compute what {self.model.name} computes: {proof}"
        if self.quantize is not None and self.choices:
            # Layers that give no numbers at all cannot be measured.
            with contextlib.suppress(ValueError):
                message += f"; the layer that loses most is {self._worst()}"
        raise ProofError(f"{message}.")

    def _worst(self):
        """The name of the layer that loses most when it is quantized, and what it keeps."""
        inputs = self.examples[0][0][:8] if self.calibration is None else self.calibration
        measured = measure(self.model, self.choices, inputs, self.quantize)
        decibels, worst = min(
            (layer.decibels, choice.layer.name)
            for layer, choice in zip(measured, self.choices, strict=True)
        )
        return f"{worst}, {decibels:.1f} dB"


def _some(examples):
    """`_FRAMES` of the examples at most, from all over them."""
    batches, step = [], max(1, sum(len(x) for x, _ in examples) // _FRAMES)
    first = 0
    for inputs, labels in examples:
        part = slice(-first % step, None, step)
        first += len(inputs)
        if len(inputs[part]):
            batches.append((inputs[part], None if labels is None else labels[part]))
    return batches
