"""Times .tflite files in turn, any of them: median, spread and peak memory.

    python export/benchmark.py a.tflite b.tflite --runs=50 --threads=1

Each file runs in a process of its own, on random input; the processes take turns, a run each, so
that all see the same machine. Ratios are to the first file, run by run.
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
flags.DEFINE_integer("threads", 1, "Threads of LiteRT.", lower_bound=1)


def serve(path, threads, pipe):
    """Loads a file and answers each request with the seconds of a run, or with what is wrong."""
    # Imported here: the peak memory of this process is then that of the one file.
    from tf_lcnn.lite.runtime import Interpreter

    before = memory("VmRSS")
    reset_peak()
    try:
        interpreter = Interpreter(path, threads)
        shape = interpreter.input_shape[1:]
        interpreter.predict(np.random.default_rng(0).normal(size=(1, *shape)).astype(np.float32))
    except (ValueError, OSError) as error:
        pipe.send(str(error))
        return
    pipe.send(None)
    while pipe.recv():
        start = time.perf_counter()
        interpreter.run()
        pipe.send(time.perf_counter() - start)
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


def measure(paths, runs, warmup, threads):
    """(seconds (runs, files), peak KiB per file) of .tflite files, run in turn."""
    context = multiprocessing.get_context("spawn")
    processes, pipes = [], []
    try:
        for path in paths:
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(path, threads, theirs), daemon=True)
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
                seconds[max(i, 0), j] = ask(pipe, paths[j], True)
        return seconds, [ask(pipe, path, False) for pipe, path in zip(pipes, paths, strict=True)]
    finally:
        for process in processes:
            process.kill()


def main(arguments):
    paths = arguments[1:]
    if not paths:
        raise ValueError("Name the .tflite files to time.")
    seconds, peaks = measure(paths, FLAGS.runs, FLAGS.warmup, FLAGS.threads)
    width = max(len(path) for path in paths)
    print(f"{'file':{width}}  {'bytes':>11}  median ms  (quartiles)        ratio  peak MiB")
    for j, path in enumerate(paths):
        low, middle, high = np.percentile(seconds[:, j], [25, 50, 75]) * 1e3
        ratio = np.median(seconds[:, j] / seconds[:, 0])
        print(
            f"{path:{width}}  {os.path.getsize(path):>11,}  {middle:9.3f}  ({low:.3f} to "
            f"{high:.3f})  {ratio:5.2f}  {peaks[j] / 1024:8.1f}"
        )


if __name__ == "__main__":
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"benchmark.py: {error}")
