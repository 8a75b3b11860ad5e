"""Takes a photo or a mosaic through a .tflite that makes photos.

    tf-lcnn run photo.png --model=runs/espcn/model.tflite --out=large.png
    tf-lcnn run photo.dng --model=runs/demosaicing_lcnn/model.tflite --out=photo.png

Large photos go through in tiles, in the memory of one. The result is a PNG. A file of
--task=demosaicing takes raw files, and with --mosaic photos, of which each pixel keeps one color.
"""

import pathlib
import time

from absl import flags

from tf_lcnn import checks, files, programs
from tf_lcnn.data import folders, patterns
from tf_lcnn.pipeline import demosaicing, improving
from tf_lcnn.runtime import native

FLAGS = flags.FLAGS
HELP = programs.Help(
    "PHOTO --model=FILE.tflite --out=FILE.png [FLAG...]",
    ("model", "out", "mosaic", "delegate", "threads", "tile", "overlap"),
)

flags.DEFINE_string("model", None, "The .tflite, of a network for photos.", required=True)
flags.DEFINE_string("out", None, "The .png to write.", required=True)
flags.DEFINE_enum("mosaic", None, patterns.PATTERNS, "The Bayer pattern to make of a photo.")
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
    delegate = FLAGS.delegate and native.available()
    photo, improver = read_and_loaded(arguments[0], delegate, FLAGS.threads, FLAGS.overlap)
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


def read_and_loaded(path, *how):
    """The photo, or the mosaic, and what the file makes of it."""
    pattern = demosaicing.pattern_of(FLAGS.model)
    if pattern is not None:
        if FLAGS.mosaic is None and pathlib.Path(path).suffix.lower() in folders.IMAGE_SUFFIXES:
            raise ValueError(
                f"{path}: {FLAGS.model} takes mosaics; --mosaic={pattern} makes one of a photo."
            )
        mosaic = demosaicing.read(path, pattern, FLAGS.mosaic)
        return mosaic, demosaicing.load(FLAGS.model, *how)
    if FLAGS.mosaic:
        raise ValueError(f"--mosaic: {FLAGS.model} is no file of --task=demosaicing.")
    photo = improving.read(path)
    return photo, improving.load(FLAGS.model, *how)


def start():
    programs.run(main, help_of=HELP)
