"""compress: a trained Keras CNN and a few hundred images -> a faster int8 .tflite, and a report."""

import dataclasses
import pathlib
import sys
import time

import keras
import numpy as np

from tf_lcnn import checks
from tf_lcnn.compression import coding, planner
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.compression.size_plan import Plan, load, taken
from tf_lcnn.graph import intercept, rebuild
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import sparsity
from tf_lcnn.models.saving import save_model
from tf_lcnn.pipeline import comparing, kernel_prices, sizing
from tf_lcnn.pipeline.stages import Stages, fingerprint
from tf_lcnn.runtime import native

# Images that nothing is fitted to, at least so many and at most this share, to compare on.
_HELD_OUT = 0.1

# What images may spread more or less than those that a batch normalization was trained on.
_MOST_SPREAD = 10.0

_SECONDS_BETWEEN_LINES = 5.0

# Images that the layers are coded on, and that int8 measures ranges on.
_CODED_ON = 200
_CALIBRATED_ON = 64


@dataclasses.dataclass(frozen=True)
class Compressed:
    """What `compress` made.

    Attributes:
        model: the LCNN, a Keras model.
        plan: its `size_plan.Plan`.
        path: of the int8 .tflite.
        report: of the HTML page; report.json beside it has the same as data.
        found: that data, as plain Python types.
    """

    model: keras.Model
    plan: Plan
    path: pathlib.Path
    report: pathlib.Path
    found: dict

    def __str__(self):
        return f"{self.found['summary']}\n{self.path}, {self.report}"


def compress(
    model,
    images,
    speedup=None,
    *,
    budget=None,
    plan=None,
    labels=None,
    examples=None,
    folder="compressed",
    schedule=None,
    delegate=None,
    prices=None,
    seed=0,
    tell=None,
):
    """Makes a trained CNN several times as fast on this machine, at nearly the same accuracy.

    Prices of layers are measured here, on first use, and k and s of every layer chosen by them
    until the file itself, timed in turn with the parent's, is as fast as is asked for. Then the
    weights are coded, fitted to the parent (`reconstruction.reconstruct`), at last with int8 in
    the loop, and exported with a proof. What is finished stays in the folder, and the same call
    goes on from there after an interruption.

    Args:
        model: functional or Sequential, trained, with one input and one output, on the TensorFlow
            backend. It is not changed.
        images: a few hundred inputs as the model takes them, of all kinds that it will see, in any
            form that `checks.inputs` takes. Where the model's size is open theirs is what is timed.
        speedup: how many times as fast as the parent's int8 file on XNNPACK.
        budget: milliseconds of one image on one thread, in place of a speedup.
        plan: a `size_plan.Plan`, or its path, in place of both.
        labels: of the images: class numbers, or wanted outputs. The net is then taught by them as
            much as by its parent.
        examples: (inputs, labels) to tell accuracy on, which nothing is chosen by; by default a
            tenth of the images, which nothing is fitted to then.
        folder: where everything goes.
        schedule: a `reconstruction.Schedule`.
        delegate: whether LiteRT will run the file with the native delegate; by default where it
            was built.
        prices: a `prices.Prices` or the path of one; by default those of `prices.machine()`.
        seed: of coding and reconstruction.
        tell: function of a line of text, for progress; by default it is written to stderr.

    Returns:
        Compressed.

    Raises:
        ValueError: a speedup that no sizes reach, images or labels that do not fit, weights with
            NaN, a model without a layer that can have lookups, or a folder of something else.
        OSError: the disk is full, for example; what was finished stays.
        ProofError: see `lite.export.export`.
    """
    tell = tell or _tell
    wish = _wish(speedup, budget, plan)
    rebuild.refuse_other_models(model)
    images = coding.calibration_images(model, images)
    coding.refuse_unusable_weights(model)
    _refuse_range(model, images)
    delegate = native.available() if delegate is None else delegate
    labels = None if labels is None else np.asarray(labels)
    if labels is not None and len(labels) != len(images):
        raise ValueError(f"There are {len(images)} images, and {len(labels)} labels.")
    planner.bounds(model, input_shape=images.shape[1:])
    schedule = schedule or Schedule()
    settings = [[wish[0], str(wish[1])], dataclasses.asdict(schedule), bool(delegate), seed]
    stages = Stages(folder, fingerprint(model, (images, labels), *settings))
    kernels = kernel_prices.of_machine(prices, "int8", delegate)
    images, labels, examples = _held_out(model, images, labels, examples)
    calibration = images[:_CALIBRATED_ON]
    pair = comparing.Pair(model, stages, examples, calibration, kernels.machine, delegate)
    return _Job(pair, kernels, labels, images, schedule, seed, stages, tell).run(wish)


def _tell(line):
    print(line, file=sys.stderr, flush=True)


def _wish(speedup, budget, plan):
    given = {"speedup": speedup, "budget": budget, "plan": plan}
    given = {name: value for name, value in given.items() if value is not None}
    if len(given) != 1:
        raise ValueError(
            "compress takes a speedup, a budget in milliseconds or a plan: one of them."
        )
    ((name, value),) = given.items()
    if name == "plan":
        return name, taken(value)
    return name, checks.number(value, f"The {name}", above=1 if name == "speedup" else 0)


def _refuse_range(model, images):
    """Raises ValueError for images of another range than the model was trained on."""
    for layer in sublayers(model):
        if isinstance(layer, keras.layers.Rescaling) and np.ndim(layer.scale) == 0:
            if layer.scale < 0.1 and np.abs(images).max() <= 1:
                raise ValueError(
                    f"The images lie between {images.min():.3g} and {images.max():.3g}, and "
                    f"{model.name} rescales its input by {layer.scale:.3g}: it takes 0 to "
                    f"{1 / layer.scale:.0f}."
                )
            return
        if isinstance(layer, keras.layers.BatchNormalization):
            ratio = _spread(model, layer, images[:32])
            if not 1 / _MOST_SPREAD < ratio < _MOST_SPREAD:
                low, high = images.min() / ratio, images.max() / ratio
                raise ValueError(
                    f"The images lie between {images.min():.3g} and {images.max():.3g}, and by its "
                    f"batch normalization {layer.name} {model.name} takes about {low:.2g} to "
                    f"{high:.2g}: divide or normalize them as in its training."
                )
            return


def _spread(model, layer, images):
    """How much larger a batch normalization's input is than its training had it, as a factor."""
    seen = []
    with intercept.inputs({layer: lambda x: seen.append(keras.ops.convert_to_numpy(x))}):
        model(images, training=False)
    axes = tuple(a for a in range(seen[0].ndim) if a != layer.axis % seen[0].ndim)
    now = (np.asarray(seen[0], np.float64) ** 2).mean(axis=axes)
    mean, variance = (
        np.asarray(keras.ops.convert_to_numpy(x), np.float64)
        for x in (layer.moving_mean, layer.moving_variance)
    )
    return float(np.sqrt(now.sum() / max((variance + mean**2).sum(), 1e-30)))


def _held_out(model, images, labels, examples):
    """(images to fit, their labels, examples to compare on)."""
    if examples is not None:
        # A generator gives its batches once.
        return images, labels, list(checks.batches(examples, checks.input_shape(model)))
    count = max(1, int(_HELD_OUT * len(images)))
    if len(images) < 2:
        raise ValueError("One image is too few: a few hundred are needed.")
    chosen = np.random.default_rng(0).permutation(len(images))
    kept, held = chosen[count:], chosen[:count]
    if labels is None:
        return images[kept], None, images[held]
    return images[kept], labels[kept], (images[held], labels[held])


class _Job:
    """One call of `compress`, its arguments checked."""

    def __init__(self, pair, kernels, labels, images, schedule, seed, stages, tell):
        self.pair, self.model, self.kernels = pair, pair.parent, kernels
        self.labels, self.images, self.schedule = labels, images, schedule
        self.seed, self.stages, self.tell = seed, stages, tell

    def run(self, wish):
        stages, pair = self.stages, self.pair
        parent = stages.once("parent.json", self._export_parent)
        plan, tried = self._planned(wish)
        lcnn = lookupify(self.model, plan=plan, threshold_scale=sparsity.HOLDING_SCALE)
        coded = stages.weights("coded.npz", lcnn, lambda: self._code(lcnn, plan))
        phases = stages.weights("reconstructed.npz", lcnn, lambda: self._reconstruct(lcnn))
        made = stages.once("export.json", lambda: self._export_lcnn(lcnn))
        times = stages.once("times.json", self._times)
        found = pair.report(plan, (parent, made), times, tried=tried, coded=coded, phases=phases)
        return Compressed(lcnn, plan, stages / comparing.LCNN, stages / comparing.REPORT, found)

    def _export_parent(self):
        self.tell("The parent as int8 file")
        return self.pair.export_parent()

    def _export_lcnn(self, lcnn):
        self.tell("The LCNN as int8 file, and its proof")
        save_model(lcnn, self.stages / "model.keras")
        return self.pair.export(lcnn)

    def _times(self):
        self.tell("Timing parent and LCNN in turn")
        return self.pair.times()

    def _planned(self, wish):
        if wish[0] == "plan":
            return wish[1], []
        stages = self.stages

        def choose():
            plan, tried = sizing.plan_for(
                *(self.model, self.images[:_CODED_ON], wish, self.kernels),
                *(stages / comparing.PARENT, self.tell, self.seed),
            )
            plan.save(stages / "plan.json")
            return tried

        tried = stages.once("tried.json", choose)
        return load(stages / "plan.json"), tried

    def _code(self, lcnn, plan):
        errors = []

        def report(error):
            errors.append(error)
            self.tell(f"Coded {error.name}: {len(errors)} of {len(plan.sizes)}")

        coded = lookupify(
            self.model,
            plan=plan,
            init="trained",
            images=self.images[:_CODED_ON],
            seed=self.seed,
            cache=self.stages / "layers",
            report=report,
        )
        lcnn.set_weights(coded.get_weights())
        if any(isinstance(x, keras.layers.BatchNormalization) for x in sublayers(lcnn)):
            coding.reestimate(lcnn, self.images)
        return {error.name: error.output_error for error in errors}

    def _reconstruct(self, lcnn):
        phases = reconstruct(
            *(self.model, lcnn, self.images, self.schedule),
            labels=self.labels,
            quantize="int8",
            seed=self.seed,
            progress=told_seldom(self.tell),
        )
        return [dataclasses.asdict(phase) for phase in phases]


def told_seldom(tell):
    """A `progress` for `reconstruct` that tells a line every few seconds, and each phase's end."""
    shown = 0.0

    def progress(name, step, steps, error, left):
        nonlocal shown
        now = time.monotonic()
        if now - shown > _SECONDS_BETWEEN_LINES or step == steps:
            shown = now
            tell(f"{name}: {step} of {steps} updates, error {error:.4f}, {left:.0f} s left")

    return progress
