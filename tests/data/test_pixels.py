"""Pixels: what is cut out of an image equals what TensorFlow's own operations make of all of it."""

import numpy as np
import pytest
import tensorflow as tf

from tests.data.test_data import pixels as random_pixels
from tests.data.test_data import small_set
from tf_lcnn.data import pixels
from tf_lcnn.tasks.classification import Classification


def smooth(seed, height, width, channels=3):
    """Random pixels with edges and flat parts, as photos have them."""
    blocks = random_pixels(seed, -(-height // 5), -(-width // 7), channels)
    return np.kron(blocks, np.ones((5, 7, 1), np.uint8))[:height, :width]


@pytest.mark.parametrize("channels", [1, 3])
def test_normalized_is_what_it_says_to_the_bit(channels):
    image = random_pixels(0, 9, 14, channels)
    mean, std = (
        np.float32([123.7, 116.3, 103.5])[:channels],
        np.float32([58.4, 57.1, 3.3])[:channels],
    )
    expected = (image.astype(np.float32) - mean) / std
    np.testing.assert_array_equal(pixels.normalized(image, mean, std), expected)


@pytest.mark.parametrize("before", [(20, 31), (32, 32), (45, 37), (200, 90), (33, 40)])
def test_a_window_is_a_part_of_the_whole_resized(before):
    image = smooth(1, *before)
    size = np.round(np.array(before) * (32 / min(before))).astype(np.int32)
    whole = tf.image.resize(image, size, antialias=True).numpy()
    for place in ((0, 0), (size - 28), (size - 28) // 2, (3, 0), (1, size[1] - 28)):
        top, left = place
        found = pixels.window(tf.constant(image), size, tf.constant(place, tf.int32), (28, 28))
        expected = whole[top : top + 28, left : left + 28]
        np.testing.assert_allclose(found, expected, atol=0.02)


def drawn_by_tensorflow(dataset, image, draw):
    """The augmentation as one writes it: the whole image first, then crop and mirror."""
    if dataset.fixed_size:
        height, width, _ = dataset.image_shape
        image = (tf.cast(image, tf.float32) - dataset.mean) / dataset.std
        image = tf.pad(image, ((height // 8,) * 2, (width // 8,) * 2, (0, 0)))
    else:
        size = np.round(np.array(image.shape[:2]) * (32 / min(image.shape[:2])))
        image = tf.image.resize(image, size.astype(int), antialias=True)
        image = (image - dataset.mean) / dataset.std
    image = tf.image.stateless_random_crop(image, dataset.image_shape, draw)
    if dataset.mirror:
        image = tf.image.stateless_random_flip_left_right(image, draw + 1)
    return image


@pytest.mark.parametrize("mirror", [True, False])
@pytest.mark.parametrize("stored", [(28, 28), (24, 36), (60, 40)])
def test_the_augmentation_draws_what_tensorflows_operations_draw(stored, mirror):
    images = np.stack([smooth(i, *stored) for i in range(4)])
    fixed = stored == (28, 28)
    data = small_set(images, mirror, None if fixed else (28, 28, 3))
    for draw in range(24):
        draw, image = tf.constant((draw, 5), tf.int64), images[draw % 4]
        found = Classification().augment(data, tf.constant(image), draw)
        np.testing.assert_allclose(found, drawn_by_tensorflow(data, image, draw), atol=0.02)
