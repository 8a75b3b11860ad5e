"""int8 numbers in steps that divide a table's: what is rounded to int8 is rounded to levels too.

Between two levels lies a border, and a sum near it that is rounded to int8 first, and to a level
then, may end on the other side. With an odd number of int8 steps from level to level every border
lies between two int8 numbers, and rounding twice is rounding once.
"""

import collections

import numpy as np

from tf_lcnn.runtime import litert

# Operators that bring their result to any scale, and that read numbers of any scale without
# constants made for it, as a convolution's bias is.
_PRODUCERS = {
    *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"),
    *("ADD", "SUB", "MUL", "QUANTIZE"),
}
_CONSUMERS = {"DEQUANTIZE", "RESHAPE", "ADD", "SUB", "MUL", "QUANTIZE"}


def fitted(content, forms):
    """The bytes of an int8 .tflite whose tables read what is on a grid that fits their levels.

    The scales of int8 numbers that a table reads become those of a coarser grid, the finest of an
    odd number n of steps from level to level: by less than (n + 2) / n. They stay as they are where
    an operator other than a reshape needs the same scale on both sides, where levels are closer
    than int8 numbers, and where a border lies on zero, which int8 has: a signed table of an even
    number of levels.

    Args:
        content: as the converter wrote it, with the layers of these forms lowered.
        forms: the `table_forms.TableForm` of the layers.
    """
    steps = {np.float32(form.step / 2): form.step for form in forms if form.has_middle}
    content = bytearray(content)
    model = litert.schema.Model.GetRootAs(content, 0)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(i) for i in range(graph.OperatorsLength())]
    made, read = {}, collections.defaultdict(list)
    for operator in operators:
        made.update((int(index), operator) for index in operator.OutputsAsNumpy())
        for index in operator.InputsAsNumpy():
            read[int(index)].append(operator)
    fitting = set()
    for operator in operators:
        if _name(model, operator) != "FLOOR_DIV":
            continue
        number, divisor = map(int, operator.InputsAsNumpy())
        step = steps.get(_constant(model, graph.Tensors(divisor)))
        before = made.get(number)
        if step is None or _name(model, before) != "DEQUANTIZE":
            continue
        numbers = [int(before.Inputs(0))]
        while _name(model, made.get(numbers[-1])) == "RESHAPE":
            # Of one scale on both sides.
            numbers.append(int(made[numbers[-1]].Inputs(0)))
        fits = _name(model, made.get(numbers[-1])) in _PRODUCERS
        # Of tables that read the same numbers with other steps, the first has its way.
        fits = fits and not fitting.intersection(numbers)
        if fits and all(_name(model, x) in _CONSUMERS for i in numbers for x in read[i]):
            fitting.update(numbers)
            for index in numbers:
                # A view: the numbers stand in the bytes themselves.
                scale = graph.Tensors(index).Quantization().ScaleAsNumpy()
                scale[:] = _coarser(float(scale[0]), step)
    return bytes(content)


def _coarser(scale, step):
    """The next larger scale of which an odd number make a step; the scale itself without one."""
    count = int(step / scale)
    count -= 1 - count % 2
    return step / count if count > 0 else scale


def _name(model, operator):
    """The name of an operator; None of None."""
    if operator is None:
        return None
    code = model.OperatorCodes(operator.OpcodeIndex())
    # Old codes have a field of their own.
    return litert.operators()[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]


def _constant(model, tensor):
    """The first float32 number of a constant tensor; None for what is none."""
    data = model.Buffers(tensor.Buffer()).DataAsNumpy()
    is_constant = tensor.Type() == litert.schema.TensorType.FLOAT32 and np.size(data) > 1
    return np.frombuffer(data.tobytes(), np.float32)[0] if is_constant else None
