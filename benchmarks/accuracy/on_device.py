"""Few-shot learning in LiteRT: as accurate as in Keras, and what a step takes and moves.

    python -m benchmarks.accuracy.on_device --flowers=tf_flowers160.zip --out=flowers.json
    python -m benchmarks.accuracy.on_device --data_dir=TFDS_FOLDER --out=cifar10.json

What a net makes of the images is computed once; files of what is behind it learn new classes from
1, 2, 4 and 8 images each, as the same layers do in Keras. tf_flowers: SqueezeNet 1.1 as ImageNet
trained it, and five classes more. CIFAR-10: the small LCNN of `accuracy.few_shot`, which learns
five classes, then gets the five others. The learning rate of each is the best of a few, of those at
which the loss always falls, on images that no draw is tested on. Accuracy is on test images of the
new classes, among these.
"""

import dataclasses
import json
import pathlib
import tempfile

import keras
import numpy as np
from absl import flags

from benchmarks.accuracy import few_shot
from benchmarks.common import processor_time
from tf_lcnn import files, lookupify, programs
from tf_lcnn.compression import transfer
from tf_lcnn.data import datasets
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.export import export
from tf_lcnn.models import zoo
from tf_lcnn.runtime.learning import Learner

FLAGS = flags.FLAGS
RATES = (0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
# Draws of each number of images that choose the rate, and images per class to test them on.
CHOOSING, VALIDATION = 2, 20
TIMED = 200

flags.DEFINE_string("flowers", None, "tf_flowers, a zip or folder; else CIFAR-10 it is.")
flags.DEFINE_integer("k", 64, "Dictionary of the ImageNet classifier.", lower_bound=1)
flags.DEFINE_integer("top", 8, "Lookups per class of the ImageNet classifier.", lower_bound=1)


@dataclasses.dataclass(frozen=True)
class Images:
    """What the net makes of images, (count, ...), and their labels 0, 1, ..."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


@dataclasses.dataclass(frozen=True)
class Head:
    """What learns: a Keras model of these features, its layers that are trained, the new classes.

    Attributes:
        first: the output of the first of the new classes; all behind it are new.
    """

    name: str
    model: keras.Model
    train: tuple
    first: int
    images: Images


class InKeras:
    """A Head that learns in Keras: plain gradient descent on the lookups that there are."""

    def __init__(self, head):
        self.head, self.model = head, head.model
        for layer in self.model.layers:
            layer.trainable = layer.name in head.train
        if lookup_layers(self.model):
            transfer.freeze_dictionaries(self.model)
            transfer.freeze_support(self.model)
        self.variables = self.model.trainable_variables
        self.start = [_numpy(v) for v in self.variables]

    def learn(self, images, labels, rate, steps):
        """The loss of each step."""
        for variable, value in zip(self.variables, self.start, strict=True):
            variable.assign(value)
        if not getattr(self.model, "optimizer", None):
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            self.model.compile(keras.optimizers.SGD(rate), loss)
        return [float(self.model.train_on_batch(images, labels)) for _ in range(steps)]

    def infer(self, images):
        return np.array(self.model.predict_on_batch(images))

    def state(self):
        """What moves, in the order of the file's state."""
        parts = []
        for name in self.head.train:
            layer = self.model.get_layer(name)
            if hasattr(layer, "coefficients"):
                coefficients = _numpy(layer.coefficients)
                parts.append(coefficients[coefficients != 0])
            else:
                parts.append(_numpy(layer.kernel).ravel())
            parts += [_numpy(layer.bias)] if layer.use_bias else []
        return np.concatenate(parts)


class InLiteRT:
    """A Head that learns in a .tflite, on one thread."""

    def __init__(self, head, folder):
        path = pathlib.Path(folder) / "head.tflite"
        export(head.model, path, head.images.train[:8], train=list(head.train))
        self.learner = Learner(path)

    def learn(self, images, labels, rate, steps):
        self.learner.reset()
        features = self.learner.features(images)
        return [self.learner.train(features, labels, rate) for _ in range(steps)]

    def infer(self, images):
        return self.learner.infer(images)

    def milliseconds(self, images, labels, rate):
        """Median of a step, in processor time: LiteRT runs in this thread alone."""
        features = self.learner.features(images)

        def step():
            self.learner.train(features, labels, rate)

        return 1e3 * float(np.median([processor_time.seconds(step) for _ in range(TIMED)]))


def draws(images, seed, resamplings):
    """(shots, indices) of each draw."""
    pools = [np.flatnonzero(images.labels == c) for c in np.unique(images.labels)]
    for shots in few_shot.SHOTS:
        for draw in range(resamplings):
            rng = np.random.default_rng((seed, shots, draw))
            yield shots, np.concatenate([rng.choice(pool, shots, replace=False) for pool in pools])


def accuracy(learner, head, images, labels):
    return float((learner.infer(images)[:, head.first :].argmax(-1) == labels).mean())


def rate_of(learner, head):
    """The rate at which draws that are not measured do best, on images that they do not have.

    The loss never rises at it, if there is such a rate.
    """
    images, pools = head.images, []
    for c in np.unique(images.labels):
        pools.append(np.flatnonzero(images.labels == c)[:VALIDATION])
    kept = np.concatenate(pools)
    rest = np.setdiff1d(np.arange(len(images.labels)), kept)
    others = dataclasses.replace(images, train=images.train[rest], labels=images.labels[rest])
    found = {}
    for rate in RATES:
        scores = []
        for _, picked in draws(others, 1, CHOOSING):
            try:
                labels = head.first + others.labels[picked]
                losses = learner.learn(others.train[picked], labels, rate, FLAGS.steps)
            except ValueError:
                # Numbers would not be finite.
                losses = [0, np.inf]
            # Too large a rate: where the loss rises, each step multiplies the rounding before it.
            rises = np.any(np.diff(losses) > 0)
            right = accuracy(learner, head, images.train[kept], images.labels[kept])
            scores.append(0.0 if rises else right)
        found[rate] = np.mean(scores)
    return max(found, key=found.get)


def measured(head):
    """The row of a Head."""
    images, rows = head.images, []
    with tempfile.TemporaryDirectory() as folder:
        device, there = InLiteRT(head, folder), InKeras(head)
        rate = rate_of(device, head)
        start, losses, states = there.state(), [], []
        for shots, picked in draws(images, 0, FLAGS.resamplings):
            given = images.train[picked], head.first + images.labels[picked], rate, FLAGS.steps
            mine, theirs = device.learn(*given), there.learn(*given)
            losses.append(np.abs(np.subtract(mine, theirs)).max() / theirs[0])
            learned = there.state()
            way = np.abs(learned - start).max()
            states.append(np.abs(device.learner.state - learned).max() / way)
            scores = [accuracy(x, head, images.test, images.test_labels) for x in (device, there)]
            rows.append({"shots": shots, "accuracy": scores[0], "in_keras": scores[1]})
        return {
            "name": head.name,
            "rate": rate,
            "numbers": device.learner.parameters,
            "batch": len(picked),
            "ms": device.milliseconds(*given[:3]),
            "loss_difference": float(np.max(losses)),
            "state_difference": float(np.max(states)),
            "draws": rows,
        }


# Data sets


def flowers():
    """The Heads behind SqueezeNet: a classifier of the new classes alone, and of all 1,005."""
    net = keras.models.load_model(zoo.path("squeezenet11_imagenet"), compile=False)
    last = [x for x in net.layers if isinstance(x, keras.layers.Conv2D)][-1]
    pooled = keras.layers.GlobalAveragePooling2D()(last.input)
    body = keras.Model(net.inputs, pooled)
    dataset = datasets.load("image_folder", FLAGS.flowers, 224, preprocessing="imagenet")
    parts = {}
    for split in ("train", "validation", "test"):
        found = [(body.predict_on_batch(x), np.array(y)) for x, y in dataset.evaluation(split, 50)]
        parts[split] = [np.concatenate(part) for part in zip(*found, strict=True)]
    images = Images(*parts["train"], *parts["test"])
    kernel, bias = map(_numpy, last.weights)
    dense = _chain(images, keras.layers.Dense(kernel.shape[-1], name="logits"))
    dense.get_layer("logits").set_weights([kernel[0, 0], bias])
    lookups = lookupify(
        dense, FLAGS.k, init="trained", lookups=FLAGS.top, images=parts["validation"][0]
    )
    alone = _chain(images, keras.layers.Dense(5, name="logits"))
    return [
        Head("dense, the new classes alone", alone, ("logits",), 0, images),
        Head("dense, all classes", transfer.add_classes(dense, 5), ("logits",), 1000, images),
        Head("lookups, all classes", transfer.add_classes(lookups, 5), ("logits",), 1000, images),
    ]


def cifar10():
    """The Heads of the small LCNN that has learned five classes."""
    dataset = datasets.load("cifar10", FLAGS.data_dir)
    pixels, labels = few_shot.arrays(dataset, "train")
    tests, test_labels = few_shot.arrays(dataset, "test")
    order = np.random.default_rng(0).permutation(10)
    held, base = np.sort(order[:5]), np.sort(order[5:])
    mine = np.isin(labels, base)
    net, _ = few_shot.learn_base(pixels[mine], np.searchsorted(base, labels[mine]), True, 0)
    new, new_tests = np.isin(labels, held), np.isin(test_labels, held)
    numbers = np.searchsorted(held, labels[new]), np.searchsorted(held, test_labels[new_tests])
    keep = np.concatenate([np.flatnonzero(numbers[1] == c)[: FLAGS.test_images] for c in range(5)])
    # The most that any draw needs, so that feature maps fit into memory.
    pool = np.concatenate([np.flatnonzero(numbers[0] == c)[:400] for c in range(5)])

    def images(layer):
        body = keras.Model(net.inputs, net.get_layer(layer).input)
        seen = [
            np.concatenate([body.predict_on_batch(x[i : i + 500]) for i in range(0, len(x), 500)])
            for x in (pixels[new][pool], tests[new_tests][keep])
        ]
        return Images(seen[0], numbers[0][pool], seen[1], numbers[1][keep])

    behind, block = images("logits"), images("conv3")
    dense = _chain(behind, keras.layers.Dense(5, name="logits"))
    dense.get_layer("logits").set_weights(net.get_layer("logits").get_weights())
    lookups = lookupify(dense, 4, init="trained", lookups=4, images=behind.train[:500])
    # A copy: what is behind the convolution is to be a model of its own.
    copy = keras.models.clone_model(keras.Model(net.get_layer("conv3").input, net.output))
    copy.set_weights(keras.Model(net.get_layer("conv3").input, net.output).get_weights())
    alone = _chain(behind, keras.layers.Dense(5, name="logits"))
    return [
        Head("dense, the new classes alone", alone, ("logits",), 0, behind),
        Head("dense, all classes", transfer.add_classes(dense, 5), ("logits",), 5, behind),
        Head("lookups, all classes", transfer.add_classes(lookups, 5), ("logits",), 5, behind),
        Head(
            "lookups of the last convolution, dense of all classes",
            *(transfer.add_classes(copy, 5), ("conv3", "logits"), 5, block),
        ),
    ]


def _chain(images, layer):
    """The Keras model of one layer on features."""
    inputs = keras.Input(images.train.shape[1:])
    return keras.Model(inputs, layer(inputs))


def _numpy(variable):
    return keras.ops.convert_to_numpy(variable)


def main():
    keras.utils.set_random_seed(0)
    rows = []
    for head in flowers() if FLAGS.flowers else cifar10():
        rows.append(measured(head))
        print({name: value for name, value in rows[-1].items() if name != "draws"}, flush=True)
    if FLAGS.out:
        files.write(FLAGS.out, json.dumps(rows) + "\n")


if __name__ == "__main__":
    programs.run(main)
