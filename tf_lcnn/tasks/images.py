"""Images out: denoising, super-resolution and other nets that return an image."""

import keras
import numpy as np
from keras import ops

# What a quantized file may lose of the peak signal-to-noise ratio, in dB.
MAXIMUM_LOSS = 0.5


def psnr(wanted, found, border=0, math=np):
    """The peak signal-to-noise ratio of each image in dB, for a peak of 1.

    Args:
        wanted, found: images (count, height, width, channels).
        border: pixels that are cut off at every side.
        math: `numpy`, or `keras.ops` for tensors.

    Returns:
        (count,).
    """
    error = math.square(cut(wanted, border) - cut(found, border))
    return -10 * math.log10(math.maximum(math.mean(error, axis=(1, 2, 3)), 1e-20))


def cut(pictures, border):
    """Images (count, height, width, channels) without their border."""
    inner = slice(border or None, -border or None)
    return pictures[:, inner, inner]


@keras.saving.register_keras_serializable(package="tf_lcnn")
class PeakSignalToNoise(keras.metrics.MeanMetricWrapper):
    """Mean over images of the PSNR in dB, as the field measures it.

    Args:
        border: pixels that are cut off at every side.
    """

    def __init__(self, border=0, name="psnr", dtype=None):
        super().__init__(self._of_images, name=name, dtype=dtype)
        self.border = border

    def _of_images(self, y_true, y_pred):
        y_true, y_pred = ops.cast(y_true, "float32"), ops.cast(y_pred, "float32")
        return psnr(y_true, ops.clip(y_pred, 0, 1), self.border, ops)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype, "border": self.border}


class Images:
    """The task of a network that returns an image, of values from 0 to 1."""

    figure = "PSNR"
    # Pixels at every side that do not count.
    border = 0

    def loss(self):
        return keras.losses.MeanSquaredError()

    def metrics(self, channels):
        return [keras.metrics.MeanAbsoluteError(name="mae")]

    def score(self, outputs, labels):
        """Mean over images of the peak signal-to-noise ratio in dB, for a peak of 1.

        Raises:
            ValueError: the labels are no images of the outputs' shape.
        """
        labels = np.asarray(labels, np.float64)
        if labels.shape != outputs.shape:
            raise ValueError(
                f"The labels have the shape {labels.shape}, the outputs {outputs.shape}: labels "
                "are the wanted images."
            )
        return float(np.mean(psnr(labels, outputs, self.border)))

    def holds(self, keras_score, tflite_score):
        """Whether a quantized file keeps enough of the PSNR."""
        return keras_score - tflite_score <= MAXIMUM_LOSS

    def show(self, score):
        return f"{score:.2f} dB"
