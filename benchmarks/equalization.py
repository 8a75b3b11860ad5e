"""What equal ranges of S are worth in int8: each LCNN's file with and without `equalize`.

    python benchmarks/equalization.py --lcnn=runs/a/model.keras,runs/b/model.keras --data_dir=TFDS

D and P are defined up to a scale per dictionary row. int8 gives S one scale per tensor, so a row
with small values is rounded coarsely unless the ranges are equalized first. How unequal they are is
an accident of training, so each model is measured as it is and with rows scaled at random by
factors of 1/SPREAD to SPREAD: the same function in float32. Signal to noise is that of the logits
against Keras, on the test images.
"""

import dataclasses
import os
import pathlib
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from absl import app, flags, logging

from tf_lcnn.data import datasets
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.lite.proof import compare
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.models import saving

FLAGS = flags.FLAGS

flags.DEFINE_list("lcnn", None, "Trained LCNNs, .keras files.", required=True)
flags.DEFINE_string("dataset", "cifar10", "What they were trained on.")
flags.DEFINE_string("data_dir", None, "Where the data lies.")
flags.DEFINE_integer("examples", 200, "Training images that int8 measures on.", lower_bound=1)
flags.DEFINE_float("spread", 8.0, "Largest factor of a dictionary row.", lower_bound=1.0)
flags.DEFINE_integer("seed", 0, "Seed of the factors.")


def rescaled(plans):
    """The plans with the rows of each dictionary scaled at random, log-uniform."""
    rng = np.random.default_rng(FLAGS.seed)
    scaled = []
    for each in plans:
        factors = FLAGS.spread ** rng.uniform(-1, 1, each.layer.k).astype(np.float32)
        layer = dataclasses.replace(
            each.layer,
            dictionary=each.layer.dictionary * factors,
            coefficients=each.layer.coefficients / factors[:, None],
        )
        scaled.append(dataclasses.replace(each, layer=layer))
    return scaled


def proof(model, plans, quantize, examples, batches):
    """The file of these plans beside the model."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        path.write_bytes(convert(model, plans, quantize, examples))
        return compare(model, path, batches)


def main(_):
    logging.set_verbosity(logging.WARNING)
    images = datasets.load(FLAGS.dataset, FLAGS.data_dir)
    models = [saving.load_model(path, images) for path in FLAGS.lcnn]
    examples = images.sample("train", FLAGS.examples)
    batches = images.evaluation("test", 100)
    width = max(len(path) for path in FLAGS.lcnn)
    print(f"{'model':{width}}  rows of D   file                  dB  accuracy")
    for path, model in zip(FLAGS.lcnn, models, strict=True):
        # Of the lowerings, the one that quantizes S.
        plans = choose_lowerings(model, "sparse", quantize="int8")
        if not plans:
            raise ValueError(f"{path} has no lookup layers.")
        for rows, start in (("as trained", plans), ("rescaled", rescaled(plans))):
            for kind, quantize, used in (
                ("float32", None, start),
                ("int8", "int8", start),
                ("int8, equalized", "int8", equalize(model, start, examples)),
            ):
                found = proof(model, used, quantize, examples, batches)
                print(
                    f"{path:{width}}  {rows:10}  {kind:15}  {found.decibels:7.1f}  "
                    f"{found.tflite_score:8.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    try:
        app.run(main)
    except (ValueError, OSError) as error:
        sys.exit(f"equalization.py: {error}")
