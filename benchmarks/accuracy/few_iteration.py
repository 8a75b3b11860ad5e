"""Learning in few steps: dictionaries of a shallow LCNN, frozen, in a deep one (paper, 4.3).

    python -m benchmarks.accuracy.few_iteration --data_dir=TFDS --source=SHALLOW.keras

Three deep nets learn CIFAR-10 from the same batches: the CNN, the LCNN from random weights, and
the LCNN with the dictionaries of the shallow net, frozen. Their accuracy is taken on validation
images as they go, and on the test images in the end.
"""

import json
import pathlib

import keras
import numpy as np
from absl import flags

from tf_lcnn import files, models, programs
from tf_lcnn.compression import transfer
from tf_lcnn.data import datasets
from tf_lcnn.models import saving
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.training import optimizers
from tf_lcnn.training.callbacks import TopS

FLAGS = flags.FLAGS
ARMS = ("CNN", "LCNN", "LCNN, dictionaries given")

flags.DEFINE_string("data_dir", None, "Where TFDS's cifar10 lies.")
flags.DEFINE_string("source", None, "The trained shallow LCNN, a .keras file.", required=True)
flags.DEFINE_string("deep", "resnet32", "The deep net, by the name of its dense twin.")
flags.DEFINE_integer("steps", 300, "Of training.", lower_bound=1)
flags.DEFINE_integer("every", 50, "Steps between two looks at the accuracy.", lower_bound=1)
flags.DEFINE_integer("batch_size", 128, "Images per step.", lower_bound=1)
flags.DEFINE_integer("seeds", 1, "Runs of each net.", lower_bound=1)
flags.DEFINE_integer("validation", 1000, "Images for the curve.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.1, "Constant.")
flags.DEFINE_integer("top_s", 3, "Lookups per kernel position and filter.", lower_bound=1)
flags.DEFINE_string("plot", None, "Where to draw the curves, as PNG; needs matplotlib.")
flags.DEFINE_string("out", None, "Where to write the curves as JSON.")


def build(arm, source, seed):
    keras.utils.set_random_seed(seed)
    if arm == "CNN":
        return models.build(FLAGS.deep)
    model = models.build(f"{FLAGS.deep}_lcnn")
    if arm == ARMS[2]:
        transfer.transfer_dictionaries(source, model)
        transfer.freeze_dictionaries(model)
    return model


def curve(arm, source, dataset, validation, seed):
    """Accuracies every few steps, and the test accuracy in the end."""
    model = build(arm, source, seed)
    model.compile(
        optimizers.optimizer("sgd", FLAGS.learning_rate),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    looks = FLAGS.steps // FLAGS.every
    history = model.fit(
        dataset.training(FLAGS.batch_size, 0, 100, seed, augment=Classification().augment),
        steps_per_epoch=FLAGS.every,
        epochs=looks,
        validation_data=validation,
        callbacks=[] if arm == "CNN" else [TopS(FLAGS.top_s)],
        verbose=0,
    )
    test = model.evaluate(dataset.evaluation("test", 500), verbose=0, return_dict=True)["accuracy"]
    return history.history["val_accuracy"], test


def main():
    source = saving.load_model(FLAGS.source)
    dataset = datasets.load("cifar10", FLAGS.data_dir)
    validation = dataset.evaluation("validation", 250).take(FLAGS.validation // 250).cache()
    curves, tests = {}, {}
    for arm in ARMS:
        for seed in range(FLAGS.seeds):
            accuracies, test = curve(arm, source, dataset, validation, seed)
            curves.setdefault(arm, []).append(accuracies)
            tests.setdefault(arm, []).append(test)
            shown = " ".join(f"{100 * x:.1f}" for x in accuracies)
            print(f"{arm}, seed {seed}: {shown}; test {test:.2%}", flush=True)
    if FLAGS.out:
        files.write(FLAGS.out, json.dumps({"curves": curves, "tests": tests}) + "\n")
    if FLAGS.plot:
        draw(curves)


def draw(curves):
    from matplotlib.figure import Figure

    figure = Figure((6, 4), layout="constrained")
    axes = figure.subplots()
    for arm, runs in curves.items():
        steps = FLAGS.every * np.arange(1, len(runs[0]) + 1)
        axes.plot(steps, 100 * np.mean(runs, axis=0), marker=".", label=arm)
    axes.set_xlabel(f"steps of {FLAGS.batch_size} images")
    axes.set_ylabel("validation accuracy, %")
    axes.set_title(f"{FLAGS.deep} on CIFAR-10")
    axes.grid(alpha=0.3)
    axes.legend()
    with files.replacing(pathlib.Path(FLAGS.plot)) as beside:
        figure.savefig(beside, format="png", dpi=110)


if __name__ == "__main__":
    programs.run(main)
