"""An LCNN from trained weights: `lookupify(init="trained")`, its cache, batch normalization."""

import gc

import keras
import numpy as np
import pytest
from support.helpers import chain, numpy, random, settle

from tf_lcnn import lookupify, profile
from tf_lcnn.compression import activations, coding, transfer
from tf_lcnn.layers.family import lookup_layers

IMAGES = random((40, 9, 9, 3), 7)


def net(bias=False):
    """Two convolutions with what stands between them in practice, and a dense layer; trained."""
    keras.utils.set_random_seed(1)
    model = chain(
        (9, 9, 3),
        keras.layers.Conv2D(8, 3, padding="same", name="plain"),
        keras.layers.ReLU(),
        keras.layers.Conv2D(12, 3, strides=2, padding="same", use_bias=bias, name="conv"),
        keras.layers.BatchNormalization(momentum=0.5, name="bn"),
        keras.layers.ReLU(),
        keras.layers.Conv2D(16, 1, dilation_rate=1, name="point"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, name="dense"),
    )
    return settle(model, 4)


@pytest.fixture(scope="module")
def parent():
    return net()


def coded(parent, s=2, k=6, **arguments):
    arguments = {"images": IMAGES, **arguments}
    return lookupify(parent, k, {"plain": "keep"}, init="trained", lookups=s, **arguments)


def test_with_all_lookups_the_lcnn_is_its_parent(parent):
    rules = {"plain": "keep", "conv": 12, "point": 12, "dense": "keep"}
    lcnn = lookupify(parent, 8, rules, init="trained", lookups=12, images=IMAGES)
    x = random((5, 9, 9, 3), 8)
    assert lookup_layers(lcnn)
    np.testing.assert_allclose(numpy(lcnn(x)), numpy(parent(x)), atol=2e-4, rtol=2e-4)


def test_coded_layers_keep_to_their_lookups(parent):
    lcnn = coded(parent)
    assert [layer.name for layer in lookup_layers(lcnn)] == ["conv", "point", "dense"]
    for layer in lookup_layers(lcnn):
        assert (numpy(layer.sparse_coefficients()) != 0).sum(axis=-2).max() <= 2
        # A threshold that holds the lookups and loses none.
        assert 0 < layer.epsilon < 1e-6
        kept, stored = numpy(layer.sparse_coefficients()), numpy(layer.coefficients)
        np.testing.assert_array_equal(kept, stored)
    assert parent.get_layer("conv").kernel.shape == (3, 3, 8, 12)


def reference_patches(x, layer):
    """All patches of a 'same' or 1x1 convolution, by plain loops."""
    (kh, kw), (sh, sw) = layer.kernel_size, layer.strides
    high, wide = -(-x.shape[1] // sh), -(-x.shape[2] // sw)
    down = max((high - 1) * sh + kh - x.shape[1], 0)
    right = max((wide - 1) * sw + kw - x.shape[2], 0)
    x = np.pad(x, ((0, 0), (down // 2, down - down // 2), (right // 2, right - right // 2), (0, 0)))
    rows = [
        x[:, r * sh : r * sh + kh, c * sw : c * sw + kw].reshape(len(x), -1)
        for r in range(high)
        for c in range(wide)
    ]
    return np.stack(rows, axis=1)


@pytest.mark.parametrize("name", ["plain", "conv", "point"])
def test_patches_are_what_the_convolution_sees(parent, name):
    layer = parent.get_layer(name)
    calls = activations.call_counts(parent)
    found = np.concatenate(list(activations.sample(parent, layer, IMAGES, calls[id(layer)])))
    inner = keras.Model(parent.inputs, [layer.input, layer.output])
    x, y = (numpy(each) for each in inner(IMAGES))
    every = reference_patches(x, layer)
    assert len(found) == every.shape[0] * every.shape[1]
    # All positions are taken, in any order: moments are those of all patches.
    flat = every.reshape(-1, every.shape[-1]).astype(np.float64)
    np.testing.assert_allclose(
        found.T.astype(np.float64) @ found, flat.T @ flat, rtol=1e-3, atol=1e-2
    )
    outputs = flat @ numpy(layer.kernel).reshape(flat.shape[1], -1)
    if layer.use_bias:
        outputs = outputs + numpy(layer.bias)
    np.testing.assert_allclose(outputs, y.reshape(len(flat), -1), rtol=1e-3, atol=1e-4)


def test_fewer_patches_are_of_the_same_places_in_twins(parent):
    layer = parent.get_layer("conv")
    first, again = (
        np.concatenate(list(activations.sample(parent, layer, IMAGES, 1, seed=3, patches=200)))
        for _ in range(2)
    )
    assert first.shape == (200, 72)
    np.testing.assert_array_equal(first, again)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="JAX's arrays are not tracked")
def test_a_pass_that_ends_early_leaves_no_activations_behind(parent):
    """They would wait for a full garbage collection, and fill the memory before."""
    gc.collect()
    gc.disable()
    try:
        assert len(list(activations.sample(parent, parent.get_layer("dense"), IMAGES, 1))) == 1
        gc.set_debug(gc.DEBUG_SAVEALL)
        gc.collect()
        assert not [each for each in gc.garbage if keras.ops.is_tensor(each)]
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    assert keras.config.is_traceback_filtering_enabled()


def test_large_images_come_in_smaller_parts():
    small, large = np.zeros((120, 32, 32, 3)), np.zeros((40, 224, 224, 3))
    assert [len(each) for each in activations.batches(small)] == [50, 50, 20]
    assert [len(each) for each in activations.batches(large)] == [16, 16, 8]
    assert [len(each) for each in activations.batches(np.zeros((2, 3000, 3000, 3)))] == [1, 1]


def test_the_errors_are_those_of_the_layers(parent):
    found = []
    lcnn = coded(parent, report=found.append)
    assert [each.name for each in found] == ["conv", "point", "dense"]
    for each in found:
        mine, theirs = lcnn.get_layer(each.name), parent.get_layer(each.name)
        weights, kernel = numpy(theirs.kernel), numpy(mine.kernel)
        expected = np.linalg.norm(kernel - weights) / np.linalg.norm(weights)
        assert each.weight_error == pytest.approx(expected, rel=1e-4)
        y, z = (
            numpy(keras.Model(m.inputs, m.get_layer(each.name).output)(IMAGES))
            for m in (parent, lcnn)
        )
        if mine.use_bias:
            # The mean is corrected; all positions of all images were sampled.
            np.testing.assert_allclose(
                z.mean((*range(z.ndim - 1),)), y.mean((*range(y.ndim - 1),)), atol=1e-4
            )
        axes = tuple(range(y.ndim - 1))
        y, z = y - y.mean(axes), z - z.mean(axes)
        expected = np.linalg.norm(z - y) / np.linalg.norm(y)
        assert each.output_error == pytest.approx(expected, rel=1e-3)
    assert "conv" in coding.table(found)
    # Behind the batch normalization the means are those of the parent too.
    means = [
        numpy(keras.Model(m.inputs, m.get_layer("bn").output)(IMAGES)).mean(axis=(0, 1, 2))
        for m in (parent, lcnn)
    ]
    np.testing.assert_allclose(means[1], means[0], atol=1e-4)


def test_real_images_count_and_errors_in_front_are_corrected(parent, monkeypatch):
    x = random((64, 9, 9, 3), 9)

    def distance(model):
        return np.linalg.norm(numpy(model(x)) - numpy(parent(x)))

    informed = distance(coded(parent, images=random((200, 9, 9, 3), 5)))
    # An infinite ridge keeps to the parent's weights, whatever the layers in front left.
    monkeypatch.setattr(coding, "RIDGE", 1e6)
    assert informed < distance(coded(parent, images=random((200, 9, 9, 3), 5)))


def test_coding_is_deterministic_by_seed(parent):
    first, again, other = (coded(parent, seed=seed).get_weights() for seed in (0, 0, 1))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_an_interrupted_coding_goes_on_from_the_layers_that_are_done(parent, tmp_path, monkeypatch):
    whole = coded(parent).get_weights()
    code, calls = coding.sparse_coding.code, []

    def counting(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return code(*args, **kwargs)

    monkeypatch.setattr(coding.sparse_coding, "code", counting)
    with pytest.raises(KeyboardInterrupt):
        coded(parent, cache=tmp_path / "cache")
    lcnn = coded(parent, cache=tmp_path / "cache")
    # Two layers were done, the third was begun twice.
    assert len(calls) == 4
    for a, b in zip(lcnn.get_weights(), whole, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_cache_of_something_else_is_refused_and_kept(parent, tmp_path):
    coded(parent, cache=tmp_path / "cache")
    before = {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}
    for changes in ({"s": 3}, {"seed": 1}, {"images": IMAGES[1:]}):
        with pytest.raises(ValueError, match="cache holds layer files of another model"):
            coded(parent, cache=tmp_path / "cache", **changes)
    assert before == {p.name: p.read_bytes() for p in (tmp_path / "cache").iterdir()}


def test_a_cache_that_is_damaged_is_coded_again_and_one_of_nobody_refused(parent, tmp_path):
    folder = tmp_path / "cache"
    whole = coded(parent, cache=folder).get_weights()
    (folder / "layer000.npz").write_bytes((folder / "layer000.npz").read_bytes()[:200])
    with np.load(folder / "layer001.npz") as stored:
        arrays = dict(stored)
    arrays["dictionary"][0, 0] = np.nan
    np.savez(folder / "layer001.npz", **arrays)
    np.savez(folder / "layer002.npz", other=1)
    for a, b in zip(coded(parent, cache=folder).get_weights(), whole, strict=True):
        np.testing.assert_array_equal(a, b)
    (folder / "fingerprint.txt").unlink()
    with pytest.raises(ValueError, match="take another cache folder"):
        coded(parent, cache=folder)


def test_each_call_of_a_layer_is_corrected_by_the_normalization_behind_it():
    """Each of two normalizations gets the mean that it had in the parent."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 6, 4))
    conv = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv")
    norms = [keras.layers.BatchNormalization(name=f"bn{i}") for i in range(2)]
    first = norms[0](conv(inputs))
    second = norms[1](conv(keras.layers.ReLU()(inputs) + 1.0))
    model = keras.Model(inputs, keras.layers.Add()([first, second]))
    images = random((30, 6, 6, 4), 3) + 0.5
    lcnn = lookupify(model, 4, init="trained", lookups=1, images=images)
    for norm in norms:
        before, after = (
            numpy(keras.Model(m.inputs, m.get_layer(norm.name).output)(images)).mean((0, 1, 2))
            for m in (model, lcnn)
        )
        np.testing.assert_allclose(after, before, atol=2e-3)
        moved = numpy(lcnn.get_layer(norm.name).moving_mean)
        assert np.abs(moved - numpy(norm.moving_mean)).max() > 1e-2


def test_one_image_is_enough_to_code_on(parent):
    lcnn = coded(parent, images=IMAGES[:1])
    assert all(np.isfinite(w).all() for w in lcnn.get_weights())


def test_images_come_in_any_natural_form(parent):
    whole = coded(parent).get_weights()
    for images in (list(IMAGES), (IMAGES, np.zeros(40)), iter([IMAGES[:30], IMAGES[30:]])):
        for a, b in zip(coded(parent, images=images).get_weights(), whole, strict=True):
            np.testing.assert_array_equal(a, b)


def test_large_layers_are_coded_vector_by_vector(parent, monkeypatch):
    monkeypatch.setattr(coding, "JOINT_LIMIT", 1)
    lcnn = coded(parent, s=3)
    for layer in lookup_layers(lcnn):
        assert (numpy(layer.sparse_coefficients()) != 0).sum(axis=-2).max() <= 3
        assert np.isfinite(numpy(layer.kernel)).all()
    weights = numpy(parent.get_layer("conv").kernel)
    kernel = numpy(lcnn.get_layer("conv").kernel)
    assert np.linalg.norm(kernel - weights) < 0.9 * np.linalg.norm(weights)


# Bad input


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"images": None}, "No calibration images"),
        ({"images": IMAGES[:0]}, "No calibration images"),
        ({"images": IMAGES[:, :8]}, r"shape \(40, 8, 9, 3\), but \(9, 9, 3\) each is taken"),
        ({"images": IMAGES[0]}, r"shape \(9, 9, 3\), one example without"),
        ({"images": np.full_like(IMAGES, np.nan)}, "images have NaN"),
        ({"s": None}, "needs lookups"),
        ({"s": 0}, "whole number >= 1, not 0"),
        ({"init": "best"}, "Unknown init='best': random, trained"),
        ({"lookups": {"conv": 2}}, "lookups says nothing of point, dense"),
        ({"lookups": {"conv": 0}}, "whole number >= 1, not 0"),
        ({"seed": None}, "The seed must be a whole number >= 0, not None"),
        ({"images": "photos"}, "calibration images are of type str"),
    ],
)
def test_what_coding_cannot_use_is_refused(parent, arguments, message):
    arguments = {"init": "trained", "lookups": 2, "images": IMAGES, **arguments}
    if "s" in arguments:
        arguments["lookups"] = arguments.pop("s")
    with pytest.raises(ValueError, match=message):
        lookupify(parent, 6, {"plain": "keep"}, **arguments)


def test_weights_that_are_not_finite_are_refused():
    model = net()
    weights = model.get_layer("point").get_weights()
    weights[0][0, 0, 1, 2] = np.nan
    model.get_layer("point").set_weights(weights)
    with pytest.raises(ValueError, match="layer point have NaN"):
        coded(model)


def test_what_belongs_to_coding_is_refused_without_it(parent):
    with pytest.raises(ValueError, match='are for init="trained"'):
        lookupify(parent, 6, {"plain": "keep"}, lookups=2)


# Batch normalization


def test_statistics_become_those_of_the_images():
    model = net()
    layer = model.get_layer("bn")
    momentum = layer.momentum
    halves = [IMAGES[:20], IMAGES[20:]]
    coding.reestimate(model, halves)
    seen = numpy(keras.Model(model.inputs, layer.input)(IMAGES)).reshape(2, -1, 12)
    np.testing.assert_allclose(numpy(layer.moving_mean), seen.mean((0, 1)), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        numpy(layer.moving_variance), seen.var(axis=1).mean(axis=0), rtol=1e-4
    )
    assert layer.momentum == momentum and "call" not in vars(layer)


def test_frozen_statistics_stay_and_no_images_are_refused():
    model = net()
    layer = model.get_layer("bn")
    before = numpy(layer.moving_mean)
    with pytest.raises(ValueError, match="No calibration images"):
        coding.reestimate(model, [])
    layer.trainable = False
    coding.reestimate(model, [IMAGES])
    np.testing.assert_array_equal(numpy(layer.moving_mean), before)


# Lookups are held


def places(model):
    return [numpy(layer.sparse_coefficients()) != 0 for layer in lookup_layers(model)]


def fit(model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss=loss)
    model.fit(IMAGES, np.arange(40) % 10, batch_size=10, epochs=1, verbose=0)


@pytest.mark.parametrize("initializer", ["glorot_uniform", "zeros"])
def test_fine_tuning_keeps_the_lookups_without_being_told(parent, initializer, tmp_path):
    conv = parent.get_layer("conv")
    drawn, conv.kernel_initializer = conv.kernel_initializer, keras.initializers.get(initializer)
    try:
        lcnn = coded(parent)
    finally:
        conv.kernel_initializer = drawn
    assert profile(lcnn).unheld == []
    before, multiplications = places(lcnn), profile(lcnn).multiplications
    weights = [numpy(layer.coefficients) for layer in lookup_layers(lcnn)]
    fit(lcnn, keras.optimizers.AdamW(1e-3))
    lcnn.save(tmp_path / "lcnn.keras")
    loaded = keras.models.load_model(tmp_path / "lcnn.keras")
    fit(loaded, keras.optimizers.SGD(0.01, momentum=0.9))
    for model in (lcnn, loaded):
        for was, now in zip(before, places(model), strict=True):
            assert not (now & ~was).any()
    assert profile(loaded).multiplications <= multiplications
    for old, layer in zip(weights, lookup_layers(loaded), strict=True):
        assert (numpy(layer.coefficients) != old).any()


@pytest.mark.parametrize(
    "arguments", [{"threshold_scale": 0.0}, {"threshold_gradient": "straight_through"}]
)
def test_lookups_that_are_not_held_are_told(parent, arguments):
    with pytest.warns(UserWarning, match="Training will add lookups in conv, point, dense"):
        lcnn = coded(parent, **arguments)
    assert profile(lcnn).unheld == ["conv", "point", "dense"]
    assert "Training would add lookups in conv, point, dense" in str(profile(lcnn))
    transfer.freeze_support(lcnn)
    assert profile(lcnn).unheld == []
