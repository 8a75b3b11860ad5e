"""Runs a .tflite file."""

import os
import struct
import weakref

import flatbuffers
import numpy as np

from tf_lcnn import checks, quiet
from tf_lcnn.runtime import litert, native

# What LiteRT and the delegate take.
MOST_THREADS = 64


def parse(content, name="the model"):
    """The bytes of a .tflite as LiteRT's schema objects.

    LiteRT itself does not check a file, and crashes on one that was cut short.

    Raises:
        ValueError: the bytes are no whole .tflite.
    """
    try:
        if not litert.schema.Model.ModelBufferHasIdentifier(content, 0):
            raise ValueError(f"{name} is no .tflite file.")
        return litert.schema.ModelT.InitFromObj(litert.schema.Model.GetRootAs(content, 0))
    except (struct.error, IndexError, TypeError, AttributeError, OverflowError, MemoryError):
        raise ValueError(f"{name} is damaged, or was cut short.") from None


def operator_names(model):
    """The names of a ModelT's operator codes, in their order."""
    # Old codes have a field of their own.
    codes = [max(c.builtinCode, c.deprecatedBuiltinCode) for c in model.operatorCodes]
    return [litert.operators()[code] for code in codes]


def serialized(model):
    """The bytes of a .tflite of LiteRT's schema objects, as `parse` gives them."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


def _left_narrow(model):
    """The line on what the delegate does not look at: layers with weights of less than int8."""
    kinds, names = litert.schema.TensorType, operator_names(model)
    left = sum(
        graph.tensors[operator.inputs[1]].type in (kinds.INT4, kinds.INT2)
        for graph in model.subgraphs
        for operator in graph.operators
        if names[operator.opcodeIndex] in ("CONV_2D", "FULLY_CONNECTED")
    )
    of_them = f"left {left} with weights of less than int8; the kernels are for int8 and float32\n"
    return of_them if left else ""


class Interpreter:
    """A .tflite file with one input and one output, ready to run.

    Float inputs and outputs go in and out of an int8 file too: they are quantized and back here.

    Args:
        path: the file.
        threads: how many threads LiteRT, and the delegate, may use.
        content: the bytes of a file, in place of a path.
        delegate: True lets the native delegate run the lookup layers that it makes faster; a dict
            does so with these options of `native.load_delegate`; `threads` are the same unless
            it says otherwise. False and None run without.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged, LiteRT cannot load it, it has several inputs or outputs, or the
            delegate is not there or refuses its options; or arguments of other types.
    """

    def __init__(self, path=None, threads=1, content=None, delegate=False):
        threads = checks.whole_number(threads, "threads", 1, MOST_THREADS)
        options = _delegate_options(delegate, threads)
        name = str(path) if content is None else "the model"
        if content is None:
            content = read(path)
        model = parse(content, name)
        # LiteRT cannot free a delegate once Python has taken its modules down.
        weakref.finalize(self, vars(self).clear)
        delegates = [] if options is None else [native.load_delegate(**options)]
        try:
            self._interpreter = litert.interpreter.Interpreter(
                model_content=bytes(content), num_threads=threads, experimental_delegates=delegates
            )
            # Of this interpreter's delegate, as it was attached just now.
            self._claims = native.report() + _left_narrow(model) if delegates else ""
            with quiet.notices_dropped():
                self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            reason = checks.first_line(error)
            raise ValueError(f"LiteRT cannot load {name}: {reason}") from None
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ValueError(
                f"{name} has {len(inputs)} inputs and {len(outputs)} outputs: one of each works."
            )
        self._input, self._output = inputs[0], outputs[0]
        self._shape = self.input_shape

    @property
    def claims(self):
        """What the delegate runs and what it leaves to LiteRT, a line per layer."""
        return self._claims

    @property
    def input_shape(self):
        """Shape of the input, with the batch of 1; sizes that are open are the file's default."""
        return tuple(int(size) for size in self._input["shape"])

    @property
    def output_shape(self):
        """Shape of the output, as `input_shape` has it."""
        return tuple(int(size) for size in self._output["shape"])

    @property
    def open_shape(self):
        """Shape of one input, without the batch; None where any size is right."""
        return tuple(None if size < 0 else int(size) for size in self._input["shape_signature"][1:])

    def run(self):
        """Runs the model once, on what its input holds."""
        self._interpreter.invoke()

    def set_random_input(self):
        """Puts normally distributed numbers into the input; into one of bytes, any bytes.

        LiteRT does not clear memory, and arithmetic on denormal numbers, which may stand there,
        is many times slower.
        """
        rng, shape = np.random.default_rng(0), self._shape[1:]
        of_bytes = self._input["dtype"] == np.uint8 and not self._input["quantization"][0]
        drawn = rng.integers(0, 256, shape) if of_bytes else rng.normal(size=shape)
        self._set(drawn.astype(np.float32))

    def predict(self, inputs):
        """Float outputs (count, ...), of inputs that are run one by one.

        Args:
            inputs: (count, ...), in any form that `checks.inputs` takes. Where the file leaves a
                size open, any will do: LiteRT is given memory for it.

        Raises:
            ValueError: see `checks.batches`; or a size at which the file does not run.
        """
        inputs = checks.inputs(inputs, self.open_shape, "inputs")
        self._resize((1, *inputs.shape[1:]))
        outputs = []
        for one in inputs:
            self._set(one)
            self.run()
            values = self._interpreter.get_tensor(self._output["index"])[0]
            outputs.append(_real(values, self._output))
        return np.stack(outputs)

    def _set(self, values):
        self._interpreter.set_tensor(self._input["index"], _quantized(values, self._input)[None])

    def _resize(self, shape):
        if shape == self._shape:
            return
        try:
            self._interpreter.resize_tensor_input(self._input["index"], shape, strict=True)
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            # Back to a size that works, for the next call.
            self._interpreter.resize_tensor_input(self._input["index"], self._shape)
            self._interpreter.allocate_tensors()
            raise ValueError(
                f"The file does not run on an input of shape {shape}: {checks.first_line(error)}"
            ) from None
        self._shape = shape


def read(path):
    """The bytes of a file.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the path is none.
    """
    if not isinstance(path, (str, os.PathLike)):
        raise ValueError(f"The path of a .tflite is a string or Path, not {path!r}.")
    # LiteRT maps the file; read here, a missing one has a plain error.
    with open(path, "rb") as file:
        return file.read()


def _delegate_options(delegate, threads):
    """Options of `native.load_delegate`, or None for no delegate."""
    if delegate is None or delegate is False:
        return None
    if delegate is True:
        delegate = {}
    if not isinstance(delegate, dict):
        raise ValueError(f"delegate must be True, False or a dict of options, not {delegate!r}.")
    return {"threads": threads, **delegate}


def _quantized(values, tensor):
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values.astype(tensor["dtype"])
    limits = np.iinfo(tensor["dtype"])
    rounded = np.round(values / scale) + zero_point
    return np.clip(rounded, limits.min, limits.max).astype(tensor["dtype"])


def _real(values, tensor):
    scale, zero_point = tensor["quantization"]
    if not scale:
        return values
    return np.float32(scale) * (values.astype(np.float32) - zero_point)
