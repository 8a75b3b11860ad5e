"""A large image through a .tflite in tiles, with the memory of one tile.

A tile is read with what lies around it, as far as the network looks, and of its output that margin
is left out: the tiles are those of the whole image, with no seams. At the image's border a tile
ends where the image does, so that the network pads there as it would.
"""

import fractions
import math

import numpy as np

from tf_lcnn.runtime.interpreter import operator_names, parse

# Operators that compute a pixel of each of their inputs by itself.
_POINTWISE = {
    *("ADD", "SUB", "MUL", "DIV", "MAXIMUM", "MINIMUM", "SQUARED_DIFFERENCE", "CONCATENATION"),
    *("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1", "LEAKY_RELU", "PRELU", "ELU", "HARD_SWISH"),
    *("TANH", "LOGISTIC", "ABS", "NEG", "SQUARE", "SQRT", "RSQRT", "EXP", "GELU", "ROUND"),
    *("QUANTIZE", "DEQUANTIZE", "CAST", "DENSIFY"),
}
_CONVOLUTIONS = {"CONV_2D": (1, 2), "DEPTHWISE_CONV_2D": (1, 2)}


def reach(content, name="the model"):
    """How many pixels around its own an output of a .tflite depends on, at most.

    It follows from the operators: a convolution looks as far as its kernel, depth_to_space makes
    pixels smaller, and space_to_depth larger.

    Args:
        content: the bytes of a file whose input and output are images.
        name: what errors call it.

    Returns:
        int, in pixels of the input.

    Raises:
        ValueError: an operator that looks at the whole image, makes it smaller, or is not known.
    """
    model = parse(content, name)
    graph, names = model.subgraphs[0], operator_names(model)
    # Of what depends on the image: (pixels around, pixels that one of the input's became).
    known = {int(index): (fractions.Fraction(0), 1) for index in graph.inputs}
    for operator in graph.operators:
        given = [known[int(i)] for i in operator.inputs if int(i) in known]
        if not given:
            continue
        kind = names[operator.opcodeIndex]
        around, zoom = max(x for x, _ in given), given[0][1]
        options = operator.builtinOptions
        if kind in _CONVOLUTIONS and options.strideH == options.strideW == 1:
            kernel = graph.tensors[operator.inputs[1]].shape[1:3]
            dilation = options.dilationHFactor, options.dilationWFactor
            pixels = max(size // 2 * each for size, each in zip(kernel, dilation, strict=True))
            around += fractions.Fraction(int(pixels)) / zoom
        elif kind == "DEPTH_TO_SPACE":
            zoom *= options.blockSize
        elif kind == "SPACE_TO_DEPTH":
            # It looks at all of a block.
            around += fractions.Fraction(options.blockSize - 1) / zoom
            zoom = fractions.Fraction(zoom, options.blockSize)
        elif kind not in _POINTWISE or len({x for _, x in given}) > 1:
            raise ValueError(
                f"{name} has {kind}, of which it is not known how far it looks: --overlap says it."
            )
        known.update((int(index), (around, zoom)) for index in operator.outputs)
    return math.ceil(max(known[int(index)][0] for index in graph.outputs))


def windows(size, tile, overlap):
    """Where the tiles of one axis lie.

    Args:
        size: of the axis.
        tile: pixels of a tile, with its margins; it is more than twice the overlap.
        overlap: pixels that a tile has around what is kept of it, but at the ends of the axis.

    Returns:
        list of (first pixel of the tile, first kept, end of what is kept); what is kept of all is
        the axis. All tiles have min(tile, size) pixels.
    """
    tile = min(tile, size)
    step = tile - 2 * overlap
    firsts = [0]
    while firsts[-1] + tile < size:
        firsts.append(min(firsts[-1] + step, size - tile))
    ends = [*(first + tile - overlap for first in firsts[:-1]), size]
    starts = [0, *ends[:-1]]
    return list(zip(firsts, starts, ends, strict=True))


def through(run, image, scale, tile, overlap):
    """An image of what `run` makes of its tiles.

    Args:
        run: an array (height, width, ...) -> that, `scale` times as high and wide, as the image
            is to have it.
        image: (height, width, ...).
        scale: a whole number.
        tile: (height, width) of a tile, with its margins.
        overlap: see `windows`.

    Returns:
        (the image, how many tiles it took).

    Raises:
        ValueError: a tile that is not larger than its margins, where there are several.
    """
    for size, each in zip(image.shape, tile, strict=False):
        if size > each and each <= 2 * overlap:
            raise ValueError(
                f"Tiles of {tile[0]}x{tile[1]} with {overlap} pixels around what is kept keep "
                f"nothing: more than {2 * overlap} work."
            )
    made, count = None, 0
    rows, columns = (windows(*sizes, overlap) for sizes in zip(image.shape[:2], tile, strict=True))
    for top, *kept_rows in rows:
        for left, *kept_columns in columns:
            part = np.asarray(run(image[top : top + tile[0], left : left + tile[1]]))
            if made is None:
                height, width = (size * scale for size in image.shape[:2])
                made = np.empty((height, width, *part.shape[2:]), part.dtype)
            (a, b), (c, d) = kept_rows, kept_columns
            inside = part[
                (a - top) * scale : (b - top) * scale, (c - left) * scale : (d - left) * scale
            ]
            made[a * scale : b * scale, c * scale : d * scale] = inside
            count += 1
    return made, count
