"""Draws docs/idea.png and, for dark pages, idea_dark.png: W = D.P, and the two stages.

python docs/draw_idea.py
"""

import pathlib

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

M, K, S, VECTORS = 12, 5, 2, 27


def example():
    rng = np.random.default_rng(3)
    dictionary = rng.normal(size=(M, K))
    coefficients = np.zeros((K, VECTORS))
    for j in range(VECTORS):
        coefficients[rng.choice(K, S, replace=False), j] = rng.normal(size=S)
    return dictionary, coefficients


def matrix(axes, values, title, below):
    limit = np.abs(values).max()
    shown = np.where(values == 0, np.nan, values)
    axes.imshow(shown, cmap="RdBu", vmin=-limit, vmax=limit)
    axes.set_xticks(np.arange(-0.5, values.shape[1]), [])
    axes.set_yticks(np.arange(-0.5, values.shape[0]), [])
    axes.grid(color="0.85", linewidth=0.6)
    axes.tick_params(length=0)
    axes.set_title(title, fontsize=11)
    axes.set_xlabel(below, fontsize=9)


def stack(axes, x, channels, color, title, below):
    for i in range(channels):
        shift = 0.09 * i
        axes.add_patch(
            Rectangle((x + shift, 0.3 + shift), 1.1, 1.1, facecolor=color, edgecolor="0.25", lw=0.8)
        )
    middle = x + 0.55 + 0.045 * (channels - 1)
    axes.text(middle, 1.6 + 0.09 * channels, title, ha="center", fontsize=11)
    axes.text(middle, 0.02, below, ha="center", fontsize=9)


def arrow(axes, start, end, label):
    axes.annotate(
        "", (end, 1.0), (start, 1.0), arrowprops={"arrowstyle": "-|>", "color": "0.5", "lw": 1.5}
    )
    axes.text((start + end) / 2, 1.12, label, ha="center", fontsize=9)


def note(axes, x, text):
    axes.text(x, 0.75, text, ha="center", va="top", fontsize=8)


def picture():
    dictionary, coefficients = example()
    figure = plt.figure(figsize=(10, 5.6))
    grid = figure.add_gridspec(2, 3, width_ratios=[VECTORS, K, VECTORS], height_ratios=[1, 1.05])
    weights, rows, lookups = (figure.add_subplot(grid[0, i]) for i in range(3))
    matrix(weights, dictionary @ coefficients, "weights W", "n·kh·kw vectors of m channels")
    matrix(rows, dictionary, "dictionary D", "k vectors")
    matrix(lookups, coefficients, "coefficients P", f"{S} lookups per vector, the rest is zero")
    for left, right, sign in ((weights, rows, "="), (rows, lookups, "·")):
        place = (left.get_position().x1 + right.get_position().x0) / 2
        figure.text(place, left.get_position().y0 + 0.17, sign, fontsize=20, ha="center")

    flow = figure.add_subplot(grid[1, :])
    flow.set_xlim(0, 10.4)
    flow.set_ylim(-0.1, 3.1)
    flow.set_aspect("equal")
    flow.axis("off")
    stack(flow, 0.3, 12, "#dbe9f6", "input X", "m channels")
    arrow(flow, 2.7, 4.2, "dictionary stage")
    note(flow, 3.45, "1x1 convolution\nwith D, once a layer")
    stack(flow, 4.4, 5, "#fde0c5", "S = X·D", "k channels")
    arrow(flow, 6.2, 7.7, "lookup stage")
    note(flow, 6.95, "each filter adds up s\nchannels per position")
    stack(flow, 7.9, 9, "#d9ead3", "output Y", "n filters")
    return figure


def main():
    for style, name in (("default", "idea.png"), ("dark_background", "idea_dark.png")):
        path = pathlib.Path(__file__).with_name(name)
        with plt.style.context(style):
            picture().savefig(path, dpi=110, bbox_inches="tight", transparent=style != "default")
        print(f"Drew {path}")


if __name__ == "__main__":
    main()
