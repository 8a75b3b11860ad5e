"""Dictionaries shared between layers, copied between models, frozen; supports frozen."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.helpers import chain, constant_bytes, numpy, random, settle

from tf_lcnn import LookupConv2D, LookupDense, lookupify, profile
from tf_lcnn.compression import transfer
from tf_lcnn.graph import rebuild
from tf_lcnn.graph.rebuild import in_precision
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.runtime.interpreter import parse
from tf_lcnn.training.callbacks import project
from tf_lcnn.training.finetune import drop_rows


def conv(name, k=6, filters=8, **arguments):
    return LookupConv2D(filters, 3, k, padding="same", name=name, threshold_scale=0, **arguments)


def sharing(filters=8):
    """A model whose second and third layer share the dictionary of the first."""
    inputs = keras.Input((8, 8, 8))
    first = conv("first")
    x = first(inputs)
    x = LookupConv2D(8, 3, padding="same", name="second", dictionary=first.dictionary)(x)
    third = LookupConv2D(filters, 1, name="third", dictionary=first.dictionary)
    x = keras.layers.GlobalAveragePooling2D()(third(x))
    return keras.Model(inputs, x, name="sharing")


# Shared dictionaries


def test_a_shared_dictionary_is_one_variable():
    model = sharing()
    first, second, third = lookup_layers(model)
    assert second.dictionary is first.dictionary and third.dictionary is first.dictionary
    assert second.dictionary_size == 6
    # D once, P and a bias for each.
    assert len(model.trainable_variables) == 1 + 3 * 2
    before = numpy(first.dictionary)
    settle(model)
    assert (numpy(second.dictionary) != before).any()


def test_a_shared_dictionary_is_saved_once_and_shared_again_after_loading(tmp_path):
    model = settle(sharing())
    x = random((3, 8, 8, 8))
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    first, second, third = lookup_layers(loaded)
    assert second.dictionary is first.dictionary and third.dictionary is first.dictionary
    model.save_weights(tmp_path / "shared.weights.h5")
    model.get_layer("second").coefficients.assign(
        np.zeros_like(numpy(model.get_layer("second").coefficients))
    )
    model.load_weights(tmp_path / "shared.weights.h5")
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))
    with tf.io.gfile.GFile(tmp_path / "shared.weights.h5", "rb") as file:
        assert file.read().count(numpy(first.dictionary).tobytes()) == 1


def test_a_dictionary_of_a_layer_outside_the_model_is_saved_with_it(tmp_path):
    other = settle(sharing())
    layer = LookupConv2D(4, 3, dictionary=other.get_layer("first").dictionary)
    model = chain((8, 8, 8), layer)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    x = random((2, 8, 8, 8))
    np.testing.assert_array_equal(numpy(loaded(x)), numpy(model(x)))


def test_a_shared_dictionary_counts_once():
    shared, apart = sharing(), chain((8, 8, 8), conv("first"), conv("second"))
    first, second, third = profile(shared).layers
    alone = profile(apart).layers[1]
    assert first.bytes == alone.bytes
    assert second.bytes == alone.bytes - 4 * 8 * 6
    assert second.nonzeros == second.lookups
    assert third.parameters == 6 * 8 + 8
    # Its stage runs for each layer, on that layer's input.
    assert second.dictionary_multiplications == alone.dictionary_multiplications


def test_a_shared_dictionary_is_exported_once():
    model = sharing()
    project(model, 2)
    for layer in lookup_layers(model):
        # Every row in use, so that no layer leaves some out.
        coefficients = np.zeros(layer.coefficients.shape, np.float32)
        taps = coefficients.reshape(-1, *coefficients.shape[-2:])
        taps[:, np.arange(8) % 6, np.arange(8)] = random((len(taps), 8))
        layer.coefficients.assign(coefficients)
    file = parse(convert(model, choose_lowerings(model, "sparse")))
    found = [bytes(b.data) for b in file.buffers if b.data is not None and len(b.data)]
    stored = np.ascontiguousarray(numpy(lookup_layers(model)[0].dictionary).T).tobytes()
    assert found.count(stored) == 1
    assert constant_bytes(file) > 0


@pytest.mark.parametrize("copy", [drop_rows, lambda model: in_precision(model, "float32")])
def test_copies_of_a_model_share_as_it_does(copy):
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = sharing()
    finally:
        keras.config.set_dtype_policy("float32")
    project(model, 1)
    copied = copy(model)
    assert copied is not model
    first, second, third = lookup_layers(copied)
    assert second.dictionary is first.dictionary and third.dictionary is first.dictionary
    assert first.dictionary is not lookup_layers(model)[0].dictionary
    x = random((2, 8, 8, 8))
    np.testing.assert_allclose(numpy(copied(x)), numpy(model(x)), atol=0.05)


def test_sharing_makes_no_layer_a_part_of_another():
    model = sharing()
    first, second, _ = lookup_layers(model)
    assert [id(w) for w in second.weights] == [
        id(w) for w in (first.dictionary, second.coefficients, second.bias)
    ]
    second.trainable = False
    assert first.trainable and first.dictionary.trainable and first.coefficients.trainable
    assert not second.coefficients.trainable
    second.trainable = True
    first.trainable = False
    second.trainable = False
    second.trainable = True
    assert not second.dictionary.trainable and second.coefficients.trainable
    model.trainable = False
    assert not model.trainable_variables
    model.trainable = True
    assert len(model.trainable_variables) == 1 + 3 * 2
    alone = chain((8, 8, 8), LookupConv2D(4, 3, name="alone", dictionary=first.dictionary))
    assert [layer.name for layer in lookup_layers(alone)] == ["alone"]
    assert len(alone.weights) == 3


@pytest.mark.parametrize("copy", [drop_rows, lambda model: lookupify(model, 4)])
def test_a_model_that_shares_with_a_layer_outside_is_copied(copy):
    first = sharing().get_layer("first")
    layer = LookupConv2D(4, 3, dictionary=first.dictionary, threshold_scale=0, name="alone")
    model = chain((8, 8, 8), layer, keras.layers.Conv2D(8, 3))
    project(model, 1)
    used = numpy(layer.coefficients).any(axis=(0, 1, 3)).sum()
    copied = copy(model)
    alone = copied.get_layer("alone")
    assert alone.dictionary is not first.dictionary
    assert alone.dictionary_size == (used if copy is drop_rows else 6)
    np.testing.assert_array_equal(numpy(alone.kernel), numpy(layer.kernel))


def test_a_layer_may_come_before_the_one_whose_dictionary_it_shares(tmp_path):
    inputs = keras.Input((8, 8, 8))
    first = conv("first")
    later = first(keras.layers.ReLU()(inputs))
    sooner = LookupConv2D(8, 3, padding="same", name="sooner", dictionary=first.dictionary)(inputs)
    model = keras.Model(inputs, keras.layers.Add()([sooner, later]))
    x = random((2, 8, 8, 8))
    model.save(tmp_path / "model.keras")
    copy, pairs = rebuild.clone(model)
    rebuild.copy_weights(pairs)
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy):
        np.testing.assert_array_equal(numpy(other(x)), numpy(model(x)))
        assert len(other.weights) == len(model.weights)


def test_a_clone_by_keras_says_that_it_does_not_share():
    model = sharing()
    with pytest.warns(UserWarning, match=r"copy of layer second has a dictionary of its own") as r:
        clone = keras.models.clone_model(model)
    assert len(r) == 2 and "\n" not in str(r[0].message)
    assert len(clone.weights) == len(model.weights) + 2


def test_a_dictionary_that_cannot_be_shared_is_refused():
    first = conv("first")
    with pytest.raises(ValueError, match=r"second.*not the dictionary of a lookup layer"):
        LookupConv2D(4, 3, name="second", dictionary=keras.Variable(np.zeros((8, 6))))
    first.build((None, 8, 8, 8))
    with pytest.raises(ValueError, match=r"second: dictionary_size=5.*first.*6 rows"):
        LookupConv2D(4, 3, 5, name="second", dictionary=first.dictionary)
    with pytest.raises(ValueError, match=r"second has 3 input channels.*first.*8"):
        LookupConv2D(4, 3, name="second", dictionary=first.dictionary).build((None, 8, 8, 3))
    with pytest.raises(ValueError, match=r"dictionary_size=6.*smaller than its 6"):
        LookupDense(6, dictionary=first.dictionary)


# Transfer


def net(*sizes, seed=0):
    keras.utils.set_random_seed(seed)
    layers = [conv(f"conv{i}", k, m) for i, (k, m) in enumerate(sizes)]
    return chain((8, 8, 8), *layers)


def test_dictionaries_go_over_by_order():
    source, target = net((6, 8), (6, 16), (5, 8)), net((6, 8), (6, 8), (6, 16), (5, 8), seed=1)
    before = {layer.name: numpy(layer.coefficients) for layer in lookup_layers(target)}
    found = transfer.transfer_dictionaries(source, target)
    assert found == {"conv0": "conv0", "conv1": "conv1", "conv2": "conv1", "conv3": "conv2"}
    for layer in lookup_layers(target):
        given = source.get_layer(found[layer.name])
        np.testing.assert_array_equal(numpy(layer.dictionary), numpy(given.dictionary))
        np.testing.assert_array_equal(numpy(layer.coefficients), before[layer.name])


def test_dictionaries_go_over_by_name():
    source, target = net((6, 8), (6, 8)), net((6, 8), (6, 8), (6, 8), seed=1)
    kept = numpy(target.get_layer("conv0").dictionary)
    found = transfer.transfer_dictionaries(source, target, {"conv2": "conv0", "conv[12]": "conv1"})
    assert found == {"conv2": "conv0", "conv1": "conv1"}
    np.testing.assert_array_equal(numpy(target.get_layer("conv0").dictionary), kept)


def test_the_best_match_is_the_dictionary_that_spans_the_kernel():
    source, target = net((3, 8), (3, 8), (3, 8)), net((3, 8), (3, 8), seed=1)
    wanted = source.get_layer("conv1")
    mixed = numpy(wanted.dictionary) @ random((3, 3), 5)
    target.get_layer("conv0").dictionary.assign(mixed)
    found = transfer.transfer_dictionaries(source, target, "best")
    assert found["conv0"] == "conv1"


@pytest.mark.parametrize(
    ("match", "message"),
    [
        ("worst", r"Unknown match 'worst': order or best"),
        ({"conv0": "conv9"}, r"no lookup layer 'conv9'; it has: conv0"),
        ({"fc*": "conv0"}, r"'fc\*' fits no lookup layer.*conv0, conv1"),
        ({"conv1": "conv0"}, r"conv0 is of \(m, k\) = \(8, 6\), that of conv1 of \(8, 4\)"),
        ("order", r"no dictionary of \(m, k\) = \(8, 4\) for layer conv1; it has: \(8, 6\)"),
    ],
)
def test_what_does_not_match_is_named_and_nothing_changes(match, message):
    source, target = net((6, 8)), net((6, 8), (4, 8), seed=1)
    before = [numpy(w) for w in target.weights]
    with pytest.raises(ValueError, match=message):
        transfer.transfer_dictionaries(source, target, match)
    for weights, old in zip(target.weights, before, strict=True):
        np.testing.assert_array_equal(numpy(weights), old)


# Freezing


def classifier():
    model = chain((8, 8, 8), conv("conv"), keras.layers.GlobalAveragePooling2D())
    project(model, 2)
    return model


def test_frozen_dictionaries_stay():
    model = classifier()
    transfer.freeze_dictionaries(model)
    layer = model.get_layer("conv")
    dictionary, coefficients = numpy(layer.dictionary), numpy(layer.coefficients)
    settle(model)
    np.testing.assert_array_equal(numpy(layer.dictionary), dictionary)
    assert (numpy(layer.coefficients) != coefficients).any()


def test_a_frozen_support_moves_only_its_lookups():
    model = classifier()
    transfer.freeze_support(model)
    layer = model.get_layer("conv")
    before = numpy(layer.coefficients)
    settle(model)
    after = numpy(layer.coefficients)
    np.testing.assert_array_equal(after != 0, before != 0)
    assert (after[before != 0] != before[before != 0]).mean() > 0.9


@pytest.mark.parametrize(
    "ask",
    [
        transfer.freeze_dictionaries,
        transfer.freeze_support,
        lambda model: transfer.transfer_dictionaries(model, model),
    ],
)
def test_a_model_without_dictionaries_is_refused_in_one_line(ask):
    with pytest.raises(ValueError, match="is not built: call it on an input first"):
        ask(keras.Sequential([LookupConv2D(6, 3, 4)]))
    with pytest.raises(ValueError, match="has no lookup layer"):
        ask(keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]))
    with pytest.raises(ValueError, match="A Keras model is needed"):
        ask("model.keras")


# More classes


@pytest.mark.parametrize("kind", ["lookup", "dense", "softmax behind"])
def test_new_classes_change_nothing_of_the_old_ones(kind):
    keras.utils.set_random_seed(0)
    layers = keras.layers
    last = LookupDense(5, 3, name="logits") if kind == "lookup" else layers.Dense(5, name="logits")
    members = [layers.Conv2D(4, 3), layers.BatchNormalization(), layers.Flatten(), last]
    if kind == "softmax behind":
        members.append(layers.Activation("softmax"))
    model = settle(chain((6, 6, 3), *members))
    x, before = random((4, 6, 6, 3)), [numpy(w) for w in model.weights]
    larger = transfer.add_classes(model, 2)
    assert larger.output_shape == (None, 7) and model.output_shape == (None, 5)
    outputs, expected = numpy(larger(x)), numpy(model(x))
    if kind == "softmax behind":
        outputs = outputs / outputs[:, :5].sum(-1, keepdims=True)
    np.testing.assert_allclose(outputs[:, :5], expected, rtol=1e-6, atol=1e-7)
    for mine, theirs in zip(before, larger.weights, strict=True):
        np.testing.assert_array_equal(numpy(theirs)[..., : mine.shape[-1]], mine)
    if kind == "lookup":
        # Every row of the dictionary may serve a new class.
        assert (numpy(larger.get_layer("logits").sparse_coefficients())[:, 5:] != 0).all()


def test_new_classes_need_a_dense_layer_in_the_end():
    model = sharing()
    with pytest.raises(ValueError, match=r"does not end in a Dense.*third \(LookupConv2D\)"):
        transfer.add_classes(model, 2)
    with pytest.raises(ValueError, match="whole number >= 1, not 0"):
        transfer.add_classes(settle(chain((4,), keras.layers.Dense(3))), 0)
    with pytest.raises(ValueError, match="A Keras model is needed"):
        transfer.add_classes("model.keras", 1)
