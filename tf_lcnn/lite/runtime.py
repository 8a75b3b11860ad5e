"""Runs a .tflite file."""

import numpy as np
from ai_edge_litert import interpreter as litert


class Interpreter:
    """A .tflite file with one input and one output, ready to run.

    Args:
        path: the file.
        threads: how many threads LiteRT may use.
    """

    def __init__(self, path, threads=1):
        self._interpreter = litert.Interpreter(model_path=str(path), num_threads=threads)
        self._interpreter.allocate_tensors()
        (self._input,) = self._interpreter.get_input_details()
        (self._output,) = self._interpreter.get_output_details()

    def predict(self, images):
        """Outputs (batch, ...) for images (batch, ...), run one by one."""
        outputs = []
        for image in np.asarray(images, self._input["dtype"]):
            self._interpreter.set_tensor(self._input["index"], image[None])
            self._interpreter.invoke()
            outputs.append(self._interpreter.get_tensor(self._output["index"])[0])
        return np.stack(outputs)
