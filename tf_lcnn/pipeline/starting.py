"""What a run of train.py starts from: random weights, trained ones, or a parent that is coded."""

import dataclasses
import pathlib
import tempfile

import keras
import numpy as np

from tf_lcnn import models, tasks
from tf_lcnn.compression import coding, decisions, planner, reconstruction, size_plan
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.graph.rebuild import in_precision
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import binary, levels
from tf_lcnn.lite import plan_prices, prices
from tf_lcnn.models import saving, zoo
from tf_lcnn.pipeline import compressing, sizing
from tf_lcnn.runtime import native
from tf_lcnn.training import distillation, optimizers, run, run_directory


@dataclasses.dataclass
class Start:
    """What training starts from.

    `parent` and `plan` are of a coded run, else None. `earlier` is the optimizer of a run that is
    resumed, after `first_epoch` epochs and `first_step` updates of the next one, in which the
    model's metrics have come to `sums`.
    """

    model: keras.Model
    parent: keras.Model | None = None
    plan: size_plan.Plan | None = None
    first_epoch: int = 0
    first_step: int = 0
    sums: tuple = ()
    earlier: keras.optimizers.Optimizer | None = None


def fresh_model(settings, input_shape=None, classes=None, scale=None, mosaic=None):
    """The network of --model, from random weights."""
    sizes = settings.dictionary_sizes
    preset = len(sizes) == 1 and sizes[0].isalpha()
    try:
        sizes = sizes[0] if preset else [int(k) for k in sizes]
    except ValueError:
        raise ValueError(
            f"--dictionary_sizes={','.join(sizes)}: fast, accurate, register, or whole numbers."
        ) from None
    return models.build(
        settings.model,
        input_shape=input_shape,
        classes=classes,
        scale=settings.scale if scale is None else scale,
        mosaic=mosaic,
        dictionary_sizes=sizes,
        l1=settings.l1,
        threshold_scale=settings.threshold_scale,
        threshold_gradient=settings.threshold_gradient,
    )


def load_parent(settings):
    """The dense parent of --init_from, and the plan of --plan; None where there is none."""
    if not settings.coded:
        return None, None
    named = settings.init_from in zoo.names()
    parent = saving.load_model(zoo.path(settings.init_from) if named else settings.init_from)
    if not settings.plan or settings.resume:
        return parent, None
    plan = size_plan.load(settings.plan)
    plan.arguments(parent)
    return parent, plan


def prepare(settings, dataset, parent, plan):
    """The Start of this run, its model compiled.

    1. An interrupted run: weights, optimizer and epoch come from its checkpoint.
    2. A trained model: its weights, with a fresh optimizer and schedule.
    3. A trained dense model: the LCNN that its weights are coded into, or its tables.
    4. Random weights.
    """
    updates = dataset.batches_per_epoch(settings.batch_size)
    if settings.resume:
        return resume(settings, dataset, parent, updates)
    if settings.retrain:
        model = saving.load_model(settings.retrain, dataset)
    elif parent is not None:
        check_parent(settings, parent, dataset)
        if not settings.tables:
            plan = plan or make_plan(settings, parent, dataset)
        model = coded_model(settings, parent, plan, dataset)
    else:
        model = fresh_model(settings, **dataset.network)
    if settings.numbers in levels.BINARY and not any(
        isinstance(x, binary.BinaryActivation) for x in model.layers
    ):
        model = binary.binary_activations(model)
    # What was loaded, or made of it, computes as it was saved; coding took float32.
    model = in_precision(model, settings.precision)
    compile_model(settings, model, updates, taught_classes(settings, dataset))
    return Start(model, parent, plan)


def facts(settings, dataset):
    """What all hosts of a run have to agree on: what is stated -> a string."""
    # Weights are handed out; the rest may lie elsewhere.
    elsewhere = ("retrain", "run_dir", "data_dir", "test_dirs", "coding_cache", "prices")
    elsewhere += run.PATHS
    flags = {f"--{x}": str(getattr(settings, x)) for x in run.names() if x not in elsewhere}
    return {**flags, "data": dataset.digest()}


def resume(settings, dataset, parent, updates):
    """The Start of a run that goes on."""
    start = from_checkpoint(settings, dataset, parent, updates, settings.directory)
    within = f", update {start.first_step} of {updates} of the next" if start.first_step else ""
    print(f"Resuming after epoch {start.first_epoch} of {settings.epochs}{within}")
    return start


def from_checkpoint(settings, dataset, parent, updates, folder):
    """The Start that a folder holds: its checkpoint, and its plan where the run is coded."""
    planned = parent is not None and not settings.tables
    plan = size_plan.load(folder / run_directory.PLAN) if planned else None
    # With hints the checkpoint has more outputs than there are classes.
    fitting = None if settings.hint_layers else dataset
    model, *behind = run_directory.load_checkpoint(folder, fitting, updates)
    earlier = model.optimizer
    compile_model(settings, model, updates, taught_classes(settings, dataset))
    optimizers.take_over(model.optimizer, earlier, model.trainable_variables)
    return Start(model, parent, plan, *behind, earlier)


def packed(start):
    """A Start without its parent as files, name -> bytes, which `unpacked` makes one of."""
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        start.model.optimizer.build(start.model.trainable_variables)
        run_directory.save_checkpoint(folder, start.model, start.sums)
        if start.plan is not None:
            start.plan.save(folder / run_directory.PLAN)
        return {path.name: path.read_bytes() for path in folder.iterdir()}


def unpacked(settings, dataset, parent, files):
    """The Start of files that `packed` made, for all devices within `hosts.Hosts.spread`."""
    updates = dataset.batches_per_epoch(settings.batch_size)
    # What dropout draws from is in no file, and hosts made other models before.
    keras.utils.set_random_seed(settings.seed)
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (pathlib.Path(folder) / name).write_bytes(content)
        return from_checkpoint(settings, dataset, parent, updates, pathlib.Path(folder))


def taught_classes(settings, dataset):
    """How many classes the labels that come with the answers of a teacher have; else None."""
    return len(dataset.class_names) if settings.taught else None


def check_parent(settings, parent, dataset):
    """Prints how good the parent is, and stops where it is no better than chance."""
    compile_model(settings, parent, 1)
    results = evaluate(parent, dataset.evaluation("validation", settings.batch_size))
    print_test(results, "Validation, parent")
    tasks.of_run(settings).refuse_parent(results, dataset, settings)


def tell(line):
    print(line, flush=True)


def calibration(settings, dataset):
    """Training images that plans and codes are made on."""
    return dataset.sample("train", settings.calibration_images, settings.seed)


def make_plan(settings, parent, dataset):
    if settings.speedup is not None and keras.backend.backend() != "tensorflow":
        raise ValueError("--speedup times .tflite files: that needs KERAS_BACKEND=tensorflow.")
    images, machine = calibration(settings, dataset), None
    if settings.speedup is not None:
        plan = sizing.plan_for_speedup(
            *(parent, images, settings.speedup, settings.prices, native.available(), tell),
            settings.seed,
        )
        print(f"{plan}\n")
        return plan
    if settings.budget_unit == "milliseconds":
        machine = plan_prices.PlanPrices(
            prices.machine(settings.prices), settings.quantize, settings.budget_delegate
        )

    def progress(name, number, count):
        print(f"Planning: layer {number + 1} of {count}, {name}", flush=True)

    plan = planner.plan(
        *(parent, settings.budget, settings.budget_unit, images, machine),
        progress=progress,
        numbers=settings.numbers,
    )
    print(f"{plan}\n")
    return plan


def coded_model(settings, parent, plan, dataset):
    """The LCNN or Deep Lookup Network of the parent, from its weights; see --init and --family."""
    if settings.tables:
        model = with_tables(settings, parent, dataset)
    else:
        model = lcnn_of(settings, parent, plan, dataset)
    if settings.init == "trained":
        batches = dataset.evaluation("validation", settings.batch_size)
        compile_model(settings, model, 1)
        print_test(evaluate(model, batches), "Validation, coded")
        settle(settings, parent, model, dataset, batches)
    return distillation.with_hints(model, settings.hint_layers)


def with_tables(settings, parent, dataset):
    """The Deep Lookup Network of the parent: its weights stay, tables start as products."""
    return lookupify(
        parent,
        family=settings.family,
        rules=dict.fromkeys(settings.keep, decisions.KEEP),
        init="trained",
        images=calibration(settings, dataset),
        seed=settings.seed,
        activation_levels=settings.activation_levels,
        weight_levels=settings.weight_levels,
        table=settings.table,
        table_rank=settings.table_rank,
    )


def lcnn_of(settings, parent, plan, dataset):
    """The LCNN of the parent, by sparse coding of its weights; from random ones for --init."""
    loose = size_plan.loosened(plan, parent, *settings.factors)
    threshold = {
        "threshold_scale": 0.001 if settings.threshold_scale is None else settings.threshold_scale,
        "threshold_gradient": settings.threshold_gradient,
    }
    if settings.init == "random":
        return lookupify(keras.models.clone_model(parent), plan=loose, **threshold)
    errors = []
    model = lookupify(
        parent,
        plan=loose,
        init="trained",
        images=calibration(settings, dataset),
        seed=settings.seed,
        cache=settings.coding_cache,
        report=errors.append,
        **threshold,
    )
    print(f"{coding.table(errors)}\n")
    return model


def settle(settings, parent, model, dataset, batches):
    """What follows coding and comes before training; `batches` are for validation."""
    normalized = any(isinstance(x, keras.layers.BatchNormalization) for x in sublayers(model))
    if settings.reestimate_bn and normalized:
        examples = dataset.sample("train", 40 * 128, settings.seed)
        coding.reestimate(model, np.split(examples, range(128, len(examples), 128)))
        print_test(evaluate(model, batches), "Validation, batch normalization re-estimated")
    if settings.speedup is not None:
        # The last phase, with int8 in the loop, follows training.
        fit_to(settings, dataset, parent, model, reconstruction.Schedule(rounded_steps=0))
        compile_model(settings, model, 1)
        print_test(evaluate(model, batches), "Validation, reconstructed")


def fit_to(settings, dataset, parent, model, schedule, quantize=None):
    """Fits the model to what another of the same graph answers, without labels."""
    images = calibration(settings, dataset)
    if schedule.crop and images.ndim == 4:
        # Patches may be smaller than its crops.
        schedule = dataclasses.replace(schedule, crop=min(schedule.crop, *images.shape[1:3]))
    reconstruction.reconstruct(
        *(parent, model, images, schedule),
        quantize=quantize,
        seed=settings.seed,
        progress=compressing.told_seldom(tell),
    )


def compile_model(settings, model, updates_per_epoch, classes=None):
    """With `classes` for labels that come with the answers of a teacher."""
    rate = optimizers.learning_rate(
        settings.schedule, settings.learning_rate, updates_per_epoch, settings.epochs
    )
    task = tasks.of_run(settings)
    loss, metrics = task.loss(), task.metrics(model.output_shape[-1])
    if classes:
        hints = settings.hint_weight if settings.hint_layers else 0.0
        loss = distillation.DistillationLoss(classes, settings.distill, settings.temperature, hints)
        metrics = [distillation.LabelAccuracy(classes)]
    optimizer = optimizers.optimizer(
        *(settings.optimizer, rate, settings.momentum),
        *(settings.weight_decay, settings.break_batch),
    )
    # Weights come only with what fills up a batch of several hosts.
    model.compile(optimizer, loss=loss, weighted_metrics=metrics)


def make_variables(model, batches):
    """Makes the variables of a compiled model's optimizer and metrics, which stay at their start.

    TensorFlow traces a step that makes some twice, and a training step takes long to trace.
    """
    model.optimizer.build(model.trainable_variables)
    x, *targets = (part[:1] for part in next(iter(batches)))
    model.compute_metrics(x, targets[0], model(x, training=False), *targets[1:])
    model.reset_metrics()


def evaluate(model, batches):
    return model.evaluate(batches, verbose=0, return_dict=True)


def print_test(results, what="Test"):
    figures = ", ".join(f"{name} {value:.4f}" for name, value in results.items())
    print(f"{what}: {figures}", flush=True)
