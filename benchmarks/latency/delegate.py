"""Time of lookup layers with the native delegate, beside XNNPACK's on the same machine.

    python -m benchmarks.latency.delegate
    python -m benchmarks.latency.delegate --only=layers --only=pruned --threads=2
    python -m benchmarks.latency.delegate --only=layers --json=layers.json --processor=AVX2

Random weights, random input, medians; all files of a part take turns. "Of the bound" is the share
of the time that the multiplications of both stages take at the machine's peak: the best rate of
XNNPACK's dense convolutions, in the same number format and the same run. Networks run each in a
process of its own, and their peak memory is that of loading and running the file.
"""

import dataclasses
import functools
import json
import pathlib
import tempfile

import keras
import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.common import networks, rows, tables, timing
from benchmarks.common.single_layers import FORMATS, dense_layer, layer_file, lookup_layer
from tf_lcnn import files, models, profile, programs
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.converter import to_tflite
from tf_lcnn.runtime.interpreter import Interpreter
from tf_lcnn.runtime.timing import median_seconds
from tf_lcnn.training.callbacks import project

FLAGS = flags.FLAGS

PARTS = ("layers", "pruned", "networks", "threads")
flags.DEFINE_multi_enum("only", None, PARTS, "The parts to run; default: all.")
flags.DEFINE_string("kernels", None, "The delegate's kernels, e.g. avx2; default: the fastest.")
flags.DEFINE_string("folder", None, "Keeps the networks' files for other runs; default: none.")
flags.DEFINE_string("json", None, "The file that gets the times of layers; default: none.")
flags.DEFINE_string("processor", None, "What they are named in it, beside others; with --json.")

# Runs in a turn: a single one of a layer is too short to be timed.
LAYER_BATCH = 8
THREADS_BATCH = 20

# The 3x3 layers of stride 1 of ResNet-18: channels, map, k, how many.
LAYERS = ((64, 56, 16, 4), (128, 28, 32, 3), (256, 14, 64, 3), (512, 7, 128, 3))
LAYER_LOOKUPS = {"float32": 3, "int8": 4}
PRUNED = 0.9


@dataclasses.dataclass(frozen=True)
class Network:
    """A network, its lookups per position, the number formats it is timed in, and its goals.

    `goals` has (number format, number format of the dense net, factor); `classifier` is its k where
    the classifier, which is plain in the nets of `models`, has lookups too.
    """

    twin: str
    sizes: str | tuple
    lookups: int
    formats: tuple
    goals: tuple
    classifier: int | None = None

    def __str__(self):
        sizes = self.sizes if isinstance(self.sizes, str) else f"k={self.sizes[-1]}"
        classifier = f", classifier k={self.classifier}" if self.classifier else ""
        return f"{self.twin} {sizes}, s={self.lookups}{classifier}"


REGISTER = Network(
    "resnet18", "register", 4, ("float32", "int8"), (("int8", "int8", 5.5), ("int8", "float32", 12))
)
NETWORKS = (
    REGISTER,
    Network("resnet18", (3, 128, 128, 128, 128), 8, ("int8",), (("int8", "int8", 2),)),
    Network("resnet18", "accurate", 6, ("float32",), (("float32", "float32", 1.9),)),
    Network("alexnet", "fast", 3, ("float32",), ()),
    Network("alexnet", "fast", 3, ("float32",), (("float32", "float32", 8),), classifier=512),
)


def judge(goal, wanted, factor):
    verdict = "met" if factor >= wanted else "missed"
    print(f"  goal: {goal} >= {wanted}x: {factor:.2f}x, {verdict}")


def geometric_mean(ratios):
    """Of a ratio per layer of LAYERS, as often as ResNet-18 has it."""
    return tables.geometric_mean(ratios, [count for *_, count in LAYERS])


class Peak:
    """Multiplications per second of the best dense XNNPACK convolution so far, by format."""

    def __init__(self):
        self.rates = dict.fromkeys(FORMATS, 0.0)

    def see(self, name, multiplications, seconds):
        self.rates[name] = max(self.rates[name], multiplications / seconds)

    def share(self, name, multiplications, seconds):
        return multiplications / seconds / self.rates[name]

    def __str__(self):
        rates = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in self.rates.items() if rate)
        return f"  peak: XNNPACK's best dense rate, billion multiplications per second: {rates}"


def options(**others):
    """Of the delegate."""
    return {**others, **({"kernels": FLAGS.kernels} if FLAGS.kernels else {})}


def interpreter(content, delegate=False):
    how = options(force=1) if delegate else False
    return Interpreter(content=content, threads=FLAGS.threads, delegate=how)


def time_layers(peak):
    """Dense, `sparse` with stock operators, and the delegate, for each shape and format.

    Returns:
        list of dicts, of a layer each: its sizes, and seconds by what runs it and by format.
    """
    interpreters, counts = [], []
    for channels, size, k, _ in LAYERS:
        dense = dense_layer(channels, size)
        lookup = {name: lookup_layer(channels, size, k, s) for name, s in LAYER_LOOKUPS.items()}
        contents = {name: layer_file(model, name) for name, model in lookup.items()}
        interpreters += [interpreter(layer_file(dense, name)) for name in FORMATS]
        interpreters += [interpreter(contents[name]) for name in FORMATS]
        interpreters += [interpreter(contents[name], delegate=True) for name in FORMATS]
        kernels = [fast.claims.split("; ")[1].split(",")[0] for fast in interpreters[-2:]]
        multiplications = [profile(lookup[name]).multiplications for name in FORMATS]
        counts.append((profile(dense).multiplications, *multiplications, kernels))
    seconds = median_seconds(interpreters, FLAGS.runs, LAYER_BATCH).reshape(
        len(LAYERS), 3, len(FORMATS)
    )
    for (dense, *_), times in zip(counts, seconds, strict=True):
        for f, name in enumerate(FORMATS):
            peak.see(name, dense, times[0, f])
    print("3x3 layers of stride 1, one file each; microseconds")
    print("                         fewer mult.   dense         sparse        delegate      ")
    print(
        "  channels, map, k       f32    int8   f32    int8   f32    int8   f32    int8   ", end=""
    )
    print("of the bound  kernels")
    for layer, of_layer, times in zip(LAYERS, counts, seconds, strict=True):
        channels, size, k, _ = layer
        dense, *lookup, kernels = of_layer
        fewer = "  ".join(f"{dense / count:4.1f}x" for count in lookup)
        micro = "  ".join(f"{1e6 * t:5.0f}" for t in times[:2].ravel())
        fast = "  ".join(f"{1e6 * t:5.1f}" for t in times[2])
        shares = "  ".join(
            f"{peak.share(name, lookup[f], times[2, f]):5.0%}" for f, name in enumerate(FORMATS)
        )
        title = f"{channels}, {size}x{size}, k={k}"
        print(f"  {title:19}  {fewer}  {micro}  {fast}  {shares}  {', '.join(kernels)}")
    print(peak)
    delegate, dense, sparse = seconds[:, 2], seconds[:, 0], seconds[:, 1]
    for f, name in enumerate(FORMATS):
        print(
            f"  geometric mean over the thirteen, {name}, s={LAYER_LOOKUPS[name]}: "
            f"{geometric_mean(sparse[:, f] / delegate[:, f]):.2f}x faster than `sparse`"
        )
    judge("int8 against dense int8", 10, geometric_mean(dense[:, 1] / delegate[:, 1]))
    judge("int8 against dense float32", 40, geometric_mean(dense[:, 0] / delegate[:, 1]))
    judge("float32 against dense float32", 14, geometric_mean(dense[:, 0] / delegate[:, 0]))
    found = []
    for (channels, size, k, count), times in zip(LAYERS, seconds.tolist(), strict=True):
        runs = zip(("dense", "sparse", "delegate"), times, strict=True)
        took = {how: dict(zip(FORMATS, of, strict=True)) for how, of in runs}
        found.append({"channels": channels, "size": size, "k": k, "count": count, **took})
    return found


def keep(layers):
    """Adds the times of layers to --json, which may have those of other processors."""
    path = pathlib.Path(FLAGS.json)
    found = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    found[FLAGS.processor] = layers
    files.write(path, json.dumps(found, indent=1) + "\n")


def time_pruned(peak):
    """Convolutions with random zeros, stored sparse, alone."""
    interpreters = []
    for channels, size, _, _ in LAYERS:
        rng = np.random.default_rng(0)
        kernel = rng.normal(size=(3, 3, channels, channels)).astype(np.float32)
        kernel *= rng.random(kernel.shape) >= PRUNED
        convolve = functools.partial(tf.nn.conv2d, filters=kernel, strides=1, padding="SAME")
        content = to_tflite(convolve, (1, size, size, channels))
        interpreters.append(interpreter(layer_file(dense_layer(channels, size), "float32")))
        interpreters += [interpreter(content), interpreter(content, delegate=True)]
    seconds = median_seconds(interpreters, FLAGS.runs, LAYER_BATCH).reshape(len(LAYERS), 3)
    print(f"The same layers with {PRUNED:.0%} zeros and no dictionary, float32; microseconds")
    print("  channels, map        dense  stored sparse  delegate  faster than dense")
    for (channels, size, *_), (dense, sparse, delegate) in zip(LAYERS, seconds, strict=True):
        peak.see("float32", 9 * (channels * size) ** 2, dense)
        print(
            f"  {f'{channels}, {size}x{size}':19}  {1e6 * dense:5.0f}  {1e6 * sparse:13.0f}  "
            f"{1e6 * delegate:8.0f}  {dense / delegate:.2f}x"
        )
    judge("float32 against dense float32", 2, geometric_mean(seconds[:, 0] / seconds[:, 2]))


@functools.lru_cache(maxsize=1)
def built(net, sizes="fast", lookups=None, classifier=None):
    keras.utils.set_random_seed(0)
    model = models.build(net, dictionary_sizes=sizes)
    if classifier:
        model = lookupify(model, classifier, {model.layers[-1].name: classifier, "*": "keep"})
    if lookups:
        project(model, lookups)
    return model


def network_file(folder, name, net, sizes="fast", lookups=None, lowering="sparse", classifier=None):
    """The path of a network's .tflite; its multiplications, and the bytes that its layers hold.

    Args:
        lowering: of all layers, or "delegate": what is best for the delegate.
    """
    title = f"{net} {sizes} {lookups} {classifier} {lowering} {name}"
    path = folder / f"{rows.slug(title)}.tflite"

    def make(path):
        model, quantize = built(net, sizes, lookups, classifier), FORMATS[name]
        delegate = lowering == "delegate"
        wanted = "auto" if delegate else lowering
        choices = choose_lowerings(model, wanted, quantize=quantize, delegate=delegate)
        if delegate and all(choice.lowering == "sparse" for choice in choices):
            # Conversion takes minutes, and gigabytes, where P is large.
            stock, _ = network_file(folder, name, net, sizes, lookups, classifier=classifier)
            path.write_bytes(stock.read_bytes())
        else:
            networks.write(path, model, wanted, quantize, delegate)
        held = sum(choice.delegate.bytes for choice in choices if choice.delegate)
        return {"multiplications": profile(model).multiplications, "held": held}

    made_from = {
        "net": net,
        "sizes": str(sizes),
        "lookups": lookups,
        "classifier": classifier,
        "lowering": lowering,
        "format": name,
    }
    return path, rows.once(path, made_from, make)


def time_network(net, folder, peak):
    """A network in its formats, with and without the delegate, beside its dense twin."""
    lcnn = f"{net.twin}_lcnn"
    made = {}
    for name in FORMATS:
        made[f"dense {name}"] = name, False, network_file(folder, name, net.twin)
    for lowering, delegate in (("sparse", False), ("delegate", True)):
        for name in net.formats:
            file = network_file(
                *(folder, name, lcnn, net.sizes, net.lookups, lowering, net.classifier)
            )
            made[f"{lowering} {name}"] = name, delegate, file
    paths = [path for *_, (path, _) in made.values()]
    delegates = [options() if delegate else False for _, delegate, _ in made.values()]
    seconds, peaks = timing.measure(paths, delegates=delegates)
    times = dict(zip(made, seconds.T, strict=True))
    dense = made["dense float32"][2][1]["multiplications"]
    for name in FORMATS:
        peak.see(name, dense, np.median(times[f"dense {name}"]))
    print(f"{net}, {FLAGS.threads} threads" if FLAGS.threads > 1 else net)
    print(
        "  file                    bytes  fewer mult.  median ms  dense f32 / it, dense int8 / it  "
        "of the bound  peak MiB  delegate KiB"
    )
    for (title, (name, _, (path, about))), memory in zip(made.items(), peaks, strict=True):
        count, ms = about["multiplications"], 1e3 * np.median(times[title])
        faster = [np.median(times[f"dense {dense_name}"] / times[title]) for dense_name in FORMATS]
        print(
            f"  {title:16}  {path.stat().st_size:>11,}  {dense / count:10.1f}x  {ms:9.3f}  "
            f"{faster[0]:14.2f}x  {faster[1]:14.2f}x  "
            f"{peak.share(name, count, 1e-3 * ms):12.0%}  {memory / 1024:8.1f}  "
            f"{about['held'] / 1024 if 'delegate' in title else 0:12.0f}",
            flush=True,
        )
    for ours, theirs, wanted in net.goals:
        ratio = np.median(times[f"dense {theirs}"] / times[f"delegate {ours}"])
        judge(f"{ours} against dense {theirs}", wanted, ratio)


def time_networks(folder, peak):
    for net in NETWORKS:
        time_network(net, folder, peak)
    print(peak)


def time_threads(folder):
    """One thread against two, for the dense net and with the delegate.

    With the delegate also where LiteRT itself stays at one thread: XNNPACK's workers sleep between
    its parts of the network, and waking one takes as long as many of these parts.
    """
    titles, paths, threads, delegates = [], [], [], []
    for name in FORMATS:
        lcnn = REGISTER.twin + "_lcnn"
        dense = network_file(folder, name, REGISTER.twin)[0]
        kept = network_file(folder, name, lcnn, REGISTER.sizes, REGISTER.lookups, "delegate")[0]
        titles += [f"dense {name}", f"delegate {name}", f"delegate {name}, LiteRT at 1"]
        paths += [dense, dense, kept, kept, kept]
        threads += [1, 2, 1, 2, 1]
        delegates += [False, False, options(), options(), options(threads=2)]
    seconds, _ = timing.measure(paths, threads, delegates, THREADS_BATCH)
    times = seconds.reshape(FLAGS.runs, len(FORMATS), 5)
    # Each row's one thread and two.
    pairs = times[:, :, [[0, 1], [2, 3], [2, 4]]].reshape(FLAGS.runs, len(titles), 2)
    print(f"{REGISTER}: two threads against one, {THREADS_BATCH} images one after the other")
    print("  file                          1 thread ms  2 threads ms  faster")
    ratios = dict(zip(titles, np.median(pairs[..., 0] / pairs[..., 1], axis=0), strict=True))
    for (title, ratio), (one, two) in zip(
        ratios.items(), 1e3 * np.median(pairs, axis=0), strict=True
    ):
        print(f"  {title:28}  {one:11.3f}  {two:12.3f}  {ratio:5.2f}x")
    for name in FORMATS:
        best = max(ratio for title, ratio in ratios.items() if title.startswith(f"delegate {name}"))
        judge(f"{name}, two threads against one", 1.75, best)


def main():
    wanted, peak = FLAGS.only or PARTS, Peak()
    if (FLAGS.json is None) != (FLAGS.processor is None):
        raise ValueError("--json and --processor go together.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(FLAGS.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "layers" in wanted:
            layers = time_layers(peak)
            if FLAGS.json:
                keep(layers)
        if "pruned" in wanted:
            time_pruned(peak)
        if "networks" in wanted:
            time_networks(folder, peak)
        if "threads" in wanted:
            time_threads(folder)


if __name__ == "__main__":
    programs.run(main)
