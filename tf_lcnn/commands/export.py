"""Exports a .keras file to .tflite, with a report and a proof.

    tf-lcnn export --model=runs/resnet_lcnn/model.keras --dataset=digits --quantize=int8

The file is compared with the Keras model on the test images of the data set; int8 measures its
ranges on training images.
"""

import pathlib
import re

from absl import flags

from tf_lcnn import checks, programs
from tf_lcnn.data import bayer, datasets, mosaics, patterns
from tf_lcnn.lite import converter, export, frames, prices, proof
from tf_lcnn.lite.choice import AUTO
from tf_lcnn.lite.lowerings import LOWERINGS
from tf_lcnn.models import saving

FLAGS = flags.FLAGS
HELP = programs.Help(
    "--model=FILE.keras [FLAG...]",
    (
        *("model", "out", "dataset", "data_dir", "preprocessing", "quantize", "io", "lowering"),
        *("mosaic", "delegate", "input", "frame", "examples", "calibrate", "prices"),
    ),
)

flags.DEFINE_string("model", None, "The trained .keras file.", required=True)
flags.DEFINE_string("out", None, "The .tflite to write; default: beside the model.")
flags.DEFINE_string("report", None, "Where to write the report as JSON; default: OUT.json.")
flags.DEFINE_string("dataset", "digits", "digits, image_folder, or a TFDS name like cifar10.")
flags.DEFINE_string("data_dir", None, "Where the data lies; for image_folder a folder or zip.")
flags.DEFINE_list("class_names", None, "Classes of image_folder in the order of their labels.")
flags.DEFINE_string(
    "preprocessing",
    "own",
    "How pixels become inputs, as in training: own (statistics of the training images), "
    f"{', '.join(datasets.PREPROCESSING)}, or mean,std of pixels 0 to 255.",
)
flags.DEFINE_enum("mosaic", None, patterns.PATTERNS, "The Bayer pattern of its mosaics.")
flags.DEFINE_enum("lowering", AUTO, [AUTO, *LOWERINGS], "Of lookup layers.")
flags.DEFINE_enum("optimize", "speed", prices.OPTIMIZE, "Decides between equal times.")
flags.DEFINE_enum("quantize", "none", ["none", *converter.QUANTIZATIONS], "Quantization.")
flags.DEFINE_enum("io", "float32", converter.IO_TYPES, "Type of input and output, for int8.")
flags.DEFINE_enum(
    "input",
    "pixels",
    ["pixels", *frames.FORMATS],
    "What the file takes: the model's input, or a camera's frames, upright, of uint8.",
)
flags.DEFINE_string("frame", "480x640", "Height and width of a frame of --input.")
flags.DEFINE_boolean("delegate", False, "The file is for LiteRT with the native delegate.")
flags.DEFINE_integer("examples", 200, "Training images that int8 measures on.", lower_bound=1)
flags.DEFINE_boolean("layerwise", True, "Measure each lookup layer alone, for the report.")
flags.DEFINE_boolean("calibrate", False, "Measure this machine first and keep it in --prices.")
flags.DEFINE_string("prices", None, "JSON of what a machine takes; default: a typical one.")


def main():
    out = pathlib.Path(FLAGS.out or pathlib.Path(FLAGS.model).with_suffix(".tflite"))
    report_path = checks.file_to_write(FLAGS.report or out.with_suffix(".json"))
    frame = wanted_frame()
    model = saving.load_model(FLAGS.model)
    *size, channels = model.input_shape[1:]
    dataset = datasets.load(
        FLAGS.dataset,
        FLAGS.data_dir,
        image_size=None if None in size else size,
        channels=3 if FLAGS.mosaic else channels,
        class_names=FLAGS.class_names,
        preprocessing="0..1" if FLAGS.mosaic else FLAGS.preprocessing,
    )
    if FLAGS.mosaic:
        dataset = mosaics.of(dataset, bayer.Sensor(FLAGS.mosaic))
    dataset.refuse_mismatch(model, FLAGS.model)
    quantize = None if FLAGS.quantize == "none" else FLAGS.quantize
    calibration = dataset.sample("train", FLAGS.examples)
    report = export.export(
        model,
        out,
        dataset.evaluation("test", 100),
        lowering=FLAGS.lowering,
        optimize=FLAGS.optimize,
        prices=prices.calibrate(FLAGS.prices)
        if FLAGS.calibrate
        else FLAGS.prices or prices.DEFAULT,
        delegate=FLAGS.delegate,
        quantize=quantize,
        calibration=calibration,
        io=FLAGS.io,
        dataset=dataset,
        layerwise=calibration if FLAGS.layerwise else None,
        frame=frame,
    )
    report.write_json(report_path)
    print(report)


def wanted_frame():
    """The Frame of the flags, or None."""
    if FLAGS.input == "pixels":
        if FLAGS["frame"].present:
            raise ValueError(f"--frame={FLAGS.frame} is for --input={'|'.join(frames.FORMATS)}.")
        return None
    sizes = re.fullmatch(r"(\d+)x(\d+)", FLAGS.frame)
    if sizes is None:
        raise ValueError(f"--frame={FLAGS.frame}: height x width in pixels, like 480x640, works.")
    return frames.Frame(FLAGS.input, *map(int, sizes.groups()))


def start():
    programs.run(main, errors=[proof.ProofError], help_of=HELP)
