"""A .tflite as small as its format allows, which computes the same to the bit.

What the converter writes once per tensor is written once per value here: vectors, strings,
quantization and options that are alike are shared, as flatbuffers can, and so are constants. Only
inputs, outputs and what operators compute keep names, the latter that of their Keras layer. A
sparse tensor is stored along that axis where it takes the fewest bytes, or dense where that takes
fewer.
"""

import math

import flatbuffers
import numpy as np

from tf_lcnn.costs.storage import csr_bytes, integer_bytes
from tf_lcnn.runtime import cutting, litert
from tf_lcnn.runtime.interpreter import operator_names, parse

# LiteRT's schema aligns the data of buffers so (force_align).
_ALIGNMENT = 16

# What a DENSIFY takes in the file beside the values and indices of its tensor.
_OPERATOR_BYTES = 250

# What only the converter's authors read.
_UNREAD = (b"CONVERSION_METADATA",)


def packed(content):
    """The bytes of a smaller .tflite with the same inputs, outputs and results.

    Args:
        content: the bytes of a .tflite.
    """
    model = parse(content)
    for index, graph in enumerate(model.subgraphs):
        _store_sparse(model, graph)
        _merge_zeros(model, graph)
        _shorten_names(graph)
        # What nothing refers to goes, and its data after it.
        _merge_constants(model, index)
    model.metadata = [x for x in model.metadata or () if x.name not in _UNREAD]
    _merge_buffers(model)
    for index in range(len(model.subgraphs)):
        _merge_constants(model, index)
    return compact(model)


def compact(model):
    """The bytes of a ModelT in which what is alike is written once."""
    seen = {}

    def once(part):
        return None if part is None else seen.setdefault(_contents(part), _Once(part))

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.quantization = once(tensor.quantization)
            if tensor.sparsity is not None:
                tensor.sparsity.dimMetadata = list(map(once, tensor.sparsity.dimMetadata))
        for operator in graph.operators:
            operator.builtinOptions = once(operator.builtinOptions)
    builder = _Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


class _Builder(flatbuffers.Builder):
    """Writes vectors of numbers and strings once each."""

    def __init__(self, size):
        super().__init__(size)
        self._written = {}

    def CreateNumpyVector(self, x):
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            if x.dtype == np.uint8:
                # Data of buffers, and indices, which it does no harm.
                self.Prep(_ALIGNMENT, x.nbytes)
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s, *arguments, **others):
        if s not in self._written:
            self._written[s] = super().CreateString(s, *arguments, **others)
        return self._written[s]


class _Once:
    """A table that is written once, whatever refers to it."""

    def __init__(self, table):
        self.table, self._offset = table, None

    def Pack(self, builder):
        if self._offset is None:
            self._offset = self.table.Pack(builder)
        return self._offset


def _contents(x):
    """A key that tables with equal contents have in common."""
    if isinstance(x, np.ndarray):
        return x.dtype.str, x.shape, x.tobytes()
    if isinstance(x, (list, tuple)):
        return tuple(map(_contents, x))
    if hasattr(x, "__dict__"):
        return type(x), tuple((name, _contents(value)) for name, value in vars(x).items())
    return x


# Constants


def _merge_buffers(model):
    """One buffer per contents; the first one, which is empty, for all that have none."""
    model.buffers[0].data = None
    numbers = {(b"", False): 0}
    kept = [model.buffers[0]]

    def merged(index, is_sparse):
        data = model.buffers[index].data
        content = b"" if data is None else bytes(data)
        # A sparse constant of zeros alone has no values, and is one for having a buffer.
        key = content, is_sparse and not content
        if key not in numbers:
            numbers[key] = len(kept)
            kept.append(model.buffers[index])
        return numbers[key]

    for graph in model.subgraphs:
        for tensor in graph.tensors:
            tensor.buffer = merged(tensor.buffer, tensor.sparsity is not None)
    for entry in model.metadata:
        entry.buffer = merged(entry.buffer, False)
    model.buffers = kept


def _merge_zeros(model, graph):
    """Zero biases of as many filters get the same scales, for zero is zero in any, and become one.

    Where there is one scale, LiteRT wants that of the sums.
    """
    first = {}
    for tensor in graph.tensors:
        data = model.buffers[tensor.buffer].data
        of_sums = tensor.type == litert.schema.TensorType.INT32 and _scales(tensor) > 1
        if of_sums and data is not None and not data.any():
            tensor.quantization = first.setdefault(tuple(tensor.shape), tensor.quantization)


def _scales(tensor):
    """How many scales a tensor has."""
    quantization = tensor.quantization
    return 0 if quantization is None or quantization.scale is None else len(quantization.scale)


def _merge_constants(model, index):
    """One tensor per constant, and none that nothing refers to."""
    graph = model.subgraphs[index]
    signatures = [x for x in model.signatureDefs or () if x.subgraphIndex == index]
    named = [x for signature in signatures for x in (*signature.inputs, *signature.outputs)]
    made = {int(i) for operator in graph.operators for i in operator.outputs}
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)} | {x.tensorIndex for x in named}
    used = {int(i) for operator in graph.operators for i in operator.inputs} | made | ends
    numbers, kept, first = {-1: -1}, [], {}
    for number in sorted(used - {-1}):
        tensor = graph.tensors[number]
        key = number if number in made | ends else _contents(tensor)
        if key not in first:
            first[key] = len(kept)
            kept.append(tensor)
        numbers[number] = first[key]
    graph.tensors = kept
    for part in (graph, *graph.operators):
        for side in ("inputs", "outputs"):
            renumbered = [numbers[int(i)] for i in getattr(part, side)]
            setattr(part, side, np.array(renumbered, np.int32))
    for x in named:
        x.tensorIndex = numbers[x.tensorIndex]


def _shorten_names(graph):
    ends = {int(i) for i in (*graph.inputs, *graph.outputs)}
    # What assigns a variable makes nothing.
    making = [operator for operator in graph.operators if len(operator.outputs)]
    names = [cutting.layer_of(graph, operator).encode() for operator in making]
    made = {}
    for operator, name in zip(making, names, strict=True):
        made.update((int(i), name) for i in operator.outputs)
    for number, tensor in enumerate(graph.tensors):
        if number not in ends:
            tensor.name = made.get(number, b"")


# Sparse tensors


def _store_sparse(model, graph):
    """Stores each sparse tensor in the form that takes the fewest bytes."""
    names, kept = operator_names(model), []
    for operator in graph.operators:
        kept.append(operator)
        if names[operator.opcodeIndex] != "DENSIFY":
            continue
        source, target = (graph.tensors[x[0]] for x in (operator.inputs, operator.outputs))
        values = dense(source, model.buffers[source.buffer].data)
        if values is None:
            continue
        best = min(sparse_store(values), (values.size, None), key=lambda store: store[0])
        buffer = litert.schema.BufferT()
        model.buffers.append(buffer)
        if best[1] is None:
            kept.pop()
            buffer.data = values.reshape(-1)
            target.buffer, source.buffer = len(model.buffers) - 1, 0
        else:
            source.sparsity, buffer.data = csr(values, best[1])
            source.buffer = len(model.buffers) - 1
    graph.operators = kept


def dense(tensor, data):
    """The values of a sparse tensor as bytes (*shape, bytes of a value), zeros in between.

    None where it is stored in blocks, or not in rows along the last axis: as the converter stores
    no convolution's weights.
    """
    sparsity, shape = tensor.sparsity, tuple(map(int, tensor.shape))
    if sparsity is None or not len(shape) or len(sparsity.dimMetadata) != len(shape):
        return None
    *outer, last = sparsity.dimMetadata
    rows = any(axis.format for axis in outer) or list(sparsity.traversalOrder) != [
        *range(len(shape))
    ]
    if rows or not last.format:
        return None
    segments, indices = (
        np.asarray(x.values, np.int64) for x in (last.arraySegments, last.arrayIndices)
    )
    row = np.repeat(np.arange(len(segments) - 1), np.diff(segments))
    kinds = litert.schema.TensorType
    # Of weights that are all zeros no value says how large it is.
    sizes = {kinds.FLOAT32: 4, kinds.FLOAT16: 2}
    size = len(data) // len(indices) if len(indices) else sizes.get(tensor.type, 1)
    values = data.reshape(len(indices), size)
    dense = np.zeros((len(segments) - 1, shape[-1], size), np.uint8)
    dense[row, indices] = values
    return dense.reshape(*shape, -1)


def sparse_store(values):
    """(bytes, axis of the rows) of the smallest sparse form of values, bytes (*shape, size).

    Zeros alone have none: a tensor without data is no constant to LiteRT.
    """
    *shape, size = values.shape
    count = int(values.any(axis=-1).sum())
    if not count:
        return math.inf, None
    stores = []
    for axis in (0, len(shape) - 1):
        rows = values.size // size // shape[axis]
        stores.append((csr_bytes(count, rows, shape[axis], size) + _OPERATOR_BYTES, axis))
    return min(stores)


def csr(values, axis):
    """(SparsityParametersT, data) of values stored in rows along an axis."""
    schema = litert.schema
    order = [x for x in range(values.ndim - 1) if x != axis] + [axis]
    moved = np.moveaxis(values, axis, -2)
    rows = moved.reshape(-1, *moved.shape[-2:])
    there = rows.any(axis=-1)
    sparsity = schema.SparsityParametersT()
    sparsity.traversalOrder, sparsity.dimMetadata = np.array(order, np.int32), []
    for number in order:
        level = schema.DimensionMetadataT()
        level.format, level.denseSize = schema.DimensionType.DENSE, values.shape[number]
        sparsity.dimMetadata.append(level)
    level.format, level.denseSize = schema.DimensionType.SPARSE_CSR, 0
    starts = np.concatenate([[0], there.sum(axis=-1).cumsum()])
    level.arraySegmentsType, level.arraySegments = _index_vector(starts)
    level.arrayIndicesType, level.arrayIndices = _index_vector(np.nonzero(there)[1])
    return sparsity, rows[there].reshape(-1)


def _index_vector(numbers):
    """(type, vector) of indices, in the smallest integers that hold them."""
    name = {1: "Uint8Vector", 2: "Uint16Vector", 4: "Int32Vector"}[
        integer_bytes(int(numbers.max(initial=0)))
    ]
    vector = getattr(litert.schema, f"{name}T")()
    vector.values = numbers.astype(name.removesuffix("Vector").lower())
    return getattr(litert.schema.SparseIndexVector, name), vector
