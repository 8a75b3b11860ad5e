"""What the delegate's kernels cost, counted and estimated rather than timed.

    python -m benchmarks.latency.instructions

1. Instructions of one run of a layer, by valgrind's callgrind: the same in every run. Valgrind
   does not know AVX-512, so these are the AVX2 kernels.
2. Cycles of the ARM64 kernels' inner loops, by llvm-mca from the compiler's output, on Cortex-A76
   and Cortex-A55, beside the least that a dense convolution could take: nothing but `SDOT` or
   `FMLA`. An estimate: memory, caches, the ends of tiles and the last rounding cost nothing in it,
   and a processor is what LLVM's model says it is.

It needs g++, valgrind, aarch64-linux-gnu-g++ and llvm-mca 16 or later (Debian: llvm-19; older ones
have no model of the A76's kind), and the delegate, which is built when the package is installed.
What is missing is left out, and said.
"""

import pathlib
import re
import shutil
import subprocess
import tempfile

from absl import flags

from tf_lcnn import programs
from tf_lcnn.runtime import native

FLAGS = flags.FLAGS

flags.DEFINE_enum("kernels", "avx2", ["avx2", "portable"], "Of the first table.")

ROOT = pathlib.Path(__file__).resolve().parents[2]
SOURCES = ROOT / "native" / "src"

# Channels in and out, map, dictionary size: the 3x3 layers of a ResNet-18.
LAYERS = [(64, 56, 16), (128, 28, 32), (256, 14, 64), (512, 7, 128)]
LOOKUPS = {"s8": 4, "f32": 3}
NAMES = {"s8": "int8", "f32": "float32"}
# LLVM's name of the model. It has none of the A76 itself; the Neoverse N1 is that core for servers.
CORES = {"Cortex-A76": "neoverse-n1", "Cortex-A55": "cortex-a55"}
LANES = 8  # filters that a step of the NEON kernels serves
TERMS = {"s8": 4, "f32": 1}  # lookups of a filter in a step
ITERATIONS = 200

# The inner loops, by the compiler's name for their function, with the tile's pixels (for planes,
# vectors of pixels) last, and by an instruction that tells the loop from the function's others.
LOOPS = {
    "s8": {
        16: (r"lookup_tile_s8INS0_3DotELi1ELi(\d+)E", "tbl"),
        32: (r"lookup_tile_s8INS0_3DotELi2ELi(\d+)E", "tbl"),
        64: (r"lookup_tile_s8INS0_3DotELi4ELi(\d+)E", "tbl"),
        "dictionary": (r"dictionary_tile_s8INS0_3DotELi2ELi(\d+)E", "sdot"),
    },
    "f32": {
        4: (r"lookup_tileILi0ELi1ELi(\d+)E", "tbl"),
        8: (r"lookup_tileILi1ELi1ELi(\d+)E", "tbl"),
        16: (r"lookup_tileILi2ELi1ELi(\d+)E", "tbl"),
        "planes": (r"planes_runILi(\d+)E", "fmla"),
        "dictionary": (r"dictionary_tileILi2ELi(\d+)E", "fmla"),
    },
}
# An instruction on 16 bytes or 4 floats, and its multiplications: nothing but these is the least
# that a dense convolution needs.
DENSE = {"s8": ("sdot v{}.4s, v30.16b, v31.16b", 16), "f32": ("fmla v{}.4s, v30.4s, v31.4s", 4)}


def output(command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def build(folder):
    """The program of instructions.cpp, with the installed delegate."""
    program = folder / "instructions"
    here = pathlib.Path(__file__).with_suffix(".cpp")
    library = native.LIBRARY
    options = ["-std=c++17", "-O2", f"-Wl,-rpath,{library.parent}"]
    output(["g++", *options, here, SOURCES / "packing.cpp", library, "-o", program])
    return program


def count(program, folder, kernels, kind, layer):
    """(the kernel's name, instructions) of one run of a layer."""
    counts = folder / "callgrind.out"
    name = output(
        ["valgrind", "--tool=callgrind", "--toggle-collect=lcnn_layer_run"]
        + [f"--callgrind-out-file={counts}", str(program), "run", kernels, kind]
        + [str(number) for number in (*layer, LOOKUPS[kind])]
    )
    total = re.search(r"^(?:summary|totals): (\d+)", counts.read_text(), re.MULTILINE)
    return name.strip(), int(total.group(1))


def print_counts(program, folder, kernels):
    print(f"Instructions of a layer's run, {kernels} kernels\n")
    print("| m = n, map, k | type | s | kernel | instructions | dense multiplications | of them |")
    print("|---|---|---|---|---|---|---|")
    for layer in LAYERS:
        channels, size, dictionary = layer
        dense = channels * channels * 9 * size * size
        for kind, lookups in LOOKUPS.items():
            name, instructions = count(program, folder, kernels, kind, layer)
            print(
                f"| {channels}, {size}x{size}, {dictionary} | {NAMES[kind]} | {lookups} | {name} "
                f"| {instructions:,} | {dense:,} | 1/{dense / instructions:.0f} |"
            )


def largest(assembly, pattern):
    """(pixels, lines) of the function whose name matches, for the most pixels."""
    lines = assembly.splitlines()
    starts = {}
    for i, line in enumerate(lines):
        if match := re.match(rf"_Z\S*{pattern}\S*:$", line):
            starts[int(match.group(1))] = i
    start = starts[max(starts)]
    end = next(i for i in range(start, len(lines)) if lines[i].startswith("\t.size"))
    return max(starts), lines[start:end]


def loop(lines, mark):
    """The longest loop of one block that has the instruction `mark`: its instructions."""
    best = []
    for i, line in enumerate(lines):
        if not re.fullmatch(r"\.L\d+:", line):
            continue
        code = []
        for at in lines[i + 1 :]:
            if at.startswith(".L"):
                break
            if re.match(r"\t[a-z]", at):
                code.append(at)
            if re.match(rf"\t(b\.?[a-z]+|cbn?z)\s.*{re.escape(line[:-1])}$", at):
                if any(x.split()[0] == mark for x in code) and len(code) > len(best):
                    best = code
                break
    # llvm-mca wants the label to which the loop goes back.
    return ["again:", *(re.sub(r"\.L\d+", "again", x) for x in best)]


def cycles(analyser, core, code):
    """Cycles of one of many iterations."""
    run = subprocess.run(
        [
            analyser,
            "-march=aarch64",
            f"-mcpu={CORES[core]}",
            "-mattr=+dotprod",
            f"-iterations={ITERATIONS}",
        ],
        input="\n".join(code) + "\n",
        check=True,
        capture_output=True,
        text=True,
    )
    return int(re.search(r"Total Cycles:\s+(\d+)", run.stdout).group(1)) / ITERATIONS


def print_loops(analyser):
    """Prints what the inner loops do in a cycle.

    Returns:
        (loops, dense): cycles by core, of a unit of work for (number format, loop); and
        multiplications per cycle by core, of a dense convolution, for a number format.
    """
    # Both files have the float32 loops; the last has those with the dot product.
    options = ["-std=c++17", "-O3", "-S", "-o", "-"]
    assembly = output(
        ["aarch64-linux-gnu-g++", *options, sorted(SOURCES.glob("kernels_neon*.cpp"))[-1]]
    )
    version = re.search(r"version (\S+)", output([analyser, "--version"])).group(1)
    print(f"\nEstimate: cycles of the ARM64 inner loops, by llvm-mca {version}\n")
    print("| loop | " + " | ".join(f"{core}, per cycle" for core in CORES) + " |")
    print("|---|" + "---|" * len(CORES))
    loops, dense = {}, {}
    for kind in LOOPS:
        pattern, per = DENSE[kind]
        code = [pattern.format(i) for i in range(16)]
        dense[kind] = {core: 16 * per / cycles(analyser, core, code) for core in CORES}
        rates = " | ".join(f"{dense[kind][core]:.1f} multiplications" for core in CORES)
        print(f"| dense {NAMES[kind]}, at best: `{pattern.split()[0].upper()}` alone | {rates} |")
        for window, (pattern, mark) in LOOPS[kind].items():
            pixels, lines = largest(assembly, pattern)
            code = loop(lines, mark)
            if window == "dictionary":  # two vectors of its rows
                work, what = pixels * 2 * LANES * TERMS[kind], "multiplications"
                name = f"{NAMES[kind]} dictionary stage"
            elif window == "planes":
                work, what = pixels * LANES, "lookups"
                name = f"{NAMES[kind]} lookups on planes"
            else:
                work, what = pixels * LANES * TERMS[kind], "lookups"
                name = f"{NAMES[kind]} lookups, window of {window}"
            taken = {core: cycles(analyser, core, code) / work for core in CORES}
            loops[kind, window] = taken
            rates = " | ".join(f"{1 / taken[core]:.1f} {what}" for core in CORES)
            print(f"| {name} | {rates} |")
    return loops, dense


def print_layers(program, loops, dense):
    print("\nEstimate: a layer against the least that its dense twin could take\n")
    print("| m = n, map, k | type | s | " + " | ".join(CORES) + " |")
    print("|---|---|---|" + "---|" * len(CORES))
    for layer in LAYERS:
        channels, size, dictionary = layer
        for kind, lookups in LOOKUPS.items():
            cells = [cell(program, layer, kind, core, loops, dense) for core in CORES]
            print(
                f"| {channels}, {size}x{size}, {dictionary} | {NAMES[kind]} | {lookups} | "
                + " | ".join(cells)
                + " |"
            )


def cell(program, layer, kind, core, loops, dense):
    """A layer's cycles on a core, and its dense twin's, as text."""
    channels, size, dictionary = layer
    lookups = LOOKUPS[kind]
    windows = [window for window in LOOPS[kind] if isinstance(window, int)]
    answer = output(
        [str(program), "steps", kind]
        + [str(number) for number in (*layer, lookups, LANES)]
        + [str(n) for w in windows for n in (w, loops[kind, w][core])]
    ).split()
    window, steps = int(answer[0]), int(answer[1])
    stage = channels * dictionary * loops[kind, "dictionary"][core]
    needed = stage + steps * LANES * TERMS[kind] * loops[kind, window][core]
    form = f"window of {window}"
    if "planes" in LOOPS[kind]:
        on_planes = stage + channels * 9 * lookups * loops[kind, "planes"][core]
        if on_planes < needed:
            needed, form = on_planes, "planes"
    bound = channels * channels * 9 / dense[kind][core]
    thousands = [n * size * size / 1e3 for n in (needed, bound)]
    return (
        f"{thousands[0]:.0f} thousand cycles ({form}), dense {thousands[1]:.0f}: "
        f"{bound / needed:.1f}x"
    )


def newest(program):
    """The newest of the versions that are installed side by side."""
    for name in [*(f"{program}-{version}" for version in range(30, 13, -1)), program]:
        if shutil.which(name):
            return name
    return None


def main():
    if not native.available() or shutil.which("g++") is None:
        raise ValueError("The delegate was not built, or there is no g++.")
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        program = build(folder)
        if shutil.which("valgrind"):
            print_counts(program, folder, FLAGS.kernels)
        else:
            print("No instruction counts: there is no valgrind.")
        analyser = newest("llvm-mca")
        if analyser and shutil.which("aarch64-linux-gnu-g++"):
            print_layers(program, *print_loops(analyser))
        else:
            print("No estimates for ARM64: there is no llvm-mca, or no aarch64-linux-gnu-g++.")


if __name__ == "__main__":
    programs.run(main)
