"""A TensorFlow function -> the bytes of a .tflite, of builtin operators only."""

import tensorflow as tf

from tf_lcnn import checks

QUANTIZATIONS = ("float16", "dynamic", "int8")
IO_TYPES = ("float32", "int8")


def to_tflite(function, input_shape, variables=(), quantize=None, calibration=None, io="float32"):
    """Converts a function of one float32 image.

    Constants that are mostly zeros are stored sparse, except under "dynamic": there LiteRT's
    XNNPACK refuses convolutions with sparse weights.

    Args:
        function: image (1, ...) -> output.
        input_shape: of the image, with the batch of 1.
        variables: tf.Variables that the function reads; they become constants.
        quantize: None; "float16", weights stored so; "dynamic", weights in int8; "int8",
            weights and activations.
        calibration: for "int8", real inputs in any form that `checks.inputs` takes: their ranges
            become those of the activations.
        io: for "int8", the type of input and output, "float32" or "int8".

    Raises:
        ValueError: an unknown or impossible setting, or an operation that builtin operators
            cannot express.
    """
    check_quantization(quantize, io)
    if quantize == "int8":
        calibration = checks.inputs(calibration, input_shape[1:], "calibration inputs")
    spec = tf.TensorSpec(input_shape, tf.float32, name="image")
    concrete = tf.function(lambda image: function(image)).get_concrete_function(spec)
    # The converter freezes the variables that it finds in a tf.Module.
    holder = tf.Module()
    holder.frozen = list(variables)
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.optimizations = []
    if quantize != "dynamic":
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    if quantize is not None:
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
    if quantize == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if quantize == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in calibration)
        converter.inference_input_type = converter.inference_output_type = tf.dtypes.as_dtype(io)
    try:
        return converter.convert()
    except Exception as error:
        # The converter's own kind of error is not part of TensorFlow's public API.
        reason = checks.first_line(error)
        raise ValueError(f"No conversion to builtin operators: {reason}") from error


def check_quantization(quantize, io="float32"):
    """Raises ValueError unless a file can have this `quantize` and `io`, see `to_tflite`."""
    if quantize is not None and quantize not in QUANTIZATIONS:
        raise ValueError(f"Unknown quantize={quantize!r}: {', '.join(QUANTIZATIONS)}, or None.")
    if io not in IO_TYPES or (io == "int8" and quantize != "int8"):
        raise ValueError(f"io={io!r} with quantize={quantize!r}: int8 needs quantize='int8'.")
