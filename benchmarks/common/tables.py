"""Figures as benchmarks write them in JSON -> tables in Markdown."""

import numpy as np


def markdown(columns, rows):
    """A table of these columns; no cell has a `|` in it."""
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def frontier(nets, unit):
    """The nets of a task of `accuracy.frontier`, the parent first."""
    rows = []
    for net in nets:
        is_parent = net is nets[0]
        against = "" if is_parent else f"{net['figure'] - nets[0]['figure']:+.2f}"
        name = net["name"] if is_parent else f"`{net['name']}`"
        times = f"{net['ms']:.2f}", f"{net['faster']:.2f}"
        rows.append((name, f"{net['figure']:.2f}", against, *times))
    return markdown(("", unit, "against the parent", "ms", "times as fast"), rows)


def lookup_cost(processors):
    """What a lookup costs by the figures of `latency.growth`, for each processor's name."""
    rows = []
    for processor, figures in processors.items():
        costs = [x for x in figures if "lookup_in_dense" in x]
        sizes = sorted({x["k"] for x in costs})
        for kind in ("int8", "float32"):
            own = {x["k"]: x["lookup_in_dense"] for x in costs if x["format"] == kind}
            rows.append((f"{processor}, {kind}", *(f"{own[k]:.2f}" for k in sizes)))
    return markdown(("k", *sizes), rows)


def processors(layers):
    """The layers of `latency.delegate`, for each processor's name."""
    rows = []
    for name, found in layers.items():
        pairs = ((1e6 * x["dense"]["int8"], 1e6 * x["delegate"]["int8"]) for x in found)
        times = (f"{dense:.0f} / {delegate:.1f}" for dense, delegate in pairs)
        means = []
        for numbers in ("int8", "float32"):
            ratios = [x["dense"][numbers] / x["delegate"][numbers] for x in found]
            means.append(f"{geometric_mean(ratios, [x['count'] for x in found]):.2f}x")
        rows.append((name, *times, *means))
    heads = [f"{x['channels']}, {x['size']}x{x['size']}" for x in found]
    columns = "3x3 layers, int8, us: XNNPACK dense / delegate", *heads
    return markdown((*columns, "the thirteen: int8", "float32"), rows)


def geometric_mean(ratios, counts):
    """Of ratios, each as often as its count."""
    return float(np.exp(np.average(np.log(ratios), weights=counts)))


def decoding(sets):
    """The figures of `latency.decoding`, for each set's name."""
    rows = []
    for name, stores in sets.items():
        for store, ways in stores.items():
            plain = np.array(ways["plain"])
            for way, rates in ways.items():
                low, middle, high = np.percentile(rates / plain, [25, 50, 75])
                share = f"{middle:.2f} ({low:.2f} to {high:.2f})" if way != "plain" else "1.00"
                rows.append((f"{name}, {store}", way, f"{np.median(rates):.0f}", share))
    return markdown(("", "pipeline", "images per second and core", "of plain"), rows)


def distributed(figures):
    """The figures of `latency.distributed`."""
    alone, together = steps = np.transpose(figures["step_ms"])
    low, middle, high = np.percentile(together / alone, [25, 50, 75])
    times = (f"{ms:.0f}" for ms in np.median(steps, axis=1))
    row = figures["model"], figures["batch"], *times, f"{middle:.3f} ({low:.3f} to {high:.3f})"
    return markdown(("", "batch", "ms a step alone", "ms with `--distribute`", "ratio"), [row])


def classifiers(runs):
    """Runs of `accuracy.runs` that classify, a row each."""
    rows = [
        (
            *(run["run"], f"{run['test']['accuracy']:.2%}", _fewer(run), run["max_s"]),
            *(f"{run['bytes']:,}", f"{run['relative_difference']:.1e}"),
        )
        for run in runs
    ]
    columns = "run", "test accuracy", "multiplications, fewer than the twin", "max s"
    return markdown((*columns, "file bytes", "largest relative difference of the logits"), rows)


def photo_tasks(runs):
    """Runs of `accuracy.runs` whose outputs are photos: PSNR and SSIM of each test set."""
    rows = []
    for run in runs:
        for name, figures in run["photos"].items():
            *before, psnr, ssim = figures.values()
            ends = (f"{a:.2f} dB, {b:.4f}" for a, b in (before, (psnr, ssim)))
            rows.append((f"{run['run']}, {name}", _fewer(run), f"{run['bytes']:,}", *ends))
    columns = "run, test set", "multiplications, fewer than the twin", "`.tflite` bytes"
    return markdown((*columns, "without the network", "with it"), rows)


def _fewer(run):
    return f"{run['dense_multiplications'] / run['multiplications']:.2f}x"


def camera_frames(figures):
    """The figures of `latency.camera_frames`."""
    rows = []
    for x in figures["fronts"]:
        times = f"{x['ms']:.2f}", f"{x['plain_ms']:.2f}"
        rows.append((x["format"], f"{x['height']}x{x['width']}", *times, f"{x['bytes']:,}"))
    net = figures["network"]
    where = "with the delegate" if net["delegate"] else "stock"
    rows.append((f"{net['name']} int8, {where}", "pixels", f"{net['ms']:.2f}", "", ""))
    rows.append(("the same", net["frame"], f"{net['behind_frames_ms']:.2f}", "", ""))
    return markdown(("", "frame", "ms", "ms, plain and not antialiased", "bytes"), rows)


def on_device(sets):
    """The figures of `accuracy.on_device`, for each set's name."""
    rows, shots = [], []
    for name, heads in sets.items():
        for head in heads:
            draws = head["draws"]
            shots = sorted({draw["shots"] for draw in draws})
            cells = []
            for count in shots:
                found = 100 * np.array([x["accuracy"] for x in draws if x["shots"] == count])
                half = 1.96 * found.std(ddof=1) / np.sqrt(len(found))
                cells.append(f"{found.mean():.1f} ± {half:.1f}")
            equal = sum(draw["accuracy"] == draw["in_keras"] for draw in draws)
            differences = (f"{head[f'{what}_difference']:.0e}" for what in ("loss", "state"))
            exact = f"{equal} of {len(draws)}", *differences
            state = f"{4 * head['numbers']:,}", f"{head['ms']:.2f}"
            rows.append((f"{name}: {head['name']}", *state, *cells, *exact))
    counts = [f"{count} a class" for count in shots]
    return markdown(("", "state, bytes", "ms", *counts, "as in Keras", "loss", "learned"), rows)


def demosaicing(figures):
    """The nets of `accuracy.mosaics` that make photos, and interpolation."""
    sets = figures["photos"]
    rows = [("bilinear", "", "", *(f"{figures['bilinear'][x]:.2f}" for x in sets))]
    for net in figures["nets"]:
        found = [net["sets"][x] for x in sets]
        cells = f"{net['multiplications']:,.0f}", f"{found[0]['bytes']:,}"
        rows.append((net["name"], *cells, *(f"{x['float32']:.2f}, {x['int8']:.2f}" for x in found)))
    counts = [f"{name}, {count} photos" for name, count in sets.items()]
    return markdown(("", "multiplications per pixel", "bytes, int8", *counts), rows)


def of_mosaics(nets):
    """The nets of `accuracy.mosaics` that tell classes."""
    rows = []
    for net in nets:
        scores = (f"{100 * net[x]:.1f}" for x in ("float32", "int8"))
        rows.append((net["name"], f"{net['multiplications']:,}", f"{net['bytes']:,}", *scores))
    return markdown(("input", "multiplications", "bytes, int8", "float32, %", "int8, %"), rows)


def small_numbers(nets):
    """The figures of `accuracy.small_numbers`."""
    rows = []
    for net in nets:
        for x in net["files"]:
            activations = " with binary activations" if x.get("binary_activations") else ""
            off = x["bytes"] / x["profile"] - 1
            sizes = f"{x['bytes']:,}", f"{off:+.1%}", f"{1 - x['gzip'] / x['bytes']:.0%}"
            kept = [_kept(x[part]) if part in x else "" for part in ("rounded", "in_the_loop")]
            ms = f"{x['ms']:.3f}" if "ms" in x else ""
            rows.append((f"{net['name']}: {x['numbers']}{activations}", *sizes, *kept, ms))
    heads = ("bytes", "against `profile`", "gzip takes off", "rounded", "in the loop", "ms")
    return markdown(("", *heads), rows)


def _kept(files):
    """The accuracy of one file or of several, and the decibels that the worst keeps."""
    files = files if isinstance(files, list) else [files]
    right = ", ".join(f"{100 * x['accuracy']:.1f}" for x in files)
    return f"{right} ({min(x['decibels'] for x in files):.0f} dB)"
