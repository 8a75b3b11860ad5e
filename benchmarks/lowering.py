"""Time and size of an LCNN's .tflite beside its dense twin's, for each way to leave.

    python benchmarks/lowering.py

Random weights, s lookups per position, random input; LiteRT with stock ops, one thread. All files
of a net take turns, run by run, each in a process of its own; ratios are to the dense float32 file.
"""

import os
import pathlib
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "export"))

import benchmark
import keras
import numpy as np
from absl import app, flags, logging

from tf_lcnn import models
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.training.callbacks import project

FLAGS = flags.FLAGS

flags.DEFINE_list("nets", ["resnet18:fast", "resnet18:accurate", "alexnet:fast"], "TWIN:SIZES.")
flags.DEFINE_list("lowerings", ["sparse", "folded", "auto"], "Ways to leave.")
flags.DEFINE_integer("top_s", 3, "Lookups per kernel position and filter.", lower_bound=1)


def write(folder, name, model, way="auto", quantize=None, delegate=False):
    """Converts a model into folder/name; the path."""
    start = time.perf_counter()
    shape = model.input_shape[1:]
    examples = np.random.default_rng(0).normal(size=(4, *shape)).astype(np.float32)
    plans = choose_lowerings(model, way, quantize=quantize, delegate=delegate)
    content = convert(model, plans, quantize, examples)
    path = folder / f"{name}.tflite"
    path.write_bytes(content)
    print(f"  {path.name}: converted in {time.perf_counter() - start:.1f} s", flush=True)
    return path


def files(folder, twin, sizes):
    """The .tflite files to compare, the dense float32 one first."""
    keras.utils.set_random_seed(0)
    dense = models.build(twin)
    paths = [write(folder, "dense float32", dense)]
    paths.append(write(folder, "dense int8", dense, quantize="int8"))
    del dense
    lcnn = models.build(f"{twin}_lcnn", dictionary_sizes=sizes)
    project(lcnn, FLAGS.top_s)
    for quantize in (None, "int8"):
        for way in FLAGS.lowerings:
            name = f"{way} {quantize or 'float32'}"
            paths.append(write(folder, name, lcnn, way, quantize))
    return paths


def main(_):
    logging.set_verbosity(logging.WARNING)
    for net in FLAGS.nets:
        twin, sizes = net.split(":")
        print(f"{twin} {sizes}, s = {FLAGS.top_s}")
        with tempfile.TemporaryDirectory() as folder:
            paths = files(pathlib.Path(folder), twin, sizes)
            seconds, peaks = benchmark.measure(paths, FLAGS.runs, FLAGS.warmup, FLAGS.threads)
            first = paths[0].stat().st_size
            print("  file              bytes     ratio  median ms  ratio (quartiles)     peak MiB")
            for j, path in enumerate(paths):
                size = path.stat().st_size
                low, middle, high = np.percentile(seconds[:, j] / seconds[:, 0], [25, 50, 75])
                print(
                    f"  {path.stem:14}  {size:>11,}  {size / first:6.3f}  "
                    f"{1e3 * np.median(seconds[:, j]):9.3f}  "
                    f"{middle:.3f} ({low:.3f} to {high:.3f})  {peaks[j] / 1024:8.1f}",
                    flush=True,
                )


if __name__ == "__main__":
    app.run(main)
