"""Folders of images as users have them: sizes, channels, class order, files that do not belong."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_data import assert_one_line, pixels, write_folder, write_image, zip_folder
from tf_lcnn.data import datasets, examples, folders


def load(root, **options):
    return datasets.load("image_folder", root, **options)


def test_images_of_one_size_keep_it_and_go_in_as_they_are(tmp_path):
    dataset = load(write_folder(tmp_path), preprocessing="none")
    assert dataset.image_shape == (12, 12, 3) and dataset.short_side is None
    ((inputs, _),) = dataset.evaluation("test", 100)
    stored = [dataset.decode(path).numpy() for path in dataset.test.payloads]
    np.testing.assert_array_equal(inputs, stored)


def test_an_image_of_the_right_size_goes_in_as_it_is_though_others_are_larger(tmp_path):
    write_folder(tmp_path)
    write_image(tmp_path / "cat" / "large.png", pixels(0, 40, 30))
    dataset = load(tmp_path, image_size=12, preprocessing="none")
    inputs = np.concatenate([x for x, _ in dataset.evaluation("train", 1)])
    stored = [dataset.decode(path).numpy() for path in dataset.train.payloads]
    fitting = [i for i, image in enumerate(stored) if image.shape == (12, 12, 3)]
    np.testing.assert_array_equal(inputs[fitting], [stored[i] for i in fitting])
    assert load(tmp_path, default_size=16).image_shape == (16, 16, 3)


@pytest.mark.parametrize("suffix", [".png", ".gif"])
def test_gray_images_are_one_channel_where_the_model_has_one(tmp_path, suffix):
    gray = [np.full((6, 6, 1), 40 * i, np.uint8) for i in range(6)]
    for i, image in enumerate(gray):
        path = tmp_path / "ab"[i % 2] / f"{i}{suffix}"
        path.parent.mkdir(exist_ok=True)
        encode = tf.io.encode_png
        path.write_bytes(encode(image).numpy() if suffix == ".png" else gif(image))
    dataset = load(tmp_path, channels=1, preprocessing="none")
    assert dataset.image_shape == (6, 6, 1)
    for split in examples.SPLITS:
        for path in getattr(dataset, split).payloads:
            image = dataset.decode(path).numpy()
            np.testing.assert_array_equal(image, gray[int(pathlib.Path(path).stem)])


def gif(image):
    """An uncompressed GIF: each code is a pixel, with a code that clears the table before each."""
    height, width = image.shape[:2]
    palette = bytes(value for i in range(256) for value in (i, i, i))
    codes = [code for pixel in image.ravel() for code in (256, int(pixel))] + [257]
    bits = sum(code << (9 * i) for i, code in enumerate(codes))
    data = bits.to_bytes(-(-9 * len(codes) // 8), "little")
    blocks = b"".join(
        bytes([len(data[i : i + 255])]) + data[i : i + 255] for i in range(0, len(data), 255)
    )
    size = bytes([width, 0, height, 0])
    return (
        b"GIF89a" + size + b"\xf7\x00\x00" + palette + b"," + bytes(4) + size + b"\x00\x08"
        b"" + blocks + b"\x00;"
    )


def test_a_class_order_can_be_given_or_stand_in_classes_txt(tmp_path):
    write_folder(tmp_path, ("ant", "bee", "cat"))
    assert load(tmp_path).class_names == ("ant", "bee", "cat")
    (tmp_path / "classes.txt").write_text("cat\nant\nbee\n")
    dataset = load(tmp_path)
    assert dataset.class_names == ("cat", "ant", "bee")
    for path, label in zip(dataset.train.payloads, dataset.train.labels, strict=True):
        assert pathlib.Path(path).parent.name == dataset.class_names[label]
    archive = zip_folder(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")
    assert load(archive).class_names == ("cat", "ant", "bee")
    assert load(tmp_path, class_names=["bee", "cat", "ant"]).class_names == ("bee", "cat", "ant")


@pytest.mark.parametrize("names", [["ant"], ["ant", "bee", "bee"], ["ant", "wasp"]])
def test_class_names_that_are_not_those_of_the_folder_are_refused(tmp_path, names):
    write_folder(tmp_path, ("ant", "bee"))
    with pytest.raises(ValueError) as error:
        load(tmp_path, class_names=names)
    assert_one_line(error, "class_names", ", ".join(names))
    with pytest.raises(ValueError, match="for image_folder"):
        datasets.load("digits", class_names=names)


def test_a_file_without_suffix_beside_the_classes_is_no_class(tmp_path):
    write_folder(tmp_path)
    (tmp_path / "LICENSE").write_text("Free.")
    assert load(tmp_path).class_names == ("cat", "dog")
    assert load(zip_folder(tmp_path, tmp_path.parent / f"{tmp_path.name}.zip")).class_names


def test_one_class_only_is_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        load(write_folder(tmp_path, ("cat",)))
    assert_one_line(error, "one class only, cat")


def test_an_encrypted_zip_file_is_refused_in_one_line(tmp_path):
    archive = zip_folder(write_folder(tmp_path / "photos"), tmp_path / "photos.zip")
    content = bytearray(archive.read_bytes())
    # The bit that says encrypted, in local headers and the directory.
    for mark, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = content.find(mark)
        while at >= 0:
            content[at + place] |= 1
            at = content.find(mark, at + 4)
    archive.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load(archive)
    assert_one_line(error, "encrypted")


def test_a_large_folder_is_checked_in_part_and_names_a_broken_image_when_met(tmp_path, monkeypatch):
    root = write_folder(tmp_path)
    for path in (root / "cat").iterdir():
        path.write_bytes(b"no image")
    monkeypatch.setattr(folders, "CHECKED_IMAGES", 0)
    with pytest.raises(Exception, match=r"Cannot decode .*cat/\d\d\.png"):
        load(root)


@pytest.mark.parametrize(
    "preprocessing, low, high",
    [
        ("none", 0, 255),
        ("0..1", 0, 1),
        ("-1..1", -1, 1),
        ("100,50", -2, 3.1),
        ([0, 0, 0, 51, 51, 51], 0, 5),
    ],
)
def test_preprocessing_can_be_that_of_a_trained_model(tmp_path, preprocessing, low, high):
    for name in "ab":
        for i, value in enumerate((0, 255)):
            write_image(tmp_path / name / f"{i}.png", np.full((4, 4, 3), value, np.uint8))
    dataset = load(tmp_path, preprocessing=preprocessing)
    values = {float(x) for split in examples.SPLITS for x in dataset.sample(split, 9)[:, 0, 0, 0]}
    assert sorted(values) == pytest.approx([low, high])


@pytest.mark.parametrize("preprocessing", ["0...1", "1,2,3", "127,0", "nan,1", None, 3])
def test_preprocessing_that_is_none_is_refused(tmp_path, preprocessing):
    with pytest.raises(ValueError) as error:
        datasets.load("digits", preprocessing=preprocessing)
    assert_one_line(error, "preprocessing", "0..1", "imagenet")
