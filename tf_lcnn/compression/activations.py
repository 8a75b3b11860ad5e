"""What the convolutions and dense layers of a model see on real images: patches and moments."""

import contextlib
import dataclasses
import functools
import math

import keras
import numpy as np

from tf_lcnn.graph import intercept
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import family

# Numbers that a forward pass takes in: its activations are a hundred times as many.
_BATCH_NUMBERS = 3 * 50 * 128 * 128
_MOST_IMAGES = 50
# Patches per layer that moments are taken over; more change little and take longer.
PATCHES = 20_000

_ROUNDING = 1e-7


class _Reached(Exception):
    pass


@contextlib.contextmanager
def _unfiltered():
    """Within this context Keras lets exceptions pass.

    Where it filters tracebacks, the frames that it leaves out live on until the next full garbage
    collection, and with them every activation of the pass: gigabytes.
    """
    filtering = keras.config.is_traceback_filtering_enabled()
    keras.config.disable_traceback_filtering()
    try:
        yield
    finally:
        if filtering:
            keras.config.enable_traceback_filtering()


def batches(images):
    """Yields the images (count, ...) in parts that one forward pass takes."""
    count = max(1, min(_MOST_IMAGES, _BATCH_NUMBERS // math.prod(images.shape[1:])))
    for start in range(0, len(images), count):
        yield images[start : start + count]


def sample(model, layer, images, calls, seed=0, patches=PATCHES):
    """Yields the patches that a layer sees, batch by batch: float64 (count, taps*m).

    The same positions are drawn for the same seed, images and shapes, so that the patches of a
    layer and of its twin in another model are of the same places.

    Args:
        model: the model that the layer is in.
        layer: a convolution or dense layer, with lookups or without.
        images: (count, ...) inputs of the model.
        calls: how often the layer runs in one pass.
        seed: of the positions.
        patches: about so many in all.
    """
    rng = np.random.default_rng(seed)
    per_image = math.ceil(patches / len(images) / calls)
    for batch in batches(images):
        seen = []

        def take(inputs, seen=seen):
            seen.append(np.asarray(keras.ops.convert_to_numpy(inputs), np.float32))
            if len(seen) == calls:
                raise _Reached

        with intercept.inputs({layer: take}), _unfiltered(), contextlib.suppress(_Reached):
            model(batch, training=False)
        for inputs in seen:
            places = functools.partial(_places, rng, len(inputs), wanted=per_image)
            yield family.either(layer).patches(layer, inputs, places)


def _places(rng, images, positions, *, wanted):
    """(images, min(wanted, positions)) positions, different ones within an image."""
    return rng.random((images, positions)).argpartition(min(wanted, positions) - 1, axis=1)[
        :, :wanted
    ]


@dataclasses.dataclass
class Moments:
    """Means and second moments of the patches of a layer, and of its targets.

    The means of calls whose constant errors are corrected behind the layer are taken off.

    Attributes:
        patch_means, target_means: (corrections, taps*m) and (corrections, n): the means of the
            calls that one bias or batch normalization corrects. Without any, of all calls.
        patches: (taps*m, taps*m).
        cross: patches with targets, (taps*m, n).
        target_power: second moment of the targets, summed over filters.
    """

    patch_means: np.ndarray
    target_means: np.ndarray
    patches: np.ndarray
    cross: np.ndarray
    target_power: float


def moments(pairs, of_call=()):
    """Moments of pairs (patches, targets).

    Args:
        pairs: iterable; for each batch of images one pair for each call of the layer, in order.
        of_call: for each call the number of the correction (a bias, a batch normalization) that
            takes constant errors off; empty if there is none.
    """
    parts = [_Sums(bool(of_call)) for _ in range(max(of_call, default=0) + 1)]
    for i, (patches, targets) in enumerate(pairs):
        parts[of_call[i % len(of_call)] if of_call else 0].add(patches, targets)
    count = sum(part.count for part in parts)
    square = sum(part.square for part in parts) / count
    # Products of float32 are rounded by about this much, and could leave negative eigenvalues.
    square = square + _ROUNDING * np.trace(square) / len(square) * np.eye(len(square))
    return Moments(
        np.stack([part.patch_mean for part in parts]),
        np.stack([part.target_mean for part in parts]),
        square,
        sum(part.cross for part in parts) / count,
        max(sum(part.power for part in parts) / count, 0.0),
    )


class _Sums:
    """Sums over pairs (patches, targets), about their means or as they are."""

    def __init__(self, centered):
        self._centered = centered
        self.count = 0
        self._square = self._cross = self._power = self._first = self._wanted = 0.0
        self._offsets = (0.0, 0.0)

    def add(self, patches, targets):
        if self._centered and not self.count:
            # Moments about a point near the mean keep the digits that matter.
            self._offsets = patches.mean(axis=0), targets.mean(axis=0)
        patches, targets = patches - self._offsets[0], targets - self._offsets[1]
        self.count += len(patches)
        self._square = self._square + (patches.T @ patches).astype(np.float64)
        self._cross = self._cross + (patches.T @ targets).astype(np.float64)
        self._power += float((targets.astype(np.float64) ** 2).sum())
        self._first = self._first + patches.sum(axis=0, dtype=np.float64)
        self._wanted = self._wanted + targets.sum(axis=0, dtype=np.float64)

    def _centers(self):
        first, wanted = self._first / self.count, self._wanted / self.count
        return (first, wanted) if self._centered else (0 * first, 0 * wanted)

    @property
    def square(self):
        first, _ = self._centers()
        return self._square - self.count * np.outer(first, first)

    @property
    def cross(self):
        return self._cross - self.count * np.outer(*self._centers())

    @property
    def power(self):
        _, wanted = self._centers()
        return self._power - self.count * float((wanted**2).sum())

    @property
    def patch_mean(self):
        return self._first / self.count + self._offsets[0]

    @property
    def target_mean(self):
        return self._wanted / self.count + self._offsets[1]


def call_counts(model, input_shape=None):
    """id of a layer -> how often it runs in one pass; in the order of the first runs.

    `input_shape`, of one input, is needed where the model leaves it open.
    """
    counts = {}
    for call in trace(model, input_shape):
        if call.output_shape is not None:
            counts[id(call.layer)] = counts.get(id(call.layer), 0) + 1
    return counts
