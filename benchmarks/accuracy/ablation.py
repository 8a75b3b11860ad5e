"""What each part of reconstruction does for the accuracy: each left out in turn, several seeds.

    python -m benchmarks.accuracy.ablation --data=DATA --count=5000 --steps=600

The parent is a trained ResNet-8 for CIFAR-10; the plan has --fewer times fewer multiplications,
and all nets begin with the same code of the weights. The seeds are those of batches. The figure is
that of the int8 file in LiteRT on the test set, which nothing is chosen by.
"""

import dataclasses
import functools
import pathlib
import tempfile

import keras
import numpy as np
from absl import flags

from benchmarks.common import parents, rows
from tf_lcnn import lookupify, profile, programs
from tf_lcnn.compression import planner, size_plan
from tf_lcnn.compression.reconstruction import reconstruct
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.export import export
from tf_lcnn.runtime.interpreter import Interpreter

FLAGS = flags.FLAGS

flags.DEFINE_enum("task", "resnet8", parents.names(), "The parent.")
flags.DEFINE_float("fewer", 5.0, "Times fewer multiplications.", lower_bound=1.0)
flags.DEFINE_integer("seeds", 3, "How many.", lower_bound=1)
flags.DEFINE_string("folder", None, "Keeps what is finished; default: none.")

CODED_ON = 300
CALIBRATED_ON = 64
# What the loose net begins with, times the lookups that it ends with.
LOOSE = 1.5


@dataclasses.dataclass(frozen=True)
class Run:
    """What one net is made from."""

    task: parents.Task
    plan: size_plan.Plan
    folder: pathlib.Path
    seed: int

    def coded(self, loose=1.0):
        """The LCNN as coded, with this many times the lookups of the plan."""
        return lookupify(
            self.task.parent,
            plan=size_plan.loosened(self.plan, self.task.parent, loose, 1),
            init="trained",
            images=self.task.images[:CODED_ON],
            cache=self.folder / f"layers_{loose:g}",
        )

    def fitted(self, model, labels=True, progress=None, **changes):
        """The model, after a reconstruction with these changes of the schedule."""
        task = self.task
        reconstruct(
            *(task.parent, model, task.images, dataclasses.replace(task.schedule, **changes)),
            labels=task.labels if labels else None,
            quantize="int8",
            seed=self.seed,
            progress=progress,
        )
        return model


def whole(run, **changes):
    return run.fitted(run.coded(), **changes)


def int8_in_the_end(run):
    steps = run.task.schedule.output_steps + run.task.schedule.rounded_steps
    return whole(run, output_steps=steps, rounded_steps=0)


def tightened(run):
    """Half of the updates before int8 with more lookups; then the largest stay."""
    half = run.task.schedule.output_steps // 2
    model = run.fitted(run.coded(LOOSE), output_steps=half, rounded_steps=0)
    lookups = {x.name: x.lookups for x in run.plan.layers}
    for layer in lookup_layers(model):
        layer.coefficients.assign(sparsity.top_s(layer.coefficients, lookups[layer.name]))
    return run.fitted(model, block_steps=0, output_steps=half)


def averaged(run):
    """The weights are the mean of those of the last half of the last phase: supports stay there."""
    model, kept = run.coded(), []

    def keep(name, step, steps, *_):
        if name == "int8" and 2 * step > steps:
            kept.append(model.get_weights())

    run.fitted(model, progress=keep)
    model.set_weights([np.mean(each, axis=0) for each in zip(*kept, strict=True)])
    return model


WAYS = {
    "all of it": whole,
    "no labels": functools.partial(whole, labels=False),
    "no blocks first": functools.partial(whole, block_steps=0),
    "supports stay": functools.partial(whole, revised=0),
    "int8 only in the end": int8_in_the_end,
    "loose to tight": tightened,
    "averaged weights": averaged,
}


def main():
    task = parents.task(FLAGS.task)
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(FLAGS.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        compare(task, folder)


def compare(task, folder):
    plan = planner.plan(
        task.parent,
        profile(task.parent).multiplications / FLAGS.fewer,
        images=task.images[:CODED_ON],
        cache=folder / "errors",
    )
    print(f"{task.title}, {FLAGS.fewer:g} times fewer multiplications, {FLAGS.seeds} seeds, int8")
    first = Run(task, plan, folder, 0)
    for name, model in (("parent", task.parent), ("coded alone", first.coded())):
        print(f"  {name:22}{_figure(task, model, folder / f'{rows.slug(name)}.tflite'):6.2f}")
    for name, way in WAYS.items():
        figures = []
        for seed in range(FLAGS.seeds):

            def make(path, way=way, seed=seed):
                keras.utils.set_random_seed(seed)
                return _figure(task, way(dataclasses.replace(first, seed=seed)), path)

            path = folder / f"{rows.slug(name)}_{seed}.tflite"
            figures.append(rows.once(path, [FLAGS.fewer, FLAGS.steps, FLAGS.count], make))
        each = ", ".join(f"{figure:.2f}" for figure in figures)
        print(f"  {name:22}{np.mean(figures):6.2f}  ({each})", flush=True)


def _figure(task, model, path):
    calibration = task.images[:CALIBRATED_ON]
    export(model, path, task.examples, lowering="sparse", quantize="int8", calibration=calibration)
    return task.score(Interpreter(path).predict)


if __name__ == "__main__":
    programs.run(main)
