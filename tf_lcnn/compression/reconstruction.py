"""Reconstruction: an LCNN fitted to its parent on a few hundred inputs, without labels.

    lcnn = lookupify(parent, plan=plan, init="trained", images=images)
    reconstruct(parent, lcnn, images)

First blocks of layers, each on what the blocks before it produce, against what the parent has
there; then the output of the whole net. Trained are the dictionaries, the lookups that are there,
biases, the affine part of batch normalization, and the layers that stayed dense. Between rounds
the supports are revised: the lookups that do least go, and as many come where the gradient asks
for them most, so every position keeps its s. In the last phase int8 is in the loop, see
`rounding`.

Sources: blocks as in BRECQ (Li et al., ICLR 2021); supports as in RigL (Evci et al., ICML 2020).
"""

import contextlib
import dataclasses
import inspect
import math
import time

import keras
import numpy as np
from keras import ops

from tf_lcnn import checks
from tf_lcnn.compression import coding, rounding
from tf_lcnn.graph import blocks, intercept
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import levels
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.tasks import classification
from tf_lcnn.training import distillation

# Numbers of activations that a phase keeps, of inputs and targets each: a gigabyte of float32.
_MOST_KEPT = 2**28

# A lookup that comes starts at this share of the others: small, and outside the threshold.
_FIRST_SHARE = 1e-2

# Share of a phase in which the rate rises.
_WARMUP = 0.1

# Images that int8 ranges are measured on: more take minutes and change little.
_RANGES_ON = 256

# Batches whose gradients decide which lookups come.
_GRADIENT_BATCHES = 4


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long and how fast reconstruction goes.

    Attributes:
        block_layers: lookup layers in a block.
        block_steps, output_steps, rounded_steps: updates of each block, of the whole net, and of
            the whole net with int8 in the loop; 0 leaves a phase out.
        batch: inputs per update.
        crop: height and width of random crops, for nets of open size; None takes whole inputs.
        rate: of Adam, over the root mean square of the weights; it is reached after a tenth of a
            phase and falls to 0 by half a cosine.
        revised: share of each layer's lookups that the first revision replaces; it falls to 0 over
            the first two thirds of a phase. 0 keeps the supports.
        round_steps: updates between revisions, each on inputs that are drawn anew.
    """

    block_layers: int = 3
    block_steps: int = 200
    output_steps: int = 600
    rounded_steps: int = 200
    batch: int = 16
    crop: int | None = 48
    rate: float = 0.002
    revised: float = 0.1
    round_steps: int = 50


@dataclasses.dataclass(frozen=True)
class Phase:
    """One phase as it went: name, updates, and relative errors (rms) before and after."""

    name: str
    steps: int
    before: float
    after: float


def reconstruct(
    parent, lcnn, images, schedule=None, *, labels=None, quantize=None, seed=0, progress=None
):
    """Fits an LCNN to its parent, on inputs without labels or with them.

    Args:
        parent: the trained model; it is not changed.
        lcnn: of the same graph, as `lookupify` makes it with init="trained"; its weights change.
        images: a few hundred inputs as the model takes them, in any form that `checks.inputs`
            takes.
        schedule: a Schedule; None takes the default one.
        labels: of the images, where there are some: class numbers for a net of logits, or wanted
            outputs. The whole net is then fitted to them as much as to the parent.
        quantize: None, or one of `levels.FORMATS` ("int8", "int4", "ternary", "binary", and the
            last three "_per_tensor") for a last phase in which weights and activations are rounded
            as LiteRT rounds them. Below int8 the model has the rounded weights in the end.
        seed: of batches and crops.
        progress: called with (name of the phase, updates done, updates in all, relative error of
            the last updates, seconds that are left) now and then.

    Returns:
        list of Phase.

    Raises:
        ValueError: models of different graphs, a layer whose training would add lookups, images
            that do not fit, a crop larger than they are, or a step that gives NaN; the weights
            are then those of before.
    """
    if quantize is not None and quantize not in levels.FORMATS:
        raise ValueError(
            f"No phase rounds to quantize={quantize!r}: {', '.join(levels.FORMATS)}, or None."
        )
    schedule = schedule or Schedule()
    images = coding.calibration_images(parent, images)
    loose = [layer.name for layer in lookup_layers(lcnn) if not layer.holds_lookups]
    if loose:
        raise ValueError(
            f"Training would add lookups in {', '.join(loose)}: code the model with lookupify(..., "
            'init="trained").'
        )
    if len(blocks.cuts(parent)) != len(blocks.cuts(lcnn)):
        raise ValueError(f"{lcnn.name} is no LCNN of {parent.name}: their graphs differ.")
    labels = _checked_labels(parent, images, labels)
    run = _Run(parent, lcnn, images, labels, schedule, np.random.default_rng(seed), progress)
    before = lcnn.get_weights()
    try:
        return run.phases(quantize)
    except FloatingPointError as error:
        lcnn.set_weights(before)
        raise ValueError(str(error)) from None


class _Run:
    """One call of `reconstruct`."""

    def __init__(self, parent, lcnn, images, labels, schedule, rng, progress):
        self.parent, self.lcnn, self.images, self.labels = parent, lcnn, images, labels
        self.schedule, self.rng, self.progress = schedule, rng, progress
        sizes = checks.input_shape(lcnn)[:-1]
        self.crop = schedule.crop if None in sizes and schedule.crop else None
        if self.crop and min(images.shape[1:3]) < self.crop:
            raise ValueError(
                f"The images are {images.shape[1:-1]}: smaller than the crop of {self.crop}."
            )
        self._parts = {}
        self.last = None
        self.started = time.monotonic()
        self.done = 0.0
        self.work = 0.0

    def phases(self, quantize):
        plan, starts = self.schedule, {id(layer) for layer in lookup_layers(self.lcnn)}
        spans = blocks.split(self.lcnn, starts, plan.block_layers)
        self.last = last = len(blocks.cuts(self.lcnn)) - 1
        phases = []
        if plan.block_steps and len(spans) > 1:
            phases += [(f"block {i + 1}", span, plan.block_steps) for i, span in enumerate(spans)]
        phases.append(("output", (0, last), plan.output_steps))
        if quantize is not None:
            phases.append((quantize, (0, last), plan.rounded_steps))
        phases = [phase for phase in phases if phase[2]]
        share = {span: _weights(blocks.part(self.lcnn, *span)) for _, span, _ in phases}
        self.work = sum(steps * share[span] for _, span, steps in phases)
        found = []
        with intercept.calls(_at_inference(self.lcnn)):
            for name, span, steps in phases:
                rounds = (
                    rounding.rounded(self.lcnn, self._some_images(), name)
                    if name in levels.FORMATS
                    else contextlib.nullcontext()
                )
                with rounds:
                    found.append(_fit(self, name, span, steps, share[span]))
            if quantize in levels.NARROW and plan.rounded_steps:
                rounding.keep(self.lcnn, self.images.shape[1:], quantize)
        return found

    def _some_images(self):
        count = min(_RANGES_ON, len(self.images))
        return self.images[np.sort(self.rng.choice(len(self.images), count, replace=False))]

    def part(self, model, span):
        """`blocks.part`, made once: Keras compiles each model that runs."""
        key = id(model), span
        if key not in self._parts:
            self._parts[key] = blocks.part(model, *span)
        return self._parts[key]

    def draw(self, span, count):
        """(inputs, targets) of a block: what the LCNN has in front of it, the parent behind it."""
        first, last = span
        chosen = self.rng.choice(len(self.images), count, replace=count > len(self.images))
        images = self.images[chosen]
        labels = None if self.labels is None or last != self.last else self.labels[chosen]
        if self.crop:
            places = self.rng.integers(0, np.array(images.shape[1:3]) - self.crop + 1, (count, 2))
            images = _cropped(images, self.crop, places)
            if labels is not None:
                labels = _cropped(labels, self.crop, places)
        inputs = images if not first else _outputs(self.part(self.lcnn, (0, first)), images)
        targets = _outputs(self.part(self.parent, (0, last)), images)
        if labels is None:
            return inputs, targets
        if labels.ndim == 1:
            return inputs, ops.convert_to_numpy(distillation.rows(labels, targets))
        # The square error to the mean has the gradient of the mean of both square errors.
        return inputs, (targets + labels) / 2

    def report(self, name, step, steps, error, share):
        if self.progress is None:
            return
        done = self.done + step * share
        spent = time.monotonic() - self.started
        left = spent * (self.work - done) / done if done else math.nan
        self.progress(name, step, steps, error, left)


def _weights(model):
    """How much work a block is, about: its weights."""
    return float(max(1, sum(math.prod(w.shape) for w in model.trainable_variables)))


def _at_inference(model):
    """Calls for `intercept`: batch normalization and dropout as when the model is used."""

    def call(run, *args, **kwargs):
        return run(*args, **{**kwargs, "training": False})

    return {
        layer: call
        for layer in sublayers(model)
        if not isinstance(layer, keras.Model)
        and "training" in inspect.signature(layer.call).parameters
    }


def _cropped(images, size, places):
    pairs = zip(images, places, strict=True)
    return np.stack([x[top : top + size, left : left + size] for x, (top, left) in pairs])


def _checked_labels(parent, images, labels):
    """The labels as class numbers or float32 outputs; ValueError where they do not fit."""
    if labels is None:
        return None
    labels = np.asarray(labels)
    if len(labels) != len(images):
        raise ValueError(f"There are {len(images)} images, and {len(labels)} labels.")
    example = _outputs(parent, images[:1])
    if example.ndim == 2 and labels.shape != (len(images), *example.shape[1:]):
        if np.all(example >= 0) and abs(example.sum() - 1) < 1e-4:
            raise ValueError(
                f"{parent.name} ends in a softmax, and class numbers are taught by logits: leave "
                "the labels out, or give the model without its last activation."
            )
        return classification.class_numbers(labels, example.shape[-1])
    if labels.shape[1:] != example.shape[1:]:
        raise ValueError(
            f"The labels have the shape {labels.shape[1:]} each, and {parent.name} answers "
            f"{example.shape[1:]}."
        )
    return labels.astype(np.float32)


def _outputs(model, images, batch=32):
    rows = [
        ops.convert_to_numpy(model.predict_on_batch(images[start : start + batch]))
        for start in range(0, len(images), batch)
    ]
    return np.concatenate(rows)


class RelativeError(keras.losses.Loss):
    """Mean square of the difference over a fixed power, that of the targets."""

    def __init__(self, power=1.0, name="relative_error"):
        super().__init__(name=name)
        self.power = power

    def call(self, y_true, y_pred):
        return ops.mean(ops.square(y_pred - y_true), axis=-1) / self.power


def _rms(variables):
    values = [np.ravel(ops.convert_to_numpy(v)) for v in variables if len(v.shape) > 1]
    values = np.concatenate(values) if values else np.ones(1)
    values = values[values != 0]
    return float(np.sqrt((values**2).mean())) if values.size else 1.0


def _fit(run, name, span, steps, share):
    """Trains one block, or the whole net: the Phase."""
    schedule = run.schedule
    model = blocks.part(run.lcnn, *span)
    layers = lookup_layers(model)
    per_round = min(steps, schedule.round_steps)
    most = _MOST_KEPT // max(_numbers(model, run), 1)
    count = int(np.clip(per_round * schedule.batch // 2, schedule.batch, max(most, schedule.batch)))
    # Adam's first updates, whose size knows no gradient yet, would undo the coding.
    warmup = max(1, round(_WARMUP * steps))
    rate = keras.optimizers.schedules.CosineDecay(
        *(0.0, max(1, steps - warmup)),
        warmup_target=schedule.rate * _rms(model.trainable_variables),
        warmup_steps=warmup,
    )
    inputs, targets = run.draw(span, count)
    loss = RelativeError(float((targets.astype(np.float64) ** 2).mean()) or 1.0)
    if len(targets.shape) == 2 and targets.shape[1] == model.output_shape[-1] + 1:
        loss = distillation.DistillationLoss(model.output_shape[-1])
    model.compile(keras.optimizers.Adam(rate), loss)
    gradients = _Gradients(model, layers, loss)
    step, losses = 0, []
    while step < steps:
        order = run.rng.permutation(len(inputs))
        for number in range(min(per_round, steps - step)):
            places = order.take(
                np.arange(number * schedule.batch, (number + 1) * schedule.batch), mode="wrap"
            )
            losses.append(float(model.train_on_batch(inputs[places], targets[places])))
            if not math.isfinite(losses[-1]):
                raise _not_finite(name, step + number, schedule)
            if (number + 1) % 10 == 0:
                recent = math.sqrt(np.mean(losses[-10:]))
                run.report(name, step + number + 1, steps, recent, share)
        step += min(per_round, steps - step)
        # On some processors a ReLU makes zeros of NaN, and the error stays a number.
        if not _all_finite(model.trainable_variables):
            raise _not_finite(name, step, schedule)
        if step < steps:
            revised = schedule.revised * max(0.0, 1 - 1.5 * step / steps)
            if revised and layers and name not in levels.FORMATS:
                _revise(gradients, layers, inputs, targets, schedule.batch, revised)
                _forget_momenta(model.optimizer)
            inputs, targets = run.draw(span, count)
    run.done += steps * share
    ends = (losses[:10], losses[-10:])
    return Phase(name, steps, *(math.sqrt(np.mean(part)) for part in ends))


def _all_finite(variables):
    return all(np.isfinite(ops.convert_to_numpy(v)).all() for v in variables)


def _not_finite(name, step, schedule):
    return FloatingPointError(
        f"Reconstruction of {name} gives NaN after {step} updates: a smaller rate than "
        f"{schedule.rate} may do."
    )


def _numbers(model, run):
    """Numbers of the larger of input and output of a block, of one image."""
    size = run.crop or 0
    shapes = [
        [size if n is None else n for n in x.shape[1:]] for x in (*model.inputs, *model.outputs)
    ]
    return max(math.prod(shape) for shape in shapes)


# Supports


class _Gradients:
    """Gradients of all of P, zeros too: what a step of plain descent at rate 1 takes off."""

    def __init__(self, model, layers, loss):
        self.layers = layers
        self.model = keras.Model(model.inputs, model.outputs)
        self.model.compile(keras.optimizers.SGD(1.0), loss)

    def __call__(self, batches):
        epsilons = [layer.epsilon for layer in self.layers]
        before = self.model.get_weights()
        coefficients = [ops.convert_to_numpy(layer.coefficients) for layer in self.layers]
        totals = [0.0] * len(self.layers)
        try:
            for layer in self.layers:
                # Without a threshold zeros have gradients too.
                layer.epsilon = 0.0
            for inputs, targets in batches:
                self.model.train_on_batch(inputs, targets)
                for i, layer in enumerate(self.layers):
                    after = ops.convert_to_numpy(layer.coefficients)
                    totals[i] = totals[i] + (coefficients[i] - after)
                self.model.set_weights(before)
        finally:
            self.model.set_weights(before)
            for layer, epsilon in zip(self.layers, epsilons, strict=True):
                layer.epsilon = epsilon
        return totals


def _forget_momenta(optimizer):
    """A lookup that went would come back by the momentum that Adam still has for it."""
    for variable in optimizer.variables:
        if variable.name.endswith("momentum"):
            variable.assign(ops.zeros_like(variable))


def _revise(gradients, layers, inputs, targets, batch, share):
    starts = range(0, min(len(inputs), _GRADIENT_BATCHES * batch), batch)
    parts = ((inputs[i : i + batch], targets[i : i + batch]) for i in starts)
    for layer, gradient in zip(layers, gradients(parts), strict=True):
        coefficients = np.array(ops.convert_to_numpy(layer.coefficients))
        norms = np.linalg.norm(ops.convert_to_numpy(layer.dictionary), axis=0)
        layer.coefficients.assign(revised(coefficients, gradient, norms, share))


def revised(coefficients, gradient, norms, share):
    """P with some lookups in other places; each position of each filter keeps its count.

    The lookups that do least, `share` of them, go where the position of the filter has a zero
    whose gradient is largest; where no zero has one, they stay.

    Args:
        coefficients: P, (..., k, n).
        gradient: of the loss, of the same shape.
        norms: of the dictionary rows, (k,): what a row does is its coefficient times this, and
            a gradient counts over it.
        share: from 0 to 1.
    """
    by_filter = np.moveaxis(coefficients, -2, -1)
    flat = by_filter.reshape(-1, by_filter.shape[-1]).copy()
    slopes = np.moveaxis(gradient, -2, -1).reshape(flat.shape)
    norms = np.where(norms > 0, norms, 1.0)
    there = flat != 0
    weakest = np.where(there, np.abs(flat) * norms, np.inf)
    wanted = np.where(there, -1.0, np.abs(slopes) / norms)
    goes, comes = weakest.argmin(axis=1), wanted.argmax(axis=1)
    rows = np.arange(len(flat))
    possible = np.isfinite(weakest[rows, goes]) & (wanted[rows, comes] > 0)
    count = min(round(share * there.sum()), int(possible.sum()))
    if not count:
        return coefficients
    strength = np.where(possible, weakest[rows, goes], np.inf)
    chosen = np.argpartition(strength, count - 1)[:count]
    first = _FIRST_SHARE * np.sqrt((flat[there] ** 2).mean())
    signs = -np.sign(slopes[chosen, comes[chosen]])
    flat[chosen, goes[chosen]] = 0
    flat[chosen, comes[chosen]] = signs * first
    return np.moveaxis(flat.reshape(by_filter.shape), -1, -2)
