"""A trained model -> .tflite, its report, and the proof that the two compute the same."""

import collections
import os
import pathlib

import keras
from ai_edge_litert import schema_py_generated as schema

from tf_lcnn import checks, files
from tf_lcnn.costs.counting import profile
from tf_lcnn.graph.rebuild import in_float32
from tf_lcnn.lite import metadata
from tf_lcnn.lite.choice import AUTO, choose_lowerings, lowered
from tf_lcnn.lite.converter import check_quantization, to_tflite
from tf_lcnn.lite.layerwise import measure
from tf_lcnn.lite.prices import DEFAULT
from tf_lcnn.lite.proof import ProofError, compare
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.lite.report import Report
from tf_lcnn.runtime.interpreter import parse


def convert(model, choices=None, quantize=None, calibration=None, io="float32"):
    """The bytes of a .tflite for batch 1, of builtin ops only.

    Args:
        model: a built Keras model with one input of known shape, on the TensorFlow backend.
        choices: see `choice.choose_lowerings`; None chooses by the default prices.
        quantize, calibration, io: see `converter.to_tflite`.

    Raises:
        ValueError: another backend, several inputs, an input shape that is not fixed, or what
            `to_tflite` refuses.
    """
    _refuse(model)
    choices = choose_lowerings(model, quantize=quantize) if choices is None else choices
    shape = (1, *model.inputs[0].shape[1:])
    variables = [variable.value for variable in model.variables]
    with lowered(choices):
        return to_tflite(
            lambda image: model(image, training=False), shape, variables, quantize, calibration, io
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


def export(
    model,
    path,
    examples,
    *,
    lowering=AUTO,
    optimize="speed",
    prices=DEFAULT,
    delegate=False,
    quantize=None,
    calibration=None,
    io="float32",
    dataset=None,
    layerwise=None,
):
    """Writes a .tflite and proves that it computes what the model computes in float32.

    Args:
        model: see `convert`.
        path: the file to write; a file that fails the proof is left beside it, under the
            name *.rejected.tflite, and `path` is not touched.
        examples: real inputs to compare on, with labels or without: an array (count, ...), a pair
            of arrays, or an iterable of batches, see `checks.batches`.
        lowering, optimize, prices: of lookup layers, see `choice.choose_lowerings`.
        delegate: whether the file is for LiteRT with the native delegate, see
            `choice.choose_lowerings`. It runs without it too, and the proof does.
        quantize, io: see `converter.to_tflite`.
        calibration: for int8, real inputs to measure ranges on, in any form that `examples` may
            have. The ranges of S are equalized on them first.
        dataset: a `data.datasets.DataSet`; its labels and normalization become the file's
            metadata.
        layerwise: real inputs to measure each lookup layer on, alone, for the report; None
            measures none.

    Returns:
        Report.

    Raises:
        ProofError: the outputs differ by more than `proof.TOLERANCE`, or a quantized file keeps
            less than `proof.MINIMUM_DECIBELS` or loses more than the task allows; or an operator
            is not builtin.
        ValueError: see `convert` and `checks.batches`.
    """
    path = pathlib.Path(path)
    _refuse(model)
    check_quantization(quantize, io)
    shape = checks.input_shape(model)
    if quantize == "int8":
        calibration = checks.inputs(calibration, shape, "calibration inputs")
    if layerwise is not None:
        layerwise = checks.inputs(layerwise, shape, "inputs of layerwise")
    # A generator gives its batches once, and a rejected file is examined on some of them.
    examples = list(checks.batches(examples, shape))
    model = in_float32(model)
    choices = choose_lowerings(model, lowering, optimize, prices, quantize, delegate)
    if quantize == "int8":
        choices = equalize(model, choices, calibration)
    content = convert(model, choices, quantize, calibration, io)
    counts = operators(content)
    if dataset is not None:
        content = metadata.append(content, metadata.describe(model, dataset, profile(model)))
    candidate = path.with_suffix(".rejected.tflite")
    files.write(candidate, content)
    proof = compare(model, candidate, examples)
    if not proof.holds(quantize):
        message = f"{candidate} does not compute what {model.name} computes: {proof}"
        if quantize is not None and choices:
            inputs = examples[0][0][:8] if calibration is None else calibration
            figures = measure(model, choices, inputs, quantize)
            pairs = zip(figures, choices, strict=True)
            decibels, worst = min((figure.decibels, x.layer.name) for figure, x in pairs)
            message += f"; the layer that loses most is {worst}, {decibels:.1f} dB"
        raise ProofError(f"{message}.")
    os.replace(candidate, path)
    figures = () if layerwise is None else measure(model, choices, layerwise, quantize)
    return Report(path, tuple(choices), counts, len(content), proof, io, tuple(figures))
