"""Camera frames: what the file makes of their bytes is the evaluation of the data set."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_sample_images
from support.helpers import chain, random

from tf_lcnn import LookupConv2D
from tf_lcnn.data import datasets
from tf_lcnn.data.records import Indexed
from tf_lcnn.lite import converter, export, frames, joining, metadata, proof
from tf_lcnn.runtime.interpreter import Interpreter

pytestmark = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)
# Two photos of 427 x 640 that come with scikit-learn; of an even height.
PHOTOS = np.stack(load_sample_images().images)[:, :426]
MEAN, STD = (123.0, 117.0, 104.0), (58.0, 57.0, 56.0)


def dataset(shape=(32, 32, 3), fixed_size=False):
    split = Indexed(np.zeros((4, *shape), np.uint8), np.arange(4))
    channels = shape[-1]
    return datasets.DataSet(
        **dict(name="photos", class_names=tuple("abcd"), image_shape=shape, mirror=True),
        **dict(mean=MEAN[:channels], std=STD[:channels], fixed_size=fixed_size),
        **dict(train=split, validation=split, test=split, decode=lambda image: image),
    )


def net(shape=(32, 32, 3)):
    keras.utils.set_random_seed(0)
    lookup = LookupConv2D(8, 3, 4, strides=2, activation="relu")
    return chain(shape, lookup, keras.layers.GlobalAveragePooling2D(), keras.layers.Dense(4))


def front_of(format, height, width, data):
    """The front, and what its file alone gives for frames."""
    front = frames.Front(frames.Frame(format, height, width), data)
    content = converter.to_tflite(front, (1, *front.frame.shape), dtype="uint8", sparse=False)
    return front, Interpreter(content=content).predict


def as_jpeg_has_it(rgb, format):
    """The bytes of RGB (height, width, 3), written out from T.871 and each format's layout."""
    r, g, b = np.moveaxis(rgb.astype(np.float64), -1, 0)
    y = 0.299 * r + 0.587 * g + 0.114 * b
    cb = -0.1687 * r - 0.3313 * g + 0.5 * b + 128
    cr = 0.5 * r - 0.4187 * g - 0.0813 * b + 128
    cb, cr = (sum(x[i::2, j::2] for i in (0, 1) for j in (0, 1)) / 4 for x in (cb, cr))
    if format == "nv21":
        chroma = np.empty((len(y) // 2, y.shape[1]))
        chroma[:, 0::2], chroma[:, 1::2] = cr, cb
    else:
        chroma = np.concatenate([cb.ravel(), cr.ravel()]).reshape(-1, y.shape[1])
    return np.rint(np.concatenate([y, chroma])).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("format", "size", "shape", "fixed"),
    [
        ("nv21", (48, 64), (32, 32, 3), False),
        # Gray, upright, all that fits.
        ("nv21", (90, 50), (24, 32, 1), True),
        # Larger than the frame.
        ("yuv420", (20, 30), (32, 40, 3), False),
        ("rgba", (45, 61), (24, 24, 1), False),
    ],
)
def test_the_file_computes_the_reference_on_any_bytes(format, size, shape, fixed):
    front, predict = front_of(format, *size, dataset(shape, fixed))
    any_bytes = np.random.default_rng(0).integers(0, 256, (3, *front.frame.shape)).astype(np.uint8)
    np.testing.assert_allclose(predict(any_bytes), front.reference(any_bytes), atol=2e-5)


@pytest.mark.parametrize("format", frames.FORMATS)
def test_photos_as_frames_become_what_evaluation_makes_of_the_photos(format):
    data = dataset((64, 64, 3))
    _, predict = front_of(format, *PHOTOS.shape[1:3], data)
    opaque = np.full((*PHOTOS.shape[:3], 1), 77, np.uint8)
    given = np.concatenate([PHOTOS, opaque], -1)
    if format != "rgba":
        given = np.stack([as_jpeg_has_it(photo, format) for photo in PHOTOS])
    expected = np.stack([data.central(tf.constant(photo)).numpy() for photo in PHOTOS])
    error = np.abs(predict(given) - expected) * STD
    if format == "rgba":
        assert error.max() < 1e-3
    else:
        # Of 255: colors are those of four pixels, which only edges of color show.
        assert error.mean() < 0.5 and error.max() < 20


def test_colors_are_those_of_full_range():
    data = dataset((8, 8, 3), fixed_size=True)
    for format in ("nv21", "yuv420"):
        front = frames.Front(frames.Frame(format, 16, 16), data)
        for color in ((0, 0, 0), (255, 255, 255), (254, 0, 0), (0, 255, 1), (0, 0, 254)):
            frame = as_jpeg_has_it(np.full((16, 16, 3), color, np.uint8), format)
            found = front.reference(frame[None])[0] * STD + MEAN
            np.testing.assert_allclose(found, np.full((8, 8, 3), color), atol=1.5)


def test_frames_show_the_examples_where_the_network_looks():
    # 37 of the short side are seen in part: rows 2 to 33 of 37, columns 8 to 39 of 49.
    middle = [480 * 2 / 37, 640 * 8 / 49, 480 * 32 / 37, 640 * 32 / 49]
    for data, crop in (
        (dataset(), middle),
        (dataset(fixed_size=True), [0, 640 * 5 / 43, 480, 640 * 32 / 43]),
    ):
        front = frames.Front(frames.Frame("rgba", 480, 640), data)
        images = tf.image.resize(PHOTOS, (32, 32), antialias=True).numpy()
        inputs = (images - MEAN) / STD
        found = front.reference(front.frames(inputs))
        assert np.abs(found - inputs).mean() * 57 < 3
        np.testing.assert_allclose(front.describe()["crop"], crop, atol=0.01)


@pytest.mark.parametrize("quantize", [None, "int8"])
def test_the_network_computes_the_same_behind_frames(quantize, tmp_path):
    model, data, path = net(), dataset(), tmp_path / "m.tflite"
    images = tf.image.resize(PHOTOS, (32, 32), antialias=True).numpy()
    inputs = np.float32((images - MEAN) / STD)
    how = {"quantize": quantize, "calibration": inputs, "dataset": data}
    examples = inputs, np.arange(2)
    alone = export.export(model, path, examples, **how)
    network = Interpreter(path)
    report = export.export(model, path, examples, **how, frame=frames.Frame("nv21", 60, 80))
    whole, front = Interpreter(path), frames.Front(report.frame, data)
    shown = front.frames(inputs)
    assert whole.input_shape == (1, 90, 80)
    between = front.reference(shown).astype(np.float32)
    # Of int8, what lies halfway between two steps may fall to either side.
    tolerance = 1e-5 if quantize is None else 0.02
    found, expected = whole.predict(shown), network.predict(between)
    np.testing.assert_allclose(found, expected, atol=tolerance * np.abs(expected).max())
    assert report.frame_proof.examples == 2 and report.proof.decibels == alone.proof.decibels
    assert "The whole, from frames of nv21 60x80 on: 2 examples" in str(report)
    assert json.loads(json.dumps(report.as_dict()))["frame"] == "nv21 60x80"
    assert metadata.read(path)["frame"]["crop"] == front.describe()["crop"]
    assert metadata.read(path)["input"] == data.describe_input()


def test_a_front_that_is_wrong_is_rejected(tmp_path, monkeypatch):
    inputs, path = random((4, 32, 32, 3)), tmp_path / "m.tflite"
    monkeypatch.setattr(frames, "_times", lambda x, matrix: tf.matmul(x, np.float32(matrix * 1.01)))
    with pytest.raises(proof.ProofError, match="does not compute what"):
        export.export(net(), path, inputs, dataset=dataset(), frame=frames.Frame("nv21", 60, 80))
    assert not path.exists() and path.with_suffix(".rejected.tflite").exists()


def test_what_is_wrong_is_said_in_one_line(tmp_path):
    path, good = tmp_path / "m.tflite", frames.Frame("nv21", 60, 80)
    for make, told in [
        (lambda: frames.Frame("yv12", 60, 80), "'yv12': nv21, yuv420, rgba"),
        (lambda: frames.Frame("nv21", 61, 80), "has an even height, not 61"),
        (lambda: frames.Frame("rgba", 0, 80), "height of a frame must be a whole number >= 2"),
        (lambda: frames.Front(good, None), "dataset=datasets.load"),
        (lambda: frames.Front("nv21", dataset()), "frame is a frames.Frame, not 'nv21'"),
    ]:
        with pytest.raises(ValueError, match=told):
            make()
    for model, how, told in [
        (net(), {"dataset": dataset((40, 40, 3))}, r"\(32, 32, 3\), and frames become \(40, 40"),
        (net((None, None, 3)), {"dataset": dataset()}, "build the model for that size"),
        (net(), {}, "dataset=datasets.load"),
        (net(), {"dataset": dataset(), "quantize": "int8", "io": "int8"}, "no io='int8'"),
    ]:
        with pytest.raises(ValueError, match=told):
            export.export(model, path, random((2, 32, 32, 3)), frame=good, **how)
    a, b = (converter.to_tflite(lambda x: x + 1.0, (1, n)) for n in (3, 4))
    with pytest.raises(ValueError, match="the second takes"):
        joining.joined(a, b)
    assert not list(tmp_path.iterdir())
