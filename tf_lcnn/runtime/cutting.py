"""A .tflite cut into files of one layer each, to see where its time goes."""

import copy
import dataclasses
import itertools

import numpy as np

from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import parse, serialized

# How TensorFlow's operations begin that make a layer of weights.
_PRODUCTS = ("conv", "Conv", "depthwise", "MatMul")


@dataclasses.dataclass(frozen=True)
class LayerFile:
    """One layer of a .tflite, as a file of its own.

    Attributes:
        name: of the Keras layer, as the converter has kept it, like "stage1_block1_conv1_1"; the
            name of its output where there is none.
        operators: their names in LiteRT's schema, in the order in which they run.
        content: the bytes of a .tflite that computes this layer alone.
    """

    name: str
    operators: tuple
    content: bytes


def layers(content, name="the model"):
    """The layers of a .tflite in the order in which they run, each as a file of its own.

    Operators that follow one another and come from one Keras layer are one layer: a dictionary
    stage and its lookup stage, with the DENSIFY of its coefficients. The first tensor that a layer
    reads from others is the input of its file, and the last one that others read is its output;
    further operands hold random numbers.

    Args:
        content: the bytes of the file.
        name: what errors call it.

    Returns:
        list of LayerFile. Layers of operands that are neither float32 nor int8 are left out.

    Raises:
        ValueError: the bytes are no whole .tflite.
    """
    model = parse(content, name)
    graph = model.subgraphs[0]
    runs = itertools.groupby(graph.operators, lambda operator: layer_of(graph, operator))
    files = [_layer_file(model, title, list(operators)) for title, operators in runs]
    return [file for file in files if file is not None]


def layer_of(graph, operator):
    """The name of the Keras layer that an operator comes from.

    The converter names a tensor MODEL/LAYER/OPERATION, with semicolons between those that it has
    fused: an activation, biases and a folded batch normalization beside a product. The export
    leaves LAYER.
    """
    name = graph.tensors[operator.outputs[0]].name.decode(errors="replace")
    fused = [part.split("/") for part in name.split(";")]
    products = [path for path in fused if path[-1].startswith(_PRODUCTS)]
    path = (products or fused)[-1]
    return "/".join(path[1:-1]) if len(path) > 2 else name


def _layer_file(model, title, operators):
    """The LayerFile of these operators; None if they have operands that cannot be drawn."""
    graph = model.subgraphs[0]
    made = [tensor for operator in operators for tensor in operator.outputs]
    others = [operator for operator in graph.operators if operator not in operators]
    wanted = {*graph.outputs, *(tensor for operator in others for tensor in operator.inputs)}
    outputs = [tensor for tensor in made if tensor in wanted]
    used = dict.fromkeys(t for o in operators for t in (*o.inputs, *o.outputs) if t >= 0)
    operands = [t for t in used if t not in made and not _has_data(model, graph.tensors[t])]
    if not outputs or not operands:
        return None
    draw = _drawn()
    if any(graph.tensors[t].type not in draw for t in (*operands, outputs[-1])):
        return None
    part, buffers = litert.schema.SubGraphT(), [litert.schema.BufferT()]
    part.tensors, numbers = [], {tensor: number for number, tensor in enumerate(used)}
    for index in used:
        tensor = copy.copy(graph.tensors[index])
        data = model.buffers[tensor.buffer].data
        if index in operands[1:]:
            drawn = draw[tensor.type](np.random.default_rng(0), tuple(tensor.shape))
            data = np.frombuffer(drawn.tobytes(), np.uint8)
        tensor.buffer = 0
        if data is not None and index not in (operands[0], *made):
            tensor.buffer = len(buffers)
            buffers.append(litert.schema.BufferT())
            buffers[-1].data = data
        part.tensors.append(tensor)
    part.inputs, part.outputs = [numbers[operands[0]]], [numbers[outputs[-1]]]
    part.operators = [copy.copy(operator) for operator in operators]
    for operator in part.operators:
        operator.inputs = [numbers.get(tensor, -1) for tensor in operator.inputs]
        operator.outputs = [numbers[tensor] for tensor in operator.outputs]
    names = tuple(
        litert.operators()[model.operatorCodes[o.opcodeIndex].builtinCode] for o in operators
    )
    return LayerFile(title, names, _serialized(model, part, buffers))


def _drawn():
    """Type -> what draws an operand of it, to stand for what another layer computes."""
    kinds = litert.schema.TensorType
    return {
        kinds.FLOAT32: lambda rng, shape: rng.normal(size=shape).astype(np.float32),
        kinds.INT8: lambda rng, shape: rng.integers(-128, 128, shape).astype(np.int8),
    }


def _has_data(model, tensor):
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def _serialized(model, graph, buffers):
    """The bytes of a .tflite of one graph, with the operators of `model`."""
    one = litert.schema.ModelT()
    one.version, one.operatorCodes = model.version, model.operatorCodes
    one.subgraphs, one.buffers = [graph], buffers
    return serialized(one)
