"""The frontier: accuracy against milliseconds, of a parent, its LCNNs, and what rivals them.

    python -m benchmarks.accuracy.frontier --task=dncnn --data=DATA --images=IMAGES

Parents and their data are those of `benchmarks.common.parents`. Every net learns from its parent
(and from labels where there are some) on the same images, with the same updates of the same size
by the same program (`compression.reconstruction`), at last with int8 in the loop:

    lcnn:SPEEDUP   `compress`, for the native delegate
    stock:SPEEDUP  `compress`, for stock LiteRT
    rank:SHARE     factorized: a dictionary row for this share of the channels, coefficients
                   dense, in stock operators
    width:SHARE    dense, with the filters of the parent that have the largest L1 norms (Li et al.,
                   Pruning Filters for Efficient ConvNets, ICLR 2017); for convolutions in a chain
                   or with residual sums

Files are int8, and the figure is that of the file in LiteRT on test data that nothing was chosen
by. They run in turn on one thread, what is not an LCNN on XNNPACK. Times that are worth something
need an idle machine: what is finished stays in the folder, and the same command with --nothing_new
only times the files. frontier.json in the folder has all tasks that were run, frontier.png a panel
of each.
"""

import json
import pathlib
import sys

import keras
import numpy as np
from absl import flags

from benchmarks.common import parents, rivals, rows, tables
from tf_lcnn import files, programs
from tf_lcnn.compression.reconstruction import reconstruct
from tf_lcnn.lite import proof
from tf_lcnn.lite.export import export
from tf_lcnn.pipeline import comparing, sizing
from tf_lcnn.pipeline.compressing import compress, told_seldom
from tf_lcnn.runtime.interpreter import Interpreter

FLAGS = flags.FLAGS

flags.DEFINE_enum("task", None, parents.names(), "The parent.", required=True)
flags.DEFINE_string("folder", "runs/frontier", "Where files and results go.")
flags.DEFINE_list("nets", ["lcnn:2.5", "lcnn:4", "rank:0.25", "width:0.5"], "See above.")
flags.DEFINE_boolean("nothing_new", False, "Only time and draw what is finished.")

CODED_ON = 200
CALIBRATED_ON = 64

# Kind -> (name in the figure, color, marker).
KINDS = {
    "parent": ("parent, dense int8", "0.5", "s"),
    "lcnn": ("LCNN, native delegate", "C0", "o"),
    "stock": ("LCNN, stock LiteRT", "C9", "o"),
    "rank": ("rank k, dense int8", "C2", "^"),
    "width": ("narrower, dense int8", "C1", "D"),
}


def main():
    task = parents.task(FLAGS.task)
    folder = pathlib.Path(FLAGS.folder) / FLAGS.task
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for name in ("parent", *FLAGS.nets):
        path = _path(folder, name)
        if not FLAGS.nothing_new or path.with_suffix(".json").is_file():
            found.append(_net(path, name, task))
            print(_line(found[-1], task), flush=True)
    delegates = [row["name"].startswith("lcnn") for row in found]
    times = sizing.interleaved([_path(folder, row["name"]) for row in found], delegates)
    for row, ms, ratio in zip(
        found, np.median(times, axis=0), np.median(times[:, :1] / times, axis=0), strict=True
    ):
        row.update(ms=float(ms), faster=float(ratio))
    print(tables.frontier(found, task.unit))
    record = folder.parent / "frontier.json"
    panels = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    panels[FLAGS.task] = {"title": task.title, "unit": task.unit, "nets": found}
    files.write(record, json.dumps(panels, indent=1) + "\n")
    draw(panels.values(), record.with_suffix(".png"))


def _path(folder, name):
    kind = name.partition(":")[0]
    if kind in ("lcnn", "stock"):
        return folder / rows.slug(name) / comparing.LCNN
    return folder / f"{rows.slug(name)}.tflite"


def _line(row, task):
    return f"{row['name']:12}  {row['figure']:6.2f} {task.unit}"


def _net(path, name, task):
    """The figures of one net, made once: its .tflite is kept, and what was measured of it."""
    made_from = {"name": name, "images": len(task.images)}
    if name != "parent":
        made_from["steps"] = FLAGS.steps
    return rows.once(path, made_from, lambda path: _make(path, name, task))


def _make(path, name, task):
    kind, _, value = name.partition(":")
    if kind not in KINDS:
        raise ValueError(
            f"Unknown net {name!r}: lcnn:2.5, stock:1.5, rank:0.25 and width:0.5 work."
        )

    def tell(line):
        print(f"{name}: {line}", file=sys.stderr, flush=True)

    keras.utils.set_random_seed(0)
    if kind in ("lcnn", "stock"):
        compress(
            *(task.parent, task.images, float(value)),
            labels=task.labels,
            examples=task.examples,
            folder=path.parent,
            schedule=task.schedule,
            delegate=kind == "lcnn",
            tell=tell,
        )
    else:
        model = task.parent if kind == "parent" else _rival(kind, value, task, tell, path)
        export(
            model,
            path,
            task.examples or task.images[:CALIBRATED_ON],
            lowering="sparse",
            quantize="int8",
            calibration=task.images[:CALIBRATED_ON],
        )
    return {"name": name, "figure": task.score(Interpreter(path).predict)}


def _rival(kind, value, task, tell, path):
    if kind == "rank":
        images = task.images[:CODED_ON]
        model = rivals.factorized(task.parent, float(value), images, path.with_suffix(""))
    else:
        model = rivals.narrower(task.parent, float(value))
    reconstruct(
        *(task.parent, model, task.images, task.schedule),
        labels=task.labels,
        quantize="int8",
        progress=told_seldom(tell),
    )
    return model


def draw(panels, path):
    """The picture for light pages, and beside it, named ..._dark, that for dark ones."""
    # Only the plot needs it; and not pyplot, which looks for a display.
    from matplotlib import style

    panels = list(panels)
    for name, to in (("default", path), ("dark_background", path.with_stem(f"{path.stem}_dark"))):
        with style.context(name), files.replacing(to) as beside:
            _figure(panels).savefig(beside, dpi=150, format="png", transparent=to != path)


def _figure(panels):
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5 * len(panels), 4.2), layout="constrained")
    for axes, panel in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for kind, (label, color, marker) in KINDS.items():
            own = sorted(
                (row["ms"], row["figure"], row["name"].partition(":")[2])
                for row in panel["nets"]
                if row["name"].partition(":")[0] == kind
            )
            if own:
                ms, figures, _ = zip(*own, strict=True)
                axes.plot(ms, figures, color=color, marker=marker, label=label)
            for x, y, text in own:
                axes.annotate(text, (x, y), xytext=(5, -11), textcoords="offset points")
        axes.margins(0.12)
        axes.set_xlim(left=0)
        axes.set_xlabel("ms, int8, one thread")
        axes.set_ylabel(panel["unit"])
        axes.set_title(panel["title"], fontsize="medium")
        axes.grid(alpha=0.25)
        axes.legend(frameon=False, fontsize="small", loc="best")
    return figure


if __name__ == "__main__":
    programs.run(main, errors=[proof.ProofError])
