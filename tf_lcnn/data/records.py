"""Splits of numbered records, in memory or in TFRecord files, any of which is read by itself.

A shuffled epoch is a permutation of the numbers, so a host reads what is its own and nothing else,
and neither the order nor what is read depends on how many hosts there are.
"""

import concurrent.futures
import contextlib
import dataclasses
import functools
import hashlib
import pathlib
import struct

import numpy as np
import tensorflow as tf

from tf_lcnn import files

# Around each record of a TFRecord file: its length and a check of that, and a check of the record.
HEADER_BYTES, FOOTER_BYTES = 12, 4
_AROUND = HEADER_BYTES + FOOTER_BYTES

# Files whose headers are read at the same time.
_OPEN_FILES = 16

# Where fewer records lie is found in no time.
KEPT_FROM = 100_000


def drawn(total, count, seed):
    """The numbers of `count` of `total` records, drawn at random, sorted; None draws all."""
    return np.sort(np.random.default_rng(seed).permutation(total)[:count])


class Split:
    """Records by number."""

    def take(self, indices):
        """The split of the records of these numbers."""
        raise NotImplementedError

    def reader(self):
        """A function that is called in the functions of tf.data: number -> (payload, label)."""
        raise NotImplementedError

    def digest(self):
        """A short string that is another for other examples."""
        raise NotImplementedError

    def sample(self, count, seed):
        """The split of `count` examples drawn at random, in their order here."""
        return self.take(drawn(len(self), count, seed))

    def shuffled(self, place, seed):
        """The number of the record at a place of the order that `seed` (2 integers) makes."""
        return tf.random.experimental.index_shuffle(place, seed, len(self) - 1)

    def records(self):
        """Data set of (number, payload, label), in order."""
        read = self.reader()
        return tf.data.Dataset.range(len(self)).map(lambda i: (i, *read(i)))


@dataclasses.dataclass(frozen=True)
class Indexed(Split):
    """A split held in memory: `payloads[i]` is a uint8 image, its encoded bytes, or a path."""

    payloads: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        return Indexed(self.payloads[indices], self.labels[indices])

    def digest(self):
        """See `Split`; of files it knows the names."""
        digest = hashlib.sha256(np.ascontiguousarray(self.labels))
        if self.payloads.dtype.kind in "SUO":
            for payload in self.payloads.flat:
                encoded = payload if isinstance(payload, bytes) else str(payload).encode()
                # Where the folder lies may differ.
                digest.update(encoded.rpartition(b"/")[2] + b"\n")
        else:
            digest.update(np.ascontiguousarray(self.payloads))
        return f"{len(self)} x {digest.hexdigest()[:12]}"

    def reader(self):
        # Outside the function that is being traced: inside, they would be part of its graph.
        with tf.init_scope():
            payloads, labels = tf.constant(self.payloads), tf.constant(self.labels)
        return lambda i: (payloads[i], labels[i])


@dataclasses.dataclass(frozen=True)
class Streamed(Split):
    """A split too large for memory, in TFRecord files.

    Attributes:
        paths: of the files.
        places: int64 (records, 3): number of the file, first byte in it, bytes of the record.
        parse: a serialized record -> (encoded image, label).
    """

    paths: tuple
    places: np.ndarray
    parse: callable

    def __len__(self):
        return len(self.places)

    def take(self, indices):
        return Streamed(self.paths, self.places[indices], self.parse)

    def digest(self):
        """See `Split`; it knows the names of the files and where their records lie."""
        names = [pathlib.PurePath(path).name for path in self.paths]
        digest = hashlib.sha256(repr(names).encode())
        digest.update(np.ascontiguousarray(self.places))
        return f"{len(self)} x {digest.hexdigest()[:12]}"

    def reader(self):
        with tf.init_scope():
            paths, places = tf.constant(self.paths), tf.constant(self.places)

        def read(i):
            file, first, size = tf.unstack(places[i])
            # `tf.data.TFRecordDataset` begins at the first byte only.
            begun = tf.raw_ops.TFRecordDatasetV2(
                filenames=paths[file][None],
                compression_type="",
                buffer_size=size + _AROUND,
                byte_offsets=first[None],
            )
            kind = tf.TensorSpec((), tf.string)
            record = tf.data.experimental.from_variant(begun, kind).take(1).get_single_element()
            return self.parse(record)

        return read


def streamed(paths, counts, parse):
    """The `Streamed` of all records of TFRecord files.

    Args:
        paths: of the files, local or of what `tf.io.gfile` knows.
        counts: of the records in each.
        parse: see `Streamed`.

    Raises:
        ValueError: a file does not hold so many records, or is cut short.
        FileNotFoundError: a file is not there.
    """
    paths, counts = tuple(map(str, paths)), [int(count) for count in counts]
    sizes = _kept_sizes(paths, counts)
    numbers = np.repeat(np.arange(len(paths)), counts)
    places = np.empty((len(sizes), 3), np.int64)
    ends = np.cumsum(sizes + _AROUND)
    starts = np.concatenate([[0], ends])[np.cumsum([0, *counts])[:-1]]
    places[:, 0], places[:, 2] = numbers, sizes
    places[:, 1] = ends - (sizes + _AROUND) - starts[numbers]
    return Streamed(paths, places, parse)


def _kept_sizes(paths, counts):
    """The bytes of all records, one file after the other; found once and kept for the user."""
    try:
        found = [tf.io.gfile.stat(path) for path in paths]
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(f"No TFRecord file {error.message.partition(';')[0]}.") from None
    lengths = [each.length for each in found]
    facts = [(path, each.length, each.mtime_nsec) for path, each in zip(paths, found, strict=True)]
    mark = hashlib.sha256(repr((facts, counts)).encode()).hexdigest()[:16]
    kept = files.cache() / f"records-{mark}.npy"
    try:
        sizes = np.load(kept)
        bounds = np.cumsum([0, *counts])
        ends = np.concatenate([[0], np.cumsum(sizes + _AROUND)])[bounds]
        if sizes.dtype == np.int64 and np.array_equal(np.diff(ends), lengths):
            return sizes
    except (OSError, EOFError, ValueError, IndexError):
        pass
    with concurrent.futures.ThreadPoolExecutor(_OPEN_FILES) as pool:
        sizes = np.concatenate([*pool.map(sizes_in, paths, lengths, counts), np.zeros(0, np.int64)])
    if len(sizes) < KEPT_FROM:
        return sizes
    # A cache that cannot be written costs the time again, no more.
    with contextlib.suppress(OSError):
        kept.parent.mkdir(parents=True, exist_ok=True)
        with files.replacing(kept) as beside, open(beside, "wb") as file:
            np.save(file, sizes)
    return sizes


def sizes_in(path, length, count):
    """The bytes of each record of a TFRecord file, of which the headers alone are read.

    Args:
        path: of the file.
        length: of the file in bytes.
        count: how many records it has.

    Raises:
        ValueError: they do not fill the file.
    """
    local = functools.partial(open, mode="rb", buffering=0)
    remote = functools.partial(tf.io.gfile.GFile, mode="rb")
    sizes, at = [], 0
    with (remote if "://" in path else local)(path) as file:
        while at < length and len(sizes) < count:
            file.seek(at)
            header = file.read(HEADER_BYTES)
            size = struct.unpack_from("<Q", header)[0] if len(header) == HEADER_BYTES else length
            at += size + _AROUND
            if at > length:
                break
            sizes.append(size)
    if len(sizes) != count or at != length:
        raise ValueError(
            f"{path} is damaged or cut short: {len(sizes)} of its {count} records lie in its "
            f"{length} bytes one after the other. Prepare the data set again."
        )
    return np.array(sizes, np.int64)
