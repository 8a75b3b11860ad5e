"""The rows of a comparison of .tflite files: made once, kept in a folder, written and printed."""

import csv
import dataclasses
import gzip
import io
import json
import re

from tf_lcnn import files


@dataclasses.dataclass(frozen=True)
class Row:
    """A .tflite file and what was measured of it.

    Attributes:
        net: its kind, and which one of it, like "pruned 80%".
        storage: "float32" or "int8"; "sparse" behind it where an option leaves out zeros.
        accuracy: of the file in LiteRT, on the test images.
        multiplications: of an image, those with a zero weight left out.
        bytes, gzip_bytes: of the file, and of the file as gzip packs it.
        ms, ratio: median milliseconds, and median ratio to the first file's run by run; None
            until measured.
    """

    net: str
    storage: str
    accuracy: float
    multiplications: int
    bytes: int
    gzip_bytes: int
    ms: float | None = None
    ratio: float | None = None


def once(path, made_from, make):
    """What make(path) returns, or returned in an earlier run that made the file of the same things.

    Args:
        path: the file that `make` writes; a .json beside it keeps what was made of what.
        made_from: what the file depends on, as JSON has it.
        make: path -> anything that JSON has.
    """
    record = path.with_suffix(".json")
    if path.is_file() and record.is_file():
        kept = json.loads(record.read_text(encoding="utf-8"))
        if kept["made_from"] == made_from:
            return kept["found"]
    # Never a record beside a file of other things.
    record.unlink(missing_ok=True)
    result = make(path)
    files.write(record, json.dumps({"made_from": made_from, "found": result}, indent=2) + "\n")
    return result


def row(folder, net, storage, made_from, make):
    """The path of a file in the folder, made if it has to be, and its Row.

    Args:
        make: path -> {"accuracy": ..., "multiplications": ...}; writes the file.
    """
    path = folder / f"{slug(f'{net} {storage}')}.tflite"
    counted = once(path, made_from, make)
    content = path.read_bytes()
    return path, Row(net, storage, bytes=len(content), gzip_bytes=gzip_bytes(content), **counted)


def slug(name):
    """A name as a file name."""
    return re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")


def gzip_bytes(content):
    """The size of the bytes when packed."""
    return len(gzip.compress(content, mtime=0))


def write(folder, name, rows):
    """Writes the rows to NAME.json and NAME.csv."""
    entries = [dataclasses.asdict(row) for row in rows]
    files.write(folder / f"{name}.json", json.dumps(entries, indent=2) + "\n")
    text = io.StringIO()
    writer = csv.DictWriter(text, entries[0], lineterminator="\n")
    writer.writeheader()
    writer.writerows(entries)
    files.write(folder / f"{name}.csv", text.getvalue())


def table(rows):
    """The measured rows as text; ratios are to the first one."""
    first = rows[0]
    width = max(len(row.net) for row in rows)
    lines = [
        f"{'net':{width}}  storage         accuracy   multiplications (fewer)"
        "      bytes  ratio  gzip bytes     ms  ratio"
    ]
    for row in rows:
        fewer = f"({first.multiplications / row.multiplications:.1f}x)"
        lines.append(
            f"{row.net:{width}}  {row.storage:14}  {row.accuracy:8.2%}  "
            f"{row.multiplications:>16,} {fewer:>7}  {row.bytes:>9,}  "
            f"{row.bytes / first.bytes:5.3f}  {row.gzip_bytes:>10,}  {row.ms:5.3f}  "
            f"{row.ratio:5.2f}"
        )
    return "\n".join(lines)


# Kind of net -> color map; nets of a kind are shades of it.
COLORS = {"dense": "Greys", "LCNN": "Blues", "pruned": "Oranges", "clustered": "Greens"}
COSTS = (
    ("multiplications", 1e-6, "million multiplications, zeros skipped"),
    ("bytes", 1e-3, "kB, pruned nets stored sparse"),
    ("ms", 1, "ms, one thread"),
)


def draw(rows, path):
    """Draws accuracy against each cost, a color per net, as a PNG."""
    # Only the plot needs it; and not pyplot, which looks for a display.
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    colors = palette(dict.fromkeys(row.net for row in rows))
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    panels = figure.subplots(1, len(COSTS), sharey=True)
    for axes, (cost, unit, label) in zip(panels, COSTS, strict=True):
        for row in shown(rows):
            axes.plot(
                unit * getattr(row, cost),
                100 * row.accuracy,
                **marker(colors[row.net], row.storage),
            )
        axes.set_xlim(left=0)
        axes.set_xlabel(label)
        axes.grid(color="0.92")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("test accuracy, %")
    keys = [
        Line2D([], [], label=net.replace("<=", "≤"), **marker(color))
        for net, color in colors.items()
    ]
    keys += [
        Line2D([], [], label=storage, **marker("0.3", storage)) for storage in ("float32", "int8")
    ]
    figure.legend(handles=keys, loc="outside lower center", ncols=5, frameon=False)
    with files.replacing(path) as beside:
        figure.savefig(beside, dpi=150, format="png")


def shown(rows):
    """The rows without those in plain storage of nets that are there in sparse storage too."""
    stored = {(row.net, row.storage) for row in rows}
    return [row for row in rows if (row.net, f"{row.storage} sparse") not in stored]


def palette(nets):
    from matplotlib import colormaps

    colors = {}
    for kind, name in COLORS.items():
        of_kind = [net for net in nets if net.split()[0] == kind]
        for i, net in enumerate(of_kind, start=1):
            colors[net] = colormaps[name](0.4 + 0.5 * i / len(of_kind))
    return colors


def marker(color, storage="float32"):
    """Filled for float32, hollow for int8."""
    fill = color if storage.startswith("float32") else "none"
    shape = {"marker": "o", "markersize": 8, "markeredgewidth": 2, "linestyle": "none"}
    return {**shape, "markeredgecolor": color, "markerfacecolor": fill}
