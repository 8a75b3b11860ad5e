"""What equal ranges of S are worth in int8: each LCNN's file with and without `equalize`.

    python -m benchmarks.accuracy.equalization --lcnn=runs/a/model.keras,runs/b/model.keras

D and P are defined up to a scale per dictionary row. int8 gives S one scale per tensor, so a row
with small values is rounded coarsely unless the ranges are equalized first. How unequal they are is
an accident of training, so each model is measured as it is and with rows scaled at random by
factors of 1/SPREAD to SPREAD: the same function in float32. Signal to noise is that of the logits
against Keras, on the test images.
"""

import dataclasses
import pathlib
import tempfile

import numpy as np
from absl import flags

from benchmarks.common import data
from tf_lcnn import programs
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.lite.proof import ProofError, compare
from tf_lcnn.lite.ranges import equalize
from tf_lcnn.models import saving

FLAGS = flags.FLAGS

flags.DEFINE_list("lcnn", None, "Trained LCNNs, .keras files.", required=True)
flags.DEFINE_integer("examples", 200, "Training images that int8 measures on.", lower_bound=1)
flags.DEFINE_float("spread", 8.0, "Largest factor of a dictionary row.", lower_bound=1.0)
flags.DEFINE_integer("seed", 0, "Seed of the factors.")


def rescaled(choices):
    """The choices with the rows of each dictionary scaled at random, log-uniform."""
    rng = np.random.default_rng(FLAGS.seed)
    scaled = []
    for choice in choices:
        factors = FLAGS.spread ** rng.uniform(-1, 1, choice.layer.k).astype(np.float32)
        layer = dataclasses.replace(
            choice.layer,
            dictionary=choice.layer.dictionary * factors,
            coefficients=choice.layer.coefficients / factors[:, None],
        )
        scaled.append(dataclasses.replace(choice, layer=layer))
    return scaled


def prove(model, choices, quantize, examples, batches):
    """The Proof of the file of these choices."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        path.write_bytes(convert(model, choices, quantize, examples))
        return compare(model, path, batches)


def main():
    dataset = data.load()
    models = [saving.load_model(path, dataset) for path in FLAGS.lcnn]
    examples = dataset.sample("train", FLAGS.examples)
    batches = dataset.evaluation("test", 100)
    width = max(len(path) for path in FLAGS.lcnn)
    print(f"{'model':{width}}  rows of D   file                  dB  accuracy")
    for path, model in zip(FLAGS.lcnn, models, strict=True):
        # Of the lowerings, the one that quantizes S.
        choices = choose_lowerings(model, "sparse", quantize="int8")
        if not choices:
            raise ValueError(f"{path} has no lookup layers.")
        for rows, start in (("as trained", choices), ("rescaled", rescaled(choices))):
            for kind, quantize, used in (
                ("float32", None, start),
                ("int8", "int8", start),
                ("int8, equalized", "int8", equalize(model, start, examples)),
            ):
                proof = prove(model, used, quantize, examples, batches)
                print(
                    f"{path:{width}}  {rows:10}  {kind:15}  {proof.decibels:7.1f}  "
                    f"{proof.tflite_score:8.2%}",
                    flush=True,
                )


if __name__ == "__main__":
    programs.run(main, errors=[ProofError])
