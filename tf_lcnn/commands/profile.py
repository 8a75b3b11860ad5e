"""Prints what a .keras file costs: multiplications, bytes by layer.

    tf-lcnn profile model.keras

Each column is told in README.md, under "What the counts mean". Nothing is timed: `tf-lcnn
benchmark --profile` does that, of a .tflite.
"""

from absl import flags

from tf_lcnn import programs
from tf_lcnn.costs import counting
from tf_lcnn.models import saving

FLAGS = flags.FLAGS
HELP = programs.Help("FILE.keras [FLAG...]", ("input_shape", "convention"))

flags.DEFINE_list("input_shape", None, "Like 224,224,3, where the model leaves a size open.")
flags.DEFINE_enum(
    *("convention", counting.CONVENTIONS[0], counting.CONVENTIONS),
    "Whether multiplications with padding are counted.",
)


def main(files):
    if len(files) != 1:
        raise ValueError(f"One .keras file is counted, and {len(files)} are named.")
    print(counting.profile(saving.load_model(files[0]), _shape(), FLAGS.convention))


def _shape():
    if FLAGS.input_shape is None:
        return None
    try:
        return tuple(map(int, FLAGS.input_shape))
    except ValueError:
        given = ",".join(FLAGS.input_shape)
        raise ValueError(f"--input_shape={given}: numbers like 224,224,3 work.") from None


def start():
    programs.run(main, help_of=HELP)
