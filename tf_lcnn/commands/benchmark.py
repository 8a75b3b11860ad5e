"""Times .tflite files in turn: median, spread and peak memory.

    tf-lcnn benchmark a.tflite b.tflite --runs=50 --threads=1 --delegate

Each file runs in a process of its own, on random input; the processes take turns, so that all see
the same machine. A turn is --batch runs that are timed together: the weights are in the caches
then, as they are in an app that runs a file on image after image. With --batch=1 each run is cold,
after another file's, and takes up to half as long again. Ratios are to the first file, turn by
turn. With --delegate each file is timed twice: as it is, and with the native delegate.

With --profile also each layer by itself, cut out of its file: a row per layer, those of one name in
several files side by side, as of a dense net and its LCNN. A star marks what the delegate runs.
"""

import os

import numpy as np
from absl import flags

from tf_lcnn import programs
from tf_lcnn.runtime import cutting, timing
from tf_lcnn.runtime.interpreter import Interpreter

FLAGS = flags.FLAGS
HELP = programs.Help(
    "FILE.tflite [FILE.tflite...] [FLAG...]",
    ("runs", "warmup", "batch", "threads", "delegate", "profile"),
)

flags.DEFINE_integer("runs", 50, "Measured turns of each file.", lower_bound=1)
flags.DEFINE_integer("warmup", 5, "Turns before, not measured.", lower_bound=0)
flags.DEFINE_integer("batch", 10, "Runs in a turn; 1 times cold runs.", lower_bound=1)
flags.DEFINE_integer("threads", 1, "Threads of LiteRT, and of the delegate.", lower_bound=1)
flags.DEFINE_boolean("delegate", False, "Time each file with the native delegate too.")
flags.DEFINE_boolean("profile", False, "Time each layer by itself too.")


def layer_times(path, delegate):
    """Name -> (microseconds, whether the delegate runs it) of each layer of a file.

    Of a layer that is called several times it is the sum.
    """
    with open(path, "rb") as file:
        layers = cutting.layers(file.read(), path)
    alone = [
        Interpreter(content=layer.content, threads=FLAGS.threads, delegate=delegate)
        for layer in layers
    ]
    seconds = timing.median_seconds(alone, FLAGS.runs, FLAGS.batch)
    times = {}
    for layer, time, of in zip(layers, seconds, alone, strict=True):
        before, _ = times.get(layer.name, (0.0, False))
        times[layer.name] = before + 1e6 * time, "claimed" in of.claims
    return times


def print_profile(names, paths, delegates):
    tables = [layer_times(*of) for of in zip(paths, delegates, strict=True)]
    print("\nLayers by themselves, microseconds; * the delegate runs it")
    for j, name in enumerate(names):
        print(f"  [{j + 1}] {name}")
    layers = list(dict.fromkeys(layer for table in tables for layer in table))
    width = max(map(len, [*layers, "layer"]))
    heads = "".join(f"{f'[{j + 1}]':>11} " for j in range(len(tables)))
    print(f"{'layer':{width}}{heads}")
    for layer in layers:
        cells = [table.get(layer) for table in tables]
        line = "".join(
            f"{'':11} " if cell is None else f"{cell[0]:11.1f}{'*' if cell[1] else ' '}"
            for cell in cells
        )
        print(f"{layer:{width}}{line}".rstrip())
    sums = "".join(f"{sum(time for time, _ in table.values()):11.1f} " for table in tables)
    print(f"{'sum':{width}}{sums}".rstrip())


def main(files):
    if not files:
        raise ValueError("Name the .tflite files to time.")
    delegate_of = (False, True) if FLAGS.delegate else (False,)
    rows = [(path, delegate) for path in files for delegate in delegate_of]
    paths, delegates = map(list, zip(*rows, strict=True))
    names = [f"{path}, delegate" if delegate else path for path, delegate in rows]
    seconds, peaks = timing.measure(
        paths, FLAGS.runs, FLAGS.warmup, FLAGS.threads, delegates, FLAGS.batch
    )
    kind = "1 run, cold" if FLAGS.batch == 1 else f"{FLAGS.batch} runs, warm"
    plural = "" if FLAGS.threads == 1 else "s"
    print(f"{FLAGS.runs} turns of {kind}; {FLAGS.threads} thread{plural}; times of one run")
    width = max(map(len, names))
    print(f"{'file':{width}}  {'bytes':>11}  median ms  (quartiles)        ratio  peak MiB")
    for j, name in enumerate(names):
        low, middle, high = np.percentile(seconds[:, j], [25, 50, 75]) * 1e3
        ratio = np.median(seconds[:, j] / seconds[:, 0])
        print(
            f"{name:{width}}  {os.path.getsize(paths[j]):>11,}  {middle:9.3f}  ({low:.3f} to "
            f"{high:.3f})  {ratio:5.2f}  {peaks[j] / 1024:8.1f}"
        )
    if FLAGS.profile:
        print_profile(names, paths, delegates)


def start():
    programs.run(main, help_of=HELP)
