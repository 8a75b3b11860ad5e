"""Trains a network of the LCNN family, or its dense twin, down to a checked .tflite.

    python train.py --flagfile=resnet_lcnn.cfg

A flagfile is looked up as given, then in configs/. Flags after it override it.
"""

import functools
import logging
import os
import pathlib
import sys

# TensorFlow otherwise reports its CPU features on every start.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from absl import app, flags
from absl import logging as absl_logging

from tf_lcnn import lookupify, models, profile, tasks
from tf_lcnn.compression import coding, convert, planner, size_plan
from tf_lcnn.data import datasets
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import export, proof
from tf_lcnn.models import saving, zoo
from tf_lcnn.training import (
    callbacks,
    distillation,
    finetune,
    optimizers,
    run_callbacks,
    run_directory,
)

FLAGS = flags.FLAGS
CONFIGS = pathlib.Path(__file__).resolve().parent / "configs"

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
flags.DEFINE_float("budget", None, "For the whole LCNN: makes a plan and keeps it in the run.")
flags.DEFINE_enum("budget_unit", size_plan.UNITS[0], size_plan.UNITS, "Unit of --budget.")
flags.DEFINE_boolean("budget_delegate", False, "Milliseconds are with the native delegate.")
flags.DEFINE_enum("budget_quantize", "none", ["none", "int8"], "Milliseconds are in this format.")
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


def fresh_model(input_shape=None, classes=None):
    sizes = FLAGS.dictionary_sizes
    preset = len(sizes) == 1 and sizes[0].isalpha()
    try:
        sizes = sizes[0] if preset else [int(k) for k in sizes]
    except ValueError:
        raise ValueError(
            f"--dictionary_sizes={','.join(sizes)}: fast, accurate, register, or whole numbers."
        ) from None
    return models.build(
        FLAGS.model,
        input_shape=input_shape,
        classes=classes,
        dictionary_sizes=sizes,
        l1=FLAGS.l1,
        threshold_scale=FLAGS.threshold_scale,
        threshold_gradient=FLAGS.threshold_gradient,
    )


def load_data(parent=None):
    own_size = (models.input_shape(FLAGS.model) if parent is None else parent.input_shape[1:])[0]
    size, channels = FLAGS.image_size, 3
    if parent is not None:
        size = size or (None if None in parent.input_shape[1:3] else parent.input_shape[1:3])
        channels = parent.input_shape[-1]
    return datasets.load(
        FLAGS.dataset,
        FLAGS.data_dir,
        size,
        own_size,
        FLAGS.download,
        channels=channels,
        class_names=FLAGS.class_names,
        preprocessing=FLAGS.preprocessing,
    )


def benchmark():
    if FLAGS.retrain:
        print(profile(saving.load_model(FLAGS.retrain)))
        return
    try:
        images = load_data()
        model = fresh_model(images.image_shape, len(images.class_names))
    except FileNotFoundError:
        # What a model costs can be told without the data, at the model's own size.
        model = fresh_model()
    if FLAGS.top_s:
        callbacks.project(model, FLAGS.top_s)
    print(profile(model))


def load_parent():
    """The dense parent of --init_from, and the plan of --plan; None where there is none."""
    if not FLAGS.init_from:
        if FLAGS.plan or FLAGS.budget is not None:
            raise ValueError("--plan and --budget need --init_from, the trained model.")
        return None, None
    if (FLAGS.plan is None) == (FLAGS.budget is None):
        raise ValueError("--init_from needs --plan or --budget, one of them.")
    named = FLAGS.init_from in zoo.names()
    parent = saving.load_model(zoo.path(FLAGS.init_from) if named else FLAGS.init_from)
    if not FLAGS.plan:
        return parent, None
    plan = size_plan.load(FLAGS.plan)
    plan.arguments(parent)
    return parent, plan


def make_plan(parent, images):
    quantize = None if FLAGS.budget_quantize == "none" else FLAGS.budget_quantize
    timed = {"quantize": quantize, "delegate": FLAGS.budget_delegate}
    plan = planner.plan(parent, FLAGS.budget, FLAGS.budget_unit, calibration(images), **timed)
    print(f"{plan}\n")
    return plan


def calibration(images):
    """Training images that plans and codes are made on."""
    return images.sample("train", FLAGS.calibration_images, FLAGS.seed)


def coded_model(parent, plan, images):
    """The LCNN of the parent, by sparse coding of its weights; from random ones for --init."""
    loose = size_plan.loosened(plan, FLAGS.loose_lookups, FLAGS.loose_rows)
    threshold = {
        "threshold_scale": 0.001 if FLAGS.threshold_scale is None else FLAGS.threshold_scale,
        "threshold_gradient": FLAGS.threshold_gradient,
    }
    if FLAGS.init == "random":
        model = lookupify(keras.models.clone_model(parent), plan=loose, **threshold)
        return distillation.with_hints(model, FLAGS.hint_layers)
    errors = []
    model = lookupify(
        parent,
        plan=loose,
        init="trained",
        images=calibration(images),
        seed=FLAGS.seed,
        cache=FLAGS.coding_cache,
        report=errors.append,
        **threshold,
    )
    print(f"{coding.table(errors)}\n")
    batches = images.evaluation("validation", FLAGS.batch_size)
    compile_model(model, 1)
    print_test(model.evaluate(batches, verbose=0, return_dict=True), "Validation, coded")
    if FLAGS.reestimate_bn:
        examples = images.sample("train", 40 * 128, FLAGS.seed)
        coding.reestimate(model, np.split(examples, range(128, len(examples), 128)))
        results = model.evaluate(batches, verbose=0, return_dict=True)
        print_test(results, "Validation, batch normalization re-estimated")
    return distillation.with_hints(model, FLAGS.hint_layers)


def compile_model(model, updates_per_epoch, classes=None):
    """With `classes` for labels that come with the answers of a teacher."""
    rate = optimizers.learning_rate(
        FLAGS.schedule, FLAGS.learning_rate, updates_per_epoch, FLAGS.epochs
    )
    loss, metrics = keras.losses.SparseCategoricalCrossentropy(from_logits=True), ["accuracy"]
    if classes:
        hints = FLAGS.hint_weight if FLAGS.hint_layers else 0.0
        loss = distillation.DistillationLoss(classes, FLAGS.distill, FLAGS.temperature, hints)
        metrics = [distillation.LabelAccuracy(classes)]
    elif model.output_shape[-1] > 10:
        metrics.append(keras.metrics.SparseTopKCategoricalAccuracy(5, name="top5"))
    model.compile(
        optimizers.optimizer(
            FLAGS.optimizer, rate, FLAGS.momentum, FLAGS.weight_decay, FLAGS.break_batch
        ),
        loss=loss,
        metrics=metrics,
    )


def make_callbacks(model, run_dir, plan=None):
    made = [run_callbacks.StopOnNaN()]
    lookup = lookup_layers(model)
    if plan is not None:
        loose = max(FLAGS.loose_lookups, FLAGS.loose_rows) > 1
        # With the masked gradient a lookup that is not there never comes: no need to look.
        fixed = FLAGS.threshold_gradient == "masked" and FLAGS.threshold_scale != 0
        if loose or not fixed or FLAGS.init == "random":
            reach = FLAGS.tighten_epochs or max(1, FLAGS.epochs // 2)
            factors = (FLAGS.loose_lookups, FLAGS.loose_rows)
            made.append(finetune.Tighten(plan.sizes, *factors, reach))
        if FLAGS.revive_rows:
            made.append(finetune.ReviveRows())
    elif FLAGS.top_s and lookup:
        sparsity.check_lookups(FLAGS.top_s, max(layer.dictionary_size for layer in lookup))
        schedule = None
        if FLAGS.top_s_from:
            reach = FLAGS.top_s_epochs or max(1, FLAGS.epochs // 2)
            schedule = sparsity.geometric_schedule(FLAGS.top_s_from, FLAGS.top_s, reach)
        made.append(callbacks.TopS(FLAGS.top_s, schedule, FLAGS.top_s_when))
    if FLAGS.weight_decay_epochs is not None:
        made.append(run_callbacks.WeightDecayUntil(FLAGS.weight_decay_epochs))
    made.append(callbacks.SparsityMonitor())
    if FLAGS.tensorboard:
        made.append(keras.callbacks.TensorBoard(run_dir / "tensorboard"))
    if not sys.stdout.isatty():
        made.append(run_callbacks.PlainLog())
    made.append(keras.callbacks.CSVLogger(run_dir / run_directory.LOG, append=True))
    made.append(run_callbacks.Checkpoint(run_dir))
    return made


def main(arguments):
    if len(arguments) > 1:
        raise ValueError(f"{arguments[1]!r} is no flag: flags start with --.")
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.getLogger("tensorflow").setLevel(logging.WARNING)
    keras.utils.set_random_seed(FLAGS.seed)
    keras.config.set_dtype_policy(FLAGS.precision)
    if FLAGS.benchmark:
        benchmark()
        return
    parent, plan = load_parent()
    name = FLAGS.model if parent is None else f"{parent.name}_coded"
    run_dir = pathlib.Path(FLAGS.run_dir or f"runs/{name}_{FLAGS.dataset}")
    if not (FLAGS.test_only or FLAGS.resume or FLAGS.overwrite):
        # Before minutes go into planning and coding.
        run_directory.refuse_earlier_run(run_dir)

    images = load_data(parent)
    if parent is not None:
        saving.refuse_mismatch(parent, images, FLAGS.init_from)
    test = images.evaluation("test", FLAGS.batch_size)
    print(
        f"{images.name}: {len(images.train)} training, {len(images.validation)} validation, "
        f"{len(images.test)} test images, {len(images.class_names)} classes, "
        f"input {images.image_shape}"
    )

    if FLAGS.test_only:
        model = saving.load_model(FLAGS.retrain or run_dir / run_directory.MODEL, images)
        compile_model(model, 1)
        print_test(model.evaluate(test, verbose=0, return_dict=True))
        return

    # With a teacher the labels hold its answers too.
    taught = parent is not None and bool(FLAGS.distill or FLAGS.hint_layers)
    classes = len(images.class_names) if taught else None
    updates = images.batches_per_epoch(FLAGS.batch_size)
    first_epoch = 0
    if FLAGS.resume:
        if parent is not None:
            plan = size_plan.load(run_dir / run_directory.PLAN)
        # 1. An interrupted run: weights, optimizer and epoch come from its checkpoint.
        # With hints the checkpoint has more outputs than there are classes.
        fitting = None if FLAGS.hint_layers else images
        model, first_epoch = run_directory.load_checkpoint(run_dir, fitting, updates)
        print(f"Resuming after epoch {first_epoch} of {FLAGS.epochs}")
    elif FLAGS.retrain:
        # 2. A trained model: its weights, with a fresh optimizer and schedule.
        model = saving.load_model(FLAGS.retrain, images)
        compile_model(model, updates)
    elif parent is not None:
        # 3. A trained dense model: the LCNN that its weights are coded into.
        plan = plan or make_plan(parent, images)
        model = coded_model(parent, plan, images)
        compile_model(model, updates, classes)
    else:
        # 4. From random weights.
        model = fresh_model(images.image_shape, len(images.class_names))
        compile_model(model, updates)
    batches = images.training(
        *(FLAGS.batch_size, first_epoch, FLAGS.epochs, FLAGS.seed, FLAGS.break_batch),
        augment=tasks.of(model).augment,
    )
    if taught:
        batches = distillation.with_teacher(
            batches, distillation.with_hints(parent, FLAGS.hint_layers)
        )
    made_callbacks = make_callbacks(model, run_dir, plan)

    # From here on the run directory changes; what can be wrong was said before.
    if FLAGS.resume:
        run_directory.trim_log(run_dir, first_epoch)
    else:
        run_directory.prepare_run_dir(run_dir, FLAGS.overwrite)
        if plan is not None:
            plan.save(run_dir / run_directory.PLAN)
        run_directory.write_flags(run_dir, FLAGS.get_key_flags_for_module(sys.argv[0]))
    if first_epoch < FLAGS.epochs:
        model.fit(
            batches,
            epochs=FLAGS.epochs,
            initial_epoch=first_epoch,
            steps_per_epoch=updates * FLAGS.break_batch,
            validation_data=images.evaluation("validation", FLAGS.batch_size),
            callbacks=made_callbacks,
            # The data set shuffles itself.
            shuffle=False,
            verbose="auto" if sys.stdout.isatty() else 0,
        )

    if parent is not None:
        model = distillation.without_hints(model)
        if FLAGS.drop_rows:
            model = finetune.drop_rows(model)
        compile_model(model, updates)
    costs = profile(model)
    print(f"\n{costs}\n")
    costs.write_json(run_dir / "profile.json")
    costs.write_csv(run_dir / "profile.csv")
    saving.save_model(model, run_dir / run_directory.MODEL)
    print(f"Saved {run_dir / run_directory.MODEL}")
    print_test(model.evaluate(test, verbose=0, return_dict=True))
    if FLAGS.export and keras.backend.backend() != "tensorflow":
        print("Not exported: that needs KERAS_BACKEND=tensorflow, with export/tflite.py.")
    elif FLAGS.export:
        path = run_dir / "model.tflite"
        # The form that the counts are of; export/tflite.py makes others.
        report = export.export(model, path, test, lowering="sparse", dataset=images)
        print(f"Saved {path}, {report.bytes:,} bytes. {report.proof}")


def print_test(results, what="Test"):
    print(f"{what}: " + ", ".join(f"{name} {value:.4f}" for name, value in results.items()))


def find_flagfiles(arguments):
    """Replaces the bare name of a flagfile by its place in configs/."""
    found = []
    for argument in arguments:
        if found and found[-1].lstrip("-") == "flagfile":
            argument = f"{found.pop()}={argument}"
        _, is_flagfile, name = argument.partition("-flagfile=")
        if is_flagfile and not pathlib.Path(name).is_file():
            if not (CONFIGS / name).is_file():
                there = ", ".join(sorted(path.name for path in CONFIGS.glob("*.cfg")))
                raise ValueError(f"No flagfile {name}; configs/ has: {there}.")
            argument = f"--flagfile={CONFIGS / name}"
        found.append(argument)
    return found


def parse(arguments):
    try:
        return FLAGS(find_flagfiles(arguments))
    except flags.Error as error:
        # In one line; absl would add its own.
        raise ValueError(str(error)) from None


if __name__ == "__main__":
    try:
        app.run(main, flags_parser=parse)
    except (ValueError, OSError, FloatingPointError, proof.ProofError) as error:
        sys.exit(f"train.py: {error}")
