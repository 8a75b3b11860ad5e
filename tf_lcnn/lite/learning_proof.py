"""The proof that a .tflite learns what its Keras model would, from the same photos."""

import dataclasses

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.layers import family
from tf_lcnn.lite.proof import TOLERANCE
from tf_lcnn.runtime.learning import Learner
from tf_lcnn.tasks.classification import class_numbers

STEPS = 3
_EXAMPLES = 8

# How far the first step goes: this share of the length of the state. On the way losses must change.
_SHARE = 0.01


@dataclasses.dataclass(frozen=True)
class LearningProof:
    """Some steps of gradient descent in a .tflite beside the same in Keras.

    Attributes:
        layers: names of those that are trained.
        parameters: how many numbers are moved, 4 bytes each.
        features: how many numbers an example is to the layers that are trained.
        steps: how many were compared.
        loss_difference: the largest relative difference of a loss.
        state_difference: of what was learned: the largest difference of a number, over the largest
            way that one went.
        output_difference: of what comes out then, over the largest output.
    """

    layers: tuple
    parameters: int
    features: int
    steps: int
    loss_difference: float
    state_difference: float
    output_difference: float

    def holds(self):
        """Whether all is as in Keras. NaN is not."""
        figures = (self.loss_difference, self.state_difference, self.output_difference)
        return all(figure <= TOLERANCE for figure in figures)

    def as_dict(self):
        """Everything in plain Python types."""
        return {**dataclasses.asdict(self), "layers": list(self.layers)}

    def __str__(self):
        return (
            f"Learns in {', '.join(self.layers)}: {self.parameters:,} numbers "
            f"({4 * self.parameters:,} bytes) from {self.features:,} features an example; "
            f"{self.steps} steps as in Keras: losses to {self.loss_difference:.1e}, numbers to "
            f"{self.state_difference:.1e} of their way, outputs to {self.output_difference:.1e}"
        )


def compare(plan, path, examples):
    """Trains the Keras model and the file on the same examples.

    Args:
        plan: the `learning.Plan` of the file; its model is as it was afterwards.
        path: the file.
        examples: batches (inputs, labels), see `checks.batches`; without labels any will do.

    Returns:
        LearningProof.

    Raises:
        ValueError: LiteRT cannot load the file, or train it.
    """
    learner = Learner(path)
    inputs, labels = examples[0][0][:_EXAMPLES], examples[0][1]
    if labels is None:
        labels = np.arange(len(inputs)) % learner.classes
    labels = class_numbers(labels[:_EXAMPLES], learner.classes)
    trained = [_Trained(variable, mask) for layer in plan.layers for variable, mask in _of(layer)]
    features, losses, rate = learner.features(inputs), [], None
    before = [keras.ops.convert_to_numpy(each.variable) for each in trained]
    try:
        for _ in range(STEPS):
            expected, found = _gradients(plan, inputs, labels, trained)
            if rate is None:
                rate = _rate(plan.start, found)
            losses.append((learner.train(features, labels, rate), expected))
            for each, gradient in zip(trained, found, strict=True):
                each.variable.assign(each.variable - rate * gradient)
        outputs = keras.ops.convert_to_numpy(plan.model(inputs, training=False))
        wanted = np.concatenate([each.values() for each in trained])
    finally:
        for each, value in zip(trained, before, strict=True):
            each.variable.assign(value)
    way = np.abs(wanted - plan.start).max()
    return LearningProof(
        tuple(layer.name for layer in plan.layers),
        learner.parameters,
        features.shape[1],
        STEPS,
        float(max(abs(mine - theirs) / abs(theirs) for mine, theirs in losses)),
        float(np.abs(learner.state - wanted).max() / way),
        float(np.abs(learner.infer(inputs) - outputs).max() / np.abs(outputs).max()),
    )


@dataclasses.dataclass(frozen=True)
class _Trained:
    """A Keras variable, and which of its entries move: a Boolean array."""

    variable: object
    mask: np.ndarray

    def values(self):
        return keras.ops.convert_to_numpy(self.variable)[self.mask]


def _of(layer):
    """(variable, which of its entries move) of what is trained of a layer, in the state's order."""
    if family.of(layer) is None:
        yield layer.kernel, np.ones(layer.kernel.shape, bool)
    else:
        yield layer.coefficients, keras.ops.convert_to_numpy(layer.sparse_coefficients()) != 0
    if layer.use_bias:
        yield layer.bias, np.ones(layer.bias.shape, bool)


def _gradients(plan, inputs, labels, trained):
    """(loss, gradients of what moves) by TensorFlow's own differentiation of the Keras model."""
    gives_probabilities = plan.nodes[-1].step.function is None
    variables = [each.variable.value for each in trained]
    with tf.GradientTape() as tape:
        tape.watch(variables)
        outputs = plan.model(inputs, training=False)
        logits = tf.math.log(outputs) if gives_probabilities else outputs
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        loss = tf.reduce_mean(losses)
    found = tape.gradient(loss, variables)
    return float(loss), [g.numpy() * each.mask for g, each in zip(found, trained, strict=True)]


def _rate(start, gradients):
    """The learning rate at which the first step goes `_SHARE` of the way to zero."""
    length = float(np.sqrt(sum((gradient**2).sum() for gradient in gradients)))
    return _SHARE * float(np.linalg.norm(start)) / length if length else 1.0
