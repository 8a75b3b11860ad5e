"""Takes a photo through a .tflite: larger, less noisy, or filtered.

    tf-lcnn run photo.png --model=runs/espcn/model.tflite --out=large.png

Large photos go through in tiles, in the memory of one. The result is a PNG.
"""

import pathlib
import time

from absl import flags

from tf_lcnn import checks, files, programs
from tf_lcnn.pipeline import improving
from tf_lcnn.runtime import native

FLAGS = flags.FLAGS
HELP = programs.Help(
    "PHOTO --model=FILE.tflite --out=FILE.png [FLAG...]",
    ("model", "out", "delegate", "threads", "tile", "overlap"),
)

flags.DEFINE_string("model", None, "The .tflite, of a network for photos.", required=True)
flags.DEFINE_string("out", None, "The .png to write.", required=True)
flags.DEFINE_boolean("delegate", True, "Use the native delegate, where it was built.")
flags.DEFINE_integer("threads", 1, "Threads of LiteRT, and of the delegate.", lower_bound=1)
flags.DEFINE_integer("tile", 256, "Height and width of a tile of the photo.", lower_bound=1)
flags.DEFINE_integer(
    "overlap",
    None,
    "Pixels around what is kept of a tile; default: as many as the network looks at.",
    lower_bound=0,
)


def main(arguments):
    if len(arguments) != 1:
        raise ValueError(f"One photo is improved, and {len(arguments)} are named.")
    out = checks.file_to_write(FLAGS.out)
    if out.suffix.lower() != ".png":
        raise ValueError(f"--out={out}: the result is a PNG, a name that ends in .png works.")
    photo = improving.read(arguments[0])
    delegate = FLAGS.delegate and native.available()
    improver = improving.load(FLAGS.model, delegate, FLAGS.threads, FLAGS.overlap)
    start = time.perf_counter()
    made, tiles = improver(photo, FLAGS.tile)
    seconds = time.perf_counter() - start
    with files.replacing(pathlib.Path(out)) as beside:
        beside.write_bytes(improving.encoded(made))
    (height, width), (high, wide) = photo.shape[:2], made.shape[:2]
    print(
        f"{arguments[0]} {height}x{width} -> {out} {high}x{wide}: {tiles} tiles, overlap "
        f"{improver.overlap}, {seconds:.2f} s with{'' if delegate else 'out'} the native delegate"
    )


def start():
    programs.run(main, help_of=HELP)
