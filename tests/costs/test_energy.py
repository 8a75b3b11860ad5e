"""The estimate of energy against operations counted by hand, in picojoules."""

import json

import keras
import pytest
from keras import layers
from support.helpers import chain

from tf_lcnn import LookupConv2D, LookupSeparableConv2D, profile
from tf_lcnn.costs import energy
from tf_lcnn.layers.deep_lookup import DeepLookupConv2D


def net(middle):
    """216 products in 12 sums, a layer from (2, 2, 3) to 4 channels, 80 products in 5 sums."""
    return chain(
        (4, 4, 2),
        layers.Conv2D(3, 3),
        middle,
        layers.BatchNormalization(),
        layers.ReLU(),
        layers.Flatten(),
        layers.Dense(5),
    )


def nets(model, numbers):
    """net -> (multiplications, additions, subtractions, table reads, rescalings), picojoules."""
    estimate = profile(model).energy(numbers)
    counts = {
        x.net: (x.multiplications, x.additions, x.subtractions, x.table_reads, x.rescalings)
        for x in estimate.nets
    }
    joules = {x.net: [1e6 * value for value in x.microjoules.values()] for x in estimate.nets}
    return counts, joules


def everywhere(picojoules):
    return pytest.approx([picojoules] * 3, rel=1e-9)


def test_lookups_their_twin_and_an_addernet_in_int8():
    """k = 2 on 4 pixels of 3 channels: 24 products for S in 8 sums, 32 lookups in 16 sums."""
    middle = LookupConv2D(4, 1, dictionary_size=2, kernel_initializer="ones")
    counts, joules = nets(net(middle), "int8")
    assert counts == {
        "as it is": (352, 352, 0, 0, 12 + 8 + 16 + 5),
        "dense twin": (344, 344, 0, 0, 33),
        "AdderNet": (296, 296 + 48, 48, 0, 33),
    }
    assert joules["as it is"] == everywhere(352 * (0.2 + 0.1) + 41 * 3.1)
    assert joules["dense twin"] == everywhere(205.5)
    assert joules["AdderNet"] == everywhere(197.34)


def test_in_float_only_an_addernet_keeps_batch_normalization():
    middle = LookupConv2D(4, 1, dictionary_size=2, kernel_initializer="ones")
    counts, joules = nets(net(middle), "float32")
    assert [row[-1] for row in counts.values()] == [0, 0, 16]
    assert joules["as it is"] == everywhere(352 * 4.6)
    assert joules["dense twin"] == everywhere(344 * 4.6)
    assert joules["AdderNet"] == everywhere(296 * 3.7 + (344 + 48) * 0.9 + 16 * 3.7)
    _, joules = nets(net(middle), "float16")
    assert joules["AdderNet"] == everywhere(296 * 1.1 + (344 + 48) * 0.4 + 16 * 1.1)


def test_a_table_costs_what_its_place_costs():
    """48 reads of entries of one byte, or four."""
    model = net(DeepLookupConv2D(4, 1, 16))
    counts, joules = nets(model, "int8")
    assert counts["as it is"] == (296, 344, 0, 48, 33)
    assert joules["as it is"] == pytest.approx([219.9, 675.9, 1155.9], rel=1e-9)
    assert joules["dense twin"] == everywhere(205.5)
    counts, joules = nets(model, "float32")
    assert counts["as it is"] == (296, 344, 0, 48, 16)
    assert joules["as it is"] == pytest.approx([1560, 1944, 2424], rel=1e-9)


def test_what_is_summed_in_other_layers():
    """A product of two inputs is added to nothing; a depthwise part makes sums of its own."""
    image = keras.Input((4, 4, 2))
    separable = LookupSeparableConv2D(6, 3, dictionary_size=None)(image)
    coded = LookupSeparableConv2D(6, 3, dictionary_size=2, pointwise_initializer="ones")(image)
    plain = layers.Conv2DTranspose(3, 2, strides=2)(layers.Multiply()([separable, coded]))
    model = keras.Model(image, plain)
    by_name = {layer.type: layer for layer in profile(model).layers}
    dense, lookup = (x for x in profile(model).layers if x.type == "LookupSeparableConv2D")
    # 2x2 positions, of 2 channels after the depthwise part, and 6 filters.
    assert (dense.outputs, dense.dictionary_outputs) == (8 + 24, 0)
    assert (lookup.outputs, lookup.dictionary_outputs) == (8 + 24, 8)
    assert (by_name["Multiply"].outputs, by_name["Multiply"].multiplications) == (0, 24)
    assert by_name["Conv2DTranspose"].outputs == 4 * 4 * 3
    twin = profile(model).energy("int8").nets[1]
    assert twin.multiplications - twin.additions == 24


def test_two_layers_leave_nothing_for_an_addernet():
    model = chain((4, 4, 2), layers.Conv2D(3, 3), layers.Flatten(), layers.Dense(5))
    _, twin, adder = profile(model).energy("int8").nets
    assert (adder.subtractions, adder.microjoules) == (0, twin.microjoules)


def test_it_says_that_it_is_an_estimate_and_of_what():
    class Mine(layers.Layer):
        def build(self, input_shape):
            self.gain = self.add_weight(shape=(input_shape[-1],))

        def call(self, inputs):
            return inputs * self.gain

    model = chain((4, 4, 2), layers.Conv2D(3, 3), Mine(name="mine"), DeepLookupConv2D(4, 1, 16))
    estimate = profile(model).energy("int8")
    text = str(estimate)
    for words in ("an estimate", "45 nm", "Horowitz", "unknown: mine", "registers", "32 KB L1"):
        assert words in text
    data = json.loads(json.dumps(estimate.as_dict()))
    assert data["estimate"] is True
    assert data["source"] == energy.SOURCE
    assert [row["net"] for row in data["nets"]] == ["as it is", "dense twin", "AdderNet"]
    assert list(data["nets"][0]["microjoules"]) == list(energy.PLACES)
    assert data["unknown"] == ["mine"]


def test_another_type_of_numbers_is_refused():
    with pytest.raises(ValueError, match=r"'int4': int8, float16, float32\.$"):
        profile(net(layers.Conv2D(4, 1))).energy("int4")
