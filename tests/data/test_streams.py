"""Sets too large for memory: files in another order each epoch, and what is held out."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_data import assert_one_line, pixels, streamed
from tf_lcnn.data import datasets, examples, sources


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Sorted by label: each of 6 files holds labels of its own."""
    return streamed(tmp_path_factory.mktemp("files"), [b""] * 120, range(120), 6)


def labels(split, seed=None):
    seed = None if seed is None else tf.constant(seed, tf.int64)
    return [int(y) for _, _, y in split.records(seed)]


def test_files_and_records_are_shuffled_anew_by_each_seed(split, monkeypatch):
    # A buffer that is small beside the files, as ImageNet's is.
    monkeypatch.setattr(sources, "SHUFFLE_BUFFER", 4)
    orders = [labels(split, (0, epoch)) for epoch in range(3)]
    assert all(sorted(order) == list(range(120)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] == labels(split, (0, 0))
    for order in orders:
        # The first records come from all over the set, not from its first file.
        assert max(order[:24]) >= 90 and min(order[:24]) < 30


def test_what_is_held_out_is_read_from_files_of_its_own(split):
    splits = examples.hold_out({"train": split, "test": split})
    train, validation = splits["train"], splits["validation"]
    assert labels(validation) == list(range(12)) and labels(train) == list(range(12, 120))
    assert len(train) == 108 and len(validation) == 12
    # The first file is in the held-out part as a whole: training does not open it.
    opened = {path for path, _, _ in train.files}
    (first, _, count), *_ = split.files
    assert count <= 12 and first not in opened
    assert sorted(labels(train, (3, 1))) == list(range(12, 120))


def test_a_streamed_set_of_tfds_gives_its_images_and_labels(tmp_path):
    tfds = pytest.importorskip("tensorflow_datasets")
    images = np.stack([pixels(i, 6, 6) for i in range(30)])
    stored = tf.data.Dataset.from_tensor_slices(
        {"image": images, "label": np.arange(30, dtype=np.int64) % 3}
    )
    tfds.dataset_builders.store_as_tfds_dataset(
        name="tiny",
        version="1.0.0",
        data_dir=tmp_path,
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3)),
                "label": tfds.features.ClassLabel(names=["a", "b", "c"]),
            }
        ),
        split_datasets={"train": stored.skip(0).take(20), "test": stored.skip(20).take(10)},
    )
    dataset = datasets.load("tiny", tmp_path, image_size=6, preprocessing="none")
    assert isinstance(dataset.train, datasets.Streamed)
    assert [len(getattr(dataset, name)) for name in examples.SPLITS] == [18, 2, 10]
    label_of = {image.tobytes(): i % 3 for i, image in enumerate(images)}
    for name in examples.SPLITS:
        for x, y in dataset.evaluation(name, 1):
            assert label_of[x[0].numpy().astype(np.uint8).tobytes()] == int(y[0])


def test_a_version_of_a_tfds_set_that_does_not_exist_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError) as error:
        datasets.load("cifar10:9.9.9", tmp_path)
    assert_one_line(error, "cifar10:9.9.9", "does not exist")
