"""Trains a network of the LCNN family, or its dense twin, down to a checked .tflite.

    python train.py --flagfile=resnet_lcnn.cfg

A flagfile is looked up as given, then anywhere below configs/. Flags after it override it.
"""

import dataclasses
import functools
import pathlib
import sys

# First: it imports TensorFlow quietly.
from tf_lcnn import lookupify, models, profile, programs

# isort: split
import keras
import numpy as np
from absl import flags

from tf_lcnn.compression import coding, convert, planner, reconstruction, size_plan
from tf_lcnn.data import datasets
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import export, plan_prices, prices, proof
from tf_lcnn.models import saving, zoo
from tf_lcnn.pipeline import comparing, compressing, sizing
from tf_lcnn.runtime import native
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.training import (
    callbacks,
    distillation,
    finetune,
    flagfiles,
    optimizers,
    run,
    run_callbacks,
    run_directory,
)

FLAGS = flags.FLAGS
CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"
# What these networks are for.
TASK = Classification()

define_count = functools.partial(flags.DEFINE_integer, lower_bound=1)

flags.DEFINE_string("dataset", "digits", "digits, image_folder, or a TFDS name like cifar10.")
flags.DEFINE_string("data_dir", None, "Where the data lies; for image_folder a folder or zip.")
define_count("image_size", None, "Height and width of the input; default: the data's.")
flags.DEFINE_list("class_names", None, "Classes of image_folder in the order of their labels.")
flags.DEFINE_string(
    "preprocessing",
    "own",
    "How pixels become inputs, as the parent was trained: own (statistics of the training images), "
    f"{', '.join(datasets.PREPROCESSING)}, or mean,std of pixels 0 to 255.",
)
flags.DEFINE_boolean("download", False, "Let TFDS download a missing data set.")

flags.DEFINE_string("model", "resnet20_lcnn", f"One of: {', '.join(models.names())}.")
flags.DEFINE_list(
    "dictionary_sizes",
    ["fast"],
    "fast, accurate, register, or one size per stage, with commas; 0: plain.",
)
flags.DEFINE_float("l1", 0.0, "lambda' of the L1 term; the paper: 0.3 fast, 0.1 accurate.")
flags.DEFINE_float("threshold_scale", None, "c in eps = c * sigma; default: the paper's.")
flags.DEFINE_enum("threshold_gradient", "masked", sparsity.GRADIENTS, "Gradient of the threshold.")
define_count("top_s", None, "Lookups per kernel position and filter; default: no bound.")
flags.DEFINE_enum("top_s_when", "batch", callbacks.WHEN, "When the bound is enforced.")
define_count("top_s_from", None, "Start with this many lookups and go down to top_s.")
define_count("top_s_epochs", None, "Reach top_s in this epoch; default: half of all.")

flags.DEFINE_string("init_from", None, "Code this trained model: a .keras file or a name in zoo/.")
flags.DEFINE_string("plan", None, "JSON with k and s of every layer.")
flags.DEFINE_float("speedup", None, "Times as fast as the parent, in int8, measured here.")
flags.DEFINE_float("budget", None, "For the whole LCNN: makes a plan and keeps it in the run.")
flags.DEFINE_enum("budget_unit", size_plan.UNITS[0], size_plan.UNITS, "Unit of --budget.")
flags.DEFINE_boolean("budget_delegate", False, "Milliseconds are with the native delegate.")
flags.DEFINE_enum("budget_quantize", "none", ["none", "int8"], "Milliseconds are in this format.")
flags.DEFINE_string("prices", None, "JSON of what this machine takes; measured once by default.")
flags.DEFINE_enum("init", "trained", convert.INITS, "Whether --init_from's weights are coded.")
define_count("calibration_images", 500, "Training images that the weights are coded on.")
flags.DEFINE_string("coding_cache", None, "Folder of coded layers, to go on from if interrupted.")
flags.DEFINE_boolean("reestimate_bn", True, "Re-estimate batch normalization after coding.")
flags.DEFINE_float("distill", 0.5, "Weight of the dense parent's logits in the loss; 0: none.")
flags.DEFINE_float("temperature", 4.0, "Softens both logits for --distill.")
flags.DEFINE_list("hint_layers", [], "Layers of the dense parent whose output is taught too.")
flags.DEFINE_float("hint_weight", 1.0, "Weight of --hint_layers.")
flags.DEFINE_float("loose_lookups", 1.0, "Start with this many times the lookups of the plan.")
flags.DEFINE_float("loose_rows", 1.0, "Start with this many times its dictionary rows.")
define_count("tighten_epochs", None, "Reach the plan's sizes in this epoch; default: half of all.")
flags.DEFINE_boolean("revive_rows", True, "Dictionary rows that died share the busiest one's work.")
flags.DEFINE_boolean("drop_rows", True, "Leave dictionary rows without lookups out in the end.")

flags.DEFINE_integer("epochs", 10, "Epochs in all; 0 only tests and exports.", lower_bound=0)
define_count("batch_size", 128, "Images per update.")
define_count("break_batch", 1, "Compute each batch in this many parts, to save memory.")
flags.DEFINE_enum("optimizer", "sgd", optimizers.OPTIMIZERS, "Optimizer.")
flags.DEFINE_float("momentum", 0.9, "Momentum of SGD.")
flags.DEFINE_float("learning_rate", 0.1, "Learning rate at the start.")
flags.DEFINE_enum("schedule", "cosine", optimizers.SCHEDULES, "How the learning rate falls.")
flags.DEFINE_float("weight_decay", 0.0, "Decoupled: an update shrinks weights by rate * this.")
flags.DEFINE_integer("weight_decay_epochs", None, "Weight decay ends with this epoch.")
flags.DEFINE_enum(
    "precision", "float32", ["float32", "mixed_float16", "mixed_bfloat16"], "Dtype policy."
)
flags.DEFINE_integer("seed", 0, "Seed of weights, order and augmentation.")

flags.DEFINE_string("run_dir", None, "Directory of the run; default: runs/MODEL_DATASET.")
flags.DEFINE_boolean("overwrite", False, "Replace an earlier run in run_dir.")
flags.DEFINE_boolean("resume", False, "Go on with the run in run_dir after its last full epoch.")
flags.DEFINE_string("retrain", None, "Start from this trained .keras file.")
flags.DEFINE_boolean("test_only", False, "Only test the model of --retrain, or of run_dir.")
flags.DEFINE_boolean("benchmark", False, "Only print what the model costs.")
flags.DEFINE_boolean("tensorboard", False, "Write TensorBoard logs too.")
flags.DEFINE_boolean("export", True, "Write a .tflite and prove it on the whole test set.")


@dataclasses.dataclass
class Start:
    """What training starts from.

    `parent` and `plan` are of a coded run, else None. `earlier` is the optimizer of a run that is
    resumed, after `first_epoch` epochs.
    """

    model: keras.Model
    parent: keras.Model | None = None
    plan: size_plan.Plan | None = None
    first_epoch: int = 0
    earlier: keras.optimizers.Optimizer | None = None


def main():
    settings = run.Run.of(FLAGS)
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy(settings.precision)
    if settings.benchmark:
        benchmark(settings)
        return
    parent, plan = load_parent(settings)
    if not (settings.test_only or settings.resume or settings.overwrite):
        # Before minutes go into planning and coding.
        run_directory.refuse_earlier_run(settings.directory)
    dataset = load_data(settings, parent)
    if settings.test_only:
        test(settings, dataset)
        return
    start = prepare(settings, dataset, parent, plan)
    made_callbacks = functools.partial(make_callbacks, settings, start.model, plan=start.plan)
    check_before_the_run(made_callbacks)
    directory = open_directory(settings, start)
    try:
        fit(settings, dataset, start, made_callbacks(directory))
        finish(settings, dataset, start, directory)
    except BaseException:
        directory.discard()
        raise


# Prepare


def fresh_model(settings, input_shape=None, classes=None):
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
        dictionary_sizes=sizes,
        l1=settings.l1,
        threshold_scale=settings.threshold_scale,
        threshold_gradient=settings.threshold_gradient,
    )


def load_data(settings, parent=None):
    """The data set, as the parent or the network takes it."""
    own_size = (models.input_shape(settings.model) if parent is None else parent.input_shape[1:])[0]
    size, channels = settings.image_size, 3
    if parent is not None:
        size = size or (None if None in parent.input_shape[1:3] else parent.input_shape[1:3])
        channels = parent.input_shape[-1]
    dataset = datasets.load(
        settings.dataset,
        settings.data_dir,
        size,
        own_size or 224,
        settings.download,
        channels=channels,
        class_names=settings.class_names,
        preprocessing=settings.preprocessing,
    )
    if parent is not None:
        saving.refuse_mismatch(parent, dataset, settings.init_from)
    print(
        f"{dataset.name}: {len(dataset.train)} training, {len(dataset.validation)} validation, "
        f"{len(dataset.test)} test images, {len(dataset.class_names)} classes, "
        f"input {dataset.image_shape}",
        flush=True,
    )
    return dataset


def benchmark(settings):
    """Prints what the model costs."""
    if settings.retrain:
        print(profile(saving.load_model(settings.retrain)))
        return
    try:
        dataset = load_data(settings)
        model = fresh_model(settings, dataset.image_shape, len(dataset.class_names))
    except FileNotFoundError:
        # What a model costs can be told without the data, at the model's own size.
        model = fresh_model(settings)
    if settings.top_s:
        callbacks.project(model, settings.top_s)
    print(profile(model))


def test(settings, dataset):
    """Prints how good a trained model is on the test images."""
    path = settings.retrain or settings.directory / run_directory.MODEL
    model = saving.load_model(path, dataset)
    compile_model(settings, model, 1)
    print_test(evaluate(model, dataset.evaluation("test", settings.batch_size)))


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
    3. A trained dense model: the LCNN that its weights are coded into.
    4. Random weights.
    """
    updates = dataset.batches_per_epoch(settings.batch_size)
    if settings.resume:
        return resume(settings, dataset, parent, updates)
    if settings.retrain:
        model = saving.load_model(settings.retrain, dataset)
    elif parent is not None:
        check_parent(settings, parent, dataset)
        plan = plan or make_plan(settings, parent, dataset)
        model = coded_model(settings, parent, plan, dataset)
    else:
        model = fresh_model(settings, dataset.image_shape, len(dataset.class_names))
    compile_model(settings, model, updates, taught_classes(settings, dataset))
    return Start(model, parent, plan)


def resume(settings, dataset, parent, updates):
    """The Start of a run that goes on."""
    plan = None if parent is None else size_plan.load(settings.directory / run_directory.PLAN)
    # With hints the checkpoint has more outputs than there are classes.
    fitting = None if settings.hint_layers else dataset
    model, epoch = run_directory.load_checkpoint(settings.directory, fitting, updates)
    earlier = model.optimizer
    compile_model(settings, model, updates, taught_classes(settings, dataset))
    optimizers.take_over(model.optimizer, earlier, model.trainable_variables)
    print(f"Resuming after epoch {epoch} of {settings.epochs}")
    return Start(model, parent, plan, epoch, earlier)


def taught_classes(settings, dataset):
    """How many classes the labels that come with the answers of a teacher have; else None."""
    return len(dataset.class_names) if settings.taught else None


def check_parent(settings, parent, dataset):
    """Prints how good the parent is, and stops where it is no better than chance."""
    compile_model(settings, parent, 1)
    results = evaluate(parent, dataset.evaluation("validation", settings.batch_size))
    print_test(results, "Validation, parent")
    chance, count = 1 / len(dataset.class_names), len(dataset.validation)
    # Three standard errors above it.
    if results["accuracy"] <= chance + 3 * (chance * (1 - chance) / count) ** 0.5:
        raise ValueError(
            f"{settings.init_from} has an accuracy of {results['accuracy']:.1%} here, near the "
            f"{chance:.1%} of chance: is --preprocessing ({settings.preprocessing}) that of its "
            "training, and --class_names the order of its outputs?"
        )


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
    )
    print(f"{plan}\n")
    return plan


def coded_model(settings, parent, plan, dataset):
    """The LCNN of the parent, by sparse coding of its weights; from random ones for --init."""
    loose = size_plan.loosened(plan, parent, *settings.factors)
    threshold = {
        "threshold_scale": 0.001 if settings.threshold_scale is None else settings.threshold_scale,
        "threshold_gradient": settings.threshold_gradient,
    }
    if settings.init == "random":
        model = lookupify(keras.models.clone_model(parent), plan=loose, **threshold)
        return distillation.with_hints(model, settings.hint_layers)
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
    batches = dataset.evaluation("validation", settings.batch_size)
    compile_model(settings, model, 1)
    print_test(evaluate(model, batches), "Validation, coded")
    if settings.reestimate_bn:
        examples = dataset.sample("train", 40 * 128, settings.seed)
        coding.reestimate(model, np.split(examples, range(128, len(examples), 128)))
        print_test(evaluate(model, batches), "Validation, batch normalization re-estimated")
    if settings.speedup is not None:
        # The last phase, with int8 in the loop, follows training.
        fit_to(settings, dataset, parent, model, reconstruction.Schedule(rounded_steps=0))
        compile_model(settings, model, 1)
        print_test(evaluate(model, batches), "Validation, reconstructed")
    return distillation.with_hints(model, settings.hint_layers)


def fit_to(settings, dataset, parent, model, schedule, quantize=None):
    """Fits the model to what another of the same graph answers, without labels."""
    reconstruction.reconstruct(
        *(parent, model, calibration(settings, dataset), schedule),
        quantize=quantize,
        seed=settings.seed,
        progress=compressing.told_seldom(tell),
    )


def compile_model(settings, model, updates_per_epoch, classes=None):
    """With `classes` for labels that come with the answers of a teacher."""
    rate = optimizers.learning_rate(
        settings.schedule, settings.learning_rate, updates_per_epoch, settings.epochs
    )
    loss, metrics = TASK.loss(), TASK.metrics(model.output_shape[-1])
    if classes:
        hints = settings.hint_weight if settings.hint_layers else 0.0
        loss = distillation.DistillationLoss(classes, settings.distill, settings.temperature, hints)
        metrics = [distillation.LabelAccuracy(classes)]
    optimizer = optimizers.optimizer(
        *(settings.optimizer, rate, settings.momentum),
        *(settings.weight_decay, settings.break_batch),
    )
    model.compile(optimizer, loss=loss, metrics=metrics)


# Fit


def open_directory(settings, start):
    """The directory of this run. From here on it changes; what can be wrong was said before."""
    if settings.resume:
        run_directory.trim_log(settings.directory, start.first_epoch)
        directory = run_directory.RunDirectory(settings.directory, resume=True)
    else:
        directory = run_directory.RunDirectory(settings.directory, settings.overwrite)
        if start.plan is not None:
            start.plan.save(directory / run_directory.PLAN)
    run_directory.write_flags(directory, FLAGS.get_key_flags_for_module(sys.argv[0]))
    return directory


def check_before_the_run(made_callbacks):
    """Raises what is wrong with the callbacks before a directory is touched."""
    made_callbacks(pathlib.Path())


def make_callbacks(settings, model, directory, plan=None):
    made = [run_callbacks.StopOnNaN()]
    lookup = lookup_layers(model)
    reach = max(1, settings.epochs // 2)
    if plan is not None:
        # With the masked gradient a lookup that is not there never comes: no need to look.
        fixed = settings.threshold_gradient == "masked" and settings.threshold_scale != 0
        if max(settings.factors) > 1 or not fixed or settings.init == "random":
            reach = settings.tighten_epochs or reach
            made.append(finetune.Tighten(plan.sizes, *settings.factors, reach))
        if settings.revive_rows:
            made.append(finetune.ReviveRows())
    elif settings.top_s and lookup:
        sparsity.check_lookups(settings.top_s, max(layer.dictionary_size for layer in lookup))
        schedule = None
        if settings.top_s_from:
            reach = settings.top_s_epochs or reach
            schedule = sparsity.geometric_schedule(settings.top_s_from, settings.top_s, reach)
        made.append(callbacks.TopS(settings.top_s, schedule, settings.top_s_when))
    if settings.weight_decay_epochs is not None:
        made.append(run_callbacks.WeightDecayUntil(settings.weight_decay_epochs))
    made.append(callbacks.SparsityMonitor())
    if settings.tensorboard:
        made.append(keras.callbacks.TensorBoard(directory / run_directory.TENSORBOARD))
    if not sys.stdout.isatty():
        made.append(run_callbacks.PlainLog())
    made.append(keras.callbacks.CSVLogger(directory / run_directory.LOG, append=True))
    made.append(run_callbacks.Checkpoint(directory))
    return made


def fit(settings, dataset, start, made_callbacks):
    if start.first_epoch >= settings.epochs:
        return
    batches = dataset.training(
        *(settings.batch_size, start.first_epoch, settings.epochs),
        *(settings.seed, settings.break_batch),
        augment=TASK.augment,
    )
    if settings.taught:
        teacher = distillation.with_hints(start.parent, settings.hint_layers)
        batches = distillation.with_teacher(batches, teacher)
    start.model.fit(
        batches,
        epochs=settings.epochs,
        initial_epoch=start.first_epoch,
        steps_per_epoch=dataset.batches_per_epoch(settings.batch_size) * settings.break_batch,
        validation_data=dataset.evaluation("validation", settings.batch_size),
        callbacks=made_callbacks,
        # The data set shuffles itself.
        shuffle=False,
        verbose="auto" if sys.stdout.isatty() else 0,
    )


# Finish


def finish(settings, dataset, start, directory):
    """Saves, counts, tests and exports the model."""
    model = start.model
    if start.parent is not None:
        model = distillation.without_hints(model)
        if settings.drop_rows:
            model = finetune.drop_rows(model)
        if settings.speedup is not None:
            taught = keras.models.clone_model(model)
            taught.set_weights(model.get_weights())
            last = reconstruction.Schedule(block_steps=0, output_steps=0)
            fit_to(settings, dataset, taught, model, last, "int8")
        compile_model(settings, model, dataset.batches_per_epoch(settings.batch_size))
    costs = profile(model)
    print(f"\n{costs}\n")
    costs.write_json(directory / "profile.json")
    costs.write_csv(directory / "profile.csv")
    saving.save_model(model, directory / run_directory.MODEL)
    directory.settle()
    print(f"Saved {settings.directory / run_directory.MODEL}")
    examples = dataset.evaluation("test", settings.batch_size)
    print_test(evaluate(model, examples))
    if settings.export and keras.backend.backend() != "tensorflow":
        print("Not exported: that needs KERAS_BACKEND=tensorflow, with export/tflite.py.")
    elif settings.export and settings.speedup is not None:
        pair = comparing.Pair(
            *(start.parent, directory, examples, calibration(settings, dataset)),
            *(prices.machine(settings.prices), native.available(), dataset),
        )
        exported = pair.export_parent(), pair.export(model)
        print(pair.report(start.plan, exported, pair.times())["summary"])
        print(f"Saved {settings.directory / comparing.LCNN} and {comparing.REPORT} beside it.")
    elif settings.export:
        path = directory / "model.tflite"
        # The form that the counts are of; export/tflite.py makes others.
        report = export.export(model, path, examples, lowering="sparse", dataset=dataset)
        print(
            f"Saved {settings.directory / 'model.tflite'}, {report.bytes:,} bytes. {report.proof}"
        )


def evaluate(model, batches):
    return model.evaluate(batches, verbose=0, return_dict=True)


def print_test(results, what="Test"):
    figures = ", ".join(f"{name} {value:.4f}" for name, value in results.items())
    print(f"{what}: {figures}", flush=True)


def parse(arguments):
    return flagfiles.parse(FLAGS, CONFIGS, arguments)


if __name__ == "__main__":
    programs.run(main, errors=[proof.ProofError], flags_parser=parse)
