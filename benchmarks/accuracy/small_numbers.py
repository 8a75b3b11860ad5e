"""What int4 and ternary weights save in bytes, and lose in accuracy.

    python train.py --flagfile=resnet_lcnn.cfg --noexport
    python -m benchmarks.accuracy.small_numbers --lcnn=runs/resnet_lcnn/model.keras \
        --dataset=digits --json=docs/small_numbers.json

The files of a trained LCNN with int8, int4 and ternary weights, whose weights are rounded as they
are, and after some updates with the rounding in the loop, against its own float32 answers; and
beside them ResNet-18-LCNN of `register` sizes with random weights: bytes, no accuracy. Bytes are
those of the file without metadata; beside them is what `profile` says, and what gzip takes off.
"""

import gzip
import json

import keras
import numpy as np
from absl import flags

from benchmarks.common import data, tables
from tf_lcnn import files, models, profile, programs
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.graph import rebuild
from tf_lcnn.layers import levels
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.models import saving
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.training import callbacks

FLAGS = flags.FLAGS

flags.DEFINE_string("lcnn", None, "A trained LCNN, a .keras file.", required=True)
flags.DEFINE_integer("steps", 600, "Updates with the rounding in the loop.", lower_bound=1)
flags.DEFINE_integer("images", 1000, "Training images that these take.", lower_bound=1)
flags.DEFINE_string("json", None, "The file of the figures to write; default: none.")

# Updates start anew from these seeds.
SEEDS = (0, 1, 2)


def measured(model, numbers, calibration, batches=()):
    """Bytes of a file of these numbers, and its accuracy on batches."""
    choices = choose_lowerings(model, "sparse", quantize=numbers)
    content = convert(model, equalize(model, choices, calibration), numbers, calibration)
    found = {
        **{"numbers": numbers, "bytes": len(content)},
        "profile": profile(model).file_size(numbers),
        "gzip": len(gzip.compress(content, 9)),
    }
    if batches:
        found["accuracy"] = accuracy(Interpreter(content=content).predict, batches)
    return found


def accuracy(answers, batches):
    right = [answers(np.asarray(x)).argmax(-1) == np.asarray(y) for x, y in batches]
    return float(np.concatenate(right).mean())


def trained(model, numbers, images, seed):
    """A copy of the model after the updates."""
    copy, pairs = rebuild.clone(model)
    rebuild.copy_weights(pairs)
    schedule = Schedule(block_steps=0, output_steps=0, rounded_steps=FLAGS.steps)
    reconstruct(model, copy, images, schedule, quantize=numbers, seed=seed)
    return copy


def random_net():
    """(ResNet-18-LCNN with random weights, random inputs); biases are random too."""
    keras.utils.set_random_seed(0)
    model = models.build("resnet18_lcnn", dictionary_sizes="register")
    callbacks.project(model, 4)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(size=layer.beta.shape))
    logits = model.layers[-1]
    logits.bias.assign(rng.normal(size=logits.bias.shape))
    return model, rng.normal(size=(2, 224, 224, 3)).astype(np.float32)


def main():
    dataset = data.load()
    lcnn = saving.load_model(FLAGS.lcnn, dataset)
    batches = list(dataset.evaluation("test", 100))
    calibration, images = (dataset.sample("train", count) for count in (200, FLAGS.images))
    ways = []
    for numbers in levels.FORMATS:
        rounded = measured(lcnn, numbers, calibration, batches)
        nets = [trained(lcnn, numbers, images, seed) for seed in SEEDS]
        fitted = [measured(net, numbers, calibration, batches) for net in nets]
        ways.append({"rounded": rounded, "trained": fitted})
        print(numbers, ways[-1], flush=True)
    model, inputs = random_net()
    in_float = accuracy(lambda x: lcnn.predict(x, verbose=0), batches)
    figures = {
        "trained": {"name": f"{lcnn.name}, {dataset.name}", "accuracy": in_float, "ways": ways},
        "random": {
            "name": "ResNet-18 register, random weights",
            "ways": [measured(model, numbers, inputs) for numbers in levels.FORMATS],
        },
    }
    print(tables.small_numbers(figures))
    if FLAGS.json:
        files.write(FLAGS.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
