"""Reconstruction without labels: it comes nearer to the parent, and keeps its promises."""

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random, settle

from tf_lcnn import LookupConv2D
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.reconstruction import Schedule, reconstruct, revised
from tf_lcnn.layers.family import lookup_layers

IMAGES = random((48, 10, 10, 4))
QUICK = Schedule(
    *(1, 15, 40, 10, 8),
    rate=0.01,
    round_steps=10,
)


def network(size=(10, 10, 4)):
    keras.utils.set_random_seed(0)
    return chain(
        size,
        keras.layers.Conv2D(12, 3, padding="same", name="a"),
        keras.layers.BatchNormalization(name="bn"),
        keras.layers.ReLU(name="relu"),
        keras.layers.Dropout(0.5, name="dropout"),
        keras.layers.Conv2D(12, 3, padding="same", activation="relu", name="b"),
    )


def classifier():
    keras.utils.set_random_seed(0)
    body = network()
    pooled = keras.layers.GlobalAveragePooling2D(name="pool")(body.output)
    return settle(keras.Model(body.inputs, keras.layers.Dense(3, name="dense")(pooled)))


def coded(parent, images=IMAGES):
    return lookupify(
        parent, 8, {"dense": "keep"} if len(parent.output_shape) == 2 else None,
        init="trained", lookups=2, images=images,
    )  # fmt: skip


def error(parent, lcnn, images=IMAGES):
    expected = numpy(parent(images)).astype(np.float64)
    return float(((numpy(lcnn(images)) - expected) ** 2).sum() / (expected**2).sum())


def places(model):
    return [numpy(layer.sparse_coefficients()) != 0 for layer in lookup_layers(model)]


def test_it_comes_nearer_to_the_parent_on_images_it_did_not_see():
    parent = network()
    lcnn, unseen = coded(parent), random((32, 10, 10, 4), 9)
    before = error(parent, lcnn, unseen)
    phases = reconstruct(parent, lcnn, IMAGES, QUICK)
    assert error(parent, lcnn, unseen) < 0.97 * before
    assert [phase.name for phase in phases] == ["block 1", "block 2", "output"]
    assert all(phase.after < phase.before for phase in phases)


def test_every_position_keeps_its_lookups_and_some_move():
    parent = network()
    lcnn = coded(parent)
    before = places(lcnn)
    reconstruct(parent, lcnn, IMAGES, QUICK)
    after = places(lcnn)
    assert any((a != b).any() for a, b in zip(before, after, strict=True))
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.sum(axis=-2), b.sum(axis=-2))


def test_without_revision_the_supports_stay():
    parent = network()
    lcnn = coded(parent)
    before = places(lcnn)
    reconstruct(parent, lcnn, IMAGES, Schedule(block_steps=0, output_steps=12, batch=8, revised=0))
    for a, b in zip(before, places(lcnn), strict=True):
        np.testing.assert_array_equal(a, b)


def test_statistics_stay_and_the_parent_too():
    parent = network()
    lcnn, weights = coded(parent), parent.get_weights()
    moving = lcnn.get_layer("bn").get_weights()[2:]
    reconstruct(parent, lcnn, IMAGES, QUICK)
    for a, b in zip(weights, parent.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    for a, b in zip(moving, lcnn.get_layer("bn").get_weights()[2:], strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_same_seed_gives_the_same_weights():
    results = []
    for _ in range(2):
        parent = network()
        lcnn = coded(parent)
        reconstruct(parent, lcnn, IMAGES, QUICK, quantize="int8", seed=3)
        results.append(lcnn.get_weights())
    for a, b in zip(*results, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


def test_nets_of_open_size_learn_on_crops():
    parent = network((None, None, 4))
    images = random((12, 20, 24, 4))
    lcnn = coded(parent, images)
    before = error(parent, lcnn, images)
    schedule = Schedule(block_steps=0, output_steps=30, batch=8, crop=10)
    reconstruct(parent, lcnn, images, schedule)
    assert error(parent, lcnn, images) < before
    with pytest.raises(ValueError, match=r"\(20, 24\): smaller than the crop of 48"):
        reconstruct(parent, lcnn, images)


def test_labels_are_taught_beside_the_parent():
    parent = classifier()
    lcnn = coded(parent)
    labels = numpy(parent(IMAGES)).argmax(axis=1)
    schedule = Schedule(block_steps=0, output_steps=40, batch=16, rate=0.01)
    reconstruct(parent, lcnn, IMAGES, schedule, labels=labels)
    assert (numpy(lcnn(IMAGES)).argmax(axis=1) == labels).mean() > 0.8


def test_progress_says_what_is_left():
    parent, told = network(), []
    reconstruct(parent, coded(parent), IMAGES, QUICK, progress=lambda *x: told.append(x))
    left = [x[-1] for x in told]
    assert told[-1][:3] == ("output", 40, 40)
    assert left[-1] == pytest.approx(0, abs=1e-6) and all(x >= -1e-6 for x in left)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (np.zeros(7, int), "48 images, and 7 labels"),
        (np.full(48, 3), "The label 3 is no class"),
        (np.zeros((48, 5)), r"The labels have the shape \(48, 5\)"),
    ],
)
def test_labels_that_do_not_fit(labels, message):
    parent = classifier()
    with pytest.raises(ValueError, match=message):
        reconstruct(parent, coded(parent), IMAGES, QUICK, labels=labels)


def test_what_training_would_make_dense_is_refused():
    parent = network()
    lcnn = chain((10, 10, 4), LookupConv2D(12, 3, 8, padding="same", name="a", threshold_scale=0))
    with pytest.raises(ValueError, match="Training would add lookups in a"):
        reconstruct(parent, lcnn, IMAGES)


def test_a_rate_that_is_too_large_changes_nothing():
    parent = network()
    lcnn = coded(parent)
    before = lcnn.get_weights()
    schedule = Schedule(block_steps=0, output_steps=40, batch=8, rate=1e30)
    with pytest.raises(ValueError, match=r"gives NaN after .* a smaller rate"):
        reconstruct(parent, lcnn, IMAGES, schedule)
    for a, b in zip(before, lcnn.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


# Supports


def test_the_weakest_go_where_the_gradient_is_largest():
    coefficients = np.zeros((1, 4, 2))
    coefficients[0, :, 0] = [5, 0.1, 0, 0]
    coefficients[0, :, 1] = [0, 3, 0, 4]
    gradient = np.zeros((1, 4, 2))
    gradient[0, :, 0] = [9, 9, -1, 2]
    gradient[0, :, 1] = [1, 9, 2, 9]
    found = revised(coefficients, gradient, np.ones(4), 0.25)
    # One of four: the 0.1; it comes in row 3, and goes down its gradient.
    np.testing.assert_array_equal(np.flatnonzero(found[0, :, 0]), [0, 3])
    assert found[0, 3, 0] < 0
    np.testing.assert_array_equal(found[0, :, 1], coefficients[0, :, 1])


def test_a_row_counts_by_what_it_does():
    coefficients = np.array([[[1.0], [0.5], [0], [0]]])
    gradient = np.array([[[0.0], [0], [3], [2]]])
    # Row 1 is strong by its norm, and so is row 2: its gradient would be a small step.
    found = revised(coefficients, gradient, np.array([1, 10, 10, 1]), 0.5)
    np.testing.assert_array_equal(np.flatnonzero(found[0, :, 0]), [1, 3])


def test_without_a_gradient_nothing_moves():
    coefficients = random((3, 6, 4)) * (np.arange(6) < 2)[:, None]
    found = revised(coefficients, np.zeros_like(coefficients), np.ones(6), 1.0)
    np.testing.assert_array_equal(found, coefficients)
