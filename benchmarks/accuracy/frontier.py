"""The frontier: accuracy against milliseconds, of a parent, its LCNNs, and what rivals them.

    python -m benchmarks.accuracy.frontier --weights=WEIGHTS --images=IMAGES \\
        --validation=SET12 --test=BSD68

DnCNN for noise of sigma 25, trained by others: WEIGHTS is a folder with its `models.py`. Every net
learns from the parent alone, on the same noisy crops of the images, with the same updates of the
same size by the same program (`compression.reconstruction`), at last with int8 in the loop:
LCNNs (k and s of every layer of 64 channels; the first and the last stay dense), narrower dense
nets (random weights at first, for there is nothing to begin with), and rank-k factorized ones (the
same dictionaries with dense coefficients, in stock operators). Files are int8; PSNR is that of the
file, in LiteRT, on the middle of every test image, which nothing was chosen by. LCNNs run with the
native delegate, everything else on XNNPACK, on one thread, in turn. Times that are worth something
need an idle machine: what is finished stays in the folder, and the same command with
--nothing_new only times the files.
"""

import json
import pathlib
import sys

import keras
import numpy as np
from absl import flags

from benchmarks.common import rows
from tf_lcnn import files, programs
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.reconstruction import Schedule, reconstruct
from tf_lcnn.graph import rebuild
from tf_lcnn.lite import proof
from tf_lcnn.lite.export import export
from tf_lcnn.pipeline import sizing
from tf_lcnn.runtime.interpreter import Interpreter

FLAGS = flags.FLAGS

flags.DEFINE_string("weights", None, "Folder of the parent's models.py.", required=True)
flags.DEFINE_string("images", None, "Folder of images to learn on.", required=True)
flags.DEFINE_string("validation", None, "Folder of images that choices go by.", required=True)
flags.DEFINE_string("test", None, "Folder of images that nothing goes by.", required=True)
flags.DEFINE_string("folder", "runs/frontier", "Where files and results go.")
flags.DEFINE_string("plot", None, "The PNG to write; default: frontier.png in the folder.")
flags.DEFINE_list(
    "nets",
    ["lcnn:32:8", "width:0.5", "rank:16", "lcnn:16:4", "width:0.35", "width:0.25", "rank:24"],
    "lcnn:K:S, rank:K, width:SHARE OF THE FILTERS.",
)
flags.DEFINE_integer("steps", 300, "Updates of each net, then a quarter in int8.", lower_bound=1)
flags.DEFINE_integer("batch", 4, "Crops per update.", lower_bound=1)
flags.DEFINE_integer("crop", 40, "Height and width of crops.", lower_bound=8)
flags.DEFINE_integer("size", 96, "Height and width of test images and timed inputs.", lower_bound=8)
flags.DEFINE_integer("count", 400, "Images to learn on.", lower_bound=1)
flags.DEFINE_boolean("nothing_new", False, "Only time and draw what is finished.")

NOISE = 25 / 255
# Over the root mean square of the weights. What begins at random has farther to go. One rate each
# was tried.
RATES = {"lcnn": 0.003, "rank": 0.003, "width": 0.02}
CODED_ON = 100


def main():
    sys.path.insert(0, FLAGS.weights)
    # Of the folder, not of this package.
    import models

    folder = pathlib.Path(FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    parent = models.load_dncnn()
    found = [_net(folder, "parent", parent)]
    for name in FLAGS.nets:
        if not FLAGS.nothing_new or (folder / f"{rows.slug(name)}.json").is_file():
            found.append(_net(folder, name, parent))
            print(_line(found[-1]), flush=True)
    paths = [folder / f"{rows.slug(row['name'])}.tflite" for row in found]
    delegates = [row["name"].startswith("lcnn") for row in found]
    times = sizing.interleaved(paths, delegates)
    for row, ms, ratio in zip(
        found, np.median(times, axis=0), np.median(times[:, :1] / times, axis=0), strict=True
    ):
        row.update(ms=float(ms), faster=float(ratio))
        print(_line(row))
    files.write(folder / "frontier.json", json.dumps(found, indent=1) + "\n")
    draw(found, pathlib.Path(FLAGS.plot or folder / "frontier.png"))


def _line(row):
    text = f"{row['name']:12}  {row['test']:6.2f} dB  validation {row['validation']:6.2f} dB"
    text += f" (float32 {row['float32']:6.2f})"
    return text + (f"  {row['ms']:8.2f} ms  {row['faster']:5.2f}x" if "ms" in row else "")


def _net(folder, name, parent):
    """The figures of one net, made once: its .tflite is kept, and what was measured of it."""
    path = folder / f"{rows.slug(name)}.tflite"
    made_from = {x: FLAGS[x].value for x in ("steps", "batch", "crop", "size", "count")}
    made_from = {"name": name, **(made_from if name != "parent" else {"size": FLAGS.size})}
    return rows.once(path, made_from, lambda path: _make(path, name, parent))


def _make(path, name, parent):
    noisy = training_images()
    model = parent if name == "parent" else taught(name, parent, noisy)
    validation, test = (test_images(x) for x in (FLAGS.validation, FLAGS.test))
    report = export(
        model,
        path,
        (validation[1], validation[1] - validation[0]),
        lowering="sparse",
        quantize="int8",
        calibration=noisy[:64],
    )
    interpreter = Interpreter(path)
    return {
        "name": name,
        "test": psnr(interpreter.predict(test[1]), *test),
        "validation": psnr(interpreter.predict(validation[1]), *validation),
        "float32": psnr(model.predict(validation[1], batch_size=4, verbose=0), *validation),
        "bytes": report.bytes,
    }


def taught(name, parent, noisy):
    """A net of this name, after it has learned from the parent."""
    kind, *numbers = name.split(":")
    keras.utils.set_random_seed(0)
    if kind == "width":
        model = narrower(parent, float(numbers[0]))
    elif kind in ("lcnn", "rank"):
        k, s = int(numbers[0]), int(numbers[-1])
        convolutions = [x.name for x in parent.layers if isinstance(x, keras.layers.Conv2D)]
        model = lookupify(
            parent,
            k,
            {convolutions[0]: "keep", convolutions[-1]: "keep"},
            init="trained",
            lookups=s,
            images=noisy[:CODED_ON, :64, :64],
            cache=pathlib.Path(FLAGS.folder) / f"coded_{k}_{s}",
        )
    else:
        raise ValueError(f"Unknown net {name!r}: lcnn:K:S, rank:K and width:SHARE work.")
    schedule = Schedule(
        block_steps=0,
        output_steps=FLAGS.steps,
        rounded_steps=FLAGS.steps // 4,
        batch=FLAGS.batch,
        crop=FLAGS.crop,
        rate=RATES[kind],
        round_steps=60,
        revised=0.0,
    )

    def tell(phase, step, steps, error, left):
        if step % 50 == 0:
            print(f"{name}, {phase}: {step} of {steps}, error {error:.4f}, {left:.0f} s left")
            sys.stdout.flush()

    reconstruct(parent, model, noisy, schedule, quantize="int8", progress=tell)
    return model


def narrower(model, share):
    """The net of this share of the filters in all but the last convolution, of random weights."""
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]

    def changes(layer):
        if layer not in convolutions[:-1]:
            return {}
        return {"filters": max(1, round(share * layer.filters)), "kernel_initializer": "he_normal"}

    return rebuild.clone(model, changes=changes)[0]


# Images


def grey(path):
    image = keras.utils.load_img(path, color_mode="grayscale")
    return keras.utils.img_to_array(image) / 255


def listed(folder):
    kinds = (".png", ".jpg", ".jpeg", ".bmp")
    found = sorted(x for x in pathlib.Path(folder).iterdir() if x.suffix.lower() in kinds)
    if not found:
        raise ValueError(f"{folder} has no images: {', '.join(kinds)}.")
    return found


def training_images():
    """Noisy crops (count, size, size, 1); the same in every run."""
    rng, size, crops = np.random.default_rng(1), FLAGS.size, []
    paths = listed(FLAGS.images)
    for i in rng.choice(len(paths), FLAGS.count, replace=FLAGS.count > len(paths)):
        image = grey(paths[i])
        top, left = (rng.integers(0, length - size + 1) for length in image.shape[:2])
        crop = image[top : top + size, left : left + size]
        crops.append(crop + rng.normal(size=crop.shape) * NOISE)
    return np.float32(crops)


def test_images(folder):
    """(clean, noisy) middles of all images of a folder."""
    clean = []
    for path in listed(folder):
        image = grey(path)
        top, left = (np.array(image.shape[:2]) - FLAGS.size) // 2
        clean.append(image[top : top + FLAGS.size, left : left + FLAGS.size])
    clean = np.stack(clean)
    noise = np.random.default_rng(0).normal(size=clean.shape) * NOISE
    return clean, np.float32(clean + noise)


def psnr(noise, clean, noisy):
    """Mean over images, in dB, of noisy images whose noise is taken off."""
    error = ((np.clip(noisy - noise, 0, 1) - clean) ** 2).mean(axis=(1, 2, 3))
    return float(np.mean(-10 * np.log10(error)))


def draw(found, path):
    # Only the plot needs it; and not pyplot, which looks for a display.
    from matplotlib.figure import Figure

    looks = {"parent": ("k", "s"), "lcnn": ("C0", "o"), "rank": ("C2", "^"), "width": ("C1", "D")}
    names = {"parent": "parent", "lcnn": "LCNN", "rank": "rank-k", "width": "narrower dense"}
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    for kind, (color, marker) in looks.items():
        own = sorted(
            (row["ms"], row["test"], row["name"])
            for row in found
            if row["name"].split(":")[0] == kind
        )
        if own:
            ms, test, _ = zip(*own, strict=True)
            axes.plot(ms, test, color=color, marker=marker, label=names[kind])
            for x, y, label in own:
                axes.annotate(
                    label.partition(":")[2], (x, y), xytext=(5, -11), textcoords="offset points"
                )
    axes.set_xlabel("ms, int8, one thread")
    axes.set_ylabel("PSNR, dB")
    axes.set_title("DnCNN, sigma 25: taught by the parent, with the same updates")
    axes.grid(color="0.92")
    axes.legend(frameon=False)
    with files.replacing(path) as beside:
        figure.savefig(beside, dpi=150, format="png")


if __name__ == "__main__":
    programs.run(main, errors=[proof.ProofError])
