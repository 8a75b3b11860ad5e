"""Deep lookup layers in a net that others trained: accuracy as converted, and after some training.

    python -m benchmarks.accuracy.tables --data=DATA --task=resnet20 --count=45000

Every convolution but the first gets a table of as many levels for activations as for weights. The
net learns from labels and from its parent, by Adam, whose rate falls by half a cosine to 0; a net
of open size learns on a crop of each image. The figure is that of the Keras model on test images
that nothing was chosen by.

    python -m benchmarks.accuracy.tables --data=DATA --task=resnet8 --seeds=3 --without=all

trains with each of the strategies switched off in turn, and with all of them on.
"""

import dataclasses

import keras
import numpy as np
from absl import flags
from keras import ops

from benchmarks.common import parents
from tf_lcnn import lookupify, programs
from tf_lcnn.compression import coding
from tf_lcnn.graph import rebuild
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D, has_table
from tf_lcnn.training import distillation

FLAGS = flags.FLAGS


class _PlainScales(DeepLookupConv2D):
    """The scales are trained themselves, not their logarithms, and are kept above zero."""

    def _scale(self, name, value):
        return self._part(name, value, lambda s: ops.maximum(s, 1e-6))

    @property
    def scales(self):
        return tuple(map(ops.convert_to_tensor, (self.log_activation_scale, self.log_weight_scale)))


class _NoGradientOfPlaces(DeepLookupConv2D):
    """Nothing is learned through rounding: no kernel, and nothing by what feeds the layer."""

    def places(self, x, scale, levels, signed):
        return ops.stop_gradient(super().places(x, scale, levels, signed))


@dataclasses.dataclass(frozen=True)
class Without:
    """What is different where a strategy is off: the layers, their arguments, or the start."""

    layer: type = DeepLookupConv2D
    arguments: dict = dataclasses.field(default_factory=dict)
    init: str = "trained"


STRATEGIES = {
    "nothing": Without(),
    "exponential_scales": Without(_PlainScales),
    "straight_through": Without(_NoGradientOfPlaces),
    "rescaled_gradient": Without(arguments={"rescaled_gradient": False}),
    "monotone": Without(arguments={"monotone": False}),
    "init_trained": Without(init="random"),
}

flags.DEFINE_enum("task", "resnet20", ["resnet8", "resnet20", "resnet56", "vdsr"], "The parent.")
flags.DEFINE_list("levels", ["33", "16", "8"], "Of activations, and of weights.")
flags.DEFINE_list("tables", ["separable"], "separable, free, or the rank of low_rank.")
flags.DEFINE_integer("epochs", 2, "Of training.", lower_bound=0)
flags.DEFINE_integer("batch", 128, "Images per update.", lower_bound=1)
flags.DEFINE_float("rate", 1e-3, "Of Adam, at first.", lower_bound=0.0)
flags.DEFINE_integer("seeds", 1, "Trainings, of different order and random numbers.", lower_bound=1)
flags.DEFINE_list("without", ["nothing"], f"Strategies to switch off: all; {', '.join(STRATEGIES)}")
flags.register_validator(
    "without",
    lambda names: names == ["all"] or all(name in STRATEGIES for name in names),
    f"all, or some of {', '.join(STRATEGIES)}",
)

# Images that scales are chosen by.
SEEN = 500


def main():
    task = _cropped(parents.task(FLAGS.task))
    print(f"{task.title}, {len(task.images)} images, {FLAGS.epochs} epochs; on test images")
    print(f"parent                  {_score(task, task.parent):.2f} {task.unit}", flush=True)
    rows = _taught(task) if FLAGS.epochs else None
    names = list(STRATEGIES) if FLAGS.without == ["all"] else FLAGS.without
    for table in FLAGS.tables:
        for levels in map(int, FLAGS.levels):
            for name in names:
                without = "" if name == "nothing" else f"without {name:18} "
                text = f"{table:10} {levels:3} levels  {without}"
                if FLAGS.seeds == 1:
                    made = _made(task, table, levels, STRATEGIES[name], 0)
                    text += f"converted {_score(task, made):.2f} {task.unit}, "
                if FLAGS.epochs:
                    text += f"trained {_trained(task, rows, table, levels, STRATEGIES[name])}"
                print(text, flush=True)


def _cropped(task):
    """The Task with a crop of each of its images, where its net is of open size."""
    if None not in task.parent.input_shape[1:3]:
        return task
    size, rng = task.schedule.crop, np.random.default_rng(0)
    images, labels = [], []
    for image, label in zip(task.images, task.labels, strict=True):
        top, left = rng.integers(0, np.array(image.shape[:2]) - size + 1)
        images.append(image[top : top + size, left : left + size])
        labels.append(label[top : top + size, left : left + size])
    return dataclasses.replace(task, images=np.stack(images), labels=np.stack(labels))


def _taught(task):
    """What is learned: rows for `DistillationLoss`, or the mean of wanted image and answer."""
    if task.labels.ndim == 1:
        return distillation.with_answers(task.images, task.labels, task.parent)
    return (task.labels + _predict(task.parent)(task.images)) / 2


def _loss(task):
    if task.labels.ndim == 1:
        return distillation.DistillationLoss(task.parent.output_shape[-1])
    return keras.losses.MeanSquaredError()


def _made(task, table, levels, without, seed):
    """The parent with tables."""
    keras.utils.set_random_seed(seed)
    seen = task.images[:SEEN]
    trained = without.init == "trained"
    made = lookupify(
        task.parent,
        family="deep_lookup",
        activation_levels=levels,
        init=without.init,
        images=seen if trained else None,
        seed=seed,
        **({"table": "low_rank", "table_rank": int(table)} if table.isdigit() else {}),
        **({} if table.isdigit() else {"table": table}),
        **without.arguments,
    )
    if without.layer is not DeepLookupConv2D:
        made = _replaced(made, without.layer)
    if any(isinstance(layer, keras.layers.BatchNormalization) for layer in sublayers(made)):
        coding.reestimate(made, seen)
    return made


def _replaced(model, kind):
    """A copy whose layers with tables are of this class."""
    copy, pairs = rebuild.clone(
        model, lambda x: kind.from_config(x.get_config()) if has_table(x) else None
    )
    rebuild.copy_weights(pairs)
    if kind is _PlainScales:
        for layer, plain in (pair for pair in pairs if has_table(pair[0])):
            of_activations, of_weights = layer.scales
            plain.log_activation_scale.assign(of_activations)
            plain.log_weight_scale.assign(of_weights)
    return copy


def _trained(task, rows, table, levels, without):
    """Figures after training, as text: that of one seed, or the mean and spread of several."""
    updates = FLAGS.epochs * -(-len(rows) // FLAGS.batch)
    scores = []
    for seed in range(FLAGS.seeds):
        made = _made(task, table, levels, without, seed)
        rate = keras.optimizers.schedules.CosineDecay(FLAGS.rate, updates)
        made.compile(keras.optimizers.Adam(rate), _loss(task))
        made.fit(task.images, rows, batch_size=FLAGS.batch, epochs=FLAGS.epochs, verbose=0)
        scores.append(_score(task, made))
    if len(scores) == 1:
        return f"{scores[0]:.2f} {task.unit}"
    each = ", ".join(f"{score:.2f}" for score in scores)
    return f"{np.mean(scores):.2f} {task.unit} +- {np.std(scores, ddof=1):.2f} (seeds: {each})"


def _score(task, model):
    return task.score(_predict(model))


def _predict(model):
    return lambda images: model.predict(images, batch_size=250, verbose=0)


if __name__ == "__main__":
    programs.run(main)
