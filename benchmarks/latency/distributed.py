"""What being distributed costs: one process with --distribute beside one without it.

    KERAS_BACKEND=jax python -m benchmarks.latency.distributed --json=distributed.json

Both train the same LCNN with `model.fit` on the same batches of random images. They take epochs in
turn, in one process, so that both see the same machine; which of a pair comes first alternates.
With it the runtime of JAX has its coordinator, as where there are several hosts, and the model is
made for all devices of the machine; on a processor that is one. Printed are the medians of a step,
and median and quartiles of the ratios of the pairs.
"""

import json
import time

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.common import tables
from tf_lcnn import files, models, programs
from tf_lcnn.training import hosts, run_callbacks
from tools import launch

FLAGS = flags.FLAGS

flags.DEFINE_string("model", "resnet20_lcnn", "The net.")
flags.DEFINE_integer("batch", 128, "Images of a step.", lower_bound=1)
flags.DEFINE_integer("steps", 8, "Steps of an epoch.", lower_bound=1)
flags.DEFINE_integer("rounds", 9, "Measured pairs of epochs.", lower_bound=1)
flags.DEFINE_string("json", None, "The file of the figures to write; default: none.")


class _Seconds(keras.callbacks.Callback):
    """Seconds of the last epoch, until its losses are known."""

    def on_epoch_begin(self, epoch, logs=None):
        self.start = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds = time.perf_counter() - self.start


def random_batches(shape, classes):
    rng = np.random.default_rng(0)
    images = rng.normal(size=(FLAGS.batch, *shape)).astype(np.float32)
    labels = rng.integers(0, classes, FLAGS.batch)
    return tf.data.Dataset.from_tensors((images, labels)).repeat().prefetch(2)


def epoch_of(team):
    """A function that trains an epoch and says how many seconds it took."""
    keras.utils.set_random_seed(0)
    with team.spread():
        model = models.build(FLAGS.model)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    distribution = keras.distribution.distribution()
    batches = random_batches(model.input_shape[1:], model.output_shape[-1])

    def epoch():
        keras.distribution.set_distribution(distribution)
        timer = _Seconds()
        used = [run_callbacks.StopOnNaN(), timer, *team.callbacks()]
        model.fit(batches, steps_per_epoch=FLAGS.steps, callbacks=used, shuffle=False, verbose=0)
        return timer.seconds

    return epoch


def main():
    if keras.backend.backend() != "jax":
        raise ValueError("Hosts are several with JAX alone: KERAS_BACKEND=jax.")
    with hosts.joined(True, f"127.0.0.1:{launch.free_port()}", 1, 0) as team:
        epochs = epoch_of(hosts.Hosts()), epoch_of(team)
        seconds = np.zeros((FLAGS.rounds, 2))
        for i in range(-2, FLAGS.rounds):
            for j in (0, 1) if i % 2 else (1, 0):
                # The first two rounds are overwritten: both compile, the second one for variables
                # that are where a step left them.
                seconds[max(i, 0), j] = epochs[j]()
        team.leave()
    figures = {"model": FLAGS.model, "batch": FLAGS.batch, "devices": team.devices}
    figures["step_ms"] = (seconds / FLAGS.steps * 1000).tolist()
    print(tables.distributed(figures))
    if FLAGS.json:
        files.write(FLAGS.json, json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    programs.run(main)
