"""Time and size of an LCNN's .tflite beside its dense twin's, for each lowering.

    python -m benchmarks.latency.lowering

Random weights, s lookups per position, random input; LiteRT with stock ops, one thread. All files
of a net take turns, some runs each, each in a process of its own; ratios are to the dense float32
file.
"""

import pathlib
import tempfile

import keras
import numpy as np
from absl import flags

from benchmarks.common import networks, timing
from tf_lcnn import models, programs
from tf_lcnn.training.callbacks import project

FLAGS = flags.FLAGS

flags.DEFINE_list("nets", ["resnet18:fast", "resnet18:accurate", "alexnet:fast"], "TWIN:SIZES.")
flags.DEFINE_list("lowerings", ["sparse", "folded", "auto"], "Of the lookup layers.")
flags.DEFINE_integer("top_s", 3, "Lookups per kernel position and filter.", lower_bound=1)


def files(folder, twin, sizes):
    """The paths of the .tflite files to compare, the dense float32 one first."""
    paths = []

    def write(name, model, **how):
        paths.append(folder / f"{name}.tflite")
        networks.write(paths[-1], model, **how)

    keras.utils.set_random_seed(0)
    dense = models.build(twin)
    write("dense float32", dense)
    write("dense int8", dense, quantize="int8")
    del dense
    lcnn = models.build(f"{twin}_lcnn", dictionary_sizes=sizes)
    project(lcnn, FLAGS.top_s)
    for quantize in (None, "int8"):
        for lowering in FLAGS.lowerings:
            name = f"{lowering} {quantize or 'float32'}"
            write(name, lcnn, lowering=lowering, quantize=quantize)
    return paths


def compare(paths):
    """Prints sizes and times of the files; the first one is what the others are compared with."""
    seconds, peaks = timing.measure(paths)
    first = paths[0].stat().st_size
    print(f"  {FLAGS.runs} turns of {timing.BATCH} runs")
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


def main():
    nets = [net.partition(":") for net in FLAGS.nets]
    for twin, colon, _ in nets:
        if not colon:
            raise ValueError(f"--nets={twin}: a net is like resnet18:fast, TWIN:SIZES.")
        models.twin(twin)
    for twin, _, sizes in nets:
        print(f"{twin} {sizes}, s = {FLAGS.top_s}")
        with tempfile.TemporaryDirectory() as folder:
            compare(files(pathlib.Path(folder), twin, sizes))


if __name__ == "__main__":
    programs.run(main)
