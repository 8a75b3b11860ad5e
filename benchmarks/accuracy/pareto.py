"""LCNNs beside their dense twin, pruning and clustering: accuracy, multiplications, bytes and ms.

    pip install -e .[compare]
    python -m benchmarks.accuracy.pareto --dense=runs/a/model.keras --lcnn=runs/b/model.keras

From trained nets to a table, pareto.json, pareto.csv and a plot. TensorFlow Model Optimization
prunes and clusters the dense net, and fine-tunes it for some epochs, in a process of its own. All
figures are those of the .tflite files: accuracy on all test images, bytes as they are and packed by
gzip, times in turn, some runs each. Multiplications leave out those with a zero weight, for all
nets alike; stock LiteRT does not skip them. What is finished stays in the folder, and the same
command goes on from there; only the times are taken anew.
"""

import dataclasses
import functools
import hashlib
import importlib.util
import math
import pathlib
import subprocess
import sys

import numpy as np
import tensorflow as tf
from absl import flags

from benchmarks.common import data, handover, rows, timing
from tf_lcnn import files, profile, programs
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import export, lowerings, proof
from tf_lcnn.lite.choice import AUTO
from tf_lcnn.models import saving

FLAGS = flags.FLAGS

flags.DEFINE_string("dense", None, "The trained dense net, a .keras file.", required=True)
flags.DEFINE_list("lcnn", None, "Trained LCNNs of it, .keras files.", required=True)
flags.DEFINE_string("folder", "runs/pareto", "Where files and results go.")
flags.DEFINE_string("plot", None, "The PNG to write; default: pareto.png in the folder.")
flags.DEFINE_enum("lowering", "sparse", [AUTO, *lowerings.LOWERINGS], "Of the lookup layers.")
flags.DEFINE_list(
    "peers", ["prune:0.8", "prune:0.9", "cluster:16"], "prune:SHARE OF ZEROS, cluster:WEIGHTS."
)
flags.DEFINE_integer("epochs", 10, "Epochs of fine-tuning of each peer.", lower_bound=1)
flags.DEFINE_integer("examples", 200, "Training images that int8 measures on.", lower_bound=1)
FLAGS.set_default("runs", 200)

# Of fine-tuning, at the start; the best of three on validation images after an epoch or two.
RATES = {"prune": 0.1, "cluster": 0.00005}
BATCH_SIZE = 128
TWIN = "twin.npz"
PEER_PACKAGES = ("tensorflow_model_optimization", "tf_keras")


@dataclasses.dataclass(frozen=True)
class Net:
    """A trained net, and how it is exported.

    Attributes:
        label: its name in the table.
        model: the Keras model.
        made_from: what its files depend on, see `rows.once`.
        storages: one file each.
        export: (model, path, storage) -> Proof; writes a file.
    """

    label: str
    model: object
    made_from: dict
    storages: tuple
    export: callable


def check_installed(peers):
    needed = ("matplotlib", *(PEER_PACKAGES if peers else ()))
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} not installed: pip install -e .[compare]")


def parse_peers():
    """(method, amount) of each peer."""
    peers = []
    for peer in FLAGS.peers:
        method, _, amount = peer.partition(":")
        try:
            amount = float(amount)
        except ValueError:
            amount = 0
        whole = method == "cluster" and amount >= 2 and amount.is_integer()
        if not whole and not (method == "prune" and 0 < amount < 1):
            raise ValueError(f"--peers={peer}: a peer is like prune:0.8, or cluster:16.")
        peers.append((method, amount))
    return peers


def load_models(dataset):
    """The dense net, and label -> (path, LCNN)."""
    dense = saving.load_model(FLAGS.dense, dataset)
    if lookup_layers(dense):
        raise ValueError(f"--dense={FLAGS.dense} has lookup layers.")
    lcnns = {}
    for path in FLAGS.lcnn:
        model = saving.load_model(path, dataset)
        if not lookup_layers(model):
            raise ValueError(f"--lcnn={path} has no lookup layers.")
        label = lcnn_label(model)
        if label in lcnns:
            raise ValueError(f"{lcnns[label][0]} and {path} are both {label}: name one of them.")
        lcnns[label] = path, model
    return dense, lcnns


def lcnn_label(model):
    layers = [layer for layer in profile(model).layers if layer.is_lookup]
    sizes = dict.fromkeys(layer.dictionary_size for layer in layers)
    return f"LCNN k={'/'.join(map(str, sizes))}, s<={max(layer.max_s for layer in layers)}"


def digest(path):
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def multiplications(model):
    """Of one image, those with a zero weight left out."""
    layers = {layer.name: layer for layer in sublayers(model)}
    total = 0
    for cost in profile(model).layers:
        count = cost.multiplications or 0
        kernel = getattr(layers.get(cost.name), "kernel", None)
        if kernel is not None and not cost.is_lookup:
            count = count * int(np.count_nonzero(kernel)) // math.prod(kernel.shape)
        total += count
    return total


def networks(dense, lcnns, peers, folder, examples, batches):
    """A Net after the other; a peer is fine-tuned before it comes."""
    ours = functools.partial(our_export, examples=examples, batches=batches)
    stock = functools.partial(stock_export, examples=examples, batches=batches)
    for label, (path, model) in {"dense": (FLAGS.dense, dense), **lcnns}.items():
        made_from = {"model": digest(path), "lowering": FLAGS.lowering}
        yield Net(label, model, made_from, ("float32", "int8"), ours)
    for method, amount in peers:
        weights = fine_tune(folder, method, amount)
        model = saving.load_model(FLAGS.dense)
        with np.load(weights) as arrays:
            handover.set_weights(model, arrays)
        made_from = {"model": digest(FLAGS.dense), "weights": digest(weights)}
        label, storages = f"clustered {amount:g}", ("float32", "int8")
        if method == "prune":
            label = f"pruned {100 * amount:g}%"
            storages = ("float32", "float32 sparse", "int8", "int8 sparse")
        yield Net(label, model, made_from, storages, stock)


def rows_of(net, folder):
    """The files of a net, as (path, row) pairs."""

    def make(path, storage):
        accuracy = net.export(net.model, path, storage).tflite_score
        return {"accuracy": accuracy, "multiplications": multiplications(net.model)}

    made_from = {**net.made_from, "dataset": FLAGS.dataset, "examples": FLAGS.examples}
    for storage in net.storages:
        make_one = functools.partial(make, storage=storage)
        path, row = rows.row(folder, net.label, storage, made_from, make_one)
        print(f"  {path.name}: accuracy {row.accuracy:.2%}, {row.bytes:,} bytes", flush=True)
        yield path, row


def our_export(model, path, storage, examples, batches):
    quantize = None if storage == "float32" else storage
    report = export.export(
        model,
        path,
        batches,
        lowering=FLAGS.lowering,
        quantize=quantize,
        calibration=examples,
    )
    return report.proof


def stock_export(model, path, storage, examples, batches):
    """Exports with the stock converter, which stores zeros unless it is told not to."""
    spec = tf.TensorSpec((1, *model.input_shape[1:]), tf.float32)
    concrete = tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    holder = tf.Module()
    holder.frozen = [variable.value for variable in model.variables]
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], holder)
    converter.optimizations = []
    if storage.endswith("sparse"):
        converter.optimizations.append(tf.lite.Optimize.EXPERIMENTAL_SPARSITY)
    if storage.startswith("int8"):
        converter.optimizations.append(tf.lite.Optimize.DEFAULT)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.representative_dataset = lambda: ([image[None]] for image in examples)
    with files.replacing(path) as beside:
        beside.write_bytes(converter.convert())
        compared = proof.compare(model, beside, batches)
        if storage.startswith("float32") and not compared.holds():
            raise proof.ProofError(f"{path} does not compute what its net does: {compared}")
    return compared


def fine_tune(folder, method, amount):
    """The weights of the dense net after TFMOT, an .npz file."""
    made_from = {
        "net": digest(FLAGS.dense),
        "dataset": FLAGS.dataset,
        "method": method,
        "amount": amount,
        "epochs": FLAGS.epochs,
        "learning_rate": RATES[method],
        "batch_size": BATCH_SIZE,
    }

    def make(path):
        print(f"  {path.name}: {FLAGS.epochs} epochs of fine-tuning", flush=True)
        given = {**made_from, "net": folder / TWIN, "out": path}
        if FLAGS.data_dir:
            given["data_dir"] = FLAGS.data_dir
        command = [
            sys.executable,
            "-m",
            "benchmarks.accuracy.peers",
            *(f"--{k}={v}" for k, v in given.items()),
        ]
        if subprocess.run(command, check=False).returncode:
            raise ValueError(f"benchmarks.accuracy.peers did not make {path}; it says why above.")

    path = folder / f"{method}_{amount:g}.npz"
    rows.once(path, made_from, make)
    return path


def measured(pairs):
    """The rows with the times of their files."""
    paths = [path for path, _ in pairs]
    seconds, _ = timing.measure(paths)
    ms = 1e3 * np.median(seconds, axis=0)
    ratios = np.median(seconds / seconds[:, :1], axis=0)
    return [
        dataclasses.replace(row, ms=float(ms[j]), ratio=float(ratios[j]))
        for j, (_, row) in enumerate(pairs)
    ]


def main():
    peers = parse_peers()
    dataset = data.load()
    dense, lcnns = load_models(dataset)
    check_installed(peers)
    examples = dataset.sample("train", FLAGS.examples)
    batches = dataset.evaluation("test", 100)
    folder = pathlib.Path(FLAGS.folder)
    folder.mkdir(parents=True, exist_ok=True)
    if peers:
        handover.write(folder / TWIN, dense, examples[:8])

    nets = networks(dense, lcnns, peers, folder, examples, batches)
    pairs = [pair for net in nets for pair in rows_of(net, folder)]
    print(f"  {len(pairs)} files take {FLAGS.runs} turns of {timing.BATCH} runs", flush=True)
    compared = measured(pairs)
    rows.write(folder, "pareto", compared)
    print(rows.table(compared))
    rows.draw(compared, FLAGS.plot or folder / "pareto.png")


if __name__ == "__main__":
    programs.run(main, errors=[proof.ProofError])
