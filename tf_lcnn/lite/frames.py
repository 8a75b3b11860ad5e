"""Frames of a camera as the input of a .tflite: what makes them an input runs inside the file.

The file takes the bytes that a camera gives, upright, and its first operators cut out what the
network is to see, resize and convert it, and normalize it with the mean and standard deviation of
the data set. That is the evaluation of `data.datasets`: bilinear with antialiasing, cropped
centrally. Stock operators in float32; what the network computes after them is as it was without.

Formats, each one buffer of uint8:

- nv21: height * 3 / 2 rows of the width: luma, then rows of V and U in turn (CameraX's
  OUTPUT_IMAGE_FORMAT_NV21, ImageFormat.NV21).
- yuv420: as many rows: luma, then all of U, then all of V (I420). A YUV_420_888 image comes as
  three planes whose rows and pixels may lie apart, so they are copied once whatever a file takes;
  in one buffer they go through every runtime, and all of this project, as any other input.
- rgba: height x width x 4; alpha is ignored (CameraX's OUTPUT_IMAGE_FORMAT_RGBA_8888).

Colors are those of ITU-R BT.601 in full range, as in JPEG: ITU-T T.871 (JFIF), section 7; Android
names it DataSpace.DATASPACE_JFIF. A chroma sample is that of its four pixels.
"""

import dataclasses

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import datasets
from tf_lcnn.lite import joining
from tf_lcnn.lite.converter import to_tflite

FORMATS = ("nv21", "yuv420", "rgba")

# Red, green and blue of luma, U and V, the latter two less 128.
_OF_LUMA = np.array([[1.0, 1.0, 1.0]])
_OF_U = np.array([[0.0, -0.344136, 1.772]])
_OF_V = np.array([[1.402, -0.714136, 0.0]])
_LUMA = np.array([0.299, 0.587, 0.114])

# A resized row is a sum of a few: as products of matrices, in parts of so many results, most of
# the zeros are left out.
_PART = 32


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a camera gives.

    Attributes:
        format: one of `FORMATS`.
        height, width: in pixels, of the upright frame.

    Raises:
        ValueError: an unknown format, or sizes that it does not have.
    """

    format: str
    height: int
    width: int

    def __post_init__(self):
        if self.format not in FORMATS:
            raise ValueError(f"Unknown format of frames {self.format!r}: {', '.join(FORMATS)}.")
        for what in ("height", "width"):
            size = checks.whole_number(getattr(self, what), f"The {what} of a frame", 2)
            if size % 2 and self.format != "rgba":
                raise ValueError(f"A frame of {self.format} has an even {what}, not {size}.")

    @property
    def shape(self):
        """Of the buffer, without the batch."""
        if self.format == "rgba":
            return self.height, self.width, 4
        return self.height * 3 // 2, self.width

    def __str__(self):
        return f"{self.format} {self.height}x{self.width}"


class Front:
    """The way from a frame to the input of a network.

    Args:
        frame: a Frame.
        dataset: a `data.datasets.DataSet`, whose images the network takes.

    Raises:
        ValueError: another data set, or one that is not of gray or RGB images.
    """

    def __init__(self, frame, dataset):
        if not isinstance(frame, Frame):
            raise ValueError(f"frame is a frames.Frame, not {frame!r}.")
        if not isinstance(dataset, datasets.DataSet):
            raise ValueError(
                "Frames become inputs as the images of a data set do: dataset=datasets.load(...) "
                "says how they are normalized."
            )
        height, width, channels = dataset.image_shape
        if channels not in (1, 3):
            raise ValueError(f"{dataset.name} has {channels} channels: frames become 1 or 3.")
        self.frame, self._gray = frame, channels == 1
        self._mean, self._std = (np.array(x, np.float64) for x in (dataset.mean, dataset.std))
        sizes = np.array([frame.height, frame.width]), np.array([height, width])
        short = dataset.short_side
        # Without a margin, as much is seen as fits.
        ratio = max(sizes[1] / sizes[0]) if short is None else short / min(sizes[0])
        resized = np.rint(sizes[0] * ratio).astype(int)
        first = (resized - sizes[1]) // 2
        self._rows, self._columns = map(_weights, sizes[0], resized, first, sizes[1])
        self._crop = [*(first / resized * sizes[0]), *(sizes[1] / resized * sizes[0])]

    def describe(self):
        """What the file says of it, as plain Python types; see `lite.metadata`."""
        frame = self.frame
        return {
            **{"format": frame.format, "height": frame.height, "width": frame.width},
            # Top, left, height and width of what the network sees, in pixels of the frame.
            "crop": [round(float(x), 2) for x in self._crop],
            "resize": "bilinear, antialiased",
            "colors": "ITU-R BT.601, full range",
        }

    def before(self, content):
        """The bytes of a .tflite that takes frames, of one that takes the network's input."""
        shape = (1, *self.frame.shape)
        # LiteRT runs small products with sparse weights slower than dense ones.
        front = to_tflite(self, shape, dtype="uint8", sparse=False)
        return joining.joined(front, content)

    def __call__(self, frame):
        """The input (1, height, width, channels) of uint8 (1, *frame.shape), as the file has it."""
        total = 0.0
        for plane, rows, columns in self._planes(frame):
            (top, bottom), (left, right) = _used(rows), _used(columns.T)
            part = tf.slice(plane, (top, left), (bottom - top, right - left))
            part = _times(tf.transpose(tf.cast(part, tf.float32)), rows[:, top:bottom].T)
            total = total + _times(tf.transpose(part), columns[left:right])
        # The limits of a pixel, normalized: as rows of the image, which is how it is computed.
        width, offset = len(self._columns), np.zeros(3)
        if self.frame.format != "rgba" and not self._gray:
            offset = -128 * (_OF_U + _OF_V)[0]
        offset, least, most = (
            np.tile((x - self._mean) / self._std, width).astype(np.float32)
            for x in (offset[: len(self._mean)], 0.0, 255.0)
        )
        total = tf.minimum(tf.maximum(total + offset, least), most)
        return tf.reshape(total, (1, len(self._rows), width, len(self._mean)))

    def _planes(self, frame):
        """Each plane, with the weights of its rows, and those of its columns in all channels.

        Yields:
            (uint8 (m, n), (height, m), (n, width * channels)).
        """
        height, width = self.frame.height, self.frame.width
        if self.frame.format == "rgba":
            colors = _LUMA[:, None] if self._gray else np.eye(3)
            colors = np.concatenate([colors, np.zeros_like(colors[:1])])
            yield tf.reshape(frame, (height, 4 * width)), self._rows, self._across(colors)
            return
        frame = tf.reshape(frame, self.frame.shape)
        luma = tf.slice(frame, (0, 0), (height, width))
        yield luma, self._rows, self._across(_OF_LUMA[:, : len(self._mean)])
        if self._gray:
            return
        chroma = tf.slice(frame, (height, 0), (height // 2, width))
        rows = _pairs(self._rows)
        if self.frame.format == "nv21":
            yield chroma, rows, self._across(np.concatenate([_OF_V, _OF_U]), _pairs)
            return
        both = tf.reshape(chroma, (height, width // 2))
        for i, colors in enumerate((_OF_U, _OF_V)):
            plane = tf.slice(both, (i * height // 2, 0), (height // 2, width // 2))
            yield plane, rows, self._across(colors, _pairs)

    def _across(self, colors, of_columns=lambda weights: weights):
        """The weights of columns that have these colors in turn."""
        return np.kron(of_columns(self._columns).T, colors / self._std)

    def reference(self, frames):
        """The inputs (count, height, width, channels) of frames, in float64 and NumPy.

        The whole frame is converted first, and then resized; the file does it the other way round.
        """
        inputs = []
        for frame in frames:
            image = self._converted(np.asarray(frame, np.float64))
            image = np.einsum("hm,mnc->hnc", self._rows, image, optimize=True)
            image = np.einsum("wn,hnc->hwc", self._columns, image, optimize=True)
            inputs.append((np.clip(image, 0, 255) - self._mean) / self._std)
        return np.stack(inputs)

    def _converted(self, frame):
        """A frame in float64 as gray or RGB (height, width, channels)."""
        if self.frame.format == "rgba":
            color = frame[..., :3]
            return color @ _LUMA[:, None] if self._gray else color
        luma, chroma = np.split(frame, [self.frame.height])
        if self._gray:
            return luma[..., None]
        half = self.frame.height // 2, self.frame.width // 2
        if self.frame.format == "nv21":
            v, u = np.moveaxis(chroma.reshape(*half, 2), -1, 0)
        else:
            u, v = chroma.reshape(2, *half)
        u, v = (np.kron(x - 128, np.ones((2, 2)))[..., None] for x in (u, v))
        return luma[..., None] * _OF_LUMA + u * _OF_U + v * _OF_V

    def frames(self, inputs):
        """Frames that show inputs of the network, where the network looks: uint8 (count, ...).

        Args:
            inputs: (count, height, width, channels), normalized.
        """
        images = np.clip(np.asarray(inputs, np.float64) * self._std + self._mean, 0, 255)
        top, left, height, width = self._crop
        at = (
            np.clip(np.floor((np.arange(size) + 0.5 - start) / length * count), 0, count - 1)
            for size, start, length, count in (
                (self.frame.height, top, height, images.shape[1]),
                (self.frame.width, left, width, images.shape[2]),
            )
        )
        rows, columns = (places.astype(int) for places in at)
        images = images[:, rows][:, :, columns]
        return np.stack([self._of_rgb(np.broadcast_to(x, (*x.shape[:2], 3))) for x in images])

    def _of_rgb(self, image):
        """The frame of RGB (height, width, 3) from 0 to 255."""
        if self.frame.format == "rgba":
            opaque = np.full((*image.shape[:2], 1), 255)
            return np.rint(np.concatenate([image, opaque], -1)).astype(np.uint8)
        height, width = self.frame.height, self.frame.width
        luma = image @ _LUMA
        fours = image.reshape(height // 2, 2, width // 2, 2, 3).mean((1, 3))
        u = (fours[..., 2] - fours @ _LUMA) / _OF_U[0, 2] + 128
        v = (fours[..., 0] - fours @ _LUMA) / _OF_V[0, 0] + 128
        chroma = np.stack([v, u], -1) if self.frame.format == "nv21" else np.stack([u, v])
        frame = np.concatenate([luma, chroma.reshape(height // 2, width)])
        return np.clip(np.rint(frame), 0, 255).astype(np.uint8)


def _weights(size, resized, first, count):
    """Weights (count, size) of an axis: bilinear, with antialiasing where it shrinks.

    Args:
        size, resized: of the whole axis.
        first, count: which part of the resized axis.
    """
    scale = size / resized
    centers = (first + np.arange(count) + 0.5) * scale
    distance = np.abs(np.arange(size) + 0.5 - centers[:, None])
    weights = np.maximum(0, 1 - distance / max(scale, 1))
    return weights / weights.sum(axis=1, keepdims=True)


def _pairs(weights):
    """Weights of two pixels each that have one sample."""
    return weights.reshape(len(weights), -1, 2).sum(axis=2)


def _used(weights):
    """(first, end) of the columns of a matrix that are not all zeros."""
    used = np.flatnonzero(weights.any(axis=0))
    return int(used[0]), int(used[-1]) + 1


def _times(x, matrix):
    """x @ matrix, without most of the matrix's zeros."""
    products = []
    for part in np.array_split(matrix, -(-matrix.shape[1] // _PART), axis=1):
        first, end = _used(part.T)
        columns = tf.slice(x, (0, first), (x.shape[0], end - first))
        products.append(tf.matmul(columns, part[first:end].astype(np.float32)))
    return tf.concat(products, axis=1) if len(products) > 1 else products[0]
