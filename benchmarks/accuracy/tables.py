"""Deep lookup layers in a net that others trained: accuracy as converted, and after some training.

    python -m benchmarks.accuracy.tables --data=DATA --task=resnet20 --count=45000

Every convolution but the first gets a table of as many levels for activations as for weights. The
net learns from labels and from its parent, by Adam, whose rate falls by half a cosine to 0. The
accuracy is that of the Keras model on test images that nothing was chosen by.
"""

import keras
from absl import flags

from benchmarks.common import parents
from tf_lcnn import lookupify, programs
from tf_lcnn.compression import coding
from tf_lcnn.training import distillation

FLAGS = flags.FLAGS

flags.DEFINE_enum("task", "resnet20", ["resnet20", "resnet56"], "The parent.")
flags.DEFINE_list("levels", ["33", "16", "8"], "Of activations, and of weights.")
flags.DEFINE_list("tables", ["separable"], "separable, free, or the rank of low_rank.")
flags.DEFINE_integer("epochs", 2, "Of training.", lower_bound=0)
flags.DEFINE_integer("batch", 128, "Images per update.", lower_bound=1)
flags.DEFINE_float("rate", 1e-3, "Of Adam, at first.", lower_bound=0.0)

# Images that scales are chosen by.
SEEN = 500


def main():
    task = parents.task(FLAGS.task)
    parent, images = task.parent, task.images
    print(f"{task.title}, {len(images)} images, {FLAGS.epochs} epochs; test accuracy")
    print(f"parent                  {task.score(_predict(parent)):.2f} %", flush=True)
    classes = parent.output_shape[-1]
    rows = distillation.with_answers(images, task.labels, parent) if FLAGS.epochs else None
    for table in FLAGS.tables:
        for levels in map(int, FLAGS.levels):
            keras.utils.set_random_seed(0)
            made = lookupify(
                parent,
                family="deep_lookup",
                activation_levels=levels,
                init="trained",
                images=images[:SEEN],
                **({"table": "low_rank", "table_rank": int(table)} if table.isdigit() else {}),
                **({} if table.isdigit() else {"table": table}),
            )
            coding.reestimate(made, images[:SEEN])
            text = f"{table:10} {levels:3} levels  converted {task.score(_predict(made)):.2f} %"
            if FLAGS.epochs:
                updates = FLAGS.epochs * -(-len(images) // FLAGS.batch)
                rate = keras.optimizers.schedules.CosineDecay(FLAGS.rate, updates)
                made.compile(keras.optimizers.Adam(rate), distillation.DistillationLoss(classes))
                made.fit(images, rows, batch_size=FLAGS.batch, epochs=FLAGS.epochs, verbose=0)
                text += f", trained {task.score(_predict(made)):.2f} %"
            print(text, flush=True)


def _predict(model):
    return lambda images: model.predict(images, batch_size=250, verbose=0)


if __name__ == "__main__":
    programs.run(main)
