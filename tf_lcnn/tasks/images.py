"""Images out: denoising, super-resolution and other nets that return an image."""

import keras
import numpy as np

# What a quantized file may lose of the peak signal-to-noise ratio, in dB.
MAXIMUM_LOSS = 0.5


class Images:
    """The task of a network that returns an image, of values from 0 to 1."""

    figure = "PSNR"

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
        error = ((labels - outputs) ** 2).mean(axis=(1, 2, 3))
        return float(np.mean(-10 * np.log10(np.maximum(error, 1e-20))))

    def holds(self, keras_score, tflite_score):
        """Whether a quantized file keeps enough of the PSNR."""
        return keras_score - tflite_score <= MAXIMUM_LOSS

    def show(self, score):
        return f"{score:.2f} dB"
