"""Runs and times a .tflite file."""

import struct
import time
import weakref

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from tf_lcnn import checks
from tf_lcnn.runtime import native


def parse(content, name="the model"):
    """The bytes of a .tflite as LiteRT's schema objects.

    LiteRT itself does not check a file, and crashes on one that was cut short.

    Raises:
        ValueError: the bytes are no whole .tflite.
    """
    try:
        if not schema.Model.ModelBufferHasIdentifier(content, 0):
            raise ValueError(f"{name} is no .tflite file.")
        return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))
    except (struct.error, IndexError, TypeError, AttributeError, OverflowError, MemoryError):
        raise ValueError(f"{name} is damaged, or was cut short.") from None


class Interpreter:
    """A .tflite file with one input and one output, ready to run.

    Float images and outputs go in and out of an int8 file too: it is quantized and back here.

    Args:
        path: the file.
        threads: how many threads LiteRT, and the delegate, may use.
        content: the bytes of a file, in place of a path.
        delegate: True lets the native delegate run the lookup layers that it makes faster; a dict
            does so with these options of `native.load_delegate`; `threads` are the same unless
            it says otherwise.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged, LiteRT cannot load it, it has several inputs or outputs, or the
            delegate is not there or refuses its options.
    """

    def __init__(self, path=None, threads=1, content=None, delegate=False):
        name = str(path) if content is None else "the model"
        if content is None:
            # LiteRT maps the file; read here, a missing one has a plain error.
            with open(path, "rb") as file:
                content = file.read()
        parse(content, name)
        # LiteRT cannot free a delegate once Python has taken its modules down.
        weakref.finalize(self, vars(self).clear)
        delegates = []
        if delegate is not False:
            options = {} if delegate is True else delegate
            delegates = [native.load_delegate(**{"threads": threads, **options})]
        try:
            self._interpreter = litert.Interpreter(
                model_content=content, num_threads=threads, experimental_delegates=delegates
            )
            # Of this interpreter's delegate, as it was attached just now.
            self._claims = native.report() if delegates else ""
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

    @property
    def claims(self):
        """What the delegate runs and what it leaves to LiteRT, a line per layer."""
        return self._claims

    @property
    def input_shape(self):
        """Shape of the input, with the batch of 1."""
        return tuple(int(size) for size in self._input["shape"])

    def run(self):
        """Runs the model once, on what its input holds."""
        self._interpreter.invoke()

    def predict(self, images):
        """Float outputs (batch, ...) for float images (batch, ...), run one by one."""
        outputs = []
        for image in np.asarray(images):
            self._interpreter.set_tensor(self._input["index"], _quantized(image, self._input)[None])
            self.run()
            found = self._interpreter.get_tensor(self._output["index"])[0]
            outputs.append(_real(found, self._output))
        return np.stack(outputs)


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


def median_seconds(interpreters, runs=15, batch=1):
    """Median seconds of a run of each Interpreter; they take turns, after two turns to warm up.

    A turn is `batch` runs, timed together.
    """
    seconds = np.zeros((runs, len(interpreters)))
    for i in range(-2, runs):
        for j, interpreter in enumerate(interpreters):
            start = time.perf_counter()
            for _ in range(batch):
                interpreter.run()
            # The turns to warm up are overwritten.
            seconds[max(i, 0), j] = (time.perf_counter() - start) / batch
    return np.median(seconds, axis=0)
