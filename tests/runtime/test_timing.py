"""Timing: inputs are set, and files take turns in processes of their own."""

import keras
import numpy as np
import pytest

from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.runtime import interpreter, timing

needs_tensorflow = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
SMALLEST_NORMAL = np.finfo(np.float32).tiny


class Watched(interpreter.Interpreter):
    """Keeps what its input held whenever it ran."""

    def run(self):
        self.inputs = [*getattr(self, "inputs", []), self._interpreter.get_tensor(0).copy()]
        super().run()


@needs_tensorflow
@pytest.mark.parametrize("io", ["float32", "int8"])
def test_a_model_is_timed_on_random_numbers_that_are_set(io):
    how = ("int8", np.random.default_rng(1).normal(size=(8, 40)), "int8") if io == "int8" else ()
    watched = Watched(content=to_tflite(lambda x: 2 * x, (1, 40), (), *how))
    # What memory may hold: denormal numbers, on which arithmetic is slow.
    denormal = (
        np.full((1, 40), 1e-40, np.float32) if io == "float32" else np.zeros((1, 40), np.int8)
    )
    watched._interpreter.set_tensor(watched._input["index"], denormal)
    (seconds,) = timing.median_seconds([watched], runs=3, batch=2)
    assert seconds > 0 and len(watched.inputs) == (2 + 3) * 2
    for values in watched.inputs:
        assert len(np.unique(values)) > 20
        assert io == "int8" or (np.abs(values) >= SMALLEST_NORMAL).all()


def test_of_no_interpreters_there_are_no_seconds():
    assert timing.median_seconds([]).shape == (0,)
    for wrong in ({"runs": 0}, {"batch": 0.5}):
        with pytest.raises(ValueError, match="must be a whole number >= 1"):
            timing.median_seconds([], **wrong)


class Pipe:
    """A pipe whose other end asks for these runs."""

    def __init__(self, *questions):
        self.questions, self.answers = list(questions), []

    def recv(self):
        return self.questions.pop(0)

    def send(self, answer):
        self.answers.append(answer)


@needs_tensorflow
def test_a_process_sets_the_input_of_its_file_and_answers_as_often_as_asked(tmp_path, monkeypatch):
    path, made = tmp_path / "model.tflite", []
    path.write_bytes(to_tflite(lambda x: 2 * x, (1, 40)))

    def make(*arguments, **how):
        made.append(Watched(*arguments, **how))
        return made[-1]

    monkeypatch.setattr(timing, "Interpreter", make)
    pipe = Pipe(3, 1, 0)
    timing._serve(path, 1, False, pipe)
    problem, first, second, peak = pipe.answers
    assert problem is None and min(first, second) > 0 and peak >= 0
    (watched,) = made
    assert len(watched.inputs) == 1 + 3 + 1
    assert all(np.abs(values).min() >= SMALLEST_NORMAL for values in watched.inputs)


def test_a_process_says_what_is_wrong_with_its_file(tmp_path):
    pipe = Pipe()
    timing._serve(tmp_path / "none.tflite", 1, False, pipe)
    (problem,) = pipe.answers
    assert "none.tflite" in problem and "\n" not in problem


def test_a_process_that_is_gone_is_one_line():
    class Gone(Pipe):
        def recv(self):
            raise EOFError

    with pytest.raises(ValueError, match=r"LiteRT crashed on a\.tflite: is the file whole\?"):
        timing._ask(Gone(), "a.tflite")


def test_a_busy_machine_is_refused_after_some_patience(monkeypatch):
    waited = []
    monkeypatch.setattr(timing.time, "sleep", waited.append)
    monkeypatch.setattr(timing, "LEAST_SHARE", 2.0)
    with pytest.raises(ValueError, match=r"busy: timing had \d+% of a processor, three times"):
        timing.undisturbed(lambda: None)
    assert len(waited) == 2
