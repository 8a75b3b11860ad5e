"""A trained model -> .tflite, its report, and the proof that the two compute the same."""

import collections
import os
import pathlib

import keras
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tf_lcnn import files
from tf_lcnn.costs.counting import profile
from tf_lcnn.graph.rebuild import in_float32
from tf_lcnn.lite import metadata, prices
from tf_lcnn.lite.choice import AUTO, choose_lowerings, lowered
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.lite.layerwise import measure
from tf_lcnn.lite.proof import ProofError, compare
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.lite.report import Report
from tf_lcnn.runtime.interpreter import parse


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
    plans = choose_lowerings(model, quantize=quantize) if plans is None else plans
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


def export(
    model,
    path,
    batches,
    way=AUTO,
    optimize="speed",
    costs=prices.DEFAULT,
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
        way, optimize, costs: how lookup layers leave, see `plan`.
        images: a `data.DataSet`; its labels and normalization become the file's metadata.
        quantize, examples, io: see `converter.to_tflite`. For int8 the ranges of S are
            equalized on the examples first.
        layerwise: array (count, ...) of real inputs to measure each lookup layer on, alone,
            for the report; None measures none.
        delegate: whether the file is for LiteRT with the native delegate, see `plan`. It runs
            without it too, and the proof does.

    Returns:
        Report.

    Raises:
        ProofError: the logits differ by more than `TOLERANCE`, or a quantized file keeps less
            than `MINIMUM_DECIBELS` or loses more than `MAXIMUM_ACCURACY_LOSS`; or an operator
            is not builtin.
        ValueError: see `convert`.
    """
    path = pathlib.Path(path)
    _refuse(model)
    model = in_float32(model)
    plans = choose_lowerings(model, way, optimize, costs, quantize, delegate)
    if quantize == "int8" and examples is not None and len(examples):
        plans = equalize(model, plans, examples)
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
