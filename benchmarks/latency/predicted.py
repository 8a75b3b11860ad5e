"""Whole nets: milliseconds as the prices of their layers say, and as they are measured.

    python -m benchmarks.latency.predicted --weights=WEIGHTS

Nets trained by others: WEIGHTS is a folder with their `models.py`. Of each, layers of a lookup form
get sizes that are drawn, or stay dense, three times over; before such a file is timed its time is
predicted, by the prices of the kernels on this machine that are known by then. int8, one thread,
with the native delegate where it was built. Times that are worth something need an idle machine.
"""

import pathlib
import sys
import tempfile

import numpy as np
from absl import flags

from tf_lcnn import programs
from tf_lcnn.compression import size_plan
from tf_lcnn.compression.sites import kernel_shape, sites
from tf_lcnn.pipeline import kernel_prices, sizing
from tf_lcnn.runtime import native

FLAGS = flags.FLAGS

flags.DEFINE_string("weights", None, "Folder of the nets' models.py.", required=True)
flags.DEFINE_list(
    "nets",
    ["resnet20", "resnet56", "resnet8", "squeezenet11", "dncnn", "vdsr"],
    "Of models.py: those that it has a load_NAME for.",
)
flags.DEFINE_integer("size", 96, "Height and width of inputs that a net leaves open.")
flags.DEFINE_string("prices", None, "JSON of this machine's prices; measured once by default.")

DRAWS = 3
SIZES = [(None, None), (16, 4), (16, 8), (32, 4), (32, 8), (64, 8)]


def main():
    sys.path.insert(0, FLAGS.weights)
    # Of the folder, not of this package.
    import models

    print("net                  parent ms  predicted, measured ms (predicted / measured)")
    for name in FLAGS.nets:
        parent = getattr(models, f"load_{name}")()
        with tempfile.TemporaryDirectory() as folder:
            times = drawn(parent, pathlib.Path(folder))
        pairs = (f"{said:8.3f} {took:8.3f} ({said / took:4.2f})" for said, took in times[1:])
        print(f"{name:20} {times[0]:9.3f}  {'  '.join(pairs)}", flush=True)


def drawn_sizes(place, rng):
    """(k, s) of a `sites.Site`; dense too where it has fewer weight vectors than the k drawn."""
    k, s = SIZES[rng.integers(len(SIZES))]
    return (k, s) if k and k < place.weight_vectors else (None, None)


def drawn(parent, folder):
    """[milliseconds of the parent, (predicted, measured) of each draw]."""
    shape = [FLAGS.size if n is None else n for n in parent.input_shape[1:]]
    rng = np.random.default_rng(0)
    images = rng.normal(size=(8, *shape)).astype(np.float32)
    delegate = native.available()
    prices = kernel_prices.of_machine(FLAGS.prices, "int8", delegate)
    machine, places = prices.machine, sites(parent, shape)
    dense_file, file = folder / "parent.tflite", folder / "lcnn.tflite"
    sizing.write(dense_file, parent, images, machine, False)
    prices.stock.measure(parent, {}, dense_file, shape)
    dense = float(np.median(sizing.interleaved([dense_file], [False])))
    rest = dense - prices.stock.milliseconds(parent, {}, shape)
    times = [dense]
    for _ in range(DRAWS):
        sizes = {x.name: drawn_sizes(x, rng) for x in places}
        said = rest + prices.milliseconds(parent, sizes, shape)
        choices = (
            size_plan.Choice(x.name, kernel_shape(x.layer), *sizes[x.name], 0.0, 0.0, 0.0)
            for x in places
        )
        plan = size_plan.Plan(parent.name, "milliseconds", said, rest, tuple(choices))
        sizing.write(file, sizing.empty(parent, plan), images, machine, delegate)
        took = float(np.median(sizing.interleaved([file], [delegate])))
        times.append((said, took))
        # As `sizing.plan_for` does between its tries.
        prices.measure(parent, plan.sizes, file, shape)
        rest = took - prices.milliseconds(parent, sizes, shape)
    return times


if __name__ == "__main__":
    programs.run(main)
