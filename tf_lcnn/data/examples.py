"""Splits of examples, and how they become batches: what the data sets of all tasks share.

Splits: *test* is for the final figure only, *validation* is held out of the training examples.
Both are the same in every run, whatever its seed.
"""

import keras
import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data.records import Indexed
from tf_lcnn.layers.depth_to_space import SpaceToDepth

SPLITS = ("train", "validation", "test")
VALIDATION_SHARE = 0.1
TEST_SHARE = 0.2
SPLIT_SEED = 0

# Examples of one record lie apart from each other by about this many others.
_SHUFFLE_BUFFER = 1024


class Examples:
    """A data set; a kind of them is a frozen dataclass that says what an example is.

    Attributes:
        name: of the data set.
        train, validation, test: the splits, `records.Indexed` or `records.Streamed`.
        noun: what the records are, for people.
        draws: examples that a record of the training split gives in an epoch.
        sizes_differ: whether inputs of evaluation have several sizes, and come one by one.
    """

    noun = "images"
    draws = 1
    sizes_differ = False

    def example(self, payload, label):
        """(input, target) of a record in evaluation."""
        raise NotImplementedError

    def drawn(self, payload, label, draw, augment):
        """(input, target) of a record in training, or `draws` of them in one tensor each.

        Args:
            payload, label: the record.
            draw: two integers that seed what is drawn.
            augment: a task's: (this data set, what is stored, draw) -> what is trained on; or None.
        """
        raise NotImplementedError

    @property
    def example_shape(self):
        """The shape of an input, to count costs at; of the first test example where they differ."""
        raise NotImplementedError

    @property
    def network(self):
        """The arguments with which `models.build` makes a network for this data."""
        raise NotImplementedError

    def summary(self):
        """One line of the sizes of it, for people."""
        counts = ", ".join(
            f"{len(self.split(name))} {'training' if name == 'train' else name}" for name in SPLITS
        )
        return f"{self.name}: {counts} {self.noun}"

    def taken_by(self, model):
        """The data set as this model takes it, where models take it in several forms."""
        return self

    def refuse_mismatch(self, model, name):
        """Raises ValueError unless a model takes these inputs and gives such targets.

        Args:
            model: a Keras model.
            name: of it, for the message.
        """
        raise NotImplementedError

    def batches_per_epoch(self, batch_size):
        """Full batches in the training split: an epoch leaves the remainder out."""
        checks.whole_number(batch_size, "The images of a batch")
        examples = len(self.train) * self.draws
        if examples < batch_size:
            noun = self.noun if self.draws == 1 else "patches"
            raise ValueError(
                f"Batch size {batch_size} is larger than the {examples} training {noun} "
                f"of {self.name}."
            )
        return examples // batch_size

    def training(self, batch_size, first_epoch, epochs, seed, parts=1, augment=None, share=None):
        """Shuffled batches (inputs, targets) of the epochs first_epoch to epochs - 1.

        The order and the augmentation of an epoch depend on the seed and the epoch alone, so a
        resumed run sees what an unbroken one does.

        Args:
            batch_size: examples per step of the optimizer.
            parts: each batch comes in this many equal parts (gradient accumulation).
            augment: a task's, see `drawn`; None takes inputs as in evaluation where the examples
                have one size.
            share: (index, count, devices) of a host, see `own_rows`: the batches are its rows of
                them, and it reads no others, but where a record gives several examples. What a row
                is does not depend on it.
        """
        checks.whole_number(batch_size, "The images of a batch")
        checks.whole_number(first_epoch, "The first epoch", least=0)
        checks.whole_number(epochs, "The epochs", least=0)
        checks.whole_number(seed, "The seed", least=None)
        if checks.whole_number(parts, "The parts of a batch") and batch_size % parts:
            raise ValueError(f"A batch of {batch_size} does not break into {parts} equal parts.")
        used = self.batches_per_epoch(batch_size) * batch_size
        size = batch_size // parts
        index, hosts, _ = share or (0, 1, 1)
        rows = size // hosts

        def one_epoch(epoch):
            order, read = tf.stack([tf.constant(seed, tf.int64), epoch]), self.train.reader()

            def prepare(place):
                i = self.train.shuffled(place, order)
                draw = tf.stack([order[0] * 1_000_003 + epoch, i])
                return self.drawn(*read(i), draw, augment)

            if self.draws == 1:
                return own_rows(used, size, share).map(prepare, tf.data.AUTOTUNE)
            # A shuffle draws from the global seed of this graph too; tf.data cannot take a 0 there
            # beside the seed of the epoch, a tensor.
            tf.random.set_seed(1)
            records = tf.data.Dataset.range(-(-used // self.draws))
            examples = records.map(prepare, tf.data.AUTOTUNE).unbatch().take(used)
            mixed = tf.reduce_sum(order * [1_000_003, 1])
            examples = examples.shuffle(_SHUFFLE_BUFFER, mixed, reshuffle_each_iteration=False)
            return examples.batch(rows).shard(hosts, index).unbatch()

        epochs = tf.data.Dataset.range(first_epoch, epochs).flat_map(one_epoch)
        return epochs.batch(rows, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def evaluation(self, split, batch_size):
        """Batches (inputs, targets) of a whole split, in order, not augmented.

        Args:
            split: "train", "validation" or "test".
            batch_size: examples of a batch.
        """
        checks.whole_number(batch_size, "The images of a batch")
        places = tf.data.Dataset.range(len(self.split(split)))
        examples = places.map(self._evaluated(split), tf.data.AUTOTUNE)
        return examples.batch(batch_size).prefetch(tf.data.AUTOTUNE)

    def shared_evaluation(self, split, batch_size, share):
        """The rows of a host of the batches of `evaluation`: (inputs, targets, weights).

        The last batch is filled up, so that all devices have equally many rows of it. What fills
        it up has the weight 0, all else the same weight, with which the mean of the weighted
        losses, over all rows, is the mean loss of the split.

        Args:
            split: "train", "validation" or "test".
            batch_size: examples of a batch, of all hosts together.
            share: (index, count, devices) of the host, see `own_rows`.
        """
        checks.whole_number(batch_size, "The images of a batch")
        count = len(self.split(split))
        total = -(-count // share[2]) * share[2]
        evaluated = self._evaluated(split)

        def weighted(place):
            weight = tf.where(place < count, tf.constant(total / count, tf.float32), 0.0)
            return *evaluated(place % count), weight

        batches = own_rows(total, batch_size, share).map(weighted, tf.data.AUTOTUNE)
        batches = batches.batch(batch_size // share[1])
        # Keras takes an end that it did not know of for an interruption.
        known = tf.data.experimental.assert_cardinality(-(-total // batch_size))
        return batches.apply(known).prefetch(tf.data.AUTOTUNE)

    def _evaluated(self, split):
        """number of a record of a split -> (input, target)."""
        read = self.split(split).reader()
        return lambda i: self.example(*read(i))

    def sample(self, split, count, seed=0):
        """Inputs of a random sample of a split, for calibration: float32 (count, ...).

        Folders are sorted by class, so the first images of a split are of one class; these are
        drawn from all of it, each at most once, and the same ones for the same seed.

        Args:
            split: "train", "validation" or "test".
            count: how many; a smaller split gives all it has.
        """
        checks.whole_number(count, "The count of a sample")
        checks.whole_number(seed, "The seed", least=0)
        chosen = self.split(split).sample(count, seed)
        batches = chosen.records().map(
            lambda _, payload, label: self.example(payload, label)[0],
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return np.concatenate(list(batches.batch(100).as_numpy_iterator()))

    def of_one_size(self, split):
        """(inputs, targets) of a split, as batches or arrays, where all inputs have one size."""
        return self.evaluation(split, 100)

    def digest(self):
        """A short string that is another for other training or validation examples."""
        return ", ".join(self.split(name).digest() for name in ("train", "validation"))

    def split(self, name):
        """The split of this name.

        Raises:
            ValueError: there is none.
        """
        if name not in SPLITS:
            raise ValueError(f"Unknown split {name!r}: {', '.join(SPLITS)}.")
        return getattr(self, name)


class Labeled(Examples):
    """A data set of inputs of one shape with a class each.

    Attributes:
        class_names: label i is `class_names[i]`.
    """

    @property
    def network(self):
        return {"input_shape": self.example_shape, "classes": len(self.class_names)}

    def summary(self):
        return f"{super().summary()}, {len(self.class_names)} classes, input {self.example_shape}"

    def refuse_mismatch(self, model, name):
        """See `Examples`. A size that the model leaves open is that of any."""
        wanted = (*self.example_shape, len(self.class_names))
        shape = (*model.input_shape[1:], model.output_shape[-1])
        fits = len(shape) == len(wanted) and all(
            size in (None, other) for size, other in zip(shape, wanted, strict=True)
        )
        if not fits:
            raise ValueError(
                f"{name} takes {self.noun} {model.input_shape[1:]} of {model.output_shape[-1]} "
                f"classes, but {self.name} has {self.example_shape} and {len(self.class_names)}."
            )
        if _takes_mosaics(model) and "mosaic" not in self.network:
            raise ValueError(
                f"{name} takes mosaics of a sensor, in tiles of 2x2, and {self.name} gives gray "
                "images: --mosaic=PATTERN, the one of its training, makes mosaics of color ones."
            )

    def describe_input(self):
        """What an app has to give the network, as plain Python types; see `lite.metadata`."""
        raise NotImplementedError


def _takes_mosaics(model):
    """Whether a model's first layer packs tiles of one channel."""
    layers = [x for x in model.layers if not isinstance(x, keras.layers.InputLayer)]
    return model.input_shape[-1] == 1 and isinstance(layers[0], SpaceToDepth)


def own_rows(count, batch_size, share):
    """The rows of a host: of every batch as many as of any other host, one after the other.

    Args:
        count: rows, which are batched from the first on; no more than the last batch is short.
        batch_size: rows of a batch, of all hosts; the hosts divide it, and the last batch too.
        share: (index, count, devices) of the host, from 0; or None for all rows.

    Returns:
        A tf.data.Dataset of their numbers.
    """
    if share is None or share[1] == 1:
        return tf.data.Dataset.range(count)
    index, hosts, _ = share
    own, full = batch_size // hosts, count // batch_size * batch_size
    own_last = (count - full) // hosts

    def number(i):
        last = i - full // hosts
        return tf.where(
            last < 0,
            i // own * batch_size + index * own + i % own,
            full + index * own_last + last,
        )

    return tf.data.Dataset.range(count // hosts).map(number)


def hold_out(splits, noun="images"):
    """Adds the splits that are missing to a dict of them, out of train.

    Raises:
        ValueError: train has too few.
    """
    for name, share in (("test", TEST_SHARE), ("validation", VALIDATION_SHARE)):
        if name in splits:
            continue
        train = splits["train"]
        held = max(1, round(len(train) * share))
        if held >= len(train):
            raise ValueError(f"{len(train)} training {noun} are too few to hold out a {name} part.")
        order = np.arange(len(train))
        if isinstance(train, Indexed):
            order = np.random.default_rng(SPLIT_SEED).permutation(order)
        # Of files, what is held out lies together: it is read one after the other.
        splits[name] = train.take(np.sort(order[:held]))
        splits["train"] = train.take(np.sort(order[held:]))
    return splits
