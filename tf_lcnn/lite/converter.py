"""A TensorFlow function -> the bytes of a .tflite, of builtin operators only."""

import re
import tempfile

import tensorflow as tf

from tf_lcnn import checks, quiet
from tf_lcnn.layers import levels
from tf_lcnn.runtime.interpreter import parse, serialized

QUANTIZATIONS = ("float16", "dynamic", *levels.FORMATS)
IO_TYPES = ("float32", "int8")


def to_tflite(
    function,
    input_shape,
    variables=(),
    quantize=None,
    calibration=None,
    io="float32",
    dtype="float32",
    sparse=True,
):
    """Converts a function of one input.

    Args:
        function: input (1, ...) -> output.
        input_shape: of the input, with the batch of 1; None for a size that is open.
        variables: tf.Variables that the function reads; they become constants.
        quantize: None; "float16", weights stored so; "dynamic", weights in int8; "int8",
            weights and activations; "int4", "ternary" and "binary", with "_per_tensor" or without,
            the same, of weights that are on that grid already (`layers.levels`).
        calibration: for "int8" and what is below it, real inputs of one size, in any form that
            `checks.inputs` takes: their ranges become those of the activations.
        io: for "int8", the type of input and output, "float32" or "int8".
        dtype: of the function's input; one of bytes is not quantized.
        sparse: whether constants that are mostly zeros are stored sparse. Under "dynamic" none
            are: there LiteRT's XNNPACK refuses convolutions with sparse weights.

    Raises:
        ValueError: an unknown or impossible setting, or an operation that builtin operators
            cannot express.
    """
    check_quantization(quantize, io)
    if quantize in levels.FORMATS:
        calibration = checks.inputs(calibration, input_shape[1:], "calibration inputs")
    concrete = _traced(function, input_shape, dtype)
    # The converter freezes the variables that it finds in a tf.Module.
    holder = tf.Module()
    holder.frozen = list(variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = []
    if sparse and quantize != "dynamic":
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    if quantize is not None:
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize in levels.FORMATS:
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in calibration)
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    return _converted(converter)


def signatures_to_tflite(module, signatures):
    """Converts several functions that share variables, which stay variables.

    Args:
        module: a tf.Module that holds the variables.
        signatures: name -> concrete function of named inputs and a dict of outputs. The first one
            is what a runtime runs that asks for no signature.

    Raises:
        ValueError: an operation that builtin operators cannot express.
    """
    with tempfile.TemporaryDirectory() as folder:
        tf.saved_model.save(module, folder, signatures=signatures)
        converter = tf.lite.TFLiteConverter.from_saved_model(
            folder, signature_keys=list(signatures)
        )
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        converter.optimizations = [tf.lite.Optimize.EXPERIMENTAL_SPARSITY]
        converter.experimental_enable_resource_variables = True
        return _in_front(_converted(converter), next(iter(signatures)))


def _in_front(content, name):
    """The bytes of a .tflite whose first graph is that of this signature."""
    model = parse(content)
    (signature,) = [x for x in model.signatureDefs if x.signatureKey == name.encode()]
    (other,) = [x for x in model.signatureDefs if x.subgraphIndex == 0]
    graphs, index = model.subgraphs, signature.subgraphIndex
    graphs[0], graphs[index] = graphs[index], graphs[0]
    signature.subgraphIndex, other.subgraphIndex = 0, index
    return serialized(model)


def _converted(converter):
    try:
        with quiet.notices_dropped():
            return converter.convert()
    except Exception as error:
        # The converter's own kind of error is not part of TensorFlow's public API.
        reason = checks.first_line(error)
        raise ValueError(f"No conversion to builtin operators: {reason}") from error


def _traced(function, input_shape, dtype):
    spec = tf.TensorSpec(input_shape, dtype, name="image")
    traced = tf.function(lambda image: function(image))
    if None not in input_shape:
        return traced.get_concrete_function(spec)
    try:
        return traced.get_concrete_function(spec)
    except Exception as error:
        # Keras wraps what its layers raise in many lines, and the layer is named in one of them.
        where = re.search(r"Exception encountered when calling (.*)\.$", str(error), re.MULTILINE)
        layer = "A layer" if where is None else where[1].removesuffix(".call()")
        raise ValueError(
            f"{layer} needs an input of fixed size, and the model's is {input_shape}: build the "
            "model with a fixed one; its weights fit."
        ) from error


def check_quantization(quantize, io="float32"):
    """Raises ValueError unless a file can have this `quantize` and `io`, see `to_tflite`."""
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise ValueError(f"Unknown quantize={quantize!r}: {', '.join(QUANTIZATIONS)}, or None.")
    if io not in IO_TYPES or (io == "int8" and quantize not in levels.FORMATS):
        raise ValueError(
            f"io={io!r} with quantize={quantize!r}: int8 needs quantize="
            f"{' or '.join(map(repr, levels.FORMATS))}."
        )
