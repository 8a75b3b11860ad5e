"""int4, ternary and binary: weights in few levels, stored in as many bits as that takes.

The converter writes int8 weights. Of a filter that has few levels they are as far apart as the
levels, so which they were is seen in the file, and nothing is rounded here but the bias. LiteRT
takes 4 bits in CONV_2D and 4 or 2 in FULLY_CONNECTED, which a 1x1 convolution without a stride is,
a dictionary stage for example; XNNPACK has kernels for the latter alone. DENSIFY takes neither: P
is stored sparse in int8 where that is smaller than dense in 4 bits.
"""

import contextlib
import copy
import dataclasses

import keras
import numpy as np

from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import family, levels
from tf_lcnn.lite import packing
from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import operator_names, parse

_INT8 = 127

# As LiteRT's op_version.cc has them for weights of less than a byte.
_VERSIONS = {"CONV_2D": 7, "FULLY_CONNECTED": 10}


# Before conversion


@contextlib.contextmanager
def rounded_kernels(model, input_shape, quantize):
    """Within this context layers that stay dense have kernels in the levels of a narrow format."""
    formats = _formats(model, input_shape, quantize)
    dense = [x for x in formats if family.of(x) is None]
    before = [keras.ops.convert_to_numpy(x.kernel) for x in dense]
    try:
        for layer in dense:
            layer.kernel.assign(levels.on_grid(layer.kernel.value, formats[layer].kernel))
        yield
    finally:
        for layer, value in zip(dense, before, strict=True):
            layer.kernel.assign(value)


def rounded_choices(model, input_shape, choices, quantize):
    """LoweringChoices with D and P in the levels of a narrow format; as they are for another."""
    formats = _formats(model, input_shape, quantize)
    return [
        dataclasses.replace(choice, layer=_rounded(choice.layer, formats[choice.source]))
        if choice.source in formats
        else choice
        for choice in choices
    ]


def _formats(model, input_shape, quantize):
    """layer -> levels.Format, of the layers whose weights have less than int8."""
    if quantize not in levels.NARROW:
        return {}
    formats = levels.layer_formats(trace(model, input_shape), quantize)
    return {x: levels.FORMATS[name] for x, name in formats.items() if name in levels.NARROW}


def _rounded(constants, weights):
    def on_grid(w, count):
        return keras.ops.convert_to_numpy(levels.on_grid(keras.ops.convert_to_tensor(w), count))

    return dataclasses.replace(
        constants,
        dictionary=on_grid(constants.dictionary, weights.dictionary),
        coefficients=on_grid(constants.coefficients, weights.coefficients),
    )


# After conversion


def narrowed(content):
    """The bytes of an int8 .tflite whose weights in few levels take as few bits.

    Args:
        content: as the converter wrote it.
    """
    model = parse(content)
    for graph in model.subgraphs:
        file = _File(model, graph)
        for operator in list(graph.operators):
            if file.name(operator) in _VERSIONS:
                file.narrow(operator)
        for operator in graph.operators:
            if file.name(operator) in _VERSIONS:
                file.share_scales(operator)
    return packing.compact(model)


class _File:
    """One graph of a ModelT, to be changed."""

    def __init__(self, model, graph):
        self.model, self.graph = model, graph
        self.names = operator_names(model)
        self.made = {int(x.outputs[0]): x for x in graph.operators}

    def name(self, operator):
        return self.names[operator.opcodeIndex]

    def narrow(self, operator):
        """Stores the weights of an operator in fewer bits, where they have few levels."""
        x, weights, bias = map(int, operator.inputs)
        densify = self.made.get(weights)
        values = self._values(weights, densify)
        if values is None:
            return
        for largest in (1, 7):
            whole = np.rint(values * (largest / _INT8)).astype(np.int8)
            if (np.rint(whole * (_INT8 / largest)) == values).all():
                break
        else:
            return
        pointwise = self._is_pointwise(operator, values)
        bits = 2 if largest == 1 and (pointwise or values.ndim == 2) else 4
        count = -(-values.size * bits // 8)
        if densify is not None:
            if packing.sparse_store(values[..., None].view(np.uint8))[0] < count:
                return
            self.graph.operators.remove(densify)
        shape = (values.shape[0], values.shape[-1]) if pointwise else values.shape
        tensor = self._tensor(self.graph.tensors[weights], shape, packed_bits(whole, bits))
        kinds = litert.schema.TensorType
        self.graph.tensors[tensor].type = kinds.INT2 if bits == 2 else kinds.INT4
        self._rescale(self.graph.tensors[tensor], _INT8 / largest)
        operator.inputs = np.array([x, tensor, self._bias(bias, _INT8 / largest)], np.int32)
        if pointwise:
            self._connect_fully(operator)
        name = "FULLY_CONNECTED" if pointwise else self.name(operator)
        operator.opcodeIndex = self._code(name)

    def share_scales(self, operator):
        """Makes the scale of an S that only this operator reads 1, and its biases' its weights'.

        Dictionary and coefficients take what the scale was; each filter has one number less.
        """
        s, weights, bias = map(int, operator.inputs)
        before = self.made.get(s)
        if before is None or self.name(before) not in _VERSIONS or bias < 0:
            return
        linear = before.builtinOptions.fusedActivationFunction == 0
        own = (s, weights, bias, *map(int, before.inputs[1:]))
        if (
            not linear
            or s in self.graph.outputs
            or any(self._readers(x) > 1 for x in own if x >= 0)
        ):
            return
        tensors = self.graph.tensors
        (scale,) = tensors[s].quantization.scale
        self._rescale(tensors[s], 1 / scale)
        tensors[s].quantization.scale[:] = 1
        for number in before.inputs[1:]:
            if number >= 0:
                self._rescale(tensors[number], 1 / scale)
        densify = self.made.get(weights)
        for number in (weights, *(() if densify is None else map(int, densify.inputs))):
            self._rescale(tensors[number], scale)
        tensors[bias].quantization = copy.copy(tensors[bias].quantization)
        tensors[bias].quantization.scale = tensors[weights].quantization.scale

    def _readers(self, number):
        return sum(number in x.inputs for x in self.graph.operators)

    def _values(self, weights, densify):
        """int8 weights, dense; None for others, and for what an operator computes."""
        tensor = self.graph.tensors[weights]
        if tensor.type != litert.schema.TensorType.INT8:
            return None
        if densify is not None:
            if self.name(densify) != "DENSIFY":
                return None
            tensor = self.graph.tensors[int(densify.inputs[0])]
            data = packing.dense(tensor, self.model.buffers[tensor.buffer].data)
        else:
            data = self.model.buffers[tensor.buffer].data
        return None if data is None else data.view(np.int8).reshape(tuple(tensor.shape))

    def _is_pointwise(self, operator, values):
        if self.name(operator) != "CONV_2D" or values.shape[1:3] != (1, 1):
            return False
        options = operator.builtinOptions
        (channels,) = self.graph.tensors[int(operator.inputs[0])].shape[-1:]
        return options.strideH == options.strideW == 1 and channels == values.shape[-1]

    def _tensor(self, like, shape, data):
        """The number of a new constant."""
        buffer = litert.schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        tensor = copy.copy(like)
        tensor.shape, tensor.buffer = np.array(shape, np.int32), len(self.model.buffers) - 1
        tensor.sparsity = None
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _rescale(self, tensor, factor):
        tensor.quantization = copy.copy(tensor.quantization)
        tensor.quantization.scale = (tensor.quantization.scale * factor).astype(np.float32)

    def _bias(self, number, factor):
        """The number of a bias in the coarser steps of its sums; -1 where there is none."""
        if number < 0:
            return number
        tensor = self.graph.tensors[number]
        values = self.model.buffers[tensor.buffer].data.view(np.int32)
        coarser = np.rint(values / factor).astype(np.int32)
        made = self._tensor(tensor, tensor.shape, coarser)
        self._rescale(self.graph.tensors[made], factor)
        return made

    def _connect_fully(self, operator):
        options = litert.schema.FullyConnectedOptionsT()
        options.keepNumDims = True
        options.fusedActivationFunction = operator.builtinOptions.fusedActivationFunction
        operator.builtinOptions = options
        operator.builtinOptionsType = litert.schema.BuiltinOptions.FullyConnectedOptions

    def _code(self, name):
        """The number of the operator code of this name for narrow weights."""
        kind = getattr(litert.schema.BuiltinOperator, name)
        for number, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == kind and code.version >= _VERSIONS[name]:
                return number
        code = litert.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = kind
        code.version = _VERSIONS[name]
        self.model.operatorCodes.append(code)
        self.names.append(name)
        return len(self.names) - 1


def packed_bits(whole, bits):
    """Whole numbers of 2 or 4 bits, packed into bytes from the lowest bit on.

    Args:
        whole: int8 array; the last byte is filled up with zeros.
        bits: 2 or 4.
    """
    per_byte = 8 // bits
    flat = whole.reshape(-1).view(np.uint8) & ((1 << bits) - 1)
    flat = np.append(flat, np.zeros(-flat.size % per_byte, np.uint8)).reshape(-1, per_byte)
    return (flat << (bits * np.arange(per_byte, dtype=np.uint8))).sum(axis=1).astype(np.uint8)
