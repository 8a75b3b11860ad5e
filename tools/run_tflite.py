"""Runs a .tflite file on a batch of inputs: run_tflite.py MODEL.tflite INPUTS.npy OUTPUTS.npy

Needs numpy and ai-edge-litert alone, so that tools/arm64.sh can run it for ARM64.
"""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter


def predict(path, inputs):
    """Outputs (N, ...) of the file at path for inputs (N, ...), run one by one."""
    interpreter = Interpreter(model_path=path, num_threads=1)
    interpreter.allocate_tensors()
    ins, outs = interpreter.get_input_details(), interpreter.get_output_details()
    if len(ins) != 1 or len(outs) != 1:
        raise ValueError(f"one input and one output wanted, found {len(ins)} and {len(outs)}")
    # Never from float to int8: those numbers would need quantizing, not rounding.
    inputs = inputs.astype(ins[0]["dtype"], casting="same_kind")
    if inputs.ndim == 0 or len(inputs) == 0:
        raise ValueError("no inputs")
    outputs = []
    for one in inputs:
        interpreter.set_tensor(ins[0]["index"], one[None])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(outs[0]["index"])[0])
    return np.stack(outputs)


def main(arguments):
    if len(arguments) != 3:
        return "usage: run_tflite.py MODEL.tflite INPUTS.npy OUTPUTS.npy"
    path, source, target = arguments
    try:
        with open(source, "rb") as file:
            inputs = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError) as error:
        return f"{source}: {_line(error)}"
    try:
        outputs = predict(path, inputs)
    except (OSError, RuntimeError, TypeError, ValueError) as error:
        return f"{path}: {_line(error)}"
    try:
        # An open file, since a name without .npy would be given one.
        with open(target, "wb") as file:
            np.save(file, outputs)
    except OSError as error:
        return f"{target}: {_line(error)}"


def _line(error):
    return " ".join((getattr(error, "strerror", None) or str(error)).split())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
