"""Mosaics through a file of --task=demosaicing: parts, photos, raw files, and one line."""

import keras
import numpy as np
import pytest
from support.dng import dng

from tf_lcnn import models
from tf_lcnn.data import bayer, patterns
from tf_lcnn.lite import metadata
from tf_lcnn.lite.export import convert
from tf_lcnn.pipeline import demosaicing, improving

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
PATTERN = "GRBG"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A network that interpolates, of open size and of its own, and one of another task."""
    folder = tmp_path_factory.mktemp("files")
    for name, size in (("open", None), ("fixed", 32)):
        net = models.build("demosaic", input_shape=(size, size, 1), mosaic=PATTERN)
        for weight in net.get_layer("conv6").weights:
            weight.assign(0 * weight)
        content = convert(net, default_shape=(32, 32, 1))
        about = {"task": "demosaicing", "input": {"mosaic": PATTERN}}
        (folder / f"{name}.tflite").write_bytes(metadata.append(content, about))
    (folder / "other.tflite").write_bytes(metadata.append(content, {"task": "denoising"}))
    return folder


@pytest.fixture(scope="module")
def photo():
    y, x = np.mgrid[:70, :47] / 40
    return np.uint8(127 + 100 * np.stack([np.sin(9 * x + 5 * y), np.cos(7 * x * y), x - y], -1))


@pytest.mark.parametrize("name", ["open", "fixed"])
def test_a_photo_of_parts_is_that_of_the_whole_mosaic(files, photo, name, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(improving.encoded(photo))
    mosaic = demosaicing.read(path, PATTERN, PATTERN)
    assert mosaic.shape == (70, 46, 1)
    np.testing.assert_array_equal(mosaic, bayer.bayer(photo[:, :46], PATTERN, shot=0, read=0))
    assert demosaicing.pattern_of(files / f"{name}.tflite") == PATTERN
    made, count = demosaicing.load(files / f"{name}.tflite")(mosaic, tile=32)
    assert made.dtype == np.uint8 and made.shape == (70, 46, 3) and count > 20
    encoded = bayer.encoded(mosaic).numpy()
    expected = 255 * patterns.bilinear(encoded[None], PATTERN)[0].astype(np.float64)
    np.testing.assert_allclose(made[2:-2, 2:-2], expected[2:-2, 2:-2], atol=0.51)


def test_raw_files_are_read_as_they_are(tmp_path):
    path = tmp_path / "raw.dng"
    path.write_bytes(dng(np.full((64, 64), 512, np.uint16), PATTERN))
    np.testing.assert_array_equal(demosaicing.read(path, PATTERN), bayer.read_dng(path)[0])
    with pytest.raises(ValueError, match=r"raw.dng gives a mosaic GRBG, and the file takes RGGB"):
        demosaicing.read(path, "RGGB")


def test_what_is_no_mosaic_is_one_line(files, photo, tmp_path):
    path = tmp_path / "photo.png"
    path.write_bytes(improving.encoded(photo))
    with pytest.raises(ValueError, match="gives a mosaic RGGB, and the file takes GRBG"):
        demosaicing.read(path, PATTERN, "RGGB")
    (tmp_path / "gray.png").write_bytes(improving.encoded(photo[..., :1]))
    with pytest.raises(ValueError, match="mosaics are made of color photos of 8 bits"):
        demosaicing.read(tmp_path / "gray.png", PATTERN, PATTERN)
    assert demosaicing.pattern_of(files / "other.tflite") is None
    mosaic = np.zeros((30, 40, 1), np.float32)
    with pytest.raises(ValueError, match="30x40 is smaller than the 32x32 that the file takes"):
        demosaicing.load(files / "fixed.tflite")(mosaic)
    with pytest.raises(ValueError, match="Tiles of a mosaic of 31x31 do not divide"):
        demosaicing.load(files / "open.tflite")(mosaic, tile=31)
    with pytest.raises(ValueError, match="An overlap of 3x3 do not divide"):
        demosaicing.load(files / "open.tflite", overlap=3)
