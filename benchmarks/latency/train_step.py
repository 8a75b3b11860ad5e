"""How long a training step takes: an LCNN beside its dense twin, step by step in turn.

    python -m benchmarks.latency.train_step

Random images; SGD with momentum, cross-entropy. Each pair of nets takes its steps alternately
in one process, so that both see the same machine. Printed are medians, the quartiles of the
pairwise ratios, and how each LCNN's layers ran their forward pass.
"""

import time

import keras
import numpy as np
from absl import flags

from tf_lcnn import checks, models, programs
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.training.callbacks import TopS

FLAGS = flags.FLAGS

flags.DEFINE_list("models", ["resnet20", "resnet18"], "Dense twins of the LCNNs to measure.")
flags.DEFINE_list("sizes", ["fast", "accurate"], "Presets of dictionary sizes.")
flags.DEFINE_list("batch_sizes", ["128", "128"], "Batch size for each model.")
flags.DEFINE_list("steps", ["40", "8"], "Measured steps for each model.")
flags.DEFINE_integer("top_s", 3, "Lookups that TopS enforces after each step; 0: none.")


def stepper(name, sizes, batch_size):
    """A function that takes one training step, and the model."""
    keras.utils.set_random_seed(0)
    model = models.build(name, dictionary_sizes=sizes)
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    if FLAGS.top_s and lookup_layers(model):
        # Attached as in fit, so that the step includes the projection.
        bound = TopS(FLAGS.top_s)
        bound.set_model(model)
        bound.on_train_begin()
        bound.on_epoch_begin(0)
    rng = np.random.default_rng(0)
    images = rng.normal(size=(batch_size, *model.input_shape[1:])).astype(np.float32)
    labels = rng.integers(0, model.output_shape[-1], batch_size)
    return lambda: model.train_on_batch(images, labels), model


def measure(twin, sizes, batch_size, steps):
    """Seconds per step, (steps, 2): twin and LCNN in turn, and the LCNN."""
    dense, _ = stepper(twin, sizes, batch_size)
    lcnn, model = stepper(f"{twin}_lcnn", sizes, batch_size)
    seconds = np.zeros((steps, 2))
    for i in range(-2, steps):
        for j, step in enumerate((dense, lcnn)):
            start = time.perf_counter()
            step()
            # The first two steps, which compile, are overwritten.
            seconds[max(i, 0), j] = time.perf_counter() - start
    return seconds, model


def whole_numbers(flag):
    """The numbers of a flag, one per net."""
    try:
        return [checks.whole_number(int(text), flag) for text in FLAGS[flag].value]
    except ValueError:
        given = ",".join(FLAGS[flag].value)
        raise ValueError(f"--{flag}={given}: whole numbers >= 1, one per net.") from None


def main():
    batch_sizes, steps_of = whole_numbers("batch_sizes"), whole_numbers("steps")
    if not len(FLAGS.models) == len(batch_sizes) == len(steps_of):
        raise ValueError(
            f"--models has {len(FLAGS.models)} nets, --batch_sizes {len(batch_sizes)} and "
            f"--steps {len(steps_of)} numbers: one of each per net works."
        )
    print("model     sizes     batch  steps  twin ms  LCNN ms  ratio (quartiles)    forward paths")
    for twin, batch_size, steps in zip(FLAGS.models, batch_sizes, steps_of, strict=True):
        for sizes in FLAGS.sizes:
            seconds, model = measure(twin, sizes, batch_size, steps)
            paths = [
                layer.forward_path((batch_size, *layer.input.shape[1:]))
                for layer in lookup_layers(model)
            ]
            dense, lcnn = np.median(seconds, axis=0) * 1000
            low, middle, high = np.percentile(seconds[:, 1] / seconds[:, 0], [25, 50, 75])
            print(
                f"{twin:8}  {sizes:8}  {batch_size:>5}  {steps:>5}  {dense:7.1f}  {lcnn:7.1f}  "
                f"{middle:.2f} ({low:.2f} to {high:.2f})  "
                f"{paths.count('stages')} stages, {paths.count('folded')} folded",
                flush=True,
            )


if __name__ == "__main__":
    programs.run(main)
