"""Where splits come from: digits and TensorFlow Datasets."""

import difflib

import numpy as np
import tensorflow as tf

from tf_lcnn import checks
from tf_lcnn.data import records
from tf_lcnn.data.records import Indexed

# Above this many bytes of pixels a TFDS set is streamed, not held in memory.
IN_MEMORY_BYTES = 2**30


def digits():
    """scikit-learn's digits: one part, its class names, no decoding, and the shape."""
    from sklearn.datasets import load_digits

    stored = load_digits()
    # Stored as 0 to 16.
    images = np.round(stored.images[..., None] * (255 / 16)).astype(np.uint8)
    everything = Indexed(images, stored.target.astype(np.int64))
    names = [str(name) for name in stored.target_names]
    return {"train": everything}, names, None, images.shape[1:]


def tensorflow_dataset(name, data_dir, download):
    """The parts, class names, decoding and stored shape of an image classification set of TFDS."""
    what = f"Data sets other than digits and image_folder, like {name!r},"
    tfds = checks.imported("tensorflow_datasets", "tfds", what)

    try:
        builder = tfds.builder(name, data_dir=data_dir)
    except (tfds.core.DatasetNotFoundError, ValueError, AssertionError) as error:
        if ":" in name and name.partition(":")[0].partition("/")[0] in tfds.list_builders():
            raise ValueError(f"{name} does not exist: {checks.first_line(error)}") from None
        close = difflib.get_close_matches(name.lower(), tfds.list_builders(), n=3)
        hint = f" (TFDS has {', '.join(close)})" if close else ""
        raise ValueError(
            f"Unknown data set {name!r}{hint}: digits, image_folder, or the name of an image "
            "classification set of TensorFlow Datasets, like cifar10."
        ) from None
    if not builder.is_prepared():
        if not download:
            raise FileNotFoundError(
                f"{name} is not prepared in {builder.data_dir}: point --data_dir at a folder "
                "that has it, or add --download."
            )
        builder.download_and_prepare()
    features = builder.info.features
    if not {"image", "label"} <= set(features):
        raise ValueError(f"{name} is no image classification set: it has {', '.join(features)}.")
    names = {"train": "train"}
    held_apart = [s for s in ("validation", "test") if s in builder.info.splits]
    if name.startswith("imagenet"):
        # ImageNet's own test labels are not public: the custom is to test on validation.
        held_apart = ["validation"]
    if len(held_apart) == 1:
        names["test"] = held_apart[0]
    else:
        names.update({split: split for split in held_apart})
    class_names = features["label"].names
    shape = features["image"].shape
    images = sum(builder.info.splits[split].num_examples for split in names.values())
    if None not in shape and images * np.prod(shape) <= IN_MEMORY_BYTES:
        splits = {
            split: _in_memory(builder.as_dataset(split=stored), tfds)
            for split, stored in names.items()
        }
        return splits, class_names, None, shape
    splits = {}
    for split, stored in names.items():
        splits[split] = _streamed(builder, stored, tfds)
    channels = shape[-1]

    def decode(encoded):
        image = tf.io.decode_image(encoded, channels=channels, expand_animations=False)
        return tf.ensure_shape(image, (None, None, channels))

    return splits, class_names, decode, (None, None, channels)


def _in_memory(dataset, tfds):
    examples = list(tfds.as_numpy(dataset.batch(1000)))
    images = np.concatenate([batch["image"] for batch in examples])
    return Indexed(images, np.concatenate([batch["label"] for batch in examples]).astype(np.int64))


def _streamed(builder, stored, tfds):
    kind = builder.info.file_format.value
    if kind != "tfrecord":
        raise ValueError(f"{builder.data_dir} is stored as {kind}: prepare the set as tfrecord.")

    def parse(record):
        decoders = {"image": tfds.decode.SkipDecoding()}
        example = builder.info.features.deserialize_example(record, decoders=decoders)
        return example["image"], example["label"]

    info = builder.info.splits[stored]
    return records.streamed(info.filepaths, info.shard_lengths, parse)
