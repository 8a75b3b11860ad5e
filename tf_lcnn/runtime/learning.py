"""Runs a .tflite that learns where it is, and keeps what it has learned in a file.

    learner = Learner("model.tflite")
    features = learner.features(images)      # once: training does not change them
    for _ in range(20):
        loss = learner.train(features, labels, 0.01)
    learner.save("learned.state")

`lite.learning` makes such files. What is learned, the state, is one vector of float32 numbers; a
file of it holds the stamp of the model (16 bytes), the numbers (little-endian) and a CRC-32.
"""

import os
import pathlib
import weakref
import zlib

import numpy as np

from tf_lcnn import checks, files
from tf_lcnn.runtime import litert
from tf_lcnn.runtime.interpreter import MOST_THREADS, parse, read

# What `train` and `restore` say in their output `error`; the state is as it was unless it is DONE.
DONE = 0
NO_SUCH_CLASS = 1
NOT_FINITE = 2
OTHER_MODEL = 3

SIGNATURES = ("infer", "features", "train", "save", "restore", "reset")

# What `save` and `reset` are given, since there are runtimes that take no signature without input.
UNUSED = np.zeros(1, np.int32)

# int32 numbers that tell one model from another.
STAMP_SIZE = 4


class Learner:
    """A .tflite of `lite.export.export(..., train=...)`.

    Args:
        path: the file.
        threads: how many threads LiteRT may use.

    Attributes:
        input_shape: of one input of `infer` and `features`, without the batch.
        classes: how many outputs there are.
        parameters: how many numbers training moves, 4 bytes each.

    Raises:
        FileNotFoundError: there is no file.
        ValueError: it is damaged, LiteRT cannot load it, or it was not made for training.
    """

    def __init__(self, path, threads=1):
        threads = checks.whole_number(threads, "threads", 1, MOST_THREADS)
        content = read(path)
        parse(content, path)
        # LiteRT cannot free its interpreter once Python has taken its modules down.
        weakref.finalize(self, vars(self).clear)
        try:
            interpreter = litert.interpreter.Interpreter(model_content=content, num_threads=threads)
        except (RuntimeError, ValueError) as error:
            reason = checks.first_line(error)
            raise ValueError(f"LiteRT cannot load {path}: {reason}") from None
        missing = [x for x in SIGNATURES if x not in interpreter.get_signature_list()]
        if missing:
            raise ValueError(
                f"{path} has no signature {missing[0]!r}, it cannot learn: export the model with "
                "train='classifier', or the names of layers."
            )
        self._path = path
        self._run = {name: interpreter.get_signature_runner(name) for name in SIGNATURES}
        self.input_shape = self._shape("infer", "image")
        self._features = self._shape("features", "features", "output")
        (self.classes,) = self._shape("infer", "output", "output")
        self.parameters = int(self._details("restore", "state")["shape"][0])

    def _details(self, signature, name, kind="input"):
        return getattr(self._run[signature], f"get_{kind}_details")()[name]

    def _shape(self, *tensor):
        return tuple(int(size) for size in self._details(*tensor)["shape"][1:])

    def infer(self, inputs):
        """The model's outputs (count, classes), as it has learned so far.

        Args:
            inputs: (count, ...), in any form that `checks.inputs` takes.

        Raises:
            ValueError: see `checks.batches`.
        """
        return self._each("infer", inputs, "output")

    def features(self, inputs):
        """What training takes of inputs (count, ...): (count, numbers), as `infer` takes them.

        It is all that the layers in front of the trained ones compute, dictionary stages included,
        so it stays the same while these learn.
        """
        return self._each("features", inputs, "features")

    def _each(self, signature, inputs, name):
        inputs = checks.inputs(inputs, self.input_shape, "inputs")
        return np.concatenate([self._run[signature](image=one[None])[name] for one in inputs])

    def train(self, features, labels, rate):
        """One step of gradient descent on the mean cross-entropy of a batch.

        Args:
            features: (count, numbers), see `features`.
            labels: (count,) whole numbers, the class of each.
            rate: learning rate >= 0.

        Returns:
            The loss before the step.

        Raises:
            ValueError: features, labels or rate of another kind, a label that is no class, or a
                step after which a number would not be finite. Nothing was learned.
        """
        features = checks.inputs(features, self._features, "features")
        rate = checks.number(rate, "rate", least=0, most=float(np.finfo(np.float32).max))
        labels = np.asarray(labels)
        if labels.dtype.kind not in "iu" or labels.shape != (len(features),):
            raise ValueError(
                f"The labels are {labels.dtype} of shape {labels.shape}: a whole number for each "
                f"of the {len(features)} features works."
            )
        # What int32 does not hold would come back as another class.
        numbers = np.clip(labels, -1, self.classes).astype(np.int32)
        found = self._run["train"](
            features=features, labels=numbers, rate=np.array([rate], np.float32)
        )
        if found["error"] == NO_SUCH_CLASS:
            wrong = labels[(labels < 0) | (labels >= self.classes)][0]
            raise ValueError(f"The label {wrong} is no class from 0 to {self.classes - 1}.")
        if found["error"] == NOT_FINITE:
            raise ValueError(
                f"After a step with rate {rate:g} not all numbers would be finite; a smaller rate "
                "may work."
            )
        return float(found["loss"])

    def save(self, path):
        """Writes what was learned, whole or not at all: whatever happens, an old file stays.

        Raises:
            FileNotFoundError: the folder does not exist.
        """
        path = checks.file_to_write(path)
        content = packed(**self._run["save"](unused=UNUSED))
        with files.replacing(path) as beside, open(beside, "wb") as file:
            file.write(content)
            # Or the name may be on the disk before the content is.
            file.flush()
            os.fsync(file.fileno())

    def restore(self, path):
        """Continues from a file that `save` wrote.

        Raises:
            FileNotFoundError: there is no file.
            ValueError: it is no such file, damaged, or of another model. Nothing has changed.
        """
        found = unpacked(pathlib.Path(path).read_bytes(), self.parameters)
        if found is None:
            raise ValueError(
                f"{os.fspath(path)} is no state of {self._path}, is damaged, or was cut short."
            )
        answer = self._run["restore"](**found)
        if answer["error"] == OTHER_MODEL:
            raise ValueError(f"{os.fspath(path)} is a state of another model than {self._path}.")
        if answer["error"] == NOT_FINITE:
            raise ValueError(f"{os.fspath(path)} has numbers that are not finite.")

    def reset(self):
        """Forgets what was learned."""
        self._run["reset"](unused=UNUSED)

    @property
    def state(self):
        """What was learned, array (parameters,)."""
        return self._run["save"](unused=UNUSED)["state"]


def packed(model, state):
    """The bytes of a file of what was learned: int32 (4,) and float32 (parameters,), and a sum."""
    content = model.astype("<i4").tobytes() + state.astype("<f4").tobytes()
    return content + _sum(content)


def unpacked(content, parameters):
    """`model` and `state` of the bytes of such a file, as a dict; None if they are none."""
    content, found = content[:-4], content[-4:]
    if len(content) != 4 * (STAMP_SIZE + parameters) or found != _sum(content):
        return None
    model = np.frombuffer(content, "<i4", STAMP_SIZE).astype(np.int32)
    return {
        "model": model,
        "state": np.frombuffer(content, "<f4", offset=4 * STAMP_SIZE).astype(np.float32),
    }


def _sum(content):
    return zlib.crc32(content).to_bytes(4, "little")
