"""Trains an LCNN, or its dense twin, down to a checked .tflite.

    tf-lcnn train --flagfile=resnet_lcnn.cfg

A flagfile is looked up as given, then anywhere below configs/. Flags after it override it.
"""

import functools
import itertools
import json
import pathlib
import sys

# First: it imports TensorFlow quietly.
from tf_lcnn import checks, files, models, places, programs, tasks

# isort: split
import keras
from absl import flags

from tf_lcnn.compression import reconstruction
from tf_lcnn.costs.counting import profile
from tf_lcnn.graph import rebuild
from tf_lcnn.layers import sparsity
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import export, prices, proof
from tf_lcnn.models import saving
from tf_lcnn.pipeline import comparing, run_flags, starting
from tf_lcnn.runtime import litert, native
from tf_lcnn.training import (
    callbacks,
    distillation,
    finetune,
    flagfiles,
    hosts,
    run,
    run_callbacks,
    run_directory,
)

FLAGS = flags.FLAGS
flags.adopt_module_key_flags(run_flags)
HELP = programs.Help(
    "[--flagfile=NAME.cfg] [FLAG...]",
    (
        *("task", "dataset", "data_dir", "download", "model", "dictionary_sizes"),
        *("top_s", "init_from", "speedup", "budget", "epochs", "batch_size", "learning_rate"),
        *("run_dir", "resume", "export"),
    ),
)
CONFIGS = places.CONFIGS


def main():
    place = (FLAGS.coordinator, FLAGS.processes, FLAGS.process, FLAGS.timeout)
    settings = run.Run.of(FLAGS)
    if FLAGS.distribute and (settings.test_only or settings.benchmark):
        raise ValueError("--distribute is for training: --test_only and --benchmark take one host.")
    with hosts.joined(FLAGS.distribute, *place) as team:
        story(settings, team)


def story(settings, team):
    keras.utils.set_random_seed(settings.seed)
    keras.config.set_dtype_policy(settings.precision)
    if settings.benchmark:
        benchmark(settings)
        return
    parent, plan = starting.load_parent(settings)
    anew = not (settings.test_only or settings.resume or settings.overwrite)
    if anew and team.first:
        # Before minutes go into planning and coding.
        run_directory.refuse_earlier_run(settings.directory)
    dataset = load_data(settings, parent)
    if settings.test_only:
        test(settings, dataset)
        return
    start = prepare(settings, team, dataset, parent, plan)
    dataset = dataset.taken_by(start.model)
    made_callbacks = functools.partial(
        *(make_callbacks, settings, start.model),
        plan=start.plan,
        input_shape=dataset.example_shape,
        writes=team.first,
    )
    check_before_the_run(made_callbacks)
    directory = open_directory(settings, start) if team.first else None
    try:
        fit(settings, team, dataset, start, [*made_callbacks(directory), *team.callbacks()])
        start = part(settings, team, dataset, start)
        if team.first:
            finish(settings, dataset, start, directory)
    except BaseException:
        if directory is not None:
            directory.discard()
        raise


# Prepare


def load_data(settings, parent=None):
    """The data set, as the parent or the network takes it."""
    own_shape = models.input_shape(settings.model) if parent is None else parent.input_shape[1:]
    dataset = tasks.of_run(settings).load(settings, own_shape, parent)
    if parent is not None:
        dataset.refuse_mismatch(parent, settings.init_from or settings.retrain)
        dataset = dataset.taken_by(parent)
    print(dataset.summary(), flush=True)
    return dataset


def benchmark(settings):
    """Prints what the model costs."""
    if settings.retrain:
        model = saving.load_model(settings.retrain)
        # A network that leaves its size open is counted at that of the data.
        bare = None not in model.input_shape[1:]
        print(profile(model, None if bare else load_data(settings, model).example_shape))
        return
    try:
        dataset = load_data(settings)
        model = starting.fresh_model(settings, **dataset.network)
        shape = dataset.taken_by(model).example_shape
    except FileNotFoundError:
        if settings.mosaic or None in models.input_shape(settings.model):
            raise
        # What a model costs can be told without the data, at the model's own size.
        model, shape = starting.fresh_model(settings), None
    if settings.top_s:
        callbacks.project(model, settings.top_s)
    print(profile(model, shape))


def test(settings, dataset):
    """Prints how good a trained model is on the test images."""
    path = settings.retrain or settings.directory / run_directory.MODEL
    model = saving.load_model(path, dataset)
    dataset = dataset.taken_by(model)
    starting.compile_model(settings, model, 1)
    examples = dataset.evaluation("test", settings.batch_size)
    starting.print_test(starting.evaluate(model, examples))
    tasks.of_run(settings).tell_more(model, dataset, None)


def prepare(settings, team, dataset, parent, plan):
    """The Start of this run; of several hosts the first one makes it for all."""
    if not FLAGS.distribute:
        return starting.prepare(settings, dataset, parent, plan)
    examples = len(dataset.train) * dataset.draws
    team.check_batch(settings.batch_size, settings.break_batch, examples)
    team.agree({**starting.facts(settings, dataset), "code": hosts.code()})
    files = team.handed_out(
        lambda: starting.packed(starting.prepare(settings, dataset, parent, plan))
    )
    with team.spread():
        return starting.unpacked(settings, dataset, parent, files)


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
    run_directory.write_flags(directory, [FLAGS[name] for name in run.names()])
    return directory


def check_before_the_run(made_callbacks):
    """Raises what is wrong with the callbacks before a directory is touched."""
    made_callbacks(pathlib.Path())


def make_callbacks(settings, model, directory, plan=None, input_shape=None, writes=True):
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
    made.append(callbacks.SparsityMonitor(input_shape))
    if not writes:
        return made
    if settings.tensorboard:
        checks.imported("tensorboard", "tensorboard", "The logs of --tensorboard")
        made.append(keras.callbacks.TensorBoard(directory / run_directory.TENSORBOARD))
    if not sys.stdout.isatty():
        made.append(run_callbacks.PlainLog())
    made.append(keras.callbacks.CSVLogger(directory / run_directory.LOG, append=True))
    steps = settings.checkpoint_steps
    made.append(run_callbacks.Checkpoint(directory, steps and steps * settings.break_batch))
    return made


def fit(settings, team, dataset, start, made_callbacks):
    if start.first_epoch >= settings.epochs:
        return
    if FLAGS.distribute and not dataset.sizes_differ:
        held_out = dataset.shared_evaluation("validation", settings.batch_size, team.share)
    else:
        held_out = team.each(dataset.evaluation("validation", settings.batch_size))
    steps = dataset.batches_per_epoch(settings.batch_size) * settings.break_batch
    done = start.first_step * settings.break_batch
    bounds = [start.first_epoch, settings.epochs]
    if done and start.first_epoch + 1 < settings.epochs:
        bounds.insert(1, start.first_epoch + 1)
    if done:
        # Keras makes metrics with the first batch: these go on from the sums of the epoch.
        starting.evaluate(start.model, held_out.take(1))
    elif keras.backend.backend() == "tensorflow" and not FLAGS.distribute:
        starting.make_variables(start.model, held_out)
    verbose = "auto" if sys.stdout.isatty() else 0
    # Of a run within an epoch there are two calls.
    whole = run_callbacks.Whole(
        *(made_callbacks, start.model, len(bounds) - 1, done, start.sums),
        **{"epochs": settings.epochs, "steps": steps, "verbose": verbose},
    )
    for first, last in itertools.pairwise(bounds):
        start.model.fit(
            training_batches(settings, team, dataset, start.parent, first, last, done),
            epochs=last,
            initial_epoch=first,
            steps_per_epoch=steps - done,
            validation_data=held_out,
            callbacks=whole,
            # The data set shuffles itself.
            shuffle=False,
            verbose=verbose,
        )
        done = 0


def training_batches(settings, team, dataset, parent, first_epoch, epochs, done):
    """What this host trains on in these epochs, but for `done` batches of the first one."""
    batches = dataset.training(
        *(settings.batch_size, first_epoch, epochs, settings.seed, settings.break_batch),
        augment=tasks.of_run(settings).augment,
        share=team.share,
    ).skip(done)
    if not settings.taught:
        return batches
    with_jax = keras.backend.backend() == "jax"
    answered = distillation.with_teacher if with_jax else distillation.data_set_with_teacher
    return answered(batches, distillation.with_hints(parent, settings.hint_layers))


# Finish


def part(settings, team, dataset, start):
    """The Start with its trained model on this host alone; the hosts part."""
    if not FLAGS.distribute:
        return start
    files = starting.packed(start) if team.first else None
    team.leave()
    return starting.unpacked(settings, dataset, start.parent, files) if team.first else start


def finish(settings, dataset, start, directory):
    """Saves, counts, tests and exports the model."""
    model, task = start.model, tasks.of_run(settings)
    if start.parent is not None:
        model = distillation.without_hints(model)
        if settings.drop_rows:
            model = finetune.drop_rows(model)
    if settings.speedup is not None or settings.rounds:
        # Even int8 is finer than bfloat16.
        model = rebuild.in_precision(model, "float32")
        taught, _ = rebuild.clone(model)
        taught.set_weights(model.get_weights())
        last = reconstruction.Schedule(block_steps=0, output_steps=0)
        numbers = settings.numbers if settings.rounds else "int8"
        starting.fit_to(settings, dataset, taught, model, last, numbers)
    if start.parent is not None or settings.rounds:
        starting.compile_model(settings, model, dataset.batches_per_epoch(settings.batch_size))
    costs = profile(model, dataset.example_shape, numbers=settings.numbers)
    print(f"\n{costs}\n")
    costs.write_json(directory / "profile.json")
    costs.write_csv(directory / "profile.csv")
    saving.save_model(model, directory / run_directory.MODEL)
    directory.settle()
    print(f"Saved {settings.directory / run_directory.MODEL}")
    examples = dataset.evaluation("test", settings.batch_size)
    result = {"test": starting.evaluate(model, examples), "export": None}
    starting.print_test(result["test"])
    task.tell_more(model, dataset, directory)
    if settings.export and keras.backend.backend() != "tensorflow":
        print("Not exported: that needs KERAS_BACKEND=tensorflow, with export/tflite.py.")
    elif settings.export and not litert.installed():
        print('Not exported: that needs LiteRT. pip install "tf-lcnn[litert]", export/tflite.py.')
    elif settings.export and settings.speedup is not None:
        calibration = starting.calibration(settings, dataset)
        pair = comparing.Pair(
            *(start.parent, directory, dataset.of_one_size("test"), calibration),
            *(prices.machine(settings.prices), native.available(), dataset, task),
        )
        exported = pair.export_parent(), pair.export(model)
        print(pair.report(start.plan, exported, pair.times())["summary"])
        print(f"Saved {settings.directory / comparing.LCNN} and {comparing.REPORT} beside it.")
    elif settings.export:
        path = directory / "model.tflite"
        # The form that the counts are of; export/tflite.py makes others.
        report = export.export(
            *(model, path, examples),
            lowering="sparse",
            quantize=settings.numbers if settings.rounds else None,
            calibration=starting.calibration(settings, dataset) if settings.rounds else None,
            dataset=dataset,
            task=task,
        )
        result["export"] = report.as_dict()
        print(
            f"Saved {settings.directory / 'model.tflite'}, {report.bytes:,} bytes. {report.proof}"
        )
    files.write(directory / run_directory.RESULT, json.dumps(result, indent=1) + "\n")


def parse(arguments):
    return flagfiles.parse(FLAGS, CONFIGS, arguments)


def start():
    programs.run(main, errors=[proof.ProofError], flags_parser=parse, help_of=HELP)
