"""Makes a trained .keras file faster: an int8 .tflite, and a report.

    tf-lcnn compress model.keras photos --preprocessing=imagenet --speedup=1.5
    tf-lcnn compress model.keras images.npy --budget=2.5 --out=compressed

The images are a few hundred that look like those that the model will see: a folder or zip of
files, or an array that the model takes as it is, in an .npy, or in an .npz with `images` and, if
there are, `labels`. It is `tf_lcnn.compress`; interrupted, the same command goes on.
"""

from absl import flags

from tf_lcnn import checks, programs
from tf_lcnn.data import datasets, unlabeled
from tf_lcnn.lite import proof
from tf_lcnn.models import saving
from tf_lcnn.pipeline import compressing

FLAGS = flags.FLAGS
HELP = programs.Help(
    "MODEL.keras IMAGES [FLAG...]", ("speedup", "budget", "out", "preprocessing", "images")
)

flags.DEFINE_float("speedup", None, "Times as fast as the parent in int8, measured here.")
flags.DEFINE_float("budget", None, "Milliseconds of an image, in place of --speedup.")
flags.DEFINE_string("out", "compressed", "The folder for the files and the report.")
flags.DEFINE_string(
    "preprocessing",
    "none",
    "How pixels of a folder become inputs, as in the model's training: "
    f"{', '.join(datasets.PREPROCESSING)}, or mean,std of pixels 0 to 255.",
)
flags.DEFINE_integer("images", 500, "At most so many, drawn at random.", lower_bound=2)


def main(arguments):
    if len(arguments) != 2:
        raise ValueError("Name a .keras file and a folder, .npy or .npz of images.")
    path, source = arguments
    model = saving.load_model(path)
    shape = checks.input_shape(model)
    images, labels = unlabeled.load(source, shape, FLAGS.preprocessing, FLAGS.images)
    made = compressing.compress(
        *(model, images, FLAGS.speedup),
        budget=FLAGS.budget,
        labels=labels,
        folder=FLAGS.out,
    )
    print(made)


def start():
    programs.run(main, errors=[proof.ProofError], help_of=HELP)
