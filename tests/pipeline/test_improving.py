"""Photos through files: every kind of photo, tiles, what stands in the file, and one line."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageOps
from support import processes
from support.helpers import chain

from tf_lcnn.data import photos
from tf_lcnn.lite import metadata
from tf_lcnn.lite.export import convert
from tf_lcnn.pipeline import improving

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def blur(size=(None, None)):
    """A mean of nine pixels, as a convolution."""
    layer = keras.layers.Conv2D(1, 3, padding="same", use_bias=False)
    net = chain((*size, 1), layer)
    layer.set_weights([np.full((3, 3, 1, 1), 1 / 9, np.float32)])
    return net


def same(size=(None, None)):
    """A network whose answer is its input."""
    layer = keras.layers.Conv2D(1, 1, use_bias=False)
    net = chain((*size, 1), layer)
    layer.set_weights([np.ones((1, 1, 1, 1), np.float32)])
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")

    def write(name, net, **about):
        shape = [size or 16 for size in net.input_shape[1:]]
        content = convert(net, default_shape=shape)
        (folder / f"{name}.tflite").write_bytes(metadata.append(content, about))

    write("same", same(), task="denoising")
    write("blur", blur(), task="denoising")
    write("filter", blur(), task="filter")
    write("fixed", blur((20, 24)), task="denoising")
    write("enlarged", same(), task="super_resolution", scale=3)
    net = chain((8, 8, 1), keras.layers.Flatten(), keras.layers.Dense(2))
    (folder / "classifier.tflite").write_bytes(convert(net))
    return folder


def photo(shape, most=255, seed=0):
    kind = np.uint8 if most == 255 else np.uint16
    return np.random.default_rng(seed).integers(0, most + 1, shape).astype(kind)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("most", [255, 65535])
def test_a_network_that_changes_nothing_changes_no_kind_of_photo(files, channels, most, tmp_path):
    improver = improving.load(files / "same.tflite")
    for shape in ((1, 1, channels), (37, 50, channels)):
        given = photo(shape, most)
        (tmp_path / "photo.png").write_bytes(improving.encoded(given))
        read = improving.read(tmp_path / "photo.png")
        np.testing.assert_array_equal(read, given)
        made, _ = improver(read, tile=16)
        np.testing.assert_array_equal(made, given)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photos_of_a_camera_are_upright(orientation, tmp_path):
    image = Image.fromarray(np.kron(photo((4, 6, 3)), np.ones((8, 8, 1), np.uint8)))
    exif = Image.Exif()
    exif[271], exif[274] = "maker", orientation
    image.save(tmp_path / "photo.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "photo.jpg") as stored:
        expected = np.asarray(ImageOps.exif_transpose(stored), int)
    found = improving.read(tmp_path / "photo.jpg")
    assert found.shape == expected.shape and np.abs(found - expected).max() < 9


def test_denoising_takes_the_channels_and_leaves_transparency(files):
    given = photo((30, 41, 4))
    made, count = improving.load(files / "blur.tflite")(given, tile=13)
    padded = np.pad(given.astype(np.float64), ((1, 1), (1, 1), (0, 0)))
    expected = sum(padded[i : i + 30, j : j + 41] for i in range(3) for j in range(3)) / 9
    np.testing.assert_allclose(made[..., :3], expected[..., :3], atol=0.51)
    np.testing.assert_array_equal(made[..., 3], given[..., 3])
    assert count > 6


def test_filters_take_luma_and_leave_the_color(files):
    gray = photo((20, 20, 1))
    alike, _ = improving.load(files / "filter.tflite")(np.repeat(gray, 3, -1))
    alone, _ = improving.load(files / "filter.tflite")(gray)
    # Luma has 219 steps.
    assert np.ptp(alike.astype(int), axis=-1).max() <= 1
    inside = alone[1:-1, 1:-1].astype(int)
    assert np.abs(alike[1:-1, 1:-1] - inside).max() <= 1
    # Even luma stays, whatever the color is.
    color = np.broadcast_to(np.uint8([200, 40, 90]), (20, 20, 3))
    made, _ = improving.load(files / "filter.tflite")(color)
    assert np.abs(made[1:-1, 1:-1].astype(int) - color[0, 0]).max() <= 1


def test_enlarged_photos_go_in_and_color_is_bicubic(files):
    y, x = np.mgrid[:40, :33] / 40
    waves = [np.sin(9 * x + 5 * y), np.cos(7 * x * y), np.sin(12 * y), x]
    given = np.uint8(127 + 100 * np.stack(waves, -1))
    improver = improving.load(files / "enlarged.tflite")
    made, count = improver(given, tile=14)
    expected = photos.enlarged(tf.constant(given, tf.float32), 3)
    assert made.shape == (120, 99, 4) and count > 6
    assert np.abs(made - expected.numpy()).max() < 0.6


def test_a_file_of_one_size_takes_photos_of_any(files):
    improver = improving.load(files / "fixed.tflite")
    assert improver.fixed == (20, 24)
    for shape in ((50, 61, 1), (20, 24, 1), (7, 30, 1)):
        given = photo(shape)
        made, _ = improver(given)
        expected, _ = improving.load(files / "blur.tflite")(given)
        # A small photo ends with its border repeated, where a network pads with zeros.
        inside = slice(None) if min(shape[0] - 20, shape[1] - 24) >= 0 else slice(1, -1)
        np.testing.assert_allclose(made[inside, inside], expected[inside, inside], atol=1)


def run(*given):
    done = processes.run("from tf_lcnn.commands import main; main.main()", "run", *given)
    return done.returncode, done.stdout, done.stderr


def test_the_command_writes_the_photo_and_says_what_it_did(files, tmp_path):
    given, out = tmp_path / "photo.png", tmp_path / "out.png"
    given.write_bytes(improving.encoded(photo((30, 20, 3))))
    model = f"--model={files / 'enlarged.tflite'}"
    status, told, errors = run(given, model, f"--out={out}", "--tile=16")
    assert (status, errors) == (0, "")
    assert told.startswith(f"{given} 30x20 -> {out} 90x60: 6 tiles, overlap 2, ")
    assert improving.read(out).shape == (90, 60, 3)


def test_what_is_wrong_is_one_line(files, tmp_path):
    good, broken = tmp_path / "photo.png", tmp_path / "broken.png"
    good.write_bytes(improving.encoded(photo((30, 20, 3))))
    broken.write_bytes(good.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"Cannot decode .* truncated"):
        improving.read(broken)
    with pytest.raises(FileNotFoundError):
        improving.read(tmp_path / "none.png")
    with pytest.raises(ValueError, match="a network for photos, of --task=super_resolution"):
        improving.load(files / "classifier.tflite")
    with pytest.raises(ValueError, match="is no"):
        improving.load(good)
    with pytest.raises(ValueError, match="with 9 pixels around what is kept keep nothing"):
        improving.load(files / "same.tflite", overlap=9)(photo((30, 20, 3)), tile=18)
    status, out, errors = run(good, f"--model={files / 'same.tflite'}", "--out=there.jpg")
    assert (status, out) == (1, "") and errors.count("\n") == 1
    assert errors.startswith("tf-lcnn run: --out=there.jpg: the result is a PNG")
