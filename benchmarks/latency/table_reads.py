"""Sums of table reads on the clock, beside XNNPACK's dense int8 on this processor and older ones.

    python -m benchmarks.latency.table_reads
    python -m benchmarks.latency.table_reads --only=bounds --only=arm

1. Bounds: reads that are added, and multiplications that are added, in a cycle, from registers.
2. Layers: 3x3 convolutions of tables of 16 x 16 and 64 x 64 levels by the kernels of
   `table_sums`, and dense ones by XNNPACK, which sees this processor and older ones: what they lack
   is hidden from it. All take turns of five runs; medians of the turns' shortest, in the thread's
   processor time. Kernels are compared with the layer's integers first.
3. ARM64 without the dot product: cycles of the inner loop by llvm-mca from the compiler's output,
   as in `instructions.py`, beside dense int8 of nothing but `SMULL`, `SMLAL` and `SADALP`.

It needs g++ on Linux and x86-64, and for the third part aarch64-linux-gnu-g++ and llvm-mca. What is
missing is left out, and said.
"""

import contextlib
import multiprocessing
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np
from absl import flags

from benchmarks.common import processor_time, processors
from benchmarks.latency import instructions, table_sums
from tf_lcnn import programs

FLAGS = flags.FLAGS

PARTS = ("bounds", "layers", "arm")
flags.DEFINE_multi_enum("only", None, PARTS, "The parts to run; default: all.")
flags.DEFINE_string("folder", None, "Keeps the layers' files for other runs; default: none.")
flags.DEFINE_integer("turns", 25, "Measured turns.", lower_bound=1)

# The 3x3 layers of stride 1 of ResNet-18: channels, map.
LAYERS = ((64, 56), (128, 28), (256, 14), (512, 7))
LEVELS = (16, 64)
FORMATS = ("int8", "float32")
RUNS = 5  # of a turn

# By name of llvm-mca: cores without SDOT.
CORES = {"Cortex-A53": "cortex-a53", "Cortex-A72": "cortex-a72"}
ITERATIONS = 200
PIXELS = 4 * 16  # of four vectors: what a read of the inner loop serves
DENSE = (
    "smull v{0}.8h, v30.8b, v31.8b",
    "smlal v{0}.8h, v28.8b, v29.8b",
    "sadalp v{1}.4s, v{0}.8h",
)
DENSE_PRODUCTS = 16


def print_bounds(folder):
    program = table_sums.compile_cpp(["rates"], folder / "rates", "-O2")
    lines = subprocess.run([program], check=True, capture_output=True, text=True).stdout.split("\n")
    rates = {name: float(rate) for name, rate in (line.split() for line in lines if line)}
    print(f"Bounds per cycle, from registers, at {rates.pop('gigahertz'):.2f} GHz")
    print("| | per cycle |")
    print("|---|---|")
    names = {
        "reads-avx2": "reads, `VPSHUFB` of 32",
        "reads-avx512": "reads, `VPERMB` of 64",
        "dense-avx2-words": "products, `VPMADDWD`, `VPADDD` of 16",
        "dense-avx2-bytes": "products of 16 levels, `VPMADDUBSW`, `VPADDW` of 32",
        "dense-avxvnni": "products, `VPDPBUSD` of 32",
        "dense-avx512vnni": "products, `VPDPBUSD` of 64",
        "dense-amx": "products, `TDPBSSD` of 16,384",
    }
    for name, rate in rates.items():
        kind, _, group = name.rpartition("-")
        if kind in names:
            added = ", not added" if group == "alone" else f", widened after {group}"
            print(f"| {names[kind]}{added} | {rate:.0f} |")
        else:
            print(f"| {names[name]} | {rate:.0f} |")


def write_files(folder):
    """Paths of dense layers by (channels, format)."""
    from benchmarks.common.single_layers import dense_layer, layer_file

    paths = {}
    for channels, size in LAYERS:
        for name in FORMATS:
            path = folder / f"dense {channels} {size} {name}.tflite"
            if not path.exists():
                path.write_bytes(layer_file(dense_layer(channels, size), name))
            paths[channels, name] = path
    return paths


def table_layer(channels, size, levels):
    """Arrays by name: table, weights, activations, what the layer makes of them, its scale."""
    import keras
    from keras import ops

    from tf_lcnn.layers.deep_lookup import TABLE_STEPS, DeepLookupConv2D

    keras.utils.set_random_seed(0)
    layer = DeepLookupConv2D(
        *(channels, 3, levels),
        padding="same",
        table="separable",
        use_bias=False,
        kernel_initializer="glorot_normal",
    )
    layer.build((1, size, size, channels))
    layer.integers = True
    of_activations, of_weights = (ops.convert_to_numpy(scale) for scale in layer.scales)
    x = np.random.default_rng(0).normal(size=(1, size, size, channels)).astype(np.float32)
    places = layer.places(ops.convert_to_tensor(x), of_activations, levels, False)
    weights = layer.places(layer.kernel, of_weights, levels, True)
    indices = [ops.convert_to_numpy(ops.round(at)).astype(np.uint8) for at in (weights, places)]
    return {
        "table": layer.integer_table(),
        "weights": indices[0],
        "activations": indices[1][0],
        "outputs": ops.convert_to_numpy(layer(x))[0],
        "scale": of_activations * of_weights * np.float32(1 / TABLE_STEPS),
    }


def table_runs(folder):
    """({(kernel, levels, channels, whole or planes): run}, {(levels, channels): group})."""
    library = table_sums.library(folder)
    runs, groups = {}, {}
    for levels in LEVELS:
        for channels, size in LAYERS:
            path = folder / f"table {channels} {size} {levels}.npz"
            if not path.exists():
                np.savez(path, **table_layer(channels, size, levels))
            of = np.load(path)
            for kernel in table_sums.kernels(library)[:-1]:
                made = table_sums.TableConvolution(
                    library, kernel, (size, size), of["table"], of["weights"]
                )
                sums = made(of["activations"])
                if not np.array_equal(sums.astype(np.float32) * of["scale"], of["outputs"]):
                    raise ValueError(f"{kernel} is not the layer: {levels} levels, {channels}.")
                runs[kernel, levels, channels, "whole"] = made.bound(of["activations"])
                runs[kernel, levels, channels, "planes"] = made.run_planes
                groups[kernel, levels, channels] = made.group
    return runs, groups


def seconds_of(run):
    """Of the processor's time, the shortest of some runs that follow one another."""
    run()
    return min(processor_time.seconds(run) for _ in range(RUNS))


def serve(folder, processor, paths, pipe):
    """A process that runs dense layers on another processor: a key is answered with its seconds."""
    try:
        processors.hide(folder, processor)
        from tf_lcnn.runtime.interpreter import Interpreter

        interpreters = {key: Interpreter(path, threads=1) for key, path in paths.items()}
        for interpreter in interpreters.values():
            interpreter.set_random_input()
        pipe.send(None)
        while (key := pipe.recv()) is not None:
            pipe.send(seconds_of(interpreters[key].run))
    except (ValueError, OSError) as error:
        pipe.send(error)


@contextlib.contextmanager
def dense_runs(folder):
    """{(processor, channels, format): asks for its seconds}."""
    context = multiprocessing.get_context("spawn")
    paths, processes, asks = write_files(folder), [], {}

    def ask(pipe, key):
        if key is not None:
            pipe.send(key)
        answer = pipe.recv()
        if isinstance(answer, Exception):
            raise answer
        return answer

    try:
        for processor in processors.PROCESSORS:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(folder, processor, paths, theirs), daemon=True
            )
            process.start()
            processes.append(process)
            ask(ours, None)
            for key in paths:
                asks[processor, *key] = lambda ours=ours, key=key: ask(ours, key)
        yield asks
    finally:
        for process in processes:
            process.kill()


def print_layers(folder):
    tables, groups = table_runs(folder)
    with dense_runs(folder) as dense:
        seconds = {key: [] for key in (*tables, *dense)}
        for _ in range(FLAGS.turns):
            for key, run in tables.items():
                seconds[key].append(seconds_of(run))
            for key, run in dense.items():
                seconds[key].append(run())
    median = {key: np.median(times) for key, times in seconds.items()}
    print("\n3x3 layers of stride 1, one thread; microseconds")
    print("| | " + " | ".join(f"{c}, {size}x{size}" for c, size in LAYERS) + " | billion/s |")
    print("|---|" + "---|" * (len(LAYERS) + 1))

    def row(name, of_layer):
        times = [of_layer(channels) for channels, _ in LAYERS]
        rates = [9e-9 * (c * s) ** 2 / t for (c, s), t in zip(LAYERS, times, strict=True)]
        micro = " | ".join(f"{1e6 * t:.0f}" for t in times)
        print(f"| {name} | {micro} | {min(rates):.0f} to {max(rates):.0f} |")

    for name in FORMATS:
        for processor in processors.PROCESSORS:
            row(
                f"XNNPACK dense {name}, {processor}",
                lambda c, key=(processor, name): median[key[0], c, key[1]],
            )
    for kernel, levels in dict.fromkeys(key[:2] for key in tables):
        mean = np.mean([groups[kernel, levels, channels] for channels, _ in LAYERS])
        title = f"table reads {kernel}, {levels} levels (widened after {mean:.1f})"
        for how, words in (("whole", ""), ("planes", ", planes in and out")):
            row(
                title + words,
                lambda c, key=(kernel, levels), how=how: median[*key, c, how],
            )


def table_loops(folder):
    """{reads in a group: lines} of NEON's loops for 16 levels, from the compiler's output."""
    path = table_sums.compile_cpp(
        ["neon"], folder / "neon.s", "-S", compiler="aarch64-linux-gnu-g++"
    )
    _, lines = instructions.largest(path.read_text(), r"run_vectorsINS0_6Neon16ELi(\d+)E")
    loops = {}
    for i, line in enumerate(lines):
        back = rf"\t(b\.?[a-z]+|cbn?z)\s.*{re.escape(line[:-1])}$"
        if not re.fullmatch(r"\.L\d+:", line):
            continue
        ends = [at for at in range(i, len(lines)) if re.match(back, lines[at])]
        code = instructions.loop(lines[i : ends[0] + 1], "tbl") if ends else []
        loops[sum(x.split()[0] == "tbl" for x in code) * 16 // PIXELS] = code
    return {reads: code for reads, code in sorted(loops.items()) if reads}


def cycles(analyser, core, code):
    """Cycles of one of many iterations."""
    run = subprocess.run(
        [analyser, "-march=aarch64", f"-mcpu={CORES[core]}", f"-iterations={ITERATIONS}"],
        input="\n".join(code) + "\n",
        check=True,
        capture_output=True,
        text=True,
    )
    return int(re.search(r"Total Cycles:\s+(\d+)", run.stdout).group(1)) / ITERATIONS


def print_arm(folder, analyser):
    version = re.search(
        r"version (\S+)",
        subprocess.run([analyser, "--version"], capture_output=True, text=True).stdout,
    )
    print(f"\nEstimate: ARM64 without the dot product, by llvm-mca {version.group(1)}, per cycle")
    print("| loop | instructions on vectors, of 16 | " + " | ".join(CORES) + " |")
    print("|---|---|" + "---|" * len(CORES))
    dense = [line.format(i, i + 16) for line in DENSE for i in range(8)]
    rates = [8 * DENSE_PRODUCTS / cycles(analyser, core, dense) for core in CORES]
    cells = " | ".join(f"{rate:.1f} products" for rate in rates)
    print(f"| dense int8, at best: `SMULL`, `SMLAL`, `SADALP` alone | {len(DENSE)} | {cells} |")
    alone = [f"tbl v{i}.16b, {{v30.16b}}, v31.16b" for i in range(16)]
    rates = [16 * len(alone) / cycles(analyser, core, alone) for core in CORES]
    print(f"| `TBL` alone, nothing added | 1 | {' | '.join(f'{x:.1f} reads' for x in rates)} |")
    for reads, code in table_loops(folder).items():
        if reads not in (1, 2, 4, 7, 8, 16):
            continue
        rates = [reads * PIXELS / cycles(analyser, core, code) for core in CORES]
        needed = sum(
            x.split()[0] in ("tbl", "add", "uaddw", "uaddw2") and "v" in x for x in code[1:]
        )
        cells = " | ".join(f"{rate:.1f} reads" for rate in rates)
        print(
            f"| table reads, widened after {reads} | {needed * 16 / reads / PIXELS:.1f} | {cells} |"
        )


def main():
    wanted = FLAGS.only or PARTS
    if shutil.which("g++") is None:
        raise ValueError("There is no g++.")
    with tempfile.TemporaryDirectory() as temporary:
        folder = pathlib.Path(FLAGS.folder or temporary)
        folder.mkdir(parents=True, exist_ok=True)
        if "bounds" in wanted:
            print_bounds(folder)
        if "layers" in wanted:
            print_layers(folder)
        if "arm" in wanted:
            analyser = instructions.newest("llvm-mca")
            if analyser and shutil.which("aarch64-linux-gnu-g++"):
                print_arm(folder, analyser)
            else:
                print("No estimates for ARM64: there is no llvm-mca, or no aarch64-linux-gnu-g++.")


if __name__ == "__main__":
    programs.run(main)
