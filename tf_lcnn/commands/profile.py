"""Prints what a .keras file costs: multiplications, bytes by layer.

    tf-lcnn profile model.keras
    tf-lcnn profile model.keras --dictionary=first.png --mosaic=RGGB

Each column is told in README.md, under "What the counts mean". Nothing is timed: `tf-lcnn
benchmark --profile` does that, of a .tflite. --dictionary draws what the first layer with lookups
looks for: colors, or, with --mosaic, tiles of a Bayer mosaic.
"""

from absl import flags

from tf_lcnn import checks, files, programs
from tf_lcnn.costs import counting, storage
from tf_lcnn.data import patterns
from tf_lcnn.layers import family
from tf_lcnn.models import pictures, saving
from tf_lcnn.pipeline import improving

FLAGS = flags.FLAGS
HELP = programs.Help(
    "FILE.keras [FLAG...]", ("input_shape", "convention", "numbers", "dictionary", "mosaic")
)

flags.DEFINE_list("input_shape", None, "Like 224,224,3, where the model leaves a size open.")
flags.DEFINE_enum(
    *("convention", counting.CONVENTIONS[0], counting.CONVENTIONS),
    "Whether multiplications with padding are counted.",
)
flags.DEFINE_enum(
    *("numbers", "int8", storage.NUMBERS),
    "Whose bytes are told beside those of float32 and int8.",
)
flags.DEFINE_string("dictionary", None, "A .png to write: the first layer's dictionary.")
flags.DEFINE_enum("mosaic", None, patterns.PATTERNS, "The Bayer pattern of --dictionary's tiles.")


def main(named):
    if len(named) != 1:
        raise ValueError(f"One .keras file is counted, and {len(named)} are named.")
    if FLAGS.mosaic and not FLAGS.dictionary:
        raise ValueError("--mosaic is for --dictionary, the picture to write.")
    model = saving.load_model(named[0])
    picture = _picture(model) if FLAGS.dictionary else None
    print(counting.profile(model, _shape(), FLAGS.convention, FLAGS.numbers))
    if picture is not None:
        with files.replacing(checks.file_to_write(FLAGS.dictionary)) as beside:
            beside.write_bytes(improving.encoded(picture))
        print(f"Saved {FLAGS.dictionary}")


def _picture(model):
    """The dictionary of the first layer with lookups."""
    if checks.file_to_write(FLAGS.dictionary).suffix.lower() != ".png":
        raise ValueError(f"--dictionary={FLAGS.dictionary}: a name that ends in .png works.")
    with_lookups = family.lookup_layers(model)
    if not with_lookups:
        raise ValueError(f"{model.name} has no layer with lookups, and so no dictionary to show.")
    return pictures.dictionary_image(with_lookups[0], FLAGS.mosaic)


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
