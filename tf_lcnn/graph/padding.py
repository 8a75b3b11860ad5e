"""Where a convolution reads its input: SAME padding, as TensorFlow has it, and the patches."""

import math

import numpy as np


def span(kernel, dilation):
    """The length that a kernel of this many taps covers."""
    return (kernel - 1) * dilation + 1


def axis(size, kernel, stride=1, dilation=1, padding="valid"):
    """(outputs, zeros before, zeros after) of a convolution along one axis of this size."""
    reach = span(kernel, dilation)
    if padding.lower() == "valid":
        return (size - reach) // stride + 1, 0, 0
    count = math.ceil(size / stride)
    total = max((count - 1) * stride + reach - size, 0)
    if padding.lower() == "causal":
        return count, reach - 1, 0
    return count, total // 2, total - total // 2


def patches(inputs, kernel, strides, dilation, padding, places):
    """What a convolution of any rank sees at some of its output positions.

    Args:
        inputs: array (images, *sizes, channels).
        kernel, strides, dilation: a number per axis of `sizes`.
        padding: "valid", "same" or, for one axis, "causal".
        places: a function: the number of positions of an image -> array (images, chosen) of flat
            indices of output positions.

    Returns:
        array (images * chosen, taps * channels).
    """
    rank = len(kernel)
    axes = zip(inputs.shape[1:-1], kernel, strides, dilation, strict=True)
    sizes = [axis(*numbers, padding) for numbers in axes]
    inputs = np.pad(inputs, [(0, 0), *(size[1:] for size in sizes), (0, 0)])
    reach = [span(*numbers) for numbers in zip(kernel, dilation, strict=True)]
    # A view: (images, *positions, channels, *taps).
    view = np.lib.stride_tricks.sliding_window_view(inputs, reach, axis=tuple(range(1, rank + 1)))
    steps = [slice(None, None, step) for step in strides]
    taps = [slice(None, None, step) for step in dilation]
    view = view[(slice(None), *steps, slice(None), *taps)]
    positions = view.shape[1 : rank + 1]
    chosen = places(math.prod(positions))
    where = np.unravel_index(chosen, positions)
    seen = view[(np.arange(len(view))[:, None], *where)]
    return np.moveaxis(seen, 2, -1).reshape(chosen.size, -1)


def transposed_patches(inputs, out, kernel, strides, dilation, padding, places):
    """What each tap of a transposed convolution is multiplied with at some output positions.

    Output o gets tap t from input i where o = i * stride + t * dilation - zeros; zeros are those in
    front in the convolution that this one is the transpose of. Most entries are zero: a tap meets
    an input at one in `stride` positions.

    Args:
        inputs: array (images, *sizes, channels).
        out: size of the output, a number per axis.
        kernel, strides, dilation, padding, places: see `patches`.

    Returns:
        array (images * chosen, taps * channels), taps in the order of the kernel.
    """
    chosen = places(math.prod(out))
    offsets = np.stack(np.meshgrid(*map(np.arange, kernel), indexing="ij"), -1).reshape(
        -1, len(out)
    )
    index, inside = [np.arange(len(inputs))[:, None, None]], True
    for i, place in enumerate(np.unravel_index(chosen, out)):
        size, stride = inputs.shape[i + 1], strides[i]
        whole = (size - 1) * stride + span(kernel[i], dilation[i])
        zeros = 0 if padding.lower() == "valid" else max(whole - out[i], 0) // 2
        source = place[..., None] + zeros - offsets[:, i] * dilation[i]
        inside = inside & (source % stride == 0) & (source >= 0) & (source < size * stride)
        index.append(np.clip(source // stride, 0, size - 1))
    seen = inputs[tuple(index)] * inside[..., None]
    return seen.reshape(chosen.size, -1)
