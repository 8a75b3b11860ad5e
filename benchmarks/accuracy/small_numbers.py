"""What int4, ternary and binary numbers save in bytes, and what they lose in accuracy.

    python train.py --model=resnet8_lcnn --dictionary_sizes=8,8,16 --top_s=3 --top_s_from=8 \
        --epochs=30 --batch_size=64 --learning_rate=0.05 --weight_decay=0.005 --noexport
    python -m benchmarks.accuracy.small_numbers --lcnn=runs/resnet8_lcnn_digits/model.keras \
        --dataset=digits --steps=300 --images=1280 --bytes_of=resnet18_lcnn --out=small_numbers.json

The files of a trained LCNN, its weights rounded as they are, and after some updates with the
rounding in the loop, fitted to its own float32 answers from several seeds. Where activations are
binary too the net is trained with them first, by labels. Decibels are a file's against the Keras
model that it was made of, in float32, as the proof of an export has them.
With --bytes_of a net of random weights: bytes, no accuracy. Bytes are those of the file without
metadata; beside them are what `profile` says, and what gzip takes off.
"""

import json

import keras
import numpy as np
from absl import flags

from benchmarks.common import data, processor_time, rows
from tf_lcnn import files, models, profile, programs
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.graph import rebuild
from tf_lcnn.layers import levels
from tf_lcnn.layers.binary import binary_activations
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.models import saving
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.training import callbacks

FLAGS = flags.FLAGS

flags.DEFINE_string("lcnn", None, "A trained LCNN that answers with logits, a .keras file.")
flags.DEFINE_string("bytes_of", None, "A network by name, of random weights and register sizes.")
flags.DEFINE_list("numbers", list(levels.FORMATS), "Of the files.")
flags.DEFINE_integer("seeds", 3, "Trainings of each.", lower_bound=1)
flags.DEFINE_integer("steps", 600, "Updates with the rounding in the loop.", lower_bound=1)
flags.DEFINE_integer("images", 1000, "Training images that these take.", lower_bound=1)
flags.DEFINE_integer("epochs", 30, "On these with binary activations; 0: none.", lower_bound=0)
flags.DEFINE_string("out", None, "The file of the figures to write; default: none.")

# Images that ranges are measured on.
CALIBRATION = 200
BATCH = 32
TIMED = 500


class Data:
    """Arrays of a data set: images and labels to train on, and to test on."""

    def __init__(self):
        dataset = data.load()
        self.name = dataset.name
        batches = dataset.training(BATCH, 0, 1, seed=0).take(-(-FLAGS.images // BATCH))
        self.images, self.labels = joined(batches)
        self.tests, self.test_labels = joined(dataset.evaluation("test", 100))

    @property
    def calibration(self):
        return self.images[:CALIBRATION]

    def accuracy(self, answers):
        return float((answers.argmax(-1) == self.test_labels).mean())


def joined(batches):
    """The inputs and the labels of all batches."""
    return (np.concatenate([np.asarray(x) for x in part]) for part in zip(*batches, strict=True))


def written(model, numbers, calibration):
    """The bytes of a file, as `export` makes it."""
    quantize = None if numbers == "float32" else numbers
    choices = choose_lowerings(model, "sparse", quantize=quantize)
    if quantize == "int8":
        choices = equalize(model, choices, calibration)
    return convert(model, choices, quantize, calibration)


def sized(model, numbers, content):
    """The bytes of a file, what was said of them, and what gzip leaves."""
    return {
        **{"numbers": numbers, "bytes": len(content), "gzip": rows.gzip_bytes(content)},
        "profile": profile(model).file_size(numbers),
    }


def judged(model, content, examples):
    """How often the file of a model is right, and what it keeps of the model's answers."""
    expected = model.predict(examples.tests, verbose=0)
    answers = Interpreter(content=content).predict(examples.tests)
    return {
        "accuracy": examples.accuracy(answers),
        "decibels": signal_to_noise(expected, answers),
    }


def milliseconds(interpreter):
    """Median of a run, in processor time: LiteRT runs in this thread alone."""
    interpreter.set_random_input()
    times = [processor_time.seconds(interpreter.run) for _ in range(TIMED)]
    return 1e3 * float(np.median(times))


def copied(model):
    copy, pairs = rebuild.clone(model)
    rebuild.copy_weights(pairs)
    return copy


def fitted(model, numbers, examples, seed):
    """A copy of the model after updates with the rounding in the loop."""
    copy = copied(model)
    plan = Schedule(block_steps=0, output_steps=0, rounded_steps=FLAGS.steps)
    reconstruct(model, copy, examples.images, plan, quantize=numbers, seed=seed)
    return copy


def binary(model, examples, seed):
    """A copy of the model with binary activations, trained with them by labels."""
    copy, updates = binary_activations(model), -(-len(examples.images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(2e-3, FLAGS.epochs * updates)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    copy.compile(keras.optimizers.Adam(rate), loss)
    keras.utils.set_random_seed(seed)
    copy.fit(examples.images, examples.labels, BATCH, FLAGS.epochs, verbose=0)
    return copy


def of_trained(examples):
    """The figures of --lcnn."""
    lcnn = saving.load_model(FLAGS.lcnn)
    found, contents = [], []

    def add(model, numbers, nets=()):
        contents.append(written(model, numbers, examples.calibration))
        row = sized(model, numbers, contents[-1])
        row["rounded"] = judged(model, contents[-1], examples)
        if nets:
            files_of = [written(net, numbers, examples.calibration) for net in nets]
            row["in_the_loop"] = [judged(*of, examples) for of in zip(nets, files_of, strict=True)]
        print(row, flush=True)
        found.append(row)

    add(lcnn, "float32")
    for numbers in FLAGS.numbers:
        add(lcnn, numbers, [fitted(lcnn, numbers, examples, seed) for seed in range(FLAGS.seeds)])
    if FLAGS.epochs:
        nets = [binary(lcnn, examples, seed) for seed in range(FLAGS.seeds)]
        add(nets[0], "binary", [fitted(net, "binary", examples, i) for i, net in enumerate(nets)])
        found[-1]["binary_activations"] = True
        found[-1]["float32"] = [
            examples.accuracy(net.predict(examples.tests, verbose=0)) for net in nets
        ]
    for row, content in zip(found, contents, strict=True):
        row["ms"] = milliseconds(Interpreter(content=content))
    return {
        "name": f"{lcnn.name}, {examples.name}",
        **{"steps": FLAGS.steps, "images": len(examples.images), "files": found},
    }


def of_random():
    """The figures of --bytes_of; biases are random too, as those of a trained net differ."""
    keras.utils.set_random_seed(0)
    model = models.build(FLAGS.bytes_of, dictionary_sizes="register")
    callbacks.project(model, 4)
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.beta.assign(rng.normal(size=layer.beta.shape))
    logits = model.layers[-1]
    logits.bias.assign(rng.normal(size=logits.bias.shape))
    inputs = rng.normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    found = []
    for numbers in ("float32", *FLAGS.numbers):
        found.append(sized(model, numbers, written(model, numbers, inputs)))
        print(found[-1], flush=True)
    return {"name": f"{FLAGS.bytes_of}, register sizes, random weights", "files": found}


def main():
    if not (FLAGS.lcnn or FLAGS.bytes_of):
        raise ValueError("--lcnn, a trained LCNN, or --bytes_of, the name of a network: or both.")
    figures = [of_trained(Data())] if FLAGS.lcnn else []
    if FLAGS.bytes_of:
        figures.append(of_random())
    if FLAGS.out:
        files.write(FLAGS.out, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
