"""Times .tflite files in turn, on random input; in this process, or each in one of its own."""

import contextlib
import multiprocessing
import time

import numpy as np

from tf_lcnn import checks
from tf_lcnn.runtime.interpreter import Interpreter

# The share of a measurement that the process has to run, for its times to be worth something.
LEAST_SHARE = 0.9

# Between tries to time on a busy machine.
_SECONDS_TO_WAIT = 10.0


def median_seconds(interpreters, runs=15, batch=1):
    """Median seconds of a run of each Interpreter; they take turns, after two turns to warm up.

    Args:
        interpreters: whose inputs are set to random numbers first; of none, there are no seconds.
        runs: turns that are measured.
        batch: runs in a turn; they are timed together.

    Returns:
        array (interpreters,).
    """
    return np.median(turns(interpreters, runs, batch), axis=0)


def turns(interpreters, runs=15, batch=1):
    """As `median_seconds`, with every turn: array (runs, interpreters)."""
    runs, batch = checks.whole_number(runs, "runs"), checks.whole_number(batch, "batch")
    for interpreter in interpreters:
        interpreter.set_random_input()
    seconds = np.zeros((runs, len(interpreters)))
    for i in range(-2, runs):
        for j, interpreter in enumerate(interpreters):
            # The turns to warm up are overwritten.
            seconds[max(i, 0), j] = _seconds(interpreter, batch)
    return seconds


def with_share(measure):
    """(what measure() returns, the share of its time in which this process had a processor).

    A share below `LEAST_SHARE` says that other work took the processor: such times are wrong.
    """
    wall, processor = time.perf_counter(), time.process_time()
    found = measure()
    return found, (time.process_time() - processor) / (time.perf_counter() - wall)


def undisturbed(measure):
    """What measure() returns; while other work takes the processor, a little later once more.

    Raises:
        ValueError: it did so three times.
    """
    for last in (False, False, True):
        found, share = with_share(measure)
        if share >= LEAST_SHARE:
            return found
        if not last:
            time.sleep(_SECONDS_TO_WAIT)
    raise ValueError(
        f"This machine is busy: timing had {share:.0%} of a processor, three times. What was "
        "finished stays; call again when it is idle."
    )


def _seconds(interpreter, batch):
    """Of a run, when this many follow one another."""
    start = time.perf_counter()
    for _ in range(batch):
        interpreter.run()
    return (time.perf_counter() - start) / batch


def measure(paths, runs, warmup, threads=1, delegates=False, batch=1):
    """Runs .tflite files in turn, each in a process of its own, on random input.

    Args:
        paths: the files; one may come several times.
        runs, warmup: turns of each file, measured and before.
        threads: for all files, or a list of them.
        delegates: as `Interpreter` takes it; for all files, or a list of them.
        batch: how many runs make a turn; they are timed together. Of one alone, the caches hold
            what another file left: it is cold, and takes up to half as long again.

    Returns:
        (seconds of a run (runs, files), peak KiB of loading and running each file).

    Raises:
        ValueError: a file that LiteRT cannot run, or other arguments than these.
    """
    runs, batch = checks.whole_number(runs, "runs"), checks.whole_number(batch, "batch")
    warmup = checks.whole_number(warmup, "warmup", 0)
    threads_of = threads if isinstance(threads, list) else [threads] * len(paths)
    delegate_of = delegates if isinstance(delegates, list) else [delegates] * len(paths)
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        for path, *how in zip(paths, threads_of, delegate_of, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(path, *how, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
        # They import TensorFlow, all at once.
        for path, pipe in zip(paths, pipes, strict=True):
            problem = _ask(pipe, path)
            if problem:
                raise ValueError(problem)
        seconds = np.zeros((runs, len(paths)))
        for i in range(-warmup, runs):
            for j, pipe in enumerate(pipes):
                # Warm-up runs are overwritten.
                seconds[max(i, 0), j] = _ask(pipe, paths[j], batch)
        return seconds, [_ask(pipe, path, 0) for pipe, path in zip(pipes, paths, strict=True)]
    finally:
        for process in processes:
            process.kill()


def _ask(pipe, path, question=None):
    """The answer of a file's process; LiteRT takes its process down with a damaged file."""
    try:
        if question is not None:
            pipe.send(question)
        return pipe.recv()
    except (EOFError, OSError):
        raise ValueError(f"LiteRT crashed on {path}: is the file whole?") from None


def _serve(path, threads, delegate, pipe):
    """Loads a file; a request for some runs is answered with the seconds of one.

    A request for none is the last one, and answered with the peak memory in KiB. The first
    message says what is wrong with the file, or None.
    """
    before = _memory("VmRSS")
    _reset_peak()
    try:
        interpreter = Interpreter(path, threads, delegate=delegate)
        interpreter.set_random_input()
        interpreter.run()
    except (ValueError, OSError, RuntimeError, checks.MissingExtraError) as error:
        pipe.send(checks.first_line(error))
        return
    pipe.send(None)
    while batch := pipe.recv():
        pipe.send(_seconds(interpreter, batch))
    pipe.send(_memory("VmHWM") - before)


def _memory(field):
    """KiB of this process: VmRSS, held now, or VmHWM, held at most. 0 where Linux is not."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            values = [line.split()[1] for line in file if line.startswith(f"{field}:")]
    except OSError:
        return 0
    return int(values[0])


def _reset_peak():
    # Importing takes more memory than most models; the peak is to be the model's.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")
