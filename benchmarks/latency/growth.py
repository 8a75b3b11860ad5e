"""How the time of a 3x3 layer grows with its sizes, on XNNPACK and with the native delegate.

    python -m benchmarks.latency.growth --json=growth.json --plot=growth.png

One size varies at a time around 64 channels at 56x56, k = 16 and s = 4: the map, the channels (at
14x14, k a quarter of them), the dictionary and the lookups (of 128 channels at 28x28), the batch
and the threads. Random weights and input, medians; all files of a panel take turns. What a lookup
costs is the time that four more of them take at each filter and position, over that of a dense
multiplication in the same panel.
"""

import dataclasses
import json
import weakref

import numpy as np
from absl import flags
from ai_edge_litert import interpreter as litert

from benchmarks.common.single_layers import FORMATS, dense_layer, layer_file, lookup_layer
from tf_lcnn import files, programs
from tf_lcnn.runtime import native
from tf_lcnn.runtime.timing import median_seconds

FLAGS = flags.FLAGS

flags.DEFINE_integer("turns", 9, "Measured turns of each file.", lower_bound=1)
flags.DEFINE_string("json", None, "The file of the figures to write; default: none.")
flags.DEFINE_string("plot", None, "The PNG to write, which needs matplotlib; default: none.")
flags.DEFINE_string("from_json", None, "Draws these figures, and measures nothing.")

MORE_LOOKUPS = 4
# Runs in a turn: threads that have slept through the others' turns take a while to wake.
THREADS_BATCH = 8


@dataclasses.dataclass(frozen=True)
class Point:
    """A layer's sizes, and how it is run."""

    channels: int = 64
    size: int = 56
    k: int = 16
    s: int = 4
    batch: int = 1
    threads: int = 1


WIDE = Point(128, 28, 32)
PANELS = {
    "map": [dataclasses.replace(Point(), size=size) for size in (28, 56, 112, 224, 448)],
    "channels": [Point(c, 14, max(c // 4, 8)) for c in (32, 64, 128, 256, 512, 1024)],
    "k": [dataclasses.replace(WIDE, k=k) for k in (8, 16, 32, 64, 128)],
    "s": [dataclasses.replace(WIDE, k=64, s=s) for s in (1, 2, 4, 8, 16)],
    "batch": [dataclasses.replace(WIDE, batch=batch) for batch in (1, 2, 4, 8)],
    "threads": [dataclasses.replace(Point(), threads=threads) for threads in (1, 2)],
}
FIELDS = {"map": "size"}


class Runner:
    """A file that runs at a batch of its own."""

    def __init__(self, content, point, delegate):
        options = {"force": 1, "threads": point.threads}
        # LiteRT cannot free a delegate once Python has taken its modules down.
        weakref.finalize(self, vars(self).clear)
        self._interpreter = litert.Interpreter(
            model_content=content,
            num_threads=point.threads,
            experimental_delegates=[native.load_delegate(**options)] if delegate else [],
        )
        (self._input,) = self._interpreter.get_input_details()
        self._shape = (point.batch, *self._input["shape"][1:])
        if point.batch > 1:
            self._interpreter.resize_tensor_input(self._input["index"], self._shape)
        self._interpreter.allocate_tensors()

    def set_random_input(self):
        values = np.random.default_rng(0).normal(size=self._shape)
        if self._input["dtype"] == np.int8:
            values = np.clip(np.round(40 * values), -128, 127)
        self._interpreter.set_tensor(self._input["index"], values.astype(self._input["dtype"]))

    def run(self):
        self._interpreter.invoke()


def measure(panel):
    """A dict of figures per point and number format."""
    points, runners = PANELS[panel], []
    for point in points:
        dense = dense_layer(point.channels, point.size)
        nets = [lookup_layer(point.channels, point.size, point.k, point.s)]
        if panel == "k":
            more = min(point.s + MORE_LOOKUPS, point.k)
            nets.append(lookup_layer(point.channels, point.size, point.k, more))
        for name in FORMATS:
            runners.append(Runner(layer_file(dense, name), point, False))
            runners += [Runner(layer_file(net, name), point, True) for net in nets]
    batch = THREADS_BATCH if panel == "threads" else 1
    seconds = median_seconds(runners, FLAGS.turns, batch).reshape(len(points), len(FORMATS), -1)
    figures = []
    for point, of_point in zip(points, seconds, strict=True):
        for name, (dense, delegate, *more) in zip(FORMATS, of_point, strict=True):
            figure = dataclasses.asdict(point) | {
                "panel": panel,
                "format": name,
                "dense_ms": 1e3 * dense,
                "delegate_ms": 1e3 * delegate,
            }
            # A layer that takes all its rows needs no lookups.
            if more and point.s + MORE_LOOKUPS < point.k:
                outputs = 9 * point.channels * point.size**2
                lookup = (more[0] - delegate) / (outputs * MORE_LOOKUPS)
                figure["lookup_in_dense"] = lookup / (dense / (outputs * point.channels))
            figures.append(figure)
    return figures


def show(figures):
    print("One thread unless said; milliseconds")
    print("  panel      channels  map   k    s  batch threads  format    dense  delegate  faster")
    for f in figures:
        line = (
            f"  {f['panel']:9}  {f['channels']:8}  {f['size']:3}  {f['k']:3}  {f['s']:2}  "
            f"{f['batch']:5}  {f['threads']:6}  {f['format']:7}  {f['dense_ms']:7.3f}  "
            f"{f['delegate_ms']:8.3f}  {f['dense_ms'] / f['delegate_ms']:5.2f}x"
        )
        if "lookup_in_dense" in f:
            line += f"  a lookup costs {f['lookup_in_dense']:.2f} dense multiplications"
        print(line)


def draw(figures, path):
    # Only the plot needs it; and not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    colors = {"float32": "tab:blue", "int8": "tab:orange"}
    grid = Figure(figsize=(11, 6.5), layout="constrained")
    axes = grid.subplots(2, 3)
    for panel, axis in zip(PANELS, axes.flat, strict=True):
        field = FIELDS.get(panel, panel)
        for name in FORMATS:
            some = [f for f in figures if (f["panel"], f["format"]) == (panel, name)]
            x = [f[field] for f in some]
            for kind, style in (("dense", "--o"), ("delegate", "-o")):
                y = [f[f"{kind}_ms"] for f in some]
                label = f"{name}, " + ("dense, XNNPACK" if kind == "dense" else "LCNN, delegate")
                axis.plot(x, y, style, color=colors[name], label=label, markersize=3.5)
        axis.set(xscale="log", yscale="log", xlabel=panel, ylabel="ms")
        axis.set_xticks(x, list(map(str, x)))
        axis.minorticks_off()
        axis.grid(alpha=0.3)
    axes[0, 0].legend(fontsize=8)
    with files.replacing(path) as beside:
        grid.savefig(beside, dpi=110, format="png")


def main():
    if FLAGS.from_json:
        with open(FLAGS.from_json, encoding="utf-8") as file:
            figures = json.load(file)
    else:
        figures = [figure for panel in PANELS for figure in measure(panel)]
    show(figures)
    if FLAGS.json:
        files.write(FLAGS.json, json.dumps(figures, indent=1) + "\n")
    if FLAGS.plot:
        draw(figures, FLAGS.plot)


if __name__ == "__main__":
    programs.run(main)
