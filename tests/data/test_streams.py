"""Sets too large for memory: which records of the files are read, and in which order."""

import io
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_data import assert_one_line, pixels, streamed
from tf_lcnn.data import datasets, examples, records


@pytest.fixture(scope="module")
def split(tmp_path_factory):
    """Sorted by label: each of 6 files holds labels of its own."""
    return streamed(tmp_path_factory.mktemp("files"), [b""] * 120, range(120), 6)


def labels(split, seed=None):
    if seed is None:
        return [int(y) for _, _, y in split.records()]
    read, order = split.reader(), tf.constant(seed, tf.int64)
    shuffled = tf.data.Dataset.range(len(split)).map(lambda i: read(split.shuffled(i, order)))
    return [int(y) for _, y in shuffled]


def opened(monkeypatch):
    """What was read by itself since, as (path, first byte), while a data set is traced anew."""
    read, real = [], tf.raw_ops.TFRecordDatasetV2

    def noting(filenames, byte_offsets, **others):
        note = tf.numpy_function(
            lambda *place: read.append((place[0].decode(), int(place[1]))) or np.int64(0),
            [filenames[0], byte_offsets[0]],
            tf.int64,
        )
        with tf.control_dependencies([note]):
            filenames = tf.identity(filenames)
        return real(filenames=filenames, byte_offsets=byte_offsets, **others)

    monkeypatch.setattr(tf.raw_ops, "TFRecordDatasetV2", noting)
    return read


def places(split):
    return {(split.paths[file], first) for file, first, _ in split.places.tolist()}


def labeled(train, held_out):
    """A data set of these splits, whose inputs are labels."""
    size = {"image_shape": (1, 1, 1), "mean": (0.0,), "std": (1.0,)}
    return datasets.DataSet(
        name="labels",
        class_names=tuple(map(str, range(120))),
        **size,
        fixed_size=True,
        mirror=False,
        train=train,
        validation=held_out,
        test=held_out,
        decode=lambda _: tf.zeros((1, 1, 1), tf.uint8),
    )


def test_records_of_all_files_are_shuffled_anew_by_each_seed(split):
    orders = [labels(split, (0, epoch)) for epoch in range(3)]
    assert all(sorted(order) == list(range(120)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] == labels(split, (0, 0))
    for order in orders:
        # The first records come from all over the set, not from its first file.
        assert max(order[:24]) >= 90 and min(order[:24]) < 30


def test_what_is_held_out_lies_together_and_training_does_not_read_it(split, monkeypatch):
    splits = examples.hold_out({"train": split, "test": split})
    train, validation = splits["train"], splits["validation"]
    assert labels(validation) == list(range(12)) and labels(train) == list(range(12, 120))
    assert sorted(labels(train, (3, 1))) == list(range(12, 120))
    data = labeled(train, validation)
    read = opened(monkeypatch)
    assert len(list(data.training(9, 0, 1, seed=0))) == 12
    assert len(read) == 108 and set(read) == places(train)
    read.clear()
    assert len(list(data.evaluation("validation", 12))) == 1
    # Not a record of the training split is read for validation.
    assert len(read) == 12 and set(read) == places(validation)


@pytest.mark.parametrize("parts", [1, 2])
def test_hosts_read_their_own_records_and_no_others(split, monkeypatch, parts):
    data, read, seen = labeled(split, split), opened(monkeypatch), []
    whole = [y.numpy() for _, y in data.training(24, 0, 1, 5, parts)]
    read.clear()
    rows = []
    for index in range(4):
        rows.append([y.numpy() for _, y in data.training(24, 0, 1, 5, parts, share=(index, 4, 4))])
        seen.append(set(read))
        assert len(read) == 30
        read.clear()
    assert set.union(*seen) == places(split) and sum(map(len, seen)) == 120
    # The batches, put together again, are those of one host.
    np.testing.assert_array_equal([np.concatenate(b) for b in zip(*rows, strict=True)], whole)
    data.shared_evaluation("validation", 50, (0, 2, 2))
    assert len(list(data.shared_evaluation("validation", 50, (1, 2, 2)))) == 3
    assert len(set(read)) == 60


def test_the_first_batch_waits_for_no_buffer_of_records(tmp_path, monkeypatch):
    """What is read ahead is some batches, however many records there are."""
    split = streamed(tmp_path, [b""] * 3000, range(3000), 3)
    data, read = labeled(split, split), opened(monkeypatch)
    next(iter(data.training(4, 0, 1, seed=0)))
    assert 4 <= len(read) < 600


def test_a_sample_of_a_stream_reads_nothing_else(split, monkeypatch):
    read = opened(monkeypatch)
    assert len(labels(split.sample(7, 3))) == len(read) == 7


def test_files_are_known_by_their_headers_alone(tmp_path, monkeypatch):
    """Of records of a megabyte, some hundred bytes are read."""
    path = str(tmp_path / "long.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for i in range(5):
            writer.write(bytes(10**6 + i))
    read = []

    class Counting(io.FileIO):
        def read(self, size=-1):
            read.append(size)
            return super().read(size)

    monkeypatch.setattr("builtins.open", lambda path, mode, buffering: Counting(path, mode))
    length = pathlib.Path(path).stat().st_size
    sizes = records.sizes_in(path, length, 5)
    assert sizes.tolist() == [10**6 + i for i in range(5)] and sum(read) == 60


def test_what_was_found_is_kept_until_a_file_changes(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(records, "KEPT_FROM", 1)
    first = streamed(tmp_path, [b"a", b"bc", b"", b"d"], range(4), 2)
    counts = np.bincount(first.places[:, 0]).tolist()

    def again():
        return records.streamed(first.paths, counts, first.parse)

    (kept,) = (tmp_path / "cache" / "tf_lcnn").iterdir()
    with monkeypatch.context() as context:
        context.setattr(records, "sizes_in", None)
        np.testing.assert_array_equal(again().places, first.places)
    # What is damaged is found anew, and what is of other files too.
    for content in (b"", b"no array", kept.read_bytes()[:-8]):
        kept.write_bytes(content)
        np.testing.assert_array_equal(again().places, first.places)
    longer = streamed(tmp_path, [b"a" * 99, b"bc", b"", b"d"], range(4), 2)
    assert longer.places[0, 2] > first.places[0, 2]
    assert [int(y) for _, _, y in longer.records()] == [0, 1, 2, 3]


def test_another_length_of_a_record_is_another_digest(tmp_path):
    one = streamed(tmp_path, [b"a", b"b"], range(2), 1)
    other = streamed(tmp_path, [b"a", b"bb"], range(2), 1)
    assert one.digest() != other.digest()
    assert one.digest() == streamed(tmp_path, [b"a", b"b"], range(2), 1).digest()
    assert one.digest() != one.take(np.arange(1)).digest()


@pytest.mark.parametrize("harm", ["cut", "longer", "length", "missing record", "empty", "gone"])
def test_a_damaged_file_is_named_in_one_line(tmp_path, harm):
    split = streamed(tmp_path, [b"abc"] * 12, range(12), 2)
    counts = np.bincount(split.places[:, 0]).tolist()
    path = pathlib.Path(split.paths[1])
    content = path.read_bytes()
    made = {
        "cut": content[:-5],
        "longer": content + b"\0" * 7,
        "length": b"\xff" * 8 + content[8:],
        "missing record": content[: split.places[split.places[:, 0] == 1][-1, 1]],
        "empty": b"",
    }
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(made[harm])
    with pytest.raises(FileNotFoundError if harm == "gone" else ValueError) as error:
        records.streamed(split.paths, counts, split.parse)
    assert_one_line(error, str(path))


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
    assert isinstance(dataset.train, records.Streamed)
    assert [len(getattr(dataset, name)) for name in examples.SPLITS] == [18, 2, 10]
    label_of = {image.tobytes(): i % 3 for i, image in enumerate(images)}
    for name in examples.SPLITS:
        for x, y in dataset.evaluation(name, 1):
            assert label_of[x[0].numpy().astype(np.uint8).tobytes()] == int(y[0])


def test_a_version_of_a_tfds_set_that_does_not_exist_is_refused_in_one_line(tmp_path):
    with pytest.raises(ValueError) as error:
        datasets.load("cifar10:9.9.9", tmp_path)
    assert_one_line(error, "cifar10:9.9.9", "does not exist")
