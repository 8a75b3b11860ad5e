"""Two .tflite files as one: the second takes what the first gives."""

from tf_lcnn.lite import packing
from tf_lcnn.runtime.interpreter import parse


def joined(first, second):
    """The bytes of a .tflite that computes second(first(x)).

    Args:
        first, second: the bytes of files with one input and one output; the output of the first
            has the type and shape of the second's input.

    Raises:
        ValueError: they do not fit, or are no whole .tflite.
    """
    before, model = parse(first, "the first file"), parse(second, "the second file")
    ahead, graph = before.subgraphs[0], model.subgraphs[0]
    (given,), (taken,) = ahead.outputs, graph.inputs
    kinds = [(x.type, tuple(x.shape)) for x in (ahead.tensors[given], graph.tensors[taken])]
    if kinds[0] != kinds[1]:
        raise ValueError(f"The first file gives {kinds[0]}, and the second takes {kinds[1]}.")
    codes, buffers = len(model.operatorCodes), len(model.buffers)
    # What the first one gives is the tensor that the second one takes.
    numbers = {-1: -1, int(given): int(taken)}
    for i, tensor in enumerate(ahead.tensors):
        tensor.buffer += buffers
        if i != given:
            numbers[i] = len(graph.tensors)
            graph.tensors.append(tensor)
    for operator in ahead.operators:
        operator.opcodeIndex += codes
        operator.inputs = [numbers[int(i)] for i in operator.inputs]
        operator.outputs = [numbers[int(i)] for i in operator.outputs]
    model.operatorCodes += before.operatorCodes
    model.buffers += before.buffers
    graph.operators = [*ahead.operators, *graph.operators]
    graph.inputs = [numbers[int(i)] for i in ahead.inputs]
    for signature in model.signatureDefs or ():
        signature.inputs[0].tensorIndex = graph.inputs[0]
    return packing.compact(model)
