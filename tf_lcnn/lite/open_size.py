"""Models of open height and width: one file with a default size, which LiteRT can change.

The file is converted with the open sizes in its signature, so that operators whose result
depends on the size (a resize, a transposed convolution) compute it when they run.
"""

import dataclasses

import numpy as np

from tf_lcnn.runtime import litert

# Lowerings without a number that depends on the size; `gather` cuts planes of a fixed one.
LOWERINGS = ("sparse", "folded")

# Examples that other sizes are proved on.
_EXAMPLES = 4


def fixed(open_shape, default_shape, name):
    """The shape of one input that a file has at first.

    Args:
        open_shape: of a model's input, without the batch; None where a size is open.
        default_shape: the same with its sizes, or None to take what is fixed anyway.
        name: of the model.

    Raises:
        ValueError: a size is open in both, or the two do not fit.
    """
    shape = tuple(open_shape if default_shape is None else default_shape)
    if None in shape:
        raise ValueError(
            f"The input of {name} is {open_shape}, with open sizes: a default_shape without the "
            "batch, like (224, 224, 3), makes them the file's at first."
        )
    fits = len(shape) == len(open_shape) and all(
        wanted in (None, size) for wanted, size in zip(open_shape, shape, strict=True)
    )
    if not fits:
        raise ValueError(f"The default shape {shape} is none of {name}, which takes {open_shape}.")
    return shape


def refuse_fixed(names):
    """Raises ValueError if a lowering of these names fixes the size of the input."""
    if "gather" in names:
        raise ValueError(
            "lowering='gather' cuts planes of one size, and the model's input has open ones: "
            f"{', '.join(LOWERINGS)} or auto work."
        )


def resizable(choice):
    """A LoweringChoice that works at any size: another one in place of `gather`."""
    if choice.lowering in LOWERINGS:
        return choice
    return dataclasses.replace(choice, lowering=min(LOWERINGS, key=choice.seconds.get))


def with_default(content, shape):
    """The bytes of a .tflite whose open sizes are those of this input at first.

    The converter writes a size of 1 in their place, and a runtime that does not resize would run
    on that.
    """
    interpreter = litert.interpreter.Interpreter(
        model_content=content,
        # Delegates keep the shapes between their operators to themselves.
        experimental_op_resolver_type=litert.interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.resize_tensor_input(interpreter.get_input_details()[0]["index"], (1, *shape))
    interpreter.allocate_tensors()
    shapes = {tensor["index"]: tensor["shape"] for tensor in interpreter.get_tensor_details()}
    content = bytearray(content)
    graph = litert.schema.Model.GetRootAs(content, 0).Subgraphs(0)
    for index in range(graph.TensorsLength()):
        tensor = graph.Tensors(index)
        if tensor.ShapeSignatureLength() and -1 in tensor.ShapeSignatureAsNumpy():
            # A view: the numbers stand in the bytes themselves.
            tensor.ShapeAsNumpy()[:] = shapes[index]
    return bytes(content)


def other_sizes(model, examples):
    """Batches (inputs, None) of other sizes than the examples', where a model takes any.

    Parts and repetitions of the examples: half of the first open axis, twice the last one. Sizes
    that the Keras model itself refuses, as too small for it, are left out.

    Args:
        model: a Keras model with one input.
        examples: batches (inputs, labels).
    """
    axes = [axis for axis, size in enumerate(model.inputs[0].shape) if axis and size is None]
    inputs = examples[0][0][:_EXAMPLES]
    if not axes or any(batch.shape[1:] != inputs.shape[1:] for batch, _ in examples):
        # None is open, or the examples come in several sizes themselves.
        return []
    half = inputs.take(np.arange(-(-inputs.shape[axes[0]] // 2)), axes[0])
    twice = np.concatenate([inputs, np.flip(inputs, axes[-1])], axes[-1])
    return [(batch, None) for batch in (half, twice) if _runs(model, batch)]


def _runs(model, inputs):
    try:
        model(inputs[:1], training=False)
    except Exception:
        # Keras and TensorFlow have many kinds of error for a map that became too small.
        return False
    return True
