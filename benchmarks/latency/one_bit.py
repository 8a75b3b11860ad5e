"""What weights of one bit would cost that LiteRT's stock operators unpack, in place of its int2.

    python -m benchmarks.latency.one_bit

A dictionary stage of -1 and 1 in int8: its weights as a constant, as an int2 constant, as bits that
CAST and GATHER from a table of all bytes unpack in front of it, and as an input of the graph. The
last is what a variable takes at best that was unpacked once at load: it spares the unpacking, and
XNNPACK, which wants constants, does not run the product either way. Processor time on one thread.
"""

import keras
import numpy as np

from benchmarks.common import processor_time
from tf_lcnn import programs
from tf_lcnn.layers import levels
from tf_lcnn.lite import converter, narrow, packing
from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import parse

# m, k, height and width: dictionary stages of ResNet-18 with register sizes.
STAGES = ((64, 16, 56), (128, 32, 28), (256, 64, 14), (512, 128, 7))
TIMED = 300


def stage(m, k, size):
    """The bytes of an int8 file of the stage."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, m))
    layer = keras.layers.Conv2D(k, 1, use_bias=False)
    model = keras.Model(inputs, layer(inputs))
    layer.kernel.assign(levels.on_grid(layer.kernel.value, 2))
    images = np.random.default_rng(0).normal(size=(4, size, size, m)).astype(np.float32)
    variables = [variable.value for variable in model.variables]
    return converter.to_tflite(
        model, (1, size, size, m), variables, "int8", images, io="int8", sparse=False
    )


class File:
    """A file of one operator, to be changed."""

    def __init__(self, content):
        self.model = parse(content)
        (self.graph,) = self.model.subgraphs
        (self.operator,) = self.graph.operators
        self.weights = self.graph.tensors[self.operator.inputs[1]]

    def tensor(self, kind, shape, data=None, quantization=None):
        tensor, buffer = litert.schema.TensorT(), litert.schema.BufferT()
        tensor.type, tensor.shape = getattr(litert.schema.TensorType, kind), np.int32(shape)
        tensor.name, tensor.quantization = b"", quantization
        if data is not None:
            buffer.data = np.frombuffer(data.tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def computed(self, name, inputs, output):
        """An operator with default options."""
        schema, code = litert.schema, litert.schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, name)
        self.model.operatorCodes.append(code)
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self.model.operatorCodes) - 1
        operator.inputs, operator.outputs = np.int32(inputs), np.int32([output])
        options = f"{name.capitalize()}Options"
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, f"{options}T")()
        return operator

    def content(self, weights):
        """The bytes, with other weights."""
        first, _, *bias = self.operator.inputs
        self.operator.inputs = np.int32([first, weights, *bias])
        return packing.packed(packing.compact(self.model))


def unpacked(content):
    """The file whose weights are bits."""
    file = File(content)
    shape = file.weights.shape
    bits = np.packbits(
        file.model.buffers[file.weights.buffer].data.view(np.int8) > 0, bitorder="little"
    )
    table = np.where(np.arange(256)[:, None] >> np.arange(8) & 1, 127, -127).astype(np.int8)
    packed, places = file.tensor("UINT8", bits.shape, bits), file.tensor("INT32", bits.shape)
    rows = file.tensor("INT8", (len(bits), 8))
    target = file.tensor("INT32", (len(shape),), np.int32(shape))
    weights = file.tensor("INT8", shape, quantization=file.weights.quantization)
    file.graph.operators[:0] = [
        file.computed("CAST", [packed], places),
        file.computed("GATHER", [file.tensor("INT8", table.shape, table), places], rows),
        file.computed("RESHAPE", [rows, target], weights),
    ]
    return file.content(weights)


def as_input(content):
    """The file whose weights are its second input."""
    file = File(content)
    weights = file.tensor("INT8", file.weights.shape, quantization=file.weights.quantization)
    file.graph.inputs, file.model.signatureDefs = np.int32([*file.graph.inputs, weights]), []
    return file.content(weights)


def loaded(content):
    interpreter = litert.interpreter.Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    rng = np.random.default_rng(0)
    for x in interpreter.get_input_details():
        interpreter.set_tensor(x["index"], rng.integers(-127, 128, x["shape"]).astype(np.int8))
    return interpreter


def main():
    print("m, k, size        int8             int2            1 bit, unpacked  weights no constant")
    for m, k, size in STAGES:
        content = stage(m, k, size)
        ways = packing.packed(content), packing.packed(narrow.narrowed(content))
        ways = (*ways, unpacked(content), as_input(content))
        interpreters = [loaded(x) for x in ways]
        times = [[] for _ in ways]
        for _ in range(TIMED):
            for interpreter, of_it in zip(interpreters, times, strict=True):
                of_it.append(1e6 * processor_time.seconds(interpreter.invoke))
        cells = [f"{np.median(t):4.0f} us {len(x):6,} B" for t, x in zip(times, ways, strict=True)]
        print(f"{m:3}, {k:3}, {size}x{size:<4}  {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    programs.run(main)
