"""Networks on Bayer mosaics: demosaicing against interpolation, classes against those of sRGB.

    python train.py --flagfile=demosaicing_lcnn.cfg --data_dir=FLOWERS --test_dirs=SET5
    python train.py --flagfile=flowers_mosaic_lcnn.cfg --data_dir=FLOWERS
    python -m benchmarks.accuracy.mosaics --flowers=FLOWERS --set5=SET5 --out=docs/mosaics.json

FLOWERS is tf_flowers160.zip. It takes the runs below runs/ that `DEMOSAICING` and `CLASSES` name,
as docs/results.md has their commands, and exports each to float32 and int8. Photos of flowers are
every seventh of the validation part, which no training saw and nothing was chosen on.
"""

import json
import pathlib
import tempfile

import numpy as np
from absl import flags

from tf_lcnn import files, profile, programs
from tf_lcnn.data import bayer, datasets, mosaics
from tf_lcnn.lite.export import export
from tf_lcnn.models import saving
from tf_lcnn.tasks.classification import Classification
from tf_lcnn.tasks.demosaicing import Demosaicing

FLAGS = flags.FLAGS

# Name of a run -> what it is; classes with the height and width of an image, and the pattern.
DEMOSAICING = {"demosaicing_lcnn": "LCNN", "demosaicing": "dense twin"}
CLASSES = {
    "flowers_lcnn": ("sRGB 32x32", 32, None),
    "flowers_mosaic_lcnn": ("RGGB mosaic 64x64", 64, "RGGB"),
}
STRIDE, CALIBRATION = 7, 100

flags.DEFINE_string("flowers", None, "tf_flowers, a zip or folder.", required=True)
flags.DEFINE_string("set5", None, "Folder of the photos of Set5.", required=True)
flags.DEFINE_string("runs", "runs", "Where the runs are.")
flags.DEFINE_string("out", None, "Where to write all figures as JSON.")


def scores(model, examples, calibration, task):
    """Bytes and scores of a model in Keras, and of its float32 and int8 files."""
    # What int8 loses is told here, however much it is.
    task.holds = lambda *scores: True
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "model.tflite"
        made = export(
            *(model, path, examples),
            lowering="sparse",
            quantize="int8",
            calibration=calibration,
            task=task,
        )
        exact = export(model, path, examples, lowering="sparse", task=task).proof
    return {
        "bytes": made.bytes,
        "float32": exact.tflite_score,
        "keras": made.proof.keras_score,
        "int8": made.proof.tflite_score,
    }


def demosaicing():
    """The rows of nets that make photos, for Set5 and flowers, in dB."""
    data, task = mosaics.load(FLAGS.flowers, test_dirs=[FLAGS.set5]), Demosaicing()
    sets = {
        "Set5": list(data.evaluation("test", 1).as_numpy_iterator()),
        "flowers": list(data.evaluation("validation", 1).shard(STRIDE, 0).as_numpy_iterator()),
    }
    plain = {
        name: float(np.mean([task.score(before(data, x)[None], y) for x, y in pairs]))
        for name, pairs in sets.items()
    }
    calibration, rows = data.sample("train", CALIBRATION), []
    for run, name in DEMOSAICING.items():
        model = saving.load_model(pathlib.Path(FLAGS.runs, run, "model.keras"), data)
        row = {"name": name, "run": run}
        row["multiplications"] = profile(model, (64, 64, 1)).multiplications / 64**2
        row["sets"] = {x: scores(model, y, calibration, task) for x, y in sets.items()}
        rows.append(row)
        print(row, flush=True)
    return {"bilinear": plain, "photos": {x: len(y) for x, y in sets.items()}, "nets": rows}


def before(data, given):
    return np.asarray(Demosaicing().unimproved(data, given[0]))


def classes():
    """The rows of nets that tell flowers apart."""
    rows = []
    for run, (name, size, pattern) in CLASSES.items():
        how = "own" if pattern is None else "0..1"
        data = datasets.load("image_folder", FLAGS.flowers, size, preprocessing=how)
        if pattern is not None:
            data = mosaics.of(data, bayer.Sensor(pattern))
        model = saving.load_model(pathlib.Path(FLAGS.runs, run, "model.keras"), data)
        calibration = data.sample("train", CALIBRATION)
        found = scores(model, data.evaluation("test", 100), calibration, Classification())
        counted = profile(model)
        row = {"name": name, "run": run, "multiplications": counted.multiplications, **found}
        rows.append({**row, "photos": len(data.test)})
        print(rows[-1], flush=True)
    return rows


def main():
    found = {"demosaicing": demosaicing(), "classes": classes()}
    if FLAGS.out:
        files.write(FLAGS.out, json.dumps(found) + "\n")


if __name__ == "__main__":
    programs.run(main)
