"""What the native delegate would take for a lookup layer."""

import dataclasses

import numpy as np

from tf_lcnn.lite import lowerings
from tf_lcnn.runtime import native


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What the delegate would make of a lookup layer here.

    Attributes:
        kernel: how it would run, like "avx512 registers 64".
        seconds: of a run, predicted, on one thread.
        dense_seconds: what a multiplication of LiteRT's dense convolution is taken to need here.
        bytes: what it would hold: packed lookups and dictionary, and a tile of S.
    """

    kernel: str
    seconds: float
    dense_seconds: float
    bytes: int


def predict(layer, quantize=None):
    """The Prediction for a lookup layer that is lowered as `sparse`; None where it takes none.

    The library packs the layer for this machine's processor, with its real pattern of lookups;
    it fills up steps of four lookups itself, so the file needs no padding for that.

    Args:
        layer: `lowerings.Constants`.
        quantize: see `converter.to_tflite`; the delegate takes float32 and int8.

    Raises:
        ValueError: it was not built, or cannot be loaded.
    """
    library = native.library()
    if quantize not in (None, "int8") or not layer.form.native:
        return None
    kh, kw, k, n = layer.coefficients.shape
    first, then = layer.stage_strides
    size = [-(-length // stride) for length, stride in zip(layer.input_size, first, strict=True)]
    out, zeros = lowerings.windows(layer, size)
    before = [top_or_left for top_or_left, _ in zeros]
    m = len(layer.dictionary)
    shape = (1, *layer.input_size, m, *first, *size, k, kh, kw, *then, *layer.dilation)
    shape = np.array((*shape, *before, *out, n), np.int32)
    # Times do not depend on values.
    kind = np.int8 if quantize == "int8" else np.float32
    dictionary = np.zeros((k, m), kind)
    pattern = np.ascontiguousarray((layer.coefficients != 0).transpose(3, 0, 1, 2), kind)
    scales = [np.full(count, 0.5, np.float32) for count in (k, n)]
    biases = [np.zeros(count, np.int32 if quantize else np.float32) for count in (k, n)]
    if quantize == "int8":
        limits = np.array([-128, 127, -128, 127], np.int32)
        stages = (dictionary, scales[0], biases[0], pattern, scales[1], biases[1])
        arrays = (shape, *stages, np.zeros(3, np.int32), limits)
        make = library.lcnn_layer_s8
    else:
        limits = np.array([-np.inf, np.inf, -np.inf, np.inf], np.float32)
        arrays = (shape, dictionary, biases[0], pattern, biases[1], limits)
        make = library.lcnn_layer_f32
    made = make(None, None, 1, *(array.ctypes.data for array in arrays))
    if made is None:
        return None
    try:
        return Prediction(
            library.lcnn_layer_kernel(made).decode(),
            library.lcnn_layer_seconds(made),
            library.lcnn_dense_seconds(quantize == "int8"),
            library.lcnn_layer_bytes(made),
        )
    finally:
        library.lcnn_layer_free(made)
