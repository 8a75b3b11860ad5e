"""A trained model -> .tflite, its report, and the proof that the two compute the same."""

import collections
import dataclasses
import json
import os
import pathlib

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_lcnn import files
from tf_lcnn.layers import copy_layer, sublayers
from tf_lcnn.lite import cost_model, lowering, metadata
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.layerwise import measure, signal_to_noise
from tf_lcnn.lite.plan import AUTO, lowered, plan
from tf_lcnn.lite.quantise import equalise
from tf_lcnn.lite.runtime import Interpreter, parse
from tf_lcnn.profile import profile

# Of the largest logit; float32 rounding in other orders gives about 1e-6.
TOLERANCE = 1e-4

# What a quantised file has to keep: dB of signal to noise of the logits, and accuracy.
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
        """Whether the file is good enough for its quantisation. NaN is not."""
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


@dataclasses.dataclass(frozen=True)
class Report:
    """What was exported.

    Attributes:
        path: the file.
        plans: a LayerPlan per lookup layer.
        operators: LiteRT operator -> how many the file has.
        bytes: size of the file.
        proof: the Proof.
        figures: a `layerwise.LayerFigures` per plan, where they were asked for, else empty.
    """

    path: pathlib.Path
    plans: tuple
    operators: dict
    bytes: int
    proof: Proof
    figures: tuple

    def as_dict(self):
        """Everything in plain Python types, as in the JSON file."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "operators": self.operators,
            "proof": dataclasses.asdict(self.proof),
            "layers": [
                {
                    "name": each.layer.name,
                    "lowering": each.lowering,
                    "k": each.layer.k,
                    "rows_dropped": each.layer.rows_dropped,
                    "max_s": each.layer.lookups,
                    "batch_normalisation": each.folded.name if each.folded else None,
                    "predicted_ms": {way: 1e3 * t for way, t in each.seconds.items()},
                    "delegate": each.delegate.kernel if each.delegate else None,
                    "bytes": each.bytes,
                    **measured,
                }
                for each, measured in zip(self.plans, self._measured(), strict=True)
            ],
        }

    def _measured(self):
        if not self.figures:
            return [{}] * len(self.plans)
        return [
            {"measured_ms": 1e3 * found.seconds, "decibels": found.decibels}
            for found in self.figures
        ]

    def write_json(self, path):
        """Writes the report as JSON."""
        files.write(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def __str__(self):
        lines = []
        for each, measured in zip(self.plans, self._measured(), strict=True):
            ways = ", ".join(
                f"{way} {1e3 * each.seconds[way]:.3f} ms {each.bytes[way]:,} bytes"
                for way in lowering.LOWERINGS
            )
            line = (
                f"{each.layer.name}: {each.lowering}, k {each.layer.k}, s <= {each.layer.lookups}; "
                f"predicted: {ways}"
            )
            if each.delegate:
                found = each.delegate
                line += f"; native delegate: {found.kernel}, {1e3 * found.seconds:.3f} ms"
            if measured:
                line += "; measured alone {measured_ms:.3f} ms, {decibels:.1f} dB".format(
                    **measured
                )
            lines.append(line)
        if not self.plans:
            lines.append("No lookup layers: the model leaves as it is.")
        operators = ", ".join(f"{name} {count}" for name, count in sorted(self.operators.items()))
        lines += [f"Operators, all builtin: {operators}", f"{self.path}: {self.bytes:,} bytes"]
        smallest = sum(min(each.bytes.values()) for each in self.plans)
        taken = sum(each.bytes[each.lowering] for each in self.plans)
        sparse = sum(each.bytes["sparse"] for each in self.plans)
        if taken > 1.1 * smallest:
            lines.append(
                f"The lookup layers take {taken:,} bytes for speed; the smallest way for each "
                f"would take {smallest:,}, all of them sparse {sparse:,}."
            )
        return "\n".join([*lines, str(self.proof)])


def in_float32(model):
    """The model itself, or a copy that computes in float32 if it was made for mixed precision."""
    if all(layer.compute_dtype == "float32" for layer in sublayers(model)):
        return model

    copies = {}

    def clone(layer):
        changes = {"dtype": "float32"} if isinstance(layer, keras.Layer) else {}
        return copy_layer(layer, copies, **changes)

    copy = keras.models.clone_model(model, clone_function=clone, recursive=True)
    copy.set_weights(model.get_weights())
    return copy


def convert(model, plans=None, quantize=None, examples=None, io="float32"):
    """The bytes of a .tflite for batch 1, of builtin ops only.

    Args:
        model: a built Keras model with one input of known shape, on the TensorFlow backend.
        plans: see `plan`; None plans by the default costs.
        quantize, examples, io: see `converter.to_tflite`.

    Raises:
        ValueError: another backend, several inputs, an input shape that is not fixed, or what
            `to_tflite` refuses.
    """
    _refuse(model)
    plans = plan(model, quantize=quantize) if plans is None else plans
    shape = (1, *model.inputs[0].shape[1:])
    variables = [variable.value for variable in model.variables]
    with lowered(plans):
        return to_tflite(
            lambda image: model(image, training=False), shape, variables, quantize, examples, io
        )


def _refuse(model):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"Export needs the TensorFlow backend, this is {keras.backend.backend()}: load the "
            "saved model with KERAS_BACKEND=tensorflow."
        )
    shapes = [tuple(x.shape) for x in getattr(model, "inputs", None) or ()]
    if len(shapes) != 1 or None in shapes[0][1:]:
        raise ValueError(
            f"Export needs a built model with one input of fixed shape; the inputs of {model.name} "
            f"are {shapes}."
        )


def operators(content):
    """LiteRT operator -> how many of them the bytes of a .tflite hold.

    Raises:
        ProofError: an operator is not builtin; a phone's runtime would not have it.
    """
    model = parse(content)
    names = {code: name for name, code in vars(schema.BuiltinOperator).items()}
    # Old codes have a field of their own.
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    custom = [c.customCode.decode() for c in model.operatorCodes if c.customCode]
    if custom:
        raise ProofError(f"The file has operators that are not builtin: {', '.join(custom)}.")
    found = [op.opcodeIndex for graph in model.subgraphs for op in graph.operators]
    return dict(collections.Counter(names[codes[index]] for index in found))


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


def export(
    model,
    path,
    batches,
    way=AUTO,
    optimise="speed",
    costs=cost_model.DEFAULT,
    images=None,
    quantize=None,
    examples=None,
    io="float32",
    layerwise=None,
    delegate=False,
):
    """Writes a .tflite and proves that it computes what the model computes in float32.

    Args:
        model: see `convert`.
        path: the file to write; a file that fails the proof is left beside it, under the
            name *.rejected.tflite, and `path` is not touched.
        batches: iterable of (images, labels) to compare on.
        way, optimise, costs: how lookup layers leave, see `plan`.
        images: a `data.DataSet`; its labels and normalisation become the file's metadata.
        quantize, examples, io: see `converter.to_tflite`. For int8 the ranges of S are
            equalised on the examples first.
        layerwise: array (count, ...) of real inputs to measure each lookup layer on, alone,
            for the report; None measures none.
        delegate: whether the file is for LiteRT with the native delegate, see `plan`. It runs
            without it too, and the proof does.

    Returns:
        Report.

    Raises:
        ProofError: the logits differ by more than `TOLERANCE`, or a quantised file keeps less
            than `MINIMUM_DECIBELS` or loses more than `MAXIMUM_ACCURACY_LOSS`; or an operator
            is not builtin.
        ValueError: see `convert`.
    """
    path = pathlib.Path(path)
    _refuse(model)
    model = in_float32(model)
    plans = plan(model, way, optimise, costs, quantize, delegate)
    if quantize == "int8" and examples is not None and len(examples):
        plans = equalise(model, plans, examples)
    content = convert(model, plans, quantize, examples, io)
    found = operators(content)
    if images is not None:
        content = metadata.append(content, metadata.describe(model, images, profile(model)))
    candidate = path.with_suffix(".rejected.tflite")
    files.write(candidate, content)
    proof = compare(model, candidate, batches)
    if not proof.holds(quantize):
        message = f"{candidate} does not compute what {model.name} computes: {proof}"
        if quantize is not None and plans:
            inputs = examples if examples is not None else next(iter(batches))[0][:8]
            figures = measure(model, plans, np.asarray(inputs), quantize)
            pairs = zip(figures, plans, strict=True)
            decibels, worst = min((each.decibels, p.layer.name) for each, p in pairs)
            message += f"; the layer that loses most is {worst}, {decibels:.1f} dB"
        raise ProofError(f"{message}.")
    os.replace(candidate, path)
    figures = () if layerwise is None else measure(model, plans, layerwise, quantize)
    return Report(path, tuple(plans), found, len(content), proof, tuple(figures))
