"""Prints what a .keras file costs: multiplications, bytes by layer.

    tf-lcnn profile model.keras

Each column is told in README.md, under "What the counts mean". Nothing is timed: `tf-lcnn
benchmark --profile` does that, of a .tflite.
"""

from absl import flags

from tf_lcnn import programs
from tf_lcnn.costs import counting, storage
from tf_lcnn.models import saving

FLAGS = flags.FLAGS
HELP = programs.Help("FILE.keras [FLAG...]", ("input_shape", "convention", "numbers"))

flags.DEFINE_list("input_shape", None, "Like 224,224,3, where the model leaves a size open.")
flags.DEFINE_enum(
    *("convention", counting.CONVENTIONS[0], counting.CONVENTIONS),
    "Whether multiplications with padding are counted.",
)
flags.DEFINE_enum(
    *("numbers", "int8", storage.NUMBERS),
    "Whose bytes are told beside those of float32 and int8.",
)


def main(files):
    if len(files) != 1:
        raise ValueError(f"One .keras file is counted, and {len(files)} are named.")
    model = saving.load_model(files[0])
    print(counting.profile(model, _shape(), FLAGS.convention, FLAGS.numbers))


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
