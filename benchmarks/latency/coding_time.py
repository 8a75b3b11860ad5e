"""How long coding the weights of a network takes.

    python -m benchmarks.latency.coding_time --data_dir=PHOTOS --net=resnet18
    python -m benchmarks.latency.coding_time --data_dir=PHOTOS --net=resnet50

Random weights, which code no faster than trained ones, and real photos of 224x224. PHOTOS is a
folder, or zip file, of a folder of photos per class.
"""

import time

import keras
from absl import flags

from tf_lcnn import lookupify, models, programs
from tf_lcnn.compression import coding
from tf_lcnn.data import datasets

FLAGS = flags.FLAGS

NETS = {
    "resnet18": lambda: models.build("resnet18"),
    "resnet50": lambda: keras.applications.ResNet50(weights=None),
}
flags.DEFINE_string("data_dir", None, "A folder or zip of photos.", required=True)
flags.DEFINE_enum("net", "resnet18", list(NETS), "The network.")
flags.DEFINE_integer("images", 200, "Calibration images.", lower_bound=1)
flags.DEFINE_integer("dictionary_size", 64, "k of every layer.", lower_bound=1)
flags.DEFINE_integer("lookups", 4, "s of every layer.", lower_bound=1)


def main():
    photos = datasets.load("image_folder", FLAGS.data_dir, 224, 224)
    calibration = photos.sample("train", FLAGS.images)
    keras.utils.set_random_seed(0)
    model = NETS[FLAGS.net]()
    start = last = time.perf_counter()
    errors = []

    def report(error):
        nonlocal last
        now = time.perf_counter()
        errors.append(error)
        print(f"{now - last:6.1f} s  {error.name}, {error.output_error:.3f}", flush=True)
        last = now

    lookupify(
        model,
        FLAGS.dictionary_size,
        init="trained",
        lookups=FLAGS.lookups,
        images=calibration,
        report=report,
    )
    minutes = (time.perf_counter() - start) / 60
    print(f"{coding.table(errors)}\n")
    print(f"{FLAGS.net}: {len(errors)} layers, {len(calibration)} images, {minutes:.1f} minutes")


if __name__ == "__main__":
    programs.run(main)
