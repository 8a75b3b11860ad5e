"""A trained model -> .tflite, and the proof that the two compute the same.

A lookup layer leaves as stock ops: CONV_2D 1x1 with D, then CONV_2D with P, stored sparse and
unpacked once by DENSIFY when the file is loaded.
"""

import contextlib
import dataclasses
import os
import pathlib

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn.layers import lookup_layers, sublayers
from tf_lcnn.lite.runtime import Interpreter

# Of the largest logit; float32 rounding in other orders gives about 1e-6.
TOLERANCE = 1e-4


class ProofError(Exception):
    """The file does not compute what the Keras model computes."""


@dataclasses.dataclass(frozen=True)
class Proof:
    """A .tflite file beside its Keras model, on the same examples.

    `largest_difference` is absolute, of the logits; `relative_difference` is that over the
    largest absolute logit of the Keras model. Accuracies are from 0 to 1.
    """

    examples: int
    largest_difference: float
    relative_difference: float
    keras_accuracy: float
    tflite_accuracy: float

    def __str__(self):
        return (
            f"{self.examples} examples: largest difference of the logits "
            f"{self.largest_difference:.2e} ({self.relative_difference:.1e} relative), accuracy "
            f"{self.keras_accuracy:.2%} in Keras, {self.tflite_accuracy:.2%} in LiteRT"
        )


def in_float32(model):
    """The model itself, or a copy that computes in float32 if it was made for mixed precision."""
    if all(layer.compute_dtype == "float32" for layer in sublayers(model)):
        return model

    def clone(layer):
        config = layer.get_config()
        if isinstance(layer, keras.Layer):
            config["dtype"] = "float32"
        return type(layer).from_config(config)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def convert(model):
    """The bytes of a float32 .tflite for batch 1, of builtin ops only.

    Args:
        model: a built Keras model with one input of known shape, on the TensorFlow backend.

    Raises:
        ValueError: another backend, several inputs, an input shape that is not fixed, or a
            layer that LiteRT's builtin ops cannot express.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Export needs the TensorFlow backend, this is {keras.backend.backend()}: load the "
            "saved model with KERAS_BACKEND=tensorflow."
        )
    if len(model.inputs) != 1 or None in model.inputs[0].shape[1:]:
        raise ValueError(
            f"Export needs one input of fixed shape; {model.name} has "
            f"{[x.shape for x in model.inputs]}."
        )
    spec = tf.TensorSpec((1, *model.inputs[0].shape[1:]), tf.float32, name="image")
    with _in_stages(model):
        function = tf.function(lambda image: model(image, training=False), input_signature=[spec])
        concrete = function.get_concrete_function()
    # The converter freezes the variables that it finds in a tf.Module; a Keras model is none.
    holder = tf.Module()
    holder.variables_of_model = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
    try:
        return converter.convert()
    except Exception as error:
        # The converter's own kind of error is not part of TensorFlow's public API.
        reason = str(error).strip().splitlines()[0]
        raise ValueError(f"{model.name} does not convert to builtin ops: {reason}") from error


@contextlib.contextmanager
def _in_stages(model):
    """Traces the lookup layers as their two stages, whatever training prefers."""
    layers = lookup_layers(model)
    paths = [layer.forward for layer in layers]
    try:
        for layer in layers:
            layer.forward = "stages"
        yield
    finally:
        for layer, path in zip(layers, paths, strict=True):
            layer.forward = path


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
        keras_accuracy=float((expected.argmax(axis=-1) == labels).mean()),
        tflite_accuracy=float((found.argmax(axis=-1) == labels).mean()),
    )


def export(model, path, batches):
    """Writes a .tflite and proves that it computes what the model computes, in float32.

    Args:
        model: see `convert`.
        path: the file to write; a file that fails the proof is left beside it, under the
            name *.rejected.tflite, and `path` is not touched.
        batches: iterable of (images, labels) to compare on.

    Returns:
        Proof.

    Raises:
        ProofError: the logits differ by more than `TOLERANCE`, or are not finite.
        ValueError: see `convert`.
    """
    path = pathlib.Path(path)
    model = in_float32(model)
    candidate = path.with_suffix(".rejected.tflite")
    candidate.write_bytes(convert(model))
    proof = compare(model, candidate, batches)
    # Written so that NaN fails too.
    if not proof.relative_difference <= TOLERANCE:
        raise ProofError(
            f"{candidate} does not compute what {model.name} computes: {proof}; at most "
            f"{TOLERANCE:.0e} relative is allowed."
        )
    os.replace(candidate, path)
    return proof
