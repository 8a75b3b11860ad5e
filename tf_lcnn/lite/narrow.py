"""int4, ternary and binary: weights in few levels, stored in as many bits as that takes.

The converter writes int8 weights. Of a filter that has few levels they are as far apart as the
levels, so which they were is seen in the file, and nothing is rounded here but the bias. LiteRT
takes 4 bits in CONV_2D and 4 or 2 in FULLY_CONNECTED, which a 1x1 convolution without a stride is,
a dictionary stage for example; XNNPACK has kernels for the latter alone. DENSIFY takes neither: P
is stored sparse in int8 where that is smaller than dense in 4 bits. Where all filters have one
scale, one is in the file.
"""

import contextlib
import copy
import dataclasses
import math

import keras
import numpy as np

from tf_lcnn.graph import folding
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
    formats, folded = _formats(model, input_shape, quantize)
    dense = [x for x in formats if family.of(x) is None]
    before = [keras.ops.convert_to_numpy(x.kernel) for x in dense]
    try:
        for layer in dense:
            format = formats[layer]
            sizes = levels.filter_sizes(format, folded.get(layer))
            layer.kernel.assign(levels.on_grid(layer.kernel.value, format.kernel, sizes))
        yield
    finally:
        for layer, value in zip(dense, before, strict=True):
            layer.kernel.assign(value)


def rounded_choices(model, input_shape, choices, quantize):
    """LoweringChoices with D and P in the levels of a narrow format; as they are for another."""
    formats, _ = _formats(model, input_shape, quantize)
    return [
        dataclasses.replace(choice, layer=_rounded(choice.layer, formats[choice.source]))
        if choice.source in formats
        else choice
        for choice in choices
    ]


def _formats(model, input_shape, quantize):
    """Of the layers whose weights have less than int8 their levels.Format; `folding.folded`."""
    if quantize not in levels.NARROW:
        return {}, {}
    calls = trace(model, input_shape)
    formats = levels.layer_formats(calls, quantize)
    narrow = {x: levels.FORMATS[name] for x, name in formats.items() if name in levels.NARROW}
    return narrow, folding.folded(calls)


def _rounded(constants, format):
    """Constants with D and P in few levels; those have a batch normalization in them already."""
    # The loop rounds a row of all groups with one scale.
    stacked = np.concatenate(np.split(constants.dictionary, constants.groups, axis=-1))
    dictionary = keras.ops.convert_to_tensor(stacked if format.per_tensor else constants.dictionary)
    coefficients = keras.ops.convert_to_tensor(constants.coefficients)
    rounded = levels.lookups_on_grid(
        *(dictionary, coefficients, format), levels.filter_sizes(format, None)
    )
    d, p = map(keras.ops.convert_to_numpy, rounded)
    if format.per_tensor:
        rows = keras.ops.convert_to_numpy(levels.row_scales(dictionary, format))
        d = np.concatenate(np.split(d / rows, constants.groups), axis=-1)
        p = p * rows[:, None]
    return dataclasses.replace(constants, dictionary=d, coefficients=p)


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
        file.drop_unread()
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
        # Weights that several operators read are read once, before anything changes.
        self.weights = {}

    def name(self, operator):
        return self.names[operator.opcodeIndex]

    def narrow(self, operator):
        """Stores the weights of an operator in fewer bits, where they have few levels."""
        x, weights, bias = map(int, operator.inputs)
        densify = self.made.get(weights)
        first = weights not in self.weights
        if first:
            self.weights[weights] = self._few_levels(weights, densify)
        if self.weights[weights] is None:
            return
        values, (whole, largest, factor) = self.weights[weights]
        pointwise = self._is_pointwise(operator, values)
        bits = 2 if largest == 1 and (pointwise or values.ndim == 2) else 4
        count = -(-values.size * bits // 8)
        stored = math.inf
        if densify is not None:
            stored, _ = packing.sparse_store(values[..., None].view(np.uint8))
        if stored < count:
            if np.ndim(factor):
                if first:
                    self._share_sparse(densify, whole, factor)
                operator.inputs = np.array([x, weights, self._bias(bias, factor)], np.int32)
            return
        shape = (values.shape[0], values.shape[-1]) if pointwise else values.shape
        tensor = self._tensor(self.graph.tensors[weights], shape, packed_bits(whole, bits))
        kinds = litert.schema.TensorType
        self.graph.tensors[tensor].type = kinds.INT2 if bits == 2 else kinds.INT4
        self._rescale(self.graph.tensors[tensor], factor)
        name = "FULLY_CONNECTED" if pointwise else self.name(operator)
        # Zeros would be a constant of each operator, by its scale.
        optional = name == "FULLY_CONNECTED" and np.ndim(factor)
        operator.inputs = np.array([x, tensor, self._bias(bias, factor, optional)], np.int32)
        if pointwise:
            self._connect_fully(operator)
        operator.opcodeIndex = self._code(name)

    def drop_unread(self):
        """Drops what unpacks weights that nothing reads any more."""
        self.graph.operators = [
            x
            for x in self.graph.operators
            if self.name(x) != "DENSIFY" or self._readers(int(x.outputs[0]))
        ]

    def _share_sparse(self, densify, whole, factor):
        """Gives sparse weights one scale; they stay in bytes."""
        source, target = (self.graph.tensors[int(x[0])] for x in (densify.inputs, densify.outputs))
        source.sparsity, data = packing.csr(whole[..., None].view(np.uint8), whole.ndim - 1)
        source.buffer = self._buffer(data)
        for tensor in (source, target):
            self._rescale(tensor, factor)

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

    def _few_levels(self, weights, densify):
        """int8 weights, dense, and their `few_levels`; None for what is no constant of these."""
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
        if data is None:
            return None
        values = data.view(np.int8).reshape(tuple(tensor.shape))
        found = few_levels(values, tensor.quantization.scale)
        return None if found is None else (values, found)

    def _is_pointwise(self, operator, values):
        if self.name(operator) != "CONV_2D" or values.shape[1:3] != (1, 1):
            return False
        options = operator.builtinOptions
        (channels,) = self.graph.tensors[int(operator.inputs[0])].shape[-1:]
        return options.strideH == options.strideW == 1 and channels == values.shape[-1]

    def _tensor(self, like, shape, data):
        """The number of a new constant."""
        tensor = copy.copy(like)
        tensor.shape, tensor.buffer = np.array(shape, np.int32), self._buffer(data)
        tensor.sparsity = None
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def _buffer(self, data):
        """The number of a new buffer."""
        buffer = litert.schema.BufferT()
        buffer.data = np.frombuffer(data.tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        return len(self.model.buffers) - 1

    def _rescale(self, tensor, factor):
        """Multiplies the scale of each filter; by a factor for each they become one."""
        quantization = tensor.quantization = copy.copy(tensor.quantization)
        quantization.scale = (quantization.scale * factor).astype(np.float32)
        if np.ndim(factor):
            quantization.scale = quantization.scale[:1]
            quantization.zeroPoint = quantization.zeroPoint[:1]

    def _bias(self, number, factor, optional=False):
        """The number of a bias in the coarser steps of its sums; -1 where there is none."""
        if number < 0:
            return number
        tensor = self.graph.tensors[number]
        values = self.model.buffers[tensor.buffer].data.view(np.int32)
        if optional and not values.any():
            return -1
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


def few_levels(values, scales):
    """Weights that have three or 15 levels, as whole numbers of steps.

    Args:
        values: int8 array (filters, ...), from -127 to 127 as the converter wrote them.
        scales: of the filters, (filters,), or of all of them, (1,).

    Returns:
        (whole numbers, the largest that there can be, a step over the scales), or None. The step
        is a number where each filter's is its own; where all filters have one, an array like
        `scales`.
    """
    peaks = np.abs(values.reshape(len(values), -1).astype(int)).max(axis=1) * scales
    of_all = (peaks.max() or scales.max()) / scales
    for step in (of_all, float(_INT8)):
        for largest in (1, 7):
            factor = step / largest
            shaped = np.reshape(factor, (-1, *(1,) * (values.ndim - 1)))
            whole = np.rint(values / shaped).astype(np.int8)
            # Half a step of int8 is what the converter rounded, up or down where it is just that.
            if (np.abs(whole * shaped - values) < 0.501).all():
                return whole, largest, factor
    return None


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
