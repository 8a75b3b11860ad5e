"""Nets that others trained, each with what it is fitted to and judged by: `task(name)`.

    python -m benchmarks.accuracy.imagenette --data_dir=IMAGENETTE --path=runs/resnet18.keras
BSD68 and Set12 for dncnn, Set14 and Set5 for vdsr, tfds for ResNets of CIFAR-10, imagenet_val1300
for squeezenet11. dncnn and vdsr also need --images, a folder of images to learn on. resnet18 is
trained here: --images is then the folder of Imagenette, --trained the net, see
`benchmarks.accuracy.imagenette`.
"""

import csv
import dataclasses
import pathlib
import sys

import keras
import numpy as np
from absl import flags

from tf_lcnn.compression.reconstruction import Schedule
from tf_lcnn.data import datasets, photos
from tf_lcnn.graph import rebuild
from tf_lcnn.models import saving
from tf_lcnn.tasks import images

FLAGS = flags.FLAGS

flags.DEFINE_string("data", None, "Folder of weights/models.py and of test images.", required=True)
flags.DEFINE_string("images", None, "Folder of images that dncnn, vdsr and resnet18 learn on.")
flags.DEFINE_string("trained", "runs/resnet18.keras", "The parent of resnet18.")
flags.DEFINE_integer("count", 2000, "Images, or crops of them, to learn on.", lower_bound=2)
flags.DEFINE_integer("steps", 2700, "Updates of each net; a third as many in int8.", lower_bound=1)

# Height and width of crops, and of timed inputs where a net leaves them open.
SIZE = 96
NOISE = 25 / 255


@dataclasses.dataclass(frozen=True)
class Task:
    """A parent and its data.

    Attributes:
        title: for people.
        parent: Keras model.
        images, labels: to learn on; labels may be None.
        examples: (inputs, labels) that files are proved on and choices may go by, or None.
        score: function of a `predict` -> the figure on test data that nothing goes by.
        unit: of it.
        schedule: a `reconstruction.Schedule`, the same for all nets.
    """

    title: str
    parent: keras.Model
    images: np.ndarray
    labels: np.ndarray | None
    examples: tuple | None
    score: callable
    unit: str
    schedule: Schedule


def names():
    return sorted(_TASKS)


def task(name):
    """The Task of one of `names()`."""
    folder = pathlib.Path(FLAGS.data)
    sys.path.insert(0, str(folder / "weights"))
    # Of that folder, not of this package.
    import models

    return _TASKS[name](folder, models)


def _schedule(**others):
    return Schedule(output_steps=FLAGS.steps, rounded_steps=FLAGS.steps // 3, **others)


# Images out


def _dncnn(folder, models):
    def noisy(image, rng):
        return image + rng.normal(size=image.shape) * NOISE

    return _restoration(
        ("DnCNN, noise of sigma 25, BSD68", models.load_dncnn()),
        *(folder / "BSD68", folder / "Set12", _grey, noisy, 0),
        # The net returns the noise.
        sign=-1,
    )


def _vdsr(folder, models):
    return _restoration(
        ("VDSR, twice the size, Set14", models.load_vdsr()),
        *(folder / "Set14", folder / "Set5", _luma, _small_and_large, 2),
        # The net returns what is missing.
        sign=1,
    )


def _restoration(net, test, validation, read, spoil, border, sign):
    """A Task of a net that returns how far a spoiled image is from the clean one, times sign."""
    title, parent = net
    pairs = _pairs(test, read, spoil)

    def score(predict):
        figures = []
        for clean, spoiled in pairs:
            restored = np.clip(spoiled + sign * predict(spoiled[None])[0], 0, 1)
            figures.append(images.psnr(clean[None], restored[None], border))
        return float(np.mean(figures))

    crops = np.float32(_training_crops(read, spoil))
    middles = np.float32([[_middle(x) for x in pair] for pair in _pairs(validation, read, spoil)])
    return Task(
        title,
        parent,
        crops[:, 1],
        sign * (crops[:, 0] - crops[:, 1]),
        (middles[:, 1], sign * (middles[:, 0] - middles[:, 1])),
        score,
        "dB",
        # Every update sees new crops; coefficients move far, supports little.
        _schedule(block_steps=0, batch=4, crop=40, rate=0.003, round_steps=60, revised=0.05),
    )


def _training_crops(read, spoil):
    """[(clean, spoiled)] of random places; the same in every run."""
    if FLAGS.images is None:
        raise ValueError("dncnn and vdsr learn on images: --images=FOLDER.")
    rng = np.random.default_rng(1)
    paths, crops = _listed(FLAGS.images), []
    for i in rng.choice(len(paths), FLAGS.count, replace=FLAGS.count > len(paths)):
        clean = read(paths[i])
        pair = np.stack([clean, spoil(clean, rng)])
        top, left = (rng.integers(0, length - SIZE + 1) for length in clean.shape[:2])
        crops.append(pair[:, top : top + SIZE, left : left + SIZE])
    return crops


def _pairs(folder, read, spoil):
    rng = np.random.default_rng(0)
    clean = [read(path) for path in _listed(folder)]
    return [(image, np.float32(spoil(image, rng))) for image in clean]


def _middle(image):
    top, left = (np.array(image.shape[:2]) - SIZE) // 2
    return image[top : top + SIZE, left : left + SIZE]


def _listed(folder):
    kinds = (".png", ".jpg", ".jpeg", ".bmp")
    found = sorted(x for x in pathlib.Path(folder).iterdir() if x.suffix.lower() in kinds)
    if not found:
        raise ValueError(f"{folder} has no images: {', '.join(kinds)}.")
    return found


def _grey(path):
    image = keras.utils.load_img(path, color_mode="grayscale")
    return keras.utils.img_to_array(image) / 255


def _luma(path):
    """Luma of a photo, cut to even sizes."""
    image = photos.luma(str(pathlib.Path(path).resolve())).numpy()
    height, width = (length - length % 2 for length in image.shape[:2])
    return image[:height, :width]


def _small_and_large(image, _):
    """Made half as large by bicubic interpolation, and as large as it was again."""
    return photos.enlarged(photos.shrunk(image, 2), 2).numpy()


# Classes out


def _resnet(name):
    def make(folder, models):
        data = datasets.load("cifar10", folder / "tfds", preprocessing="none")
        parent = getattr(models, f"load_{name}")()
        return _classification(f"{name}, CIFAR-10", parent, data, models.normalise, batch=64)

    return make


def _resnet8(folder, models):
    data = datasets.load("cifar10", folder / "tfds", preprocessing="none")
    net = models.load_resnet8()

    # It ends in probabilities, and labels are taught by logits.
    def linear(layer):
        return {"activation": "linear"} if layer is net.layers[-1] else {}

    copy, pairs = rebuild.clone(net, changes=linear)
    rebuild.copy_weights(pairs)
    # Its one input comes in a list, which is warned of at each call.
    parent = keras.Model(copy.inputs[0], copy.outputs[0], name=net.name)
    # It takes pixels as they are.
    return _classification("ResNet-8, CIFAR-10", parent, data, lambda x: x, batch=64)


def _resnet18(*_):
    parent = saving.load_model(FLAGS.trained)
    size = parent.input_shape[1]
    data = datasets.load("image_folder", FLAGS.images, size, preprocessing="imagenet")
    return _classification("ResNet-18, Imagenette at 128x128", parent, data, lambda x: x, batch=32)


def _classification(title, parent, data, normalise, batch):
    def split(of):
        images, labels = zip(*data.evaluation(of, 500).as_numpy_iterator(), strict=True)
        return normalise(np.concatenate(images)), np.concatenate(labels)

    images, labels = split("train")
    chosen = np.random.default_rng(0).permutation(len(images))[: FLAGS.count]
    images, labels = images[chosen], labels[chosen]
    return Task(
        *(title, parent, images, labels),
        split("validation"),
        _accuracy(*split("test")),
        "%",
        # Blocks alone would take these nets as long as the whole net does.
        _schedule(block_steps=0, batch=batch),
    )


def _squeezenet(folder, models):
    folder = folder / "imagenet_val1300"
    with open(folder / "labels.csv", encoding="utf-8") as file:
        listed = [row for row in csv.reader(file) if row[1].isdigit()]
    paths, labels = zip(*((folder / name, int(label)) for name, label in listed), strict=True)
    images = [keras.utils.img_to_array(keras.utils.load_img(x))[1:225, 1:225] for x in paths]
    images = models.normalise(np.stack(images))
    order, count = np.random.default_rng(0).permutation(len(images)), 300
    test = order[count:]
    return Task(
        "SqueezeNet 1.1, 1,000 images of ImageNet, no labels",
        models.load_squeezenet11(),
        *(images[order[:count]], None, None),
        _accuracy(images[test], np.array(labels)[test]),
        "%",
        _schedule(),
    )


def _accuracy(images, labels):
    return lambda predict: 100 * float((predict(images).argmax(axis=-1) == labels).mean())


_TASKS = {
    "dncnn": _dncnn,
    "vdsr": _vdsr,
    "resnet8": _resnet8,
    "resnet18": _resnet18,
    "resnet20": _resnet("resnet20"),
    "resnet56": _resnet("resnet56"),
    "squeezenet11": _squeezenet,
}
