"""Data: splits that never touch, batches that a seed repeats, and errors that name the culprit."""

import itertools
import pathlib
import re
import shutil
import zipfile

import numpy as np
import pytest
import tensorflow as tf
from sklearn.datasets import load_digits

from tf_lcnn.data import datasets, records
from tf_lcnn.tasks.classification import Classification

AUGMENT = {"augment": Classification().augment}
SPLITS = ("train", "validation", "test")
CIFAR10 = pathlib.Path(__file__).resolve().parents[3] / "shared" / "data" / "tfds"


@pytest.fixture(scope="module")
def digits():
    return datasets.load("digits")


@pytest.fixture(scope="module")
def cifar10():
    if not (CIFAR10 / "cifar10").is_dir():
        pytest.skip(f"CIFAR-10 is not in {CIFAR10}")
    return datasets.load("cifar10", CIFAR10)


def pixels(seed, height=12, width=12, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (height, width, channels), np.uint8)


def write_image(path, image):
    path.parent.mkdir(parents=True, exist_ok=True)
    encode = {".png": tf.io.encode_png, ".jpg": tf.io.encode_jpeg}[path.suffix]
    path.write_bytes(encode(image).numpy())


def write_folder(root, classes=("cat", "dog"), count=10):
    """PNG files of distinct images, `count` per class."""
    for label, name in enumerate(classes):
        for i in range(count):
            image = pixels((*str(root).encode(), label, i))
            write_image(root / name / f"{i:02}.png", image)
    return root


def zip_folder(root, path, below="photos"):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(root.rglob("*")):
            archive.write(file, pathlib.PurePosixPath(below) / file.relative_to(root))
    return path


def images_of(images, split):
    """The decoded images of a split, in order, with their class names."""
    return [
        (images.decode(payload).numpy(), images.class_names[label])
        for _, payload, label in getattr(images, split).records()
    ]


def keys_of(images, split):
    return [(image.tobytes(), name) for image, name in images_of(images, split)]


def batches(dataset):
    return [(x.numpy(), y.numpy()) for x, y in dataset]


def assert_same_batches(a, b):
    assert len(a) == len(b) > 0
    for (images_a, labels_a), (images_b, labels_b) in zip(a, b, strict=True):
        np.testing.assert_array_equal(images_a, images_b)
        np.testing.assert_array_equal(labels_a, labels_b)


def small_set(images, mirror=False, image_shape=None):
    """A DataSet whose labels number its training images, and that normalizes nothing away."""
    labels = np.arange(len(images), dtype=np.int64)
    split = records.Indexed(images, labels)
    return datasets.DataSet(
        name="fake",
        class_names=tuple(str(i) for i in labels),
        image_shape=image_shape or images.shape[1:],
        mean=(0.0,) * images.shape[-1],
        std=(1.0,) * images.shape[-1],
        fixed_size=image_shape is None,
        mirror=mirror,
        train=split,
        validation=split,
        test=split,
        decode=lambda image: image,
    )


# Splits


def test_digits_splits_share_no_image_and_are_everything(digits):
    keys = [[image.tobytes() for image, _ in images_of(digits, split)] for split in SPLITS]
    stored = np.round(load_digits().images * 255 / 16).astype(np.uint8)
    assert [len(part) for part in keys] == [1294, 144, 359]
    assert sorted(itertools.chain(*keys)) == sorted(image.tobytes() for image in stored)
    assert len(set(itertools.chain(*keys))) == 1797


def test_digits_keep_their_labels(digits):
    stored = load_digits()
    known = {
        np.round(image * 255 / 16).astype(np.uint8).tobytes(): str(label)
        for image, label in zip(stored.images, stored.target, strict=True)
    }
    for image, name in images_of(digits, "test"):
        assert known[image.tobytes()] == name


def test_folder_splits_share_no_image_and_are_everything(tmp_path):
    root = write_folder(tmp_path, count=20)
    images = datasets.load("image_folder", root)
    names = [[path for _, path, _ in getattr(images, split).records()] for split in SPLITS]
    names = [[bytes(path.numpy()).decode() for path in part] for part in names]
    assert [len(part) for part in names] == [29, 3, 8]
    assert sorted(itertools.chain(*names)) == sorted(str(path) for path in root.rglob("*.png"))


def test_splits_are_the_same_on_every_load(tmp_path, digits):
    again = datasets.load("digits")
    root = write_folder(tmp_path)
    folder = datasets.load("image_folder", root)
    tf.random.set_seed(99)
    np.random.seed(99)
    folder_again = datasets.load("image_folder", root)
    for split in SPLITS:
        assert keys_of(digits, split) == keys_of(again, split)
        assert keys_of(folder, split) == keys_of(folder_again, split)


def test_cifar10_holds_validation_out_of_train(cifar10):
    assert [len(getattr(cifar10, split)) for split in SPLITS] == [45_000, 5_000, 10_000]
    assert cifar10.image_shape == (32, 32, 3)
    assert len(cifar10.class_names) == 10
    assert {"airplane", "truck"} <= set(cifar10.class_names)
    assert cifar10.mirror and cifar10.fixed_size
    keys = {i.tobytes() for split in SPLITS for i in getattr(cifar10, split).payloads}
    assert len(keys) == 60_000
    (images, labels), *_ = cifar10.training(32, 0, 1, seed=0, **AUGMENT).take(1).as_numpy_iterator()
    assert images.shape == (32, 32, 32, 3) and labels.shape == (32,)


# Batches


def test_same_seed_and_epoch_give_same_order_and_augmentation(digits):
    tf.random.set_seed(1)
    first = batches(digits.training(64, 0, 2, seed=7, **AUGMENT))
    tf.random.set_seed(2)
    assert_same_batches(first, batches(digits.training(64, 0, 2, seed=7, **AUGMENT)))


def test_without_augmentation_training_takes_the_inputs_of_evaluation(digits):
    plain = np.concatenate([x for x, _ in batches(digits.training(64, 0, 1, seed=0))])
    known = {x.tobytes() for batch, _ in digits.evaluation("train", 100) for x in batch.numpy()}
    assert {x.tobytes() for x in plain} <= known and len(plain) == 1280


def test_another_epoch_or_seed_gives_another_order_and_augmentation():
    fake = small_set(np.stack([pixels(i, 8, 8) for i in range(40)]))

    def epoch(first_epoch, seed):
        images, labels = batches(fake.training(40, first_epoch, first_epoch + 1, seed, **AUGMENT))[
            0
        ]
        order = np.argsort(labels)
        return images[order], labels

    images, labels = epoch(0, seed=0)
    for other_images, other_labels in (epoch(1, seed=0), epoch(0, seed=1)):
        assert (labels != other_labels).any()
        assert (images != other_images).any()


def test_a_run_that_starts_later_sees_what_an_unbroken_one_does(digits):
    unbroken = batches(digits.training(64, 0, 3, seed=3, **AUGMENT))
    assert len(unbroken) == 3 * digits.batches_per_epoch(64)
    assert_same_batches(unbroken[-40:], batches(digits.training(64, 1, 3, seed=3, **AUGMENT)))


def test_an_epoch_holds_every_image_at_most_once_and_leaves_out_only_the_remainder():
    fake = small_set(np.stack([pixels(i, 8, 8) for i in range(43)]))
    for epoch in range(3):
        labels = [y for _, y in batches(fake.training(8, epoch, epoch + 1, seed=0, **AUGMENT))]
        assert [len(y) for y in labels] == [8] * 5
        assert len(set(np.concatenate(labels))) == 40


def test_parts_give_the_same_images_in_smaller_batches(digits):
    whole = batches(digits.training(64, 0, 1, seed=5, **AUGMENT))
    parts = batches(digits.training(64, 0, 1, seed=5, parts=4, **AUGMENT))
    assert {len(y) for _, y in parts} == {16}
    for i in (0, 1):
        np.testing.assert_array_equal(
            np.concatenate([batch[i] for batch in whole]),
            np.concatenate([batch[i] for batch in parts]),
        )


@pytest.mark.parametrize("split", SPLITS)
def test_evaluation_covers_the_whole_split_in_order_and_unaltered(digits, split):
    found = np.concatenate([x for x, _ in batches(digits.evaluation(split, 50))])
    labels = np.concatenate([y for _, y in batches(digits.evaluation(split, 50))])
    expected = np.stack([image for image, _ in images_of(digits, split)]).astype(np.float32)
    restored = found * np.float32(digits.std) + np.float32(digits.mean)
    np.testing.assert_allclose(restored, expected, atol=1e-3)
    assert [digits.class_names[y] for y in labels] == [name for _, name in images_of(digits, split)]


# Normalization


def test_mean_and_std_are_those_of_the_training_images_only(digits):
    train = np.stack([image for image, _ in images_of(digits, "train")]).astype(np.float64)
    np.testing.assert_allclose(digits.mean, train.mean(axis=(0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(digits.std, train.std(axis=(0, 1, 2)), rtol=1e-6)


def test_mean_and_std_of_a_folder_are_those_of_its_training_pixels(tmp_path):
    for i in range(6):
        write_image(tmp_path / "train" / "ab"[i % 2] / f"{i}.png", pixels(i, 9 + i, 20 - i))
    for name in "ab":
        bright = np.full((9, 9, 3), 255, np.uint8)
        write_image(tmp_path / "test" / name / "bright.png", bright)
    images = datasets.load("image_folder", tmp_path)
    train = [image.reshape(-1, 3) for image, _ in images_of(images, "train")]
    train = np.concatenate(train).astype(np.float64)
    np.testing.assert_allclose(images.mean, train.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(images.std, train.std(axis=0), rtol=1e-6)


def test_normalized_training_images_have_mean_0_and_std_1(digits):
    images = np.concatenate([x for x, _ in batches(digits.evaluation("train", 500))])
    assert abs(images.mean(dtype=np.float64)) < 1e-5
    assert abs(images.std(dtype=np.float64) - 1) < 1e-5


def test_a_channel_that_never_varies_stays_finite(tmp_path):
    for i in range(6):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", np.full((8, 8, 3), 7, np.uint8))
    images = datasets.load("image_folder", tmp_path, image_size=8)
    for x, _ in batches(images.evaluation("train", 8)):
        np.testing.assert_array_equal(x, 0)


# Augmentation


def variants(image, pad, mirror):
    """Every crop of the zero-padded image, and its mirror image."""
    height, width, _ = image.shape
    padded = np.pad(image.astype(np.float32), ((pad, pad), (pad, pad), (0, 0)))
    for top in range(2 * pad + 1):
        for left in range(2 * pad + 1):
            crop = padded[top : top + height, left : left + width]
            yield crop
            if mirror:
                yield crop[:, ::-1]


def test_color_images_are_padded_by_4_cropped_and_mirrored():
    originals = np.stack([pixels(i, 32, 32) for i in range(4)])
    known = [
        {v.tobytes(): i for i, v in enumerate(variants(image, 4, mirror=True))}
        for image in originals
    ]
    drawn = set()
    for images, labels in batches(
        small_set(originals, mirror=True).training(4, 0, 40, seed=0, **AUGMENT)
    ):
        for image, label in zip(images, labels, strict=True):
            drawn.add(known[label][image.tobytes()])
    # 160 draws of 162 variants.
    assert len(drawn) > 80
    assert {i % 2 for i in drawn} == {0, 1}


def test_digits_are_shifted_by_at_most_1_and_never_mirrored(digits):
    known = {
        v.tobytes()
        for image, _ in images_of(digits, "train")
        for v in variants(image, 1, mirror=False)
    }
    for images, _ in batches(digits.training(64, 0, 1, seed=0, **AUGMENT)):
        restored = np.round(images * np.float32(digits.std) + np.float32(digits.mean))
        # The padding comes after the normalization, so that it is the mean's gray.
        restored[images == 0] = 0
        assert all(image.tobytes() in known for image in restored)


# Images of any size


def short_side(image, size):
    """The image with its short side at `size`, by plain numpy: antialiased triangle filter."""
    target = size * 256 / 224
    factor = target / min(image.shape[:2])
    resized = image.astype(np.float64)
    for axis in (0, 1):
        before, after = image.shape[axis], round(image.shape[axis] * factor)
        scale = after / before
        centres = (np.arange(after)[:, None] + 0.5) / scale
        reach = max(1.0, 1 / scale)
        weights = np.maximum(0, 1 - np.abs(np.arange(before) + 0.5 - centres) / reach)
        weights /= weights.sum(axis=1, keepdims=True)
        resized = np.moveaxis(np.tensordot(weights, resized, (1, axis)), 0, axis)
    return resized


@pytest.mark.parametrize("height, width", [(64, 96), (90, 40), (20, 31), (32, 32)])
def test_evaluation_takes_the_centre_of_short_side_256_for_224(tmp_path, height, width):
    for i in range(4):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", pixels(i, height, width))
    images = datasets.load("image_folder", tmp_path, image_size=28)
    ((found, _),) = batches(images.evaluation("test", 4))
    ((original, _),) = images_of(images, "test")
    expected = short_side(original, 28)
    assert min(expected.shape[:2]) == 32
    top, left = (expected.shape[0] - 28) // 2, (expected.shape[1] - 28) // 2
    expected = expected[top : top + 28, left : left + 28]
    np.testing.assert_allclose(found[0] * images.std + images.mean, expected, atol=0.02)


def test_training_crops_the_same_resized_image_anywhere(tmp_path):
    for i in range(4):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", pixels(i, 32, 36))
    images = datasets.load("image_folder", tmp_path, image_size=28)
    originals = [image.astype(np.float64) for image, _ in images_of(images, "train")]
    places = set()
    for found, _ in batches(images.training(1, 0, 20, seed=0, **AUGMENT)):
        restored = found[0] * images.std + images.mean
        matches = [
            (top, left, mirrored)
            for original in originals
            for top in range(5)
            for left in range(9)
            for mirrored in (False, True)
            if np.allclose(
                restored[:, ::-1] if mirrored else restored,
                original[top : top + 28, left : left + 28],
                atol=0.01,
            )
        ]
        assert len(matches) == 1
        places.add(matches[0])
    assert {mirrored for *_, mirrored in places} == {False, True}
    assert len(places) > 10


@pytest.mark.parametrize("channels", [1, 4])
def test_gray_and_rgba_images_become_rgb(tmp_path, channels):
    stored = [pixels(i, 10, 10, channels) for i in range(4)]
    for i, image in enumerate(stored):
        write_image(tmp_path / "ab"[i % 2] / f"{i}.png", image)
    images = datasets.load("image_folder", tmp_path, image_size=8)
    assert images.image_shape == (8, 8, 3)
    expected = [np.broadcast_to(image[..., :3], (10, 10, 3)).tobytes() for image in stored]
    found = [image.tobytes() for split in SPLITS for image, _ in images_of(images, split)]
    assert sorted(found) == sorted(expected)


# Folders


def test_class_names_are_sorted_and_label_their_folders(tmp_path):
    root = write_folder(tmp_path, classes=("zebra", "ant", "Mole"))
    images = datasets.load("image_folder", root)
    assert images.class_names == ("Mole", "ant", "zebra")
    for split in SPLITS:
        for _, path, label in getattr(images, split).records():
            folder = pathlib.Path(bytes(path.numpy()).decode()).parent.name
            assert images.class_names[label] == folder


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_train_val_and_test_folders_are_taken_as_they_are(tmp_path, validation):
    counts = {"train": 5, validation: 2, "test": 3}
    for split, count in counts.items():
        write_folder(tmp_path / split, count=count)
    images = datasets.load("image_folder", tmp_path)
    for split, folder in zip(SPLITS, ("train", validation, "test"), strict=True):
        stored = sorted((tmp_path / folder).rglob("*.png"))
        paths = [bytes(p.numpy()).decode() for _, p, _ in getattr(images, split).records()]
        assert paths == [str(path) for path in stored]


def test_a_val_folder_alone_is_the_test_and_validation_comes_out_of_train(tmp_path):
    train = write_folder(tmp_path / "train", count=10)
    val = write_folder(tmp_path / "val", count=3)
    images = datasets.load("image_folder", tmp_path)
    names = {
        split: {bytes(path.numpy()).decode() for _, path, _ in getattr(images, split).records()}
        for split in SPLITS
    }
    assert names["test"] == {str(path) for path in val.rglob("*.png")}
    assert names["train"] | names["validation"] == {str(path) for path in train.rglob("*.png")}
    assert not names["train"] & names["validation"]
    assert len(names["validation"]) == 2


@pytest.mark.parametrize("parts", [("",), ("train", "val"), ("train", "val", "test")])
def test_a_zip_file_gives_the_images_of_its_folder(tmp_path, parts):
    root = tmp_path / "photos"
    for part in parts:
        write_folder(root / part, count=5)
    folder = datasets.load("image_folder", root, image_size=8)
    archive = datasets.load("image_folder", zip_folder(root, tmp_path / "photos.zip"), image_size=8)
    assert archive.class_names == folder.class_names == ("cat", "dog")
    assert (archive.mean, archive.std) == (folder.mean, folder.std)
    for split in SPLITS:
        assert keys_of(archive, split) == keys_of(folder, split)
    assert_same_batches(
        batches(archive.training(2, 0, 1, seed=0, **AUGMENT)),
        batches(folder.training(2, 0, 1, seed=0, **AUGMENT)),
    )


def test_files_that_are_no_images_are_ignored(tmp_path):
    plain = datasets.load("image_folder", write_folder(tmp_path / "plain"), image_size=8)
    shutil.copytree(tmp_path / "plain", tmp_path / "mixed")
    for name in ("README.md", "cat/notes.txt", "dog/Thumbs.db", "stray.png"):
        (tmp_path / "mixed" / name).write_text("not an image")
    mixed = datasets.load("image_folder", tmp_path / "mixed", image_size=8)
    for split in SPLITS:
        assert keys_of(mixed, split) == keys_of(plain, split)


def test_what_a_mac_adds_to_a_zip_file_is_ignored(tmp_path):
    root = write_folder(tmp_path / "photos")
    archive = zip_folder(root, tmp_path / "photos.zip")
    with zipfile.ZipFile(archive, "a") as file:
        file.writestr("__MACOSX/photos/cat/._00.png", b"\0\5\26\7 resource fork")
    assert datasets.load("image_folder", archive, image_size=8).class_names == ("cat", "dog")


def test_image_size_overrides_the_stored_size():
    images = datasets.load("digits", image_size=16)
    assert images.image_shape == (16, 16, 1)
    for dataset in (
        images.training(8, 0, 1, seed=0, **AUGMENT),
        images.evaluation("test", 8),
    ):
        x, _ = next(iter(dataset))
        assert x.shape == (8, 16, 16, 1)


# Streamed


def streamed(root, payloads, labels, files):
    """A Streamed split in `files` TFRecord files of unequal lengths."""
    features = {"x": tf.io.FixedLenFeature([], tf.string), "y": tf.io.FixedLenFeature([], tf.int64)}
    bounds = np.linspace(0, 1, files + 1) ** 1.5 * len(payloads)
    bounds = bounds.astype(int)
    paths = []
    for i, (start, stop) in enumerate(itertools.pairwise(bounds)):
        path = str(root / f"{i}.tfrecord")
        with tf.io.TFRecordWriter(path) as writer:
            for payload, label in list(zip(payloads, labels, strict=True))[start:stop]:
                x = tf.train.Feature(bytes_list=tf.train.BytesList(value=[payload]))
                y = tf.train.Feature(int64_list=tf.train.Int64List(value=[label]))
                example = tf.train.Example(features=tf.train.Features(feature={"x": x, "y": y}))
                writer.write(example.SerializeToString())
        paths.append(path)

    def parse(record):
        example = tf.io.parse_single_example(record, features)
        return example["x"], example["y"]

    return records.streamed(paths, np.diff(bounds), parse)


@pytest.fixture(scope="module")
def stream(tmp_path_factory):
    images = np.stack([pixels(i, 10, 10) for i in range(60)])
    encoded = [tf.io.encode_png(image).numpy() for image in images]
    return images, streamed(tmp_path_factory.mktemp("stream"), encoded, range(60), 4)


@pytest.fixture(scope="module")
def streamed_set(stream):
    _, split = stream

    def decode(encoded):
        return tf.ensure_shape(tf.io.decode_png(encoded, channels=3), (None, None, 3))

    return datasets.DataSet(
        name="fake",
        class_names=tuple(str(i) for i in range(60)),
        image_shape=(8, 8, 3),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        fixed_size=False,
        mirror=True,
        train=split,
        validation=split,
        test=split,
        decode=decode,
    )


def order_of(records):
    return [int(i) for i, _ in records]


def shuffled(split, seed):
    """(number, label) of all records."""
    read = split.reader()

    def pick(place):
        i = split.shuffled(place, seed)
        return i, read(i)[1]

    return tf.data.Dataset.range(len(split)).map(pick)


def test_streamed_records_number_what_is_stored(stream):
    images, split = stream
    assert len(split) == 60
    for expected, (i, payload, label) in enumerate(split.records()):
        assert i == label == expected
        np.testing.assert_array_equal(tf.io.decode_png(payload), images[expected])


def test_streamed_order_depends_on_the_seed(stream):
    _, split = stream
    seeds = [tf.constant(seed, tf.int64) for seed in ((0, 0), (0, 1), (1, 0))]
    orders = [order_of(shuffled(split, seed)) for seed in seeds]
    assert all(sorted(order) == list(range(60)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert order_of(shuffled(split, seeds[0])) == orders[0]


def test_streamed_records_come_in_the_same_order_when_read_twice(stream):
    records = shuffled(stream[1], tf.constant((3, 1), tf.int64))
    assert order_of(records) == order_of(records)


def test_streamed_training_depends_on_its_own_seed_only(streamed_set):
    tf.random.set_seed(1)
    first = batches(streamed_set.training(8, 0, 1, seed=4, **AUGMENT))
    tf.random.set_seed(2)
    assert_same_batches(first, batches(streamed_set.training(8, 0, 1, seed=4, **AUGMENT)))


def test_streamed_training_repeats_itself_from_any_epoch(streamed_set):
    unbroken = batches(streamed_set.training(8, 0, 3, seed=4, **AUGMENT))
    assert len(unbroken) == 21
    assert_same_batches(unbroken, batches(streamed_set.training(8, 0, 3, seed=4, **AUGMENT)))
    assert_same_batches(unbroken[7:], batches(streamed_set.training(8, 1, 3, seed=4, **AUGMENT)))
    epochs = [np.concatenate([y for _, y in unbroken[i : i + 7]]) for i in (0, 7, 14)]
    assert all(len(set(labels)) == 56 for labels in epochs)
    assert len({labels.tobytes() for labels in epochs}) == 3


def test_streamed_evaluation_covers_the_whole_split_in_order(streamed_set):
    found = batches(streamed_set.evaluation("validation", 16))
    assert [x.shape for x, _ in found] == [(16, 8, 8, 3)] * 3 + [(12, 8, 8, 3)]
    assert np.concatenate([y for _, y in found]).tolist() == list(range(60))


# Bad input


def assert_one_line(error, *mentioned):
    message = str(error.value)
    assert "\n" not in message
    for text in mentioned:
        assert text in message


@pytest.mark.parametrize("name, mentioned", [("cifar11", "cifar10"), ("Cifar-10", "cifar10")])
def test_an_unknown_data_set_is_refused_with_close_names(tmp_path, name, mentioned):
    with pytest.raises(ValueError) as error:
        datasets.load(name, tmp_path)
    assert_one_line(error, name, mentioned)


def test_a_set_that_is_not_prepared_says_how_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("cifar10", tmp_path)
    assert_one_line(error, "cifar10", str(tmp_path), "--download")


def test_image_folder_without_data_dir_is_refused():
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder")
    assert_one_line(error, "--data_dir")


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        datasets.load("image_folder", tmp_path / "nowhere")
    assert_one_line(error, str(tmp_path / "nowhere"))


def test_a_folder_without_images_is_named(tmp_path):
    (tmp_path / "README.md").write_text("no images here")
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", tmp_path)
    assert_one_line(error, str(tmp_path))


@pytest.mark.parametrize("content", [None, "photo.webp"])
def test_a_class_folder_without_images_is_named(tmp_path, content):
    root = write_folder(tmp_path)
    (root / "heron").mkdir()
    if content:
        (root / "heron" / content).write_text("no format that is read")
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", root)
    assert_one_line(error, "heron")


def test_a_class_without_images_in_one_part_is_named(tmp_path):
    write_folder(tmp_path / "train", ("cat", "dog", "heron"))
    write_folder(tmp_path / "test", ("cat", "dog"))
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", tmp_path)
    assert_one_line(error, "heron", "test")


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_truncated_image_is_named(tmp_path, suffix, zipped):
    root = write_folder(tmp_path / "photos")
    broken = root / "dog" / f"broken{suffix}"
    write_image(broken, pixels(0, 40, 40))
    broken.write_bytes(broken.read_bytes()[:-400])
    source = zip_folder(root, tmp_path / "photos.zip") if zipped else root
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", source)
    assert_one_line(error, f"dog/broken{suffix}")


def test_a_damaged_zip_member_is_named(tmp_path):
    root = write_folder(tmp_path / "photos")
    archive = zip_folder(root, tmp_path / "photos.zip")
    content = archive.read_bytes()
    stored = (root / "cat" / "03.png").read_bytes()
    assert content.count(stored) == 1
    archive.write_bytes(content.replace(stored, stored[:-20] + bytes(20)))
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", archive)
    assert_one_line(error, "cat/03.png")


def test_too_few_images_to_hold_any_out_are_refused(tmp_path):
    for name in "ab":
        write_image(tmp_path / name / "only.png", pixels(0))
    with pytest.raises(ValueError) as error:
        datasets.load("image_folder", tmp_path)
    assert_one_line(error, "1 training image")


def test_a_batch_larger_than_the_split_is_refused(digits):
    with pytest.raises(ValueError) as error:
        digits.training(1295, 0, 1, seed=0, **AUGMENT)
    assert_one_line(error, "1295", "1294", "digits")


def test_a_batch_that_does_not_break_into_its_parts_is_refused(digits):
    with pytest.raises(ValueError, match=re.escape("64")) as error:
        digits.training(64, 0, 1, seed=0, parts=3, **AUGMENT)
    assert_one_line(error, "3")


@pytest.mark.parametrize("batch_size, parts", [(0, 1), (-4, 1), (64, 0)])
def test_batches_and_parts_below_1_are_refused(digits, batch_size, parts):
    with pytest.raises(ValueError) as error:
        digits.training(batch_size, 0, 1, seed=0, parts=parts, **AUGMENT)
    assert_one_line(error, str(batch_size if batch_size < 1 else parts))


def test_a_sample_is_of_all_classes_and_its_seed_repeats_it(tmp_path):
    """Folders are sorted by class: the first images of a split are of one class."""
    classes = [f"class{i}" for i in range(4)]
    folder = datasets.load("image_folder", write_folder(tmp_path, classes, 30), 8)
    every = {x.tobytes(): int(y[0]) for x, y in folder.evaluation("train", 1).as_numpy_iterator()}
    drawn = folder.sample("train", 20, 3)
    labels = [every[x[None].tobytes()] for x in drawn]
    assert set(labels) == {0, 1, 2, 3} and len({x.tobytes() for x in drawn}) == 20
    np.testing.assert_array_equal(drawn, folder.sample("train", 20, 3))
    assert not np.array_equal(drawn, folder.sample("train", 20, 4))
    assert len(folder.sample("train", 10_000)) == len(folder.train)


def test_a_sample_of_a_stream_is_of_all_of_it(tmp_path):
    split = streamed(tmp_path, [b""] * 1000, range(1000), 3)
    chosen = [int(y) for _, _, y in split.sample(50, 0).records()]
    assert len(set(chosen)) == 50 and min(chosen) < 100 and max(chosen) >= 900
    assert chosen == [int(y) for _, _, y in split.sample(50, 0).records()]


def test_an_unknown_split_is_named(digits):
    with pytest.raises(ValueError, match=r"Unknown split 'tset': train, validation, test"):
        digits.evaluation("tset", 10)


@pytest.mark.parametrize(
    ("arguments", "mentioned"),
    [
        ({"name": 123}, "123"),
        ({"name": "digits", "image_size": "a"}, "image_size"),
        ({"name": "digits", "image_size": 0}, "image_size"),
        ({"name": "digits", "image_size": (8, 8, 1)}, "height and width"),
        ({"name": "image_folder", "data_dir": 5}, "path"),
        ({"name": "image_folder", "class_names": "ab"}, "list"),
    ],
)
def test_a_wrong_type_is_refused_in_one_line(arguments, mentioned):
    with pytest.raises(ValueError) as error:
        datasets.load(**arguments)
    assert_one_line(error, mentioned)


@pytest.mark.parametrize(
    "ask",
    [
        lambda dataset: dataset.evaluation("test", 0),
        lambda dataset: dataset.training(8, 0, 1, None),
        lambda dataset: dataset.training(1.5, 0, 1, 0),
        lambda dataset: dataset.sample("train", 3, -1),
        lambda dataset: dataset.batches_per_epoch("8"),
    ],
)
def test_a_wrong_number_is_refused_in_one_line(digits, ask):
    with pytest.raises(ValueError) as error:
        ask(digits)
    assert_one_line(error, "whole number")
