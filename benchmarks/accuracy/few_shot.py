"""Few-shot learning, CNN and LCNN alike: the LCNN paper's protocol (section 4.2) on CIFAR-10.

    python -m benchmarks.accuracy.few_shot --data_dir=TFDS_FOLDER

For each split some classes are held out. A small CNN and its LCNN learn the others; then both get
a new classifier and learn the held-out classes from 1, 2, 4 or 8 images each, many times with
other images. The new classifier has one learning rate, the rest that times 1, 1/10, 1/100 or 0;
in the LCNN the dictionaries stay as they are. Accuracy is on test images of the held-out classes.
"""

import json

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from tf_lcnn import LookupConv2D, files, programs
from tf_lcnn.compression import transfer
from tf_lcnn.data import datasets
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.layers.sparsity import geometric_schedule
from tf_lcnn.training.callbacks import TopS

FLAGS = flags.FLAGS
RATIOS = (1.0, 0.1, 0.01, 0.0)
SHOTS = (1, 2, 4, 8)

flags.DEFINE_string("data_dir", None, "Where TFDS's cifar10 lies.")
flags.DEFINE_integer("splits", 3, "Choices of the held-out classes.", lower_bound=1)
flags.DEFINE_integer("held_out", 5, "Classes held out.", lower_bound=2, upper_bound=8)
flags.DEFINE_integer("resamplings", 20, "Draws of the few images, per split.", lower_bound=2)
flags.DEFINE_integer("epochs", 4, "Of learning the other classes.", lower_bound=1)
flags.DEFINE_integer("steps", 20, "Of learning from few images, all in each.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.02, "Of the new classifier.")
flags.DEFINE_integer("test_images", 100, "Per held-out class.", lower_bound=1)
flags.DEFINE_integer("top_s", 3, "Lookups per kernel position and filter.", lower_bound=1)
flags.DEFINE_string("out", None, "Where to write all figures as JSON.")


def net(classes, lcnn):
    """A CNN of three stages, or its LCNN; the first convolution and the classifier are plain."""
    x = inputs = keras.Input((32, 32, 3))
    for i, (filters, k) in enumerate(((16, None), (32, 16), (64, 32), (128, 64))):
        arguments = {"padding": "same", "use_bias": False, "kernel_initializer": "he_normal"}
        arguments["strides"] = 2 if i else 1
        if lcnn and k:
            x = LookupConv2D(filters, 3, k, name=f"conv{i}", **arguments)(x)
        else:
            x = keras.layers.Conv2D(filters, 3, name=f"conv{i}", **arguments)(x)
        x = keras.layers.BatchNormalization(momentum=0.9)(x)
        x = keras.layers.ReLU()(x)
    x = keras.layers.GlobalAveragePooling2D(name="features")(x)
    return keras.Model(inputs, keras.layers.Dense(classes, name="logits")(x))


def arrays(dataset, split, count=None):
    batches = dataset.evaluation(split, 1000)
    batches = batches.take(-(-count // 1000)) if count else batches
    images, labels = zip(*((x.numpy(), y.numpy()) for x, y in batches), strict=True)
    return np.concatenate(images), np.concatenate(labels)


def learn_base(images, labels, lcnn, seed):
    keras.utils.set_random_seed(seed)
    model = net(int(labels.max()) + 1, lcnn)
    steps = len(images) // 128 * FLAGS.epochs
    model.compile(
        keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, steps), 0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    lower = geometric_schedule(8, FLAGS.top_s, max(1, FLAGS.epochs // 2))
    callbacks = [TopS(FLAGS.top_s, lower)] if lcnn else []
    history = model.fit(
        images, labels, 128, FLAGS.epochs, verbose=0, callbacks=callbacks, validation_split=0.05
    )
    return model, history.history["val_accuracy"][-1]


class FewShot:
    """A base model with a new classifier, that learns from few images again and again."""

    def __init__(self, base, classes):
        logits = keras.layers.Dense(classes, name="new_logits")
        self.model = keras.Model(base.inputs, logits(base.get_layer("features").output))
        self.new = logits.trainable_variables
        transfer.freeze_dictionaries(self.model)
        # What once is zero stays zero: only the lookups that there are move.
        self.supports = {
            id(layer.coefficients): tf.cast(layer.coefficients != 0, tf.float32)
            for layer in lookup_layers(self.model)
        }
        self.start = [tf.identity(v.value) for v in self.model.variables]
        # Without batch statistics: of a few images they would be noise.
        self.variables = self.model.trainable_variables
        self.velocity = [tf.Variable(tf.zeros(v.shape)) for v in self.variables]
        self.step = tf.function(self._step, reduce_retracing=True)
        self.logits = tf.function(lambda x: self.model(x, training=False))

    def _step(self, images, labels, ratio):
        with tf.GradientTape() as tape:
            logits = self.model(images, training=False)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits))
        gradients = tape.gradient(loss, [v.value for v in self.variables])
        new = {id(v) for v in self.new}
        for v, velocity, gradient in zip(self.variables, self.velocity, gradients, strict=True):
            rate = FLAGS.learning_rate * (1.0 if id(v) in new else ratio)
            gradient = gradient * self.supports.get(id(v), 1.0)
            velocity.assign(0.9 * velocity + gradient)
            v.assign(v - rate * velocity)

    def accuracy(self, images, labels, ratio, test_images, test_labels):
        for v, first in zip(self.model.variables, self.start, strict=True):
            v.assign(first)
        for velocity in self.velocity:
            velocity.assign(tf.zeros_like(velocity))
        for _ in range(FLAGS.steps):
            self.step(images, labels, ratio)
        classes = self.logits(test_images).numpy().argmax(axis=-1)
        return float((classes == test_labels).mean())


def measure(dataset):
    """(net, shots, ratio) -> accuracies."""
    images, labels = arrays(dataset, "train")
    tests, test_labels = arrays(dataset, "test")
    accuracies = {}
    for split in range(FLAGS.splits):
        order = np.random.default_rng(split).permutation(10)
        held, base = np.sort(order[: FLAGS.held_out]), np.sort(order[FLAGS.held_out :])
        mine = np.isin(labels, base)
        names = ", ".join(dataset.class_names[i] for i in held)
        learners = {}
        for kind in ("CNN", "LCNN"):
            model, accuracy = learn_base(
                images[mine], np.searchsorted(base, labels[mine]), kind == "LCNN", split
            )
            print(
                f"split {split}, held out: {names}. {kind}: {accuracy:.2%} on the others",
                flush=True,
            )
            learners[kind] = FewShot(model, len(held))
        where = [np.flatnonzero(test_labels == c)[: FLAGS.test_images] for c in held]
        test = tf.constant(tests[np.concatenate(where)])
        wanted = np.repeat(np.arange(len(held)), FLAGS.test_images)
        pools = [np.flatnonzero(labels == c) for c in held]
        for shots, few in draws(images, pools, split):
            for kind, learner in learners.items():
                for ratio in RATIOS:
                    accuracy = learner.accuracy(*few, tf.constant(ratio), test, wanted)
                    accuracies.setdefault((kind, shots, ratio), []).append(accuracy)
    return accuracies


def draws(images, pools, split):
    """(shots, (images, labels)) of each draw: the same for both nets and all ratios."""
    for shots in SHOTS:
        for draw in range(FLAGS.resamplings):
            rng = np.random.default_rng((split, shots, draw))
            picked = np.concatenate([rng.choice(pool, shots, replace=False) for pool in pools])
            labels = np.repeat(np.arange(len(pools)), shots)
            yield shots, (tf.constant(images[picked]), tf.constant(labels))


def main():
    accuracies = measure(datasets.load("cifar10", FLAGS.data_dir))
    print(table(accuracies))
    if FLAGS.out:
        rows = [
            {"net": net, "shots": shots, "ratio": ratio, "accuracies": values}
            for (net, shots, ratio), values in accuracies.items()
        ]
        files.write(FLAGS.out, json.dumps(rows) + "\n")


def interval(values):
    """Mean and the half width of its 95 % confidence interval, in per cent."""
    values = 100 * np.asarray(values)
    return values.mean(), 1.96 * values.std(ddof=1) / np.sqrt(len(values))


def table(accuracies):
    """Accuracy by shots and ratio, and the LCNN's lead over the CNN on the same images."""
    lines = ["images  ratio  CNN             LCNN            LCNN - CNN"]
    for shots in SHOTS:
        for ratio in RATIOS:
            cnn, lcnn = (np.array(accuracies[kind, shots, ratio]) for kind in ("CNN", "LCNN"))
            cells = ["{:5.2f} +- {:4.2f}".format(*interval(x)) for x in (cnn, lcnn, lcnn - cnn)]
            lines.append(f"{shots:6}  {ratio:5}  " + "  ".join(f"{x:14}" for x in cells).rstrip())
    return "\n".join(lines)


if __name__ == "__main__":
    programs.run(main)
