"""Times .tflite files in turn, any of them: median, spread and peak memory.

    python export/benchmark.py a.tflite b.tflite --runs=50 --threads=1 --delegate

Each file runs in a process of its own, on random input; the processes take turns, a run each, so
that all see the same machine. Ratios are to the first file, run by run. With --delegate each file
is timed twice: as it is, and with the native delegate.
"""

import contextlib
import multiprocessing
import os
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags

FLAGS = flags.FLAGS

flags.DEFINE_integer("runs", 50, "Measured runs of each file.", lower_bound=1)
flags.DEFINE_integer("warmup", 5, "Runs before, not measured.", lower_bound=0)
flags.DEFINE_integer("threads", 1, "Threads of LiteRT, and of the delegate.", lower_bound=1)
flags.DEFINE_boolean("delegate", False, "Time each file with the native delegate too.")


def serve(path, threads, delegate, pipe):
    """Loads a file; a request for some runs is answered with the seconds of one, or an error."""
    # Imported here: the peak memory of this process is then that of the one file.
    from tf_lcnn.runtime.interpreter import Interpreter

    before = memory("VmRSS")
    reset_peak()
    try:
        interpreter = Interpreter(path, threads, delegate=delegate)
        shape = interpreter.input_shape[1:]
        interpreter.predict(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    except (ValueError, OSError) as error:
        pipe.send(str(error))
        return
    pipe.send(None)
    while count := pipe.recv():
        start = time.perf_counter()
        for _ in range(count):
            interpreter.run()
        pipe.send((time.perf_counter() - start) / count)
    pipe.send(memory("VmHWM") - before)


def memory(field):
    """KiB of this process: VmRSS, held now, or VmHWM, held at most. 0 where Linux is not."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            found = [line.split()[1] for line in file if line.startswith(f"{field}:")]
    except OSError:
        return 0
    return int(found[0])


def reset_peak():
    # Importing takes more memory than most models; the peak is to be the model's.
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w", encoding="ascii") as file:
        file.write("5")


def ask(pipe, path, question=None):
    """The answer of a file's process; LiteRT takes its process down with a damaged file."""
    try:
        if question is not None:
            pipe.send(question)
        return pipe.recv()
    except (EOFError, OSError):
        raise ValueError(f"LiteRT crashed on {path}: is the file whole?") from None


def measure(paths, runs, warmup, threads, delegates=False, batch=1):
    """Runs .tflite files in turn.

    Args:
        paths: the files; one may come several times.
        runs, warmup: of each file, measured and before.
        threads: for all files, or a list of them.
        delegates: as `runtime.Interpreter` takes it; for all files, or a list of them.
        batch: how many runs make a turn; they are timed together.

    Returns:
        (seconds (runs, files), peak KiB per file).
    """
    each_threads = threads if isinstance(threads, list) else [threads] * len(paths)
    each_delegate = delegates if isinstance(delegates, list) else [delegates] * len(paths)
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        for path, *how in zip(paths, each_threads, each_delegate, strict=True):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(path, *how, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            pipes.append(ours)
            problem = ask(ours, path)
            if problem:
                raise ValueError(problem)
        seconds = np.zeros((runs, len(paths)))
        for i in range(-warmup, runs):
            for j, pipe in enumerate(pipes):
                # Warm-up runs are overwritten.
                seconds[max(i, 0), j] = ask(pipe, paths[j], batch)
        return seconds, [ask(pipe, path, 0) for pipe, path in zip(pipes, paths, strict=True)]
    finally:
        for process in processes:
            process.kill()


def main(arguments):
    if len(arguments) < 2:
        raise ValueError("Name the .tflite files to time.")
    ways = (False, True) if FLAGS.delegate else (False,)
    rows = [(path, delegate) for path in arguments[1:] for delegate in ways]
    paths, delegates = map(list, zip(*rows, strict=True))
    names = [f"{path}, delegate" if delegate else path for path, delegate in rows]
    seconds, peaks = measure(paths, FLAGS.runs, FLAGS.warmup, FLAGS.threads, delegates)
    width = max(map(len, names))
    print(f"{'file':{width}}  {'bytes':>11}  median ms  (quartiles)        ratio  peak MiB")
    for j, name in enumerate(names):
        low, middle, high = np.percentile(seconds[:, j], [25, 50, 75]) * 1e3
        ratio = np.median(seconds[:, j] / seconds[:, 0])
        print(
            f"{name:{width}}  {os.path.getsize(paths[j]):>11,}  {middle:9.3f}  ({low:.3f} to "
            f"{high:.3f})  {ratio:5.2f}  {peaks[j] / 1024:8.1f}"
        )


if __name__ == "__main__":
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark.py: {error}")
