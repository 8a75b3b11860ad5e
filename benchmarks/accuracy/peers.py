"""Prunes or clusters a net with TensorFlow Model Optimization, and fine-tunes it.

    python -m benchmarks.accuracy.peers --net=twin.npz --method=prune --amount=0.9 --out=pruned.npz

pareto.py starts it, for a process of its own: TFMOT switches tf.keras to Keras 2.
"""

import numpy as np
import tensorflow_model_optimization as tfmot
import tf_keras
from absl import flags

from benchmarks.common import data, handover
from tf_lcnn import files, programs
from tf_lcnn.tasks.classification import Classification

FLAGS = flags.FLAGS

flags.DEFINE_string("net", None, "A file of handover.write.", required=True)
flags.DEFINE_string("out", None, "Where the weights go, .npz.", required=True)
flags.DEFINE_enum("method", "prune", ["prune", "cluster"], "What TFMOT does.")
flags.DEFINE_float("amount", 0.8, "Share of zeros of prune; weights per layer of cluster.")
flags.DEFINE_integer("epochs", 10, "Epochs of fine-tuning.", lower_bound=1)
flags.DEFINE_float("learning_rate", 0.1, "At the start; falls to 0 as a cosine.")
flags.DEFINE_float("weight_decay", 0.005, "Decoupled: an update shrinks weights by rate * this.")
flags.DEFINE_integer("batch_size", 128, "Images per update.", lower_bound=1)
flags.DEFINE_integer("seed", 0, "Seed of order and augmentation.")

# Of fine-tuning, while which the share of zeros grows.
PRUNING_SHARE = 2 / 3


def wrapped(net, steps):
    """The net under TFMOT, the callbacks this needs, and what unwraps it."""
    if FLAGS.method == "cluster":
        clustering = tfmot.clustering.keras
        model = clustering.cluster_weights(net, number_of_clusters=int(FLAGS.amount))
        return model, [], clustering.strip_clustering
    pruning = tfmot.sparsity.keras
    end = max(1, round(PRUNING_SHARE * steps))
    # A long training prunes each 100 updates; a short one, often enough to reach the end.
    frequency = max(1, min(100, end // 10))
    schedule = pruning.PolynomialDecay(0.0, FLAGS.amount, 0, end, frequency=frequency)

    def prune(layer):
        # Not the classifier: LiteRT does not load int8 dense layers that are stored sparse.
        if isinstance(layer, tf_keras.layers.Conv2D):
            return pruning.prune_low_magnitude(layer, schedule)
        return layer

    model = tf_keras.models.clone_model(net, clone_function=prune)
    return model, [pruning.UpdatePruningStep()], pruning.strip_pruning


def main():
    tf_keras.utils.set_random_seed(FLAGS.seed)
    dataset = data.load()
    updates = dataset.batches_per_epoch(FLAGS.batch_size)
    steps = updates * FLAGS.epochs
    model, callbacks, unwrap = wrapped(handover.rebuild(FLAGS.net, tf_keras), steps)
    rate = tf_keras.optimizers.schedules.CosineDecay(FLAGS.learning_rate, steps)
    optimizer = tf_keras.optimizers.SGD(rate, momentum=0.9, weight_decay=FLAGS.weight_decay)
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    model.compile(
        optimizer,
        loss=tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(
        dataset.training(
            FLAGS.batch_size, 0, FLAGS.epochs, FLAGS.seed, augment=Classification().augment
        ),
        epochs=FLAGS.epochs,
        steps_per_epoch=updates,
        validation_data=dataset.evaluation("validation", FLAGS.batch_size),
        callbacks=callbacks,
        verbose=2,
    )
    with files.replacing(FLAGS.out) as beside, open(beside, "wb") as file:
        np.savez(file, **handover.weights(unwrap(model)))


if __name__ == "__main__":
    programs.run(main)
