"""Pixels of an image on their way to an input: cut out, resized, normalized.

This runs for every image of every epoch, beside the decoding: what will be cut off is not
computed, and bytes become floats late.
"""

import tensorflow as tf


def normalized(image, mean, std):
    """(pixels - mean) / std.

    Args:
        image: (height, width, channels).
        mean, std: per channel.

    Returns:
        float32 tensor (height, width, channels).
    """
    shape = tf.shape(image)
    # Row by row: broadcast over three values at a time it takes several times as long.
    mean, std = (tf.tile(tf.constant(x, tf.float32), shape[1:2]) for x in (mean, std))
    rows = tf.cast(tf.reshape(image, (shape[0], shape[1] * shape[2])), tf.float32)
    return tf.reshape((rows - mean) / std, shape)


def window(image, size, place, shape):
    """A part of an image that was resized, of which no more is computed than that.

    Args:
        image: (height, width, channels) of any kind of number.
        size: int32 (2,), height and width that the whole image is resized to, both larger or both
            smaller than they are, bilinear and antialiased as `tf.image.resize` has it.
        place: int32 (2,), the first row and column of the part in the resized image.
        shape: (height, width) of the part.

    Returns:
        float32 tensor (*shape, channels).
    """
    before = tf.shape(image)[:2]

    def enlarged():
        # Nothing to antialias, and it takes a fraction of the time of what does it.
        whole = tf.image.resize(tf.cast(image, tf.float32), size)
        return tf.slice(whole, (*tf.unstack(place), 0), (*shape, -1))

    def shrunk():
        scale = tf.cast(size, tf.float32) / tf.cast(before, tf.float32)
        start, end = tf.cast(place, tf.float32), tf.cast(place + shape, tf.float32)
        # What the triangle of the antialiasing reaches, and a pixel more.
        reach = 1 / scale + 1
        first = tf.maximum(0, tf.cast(start / scale - reach, tf.int32))
        last = tf.minimum(before, tf.cast(end / scale + reach, tf.int32) + 1)
        part = image[first[0] : last[0], first[1] : last[1]]
        return tf.raw_ops.ScaleAndTranslate(
            images=part[None],
            size=shape,
            scale=scale,
            translation=tf.cast(first, tf.float32) * scale - start,
            kernel_type="triangle",
            antialias=True,
        )[0]

    found = tf.cond(tf.reduce_all(size >= before), enlarged, shrunk)
    return tf.ensure_shape(found, (*shape, image.shape[-1]))
