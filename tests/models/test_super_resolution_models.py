"""ESPCN and VDSR: sizes, parameters of the papers, their LCNNs and tables, saved; both backends."""

import keras
import numpy as np
import pytest
from support.helpers import numpy, random

from tf_lcnn import lookupify
from tf_lcnn.layers.deep_lookup import has_table
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.models import build, names, task

NAMES = ["espcn", "espcn_lcnn", "vdsr", "vdsr_lcnn"]


def test_they_are_the_networks_of_their_task():
    assert names("super_resolution") == NAMES
    assert {task(name) for name in NAMES} == {"super_resolution"}
    assert task("resnet20") == "classification"


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_espcn_has_the_layers_of_the_paper_and_makes_images_larger(scale):
    model = build("espcn", scale=scale)
    weights = (5 * 5 * 64 + 64) + (3 * 3 * 64 * 32 + 32) + (3 * 3 * 32 + 1) * scale**2
    assert model.count_params() == weights
    for height, width in ((6, 5), (4, 9)):
        made = numpy(model(random((2, height, width, 1))))
        assert made.shape == (2, height * scale, width * scale, 1)


def test_vdsr_adds_what_is_missing_to_its_input():
    model = build("vdsr")
    # As the public weights: 20 convolutions without bias.
    assert model.count_params() == 664_704
    image = random((1, 6, 7, 1))
    model.get_layer("conv20").kernel.assign(np.zeros((3, 3, 64, 1)))
    np.testing.assert_array_equal(numpy(model(image)), image)


@pytest.mark.parametrize(
    ("name", "sizes", "expected"),
    [
        ("espcn_lcnn", "fast", {"conv2": 16, "conv3": 8}),
        ("espcn_lcnn", [24, 0], {"conv2": 24}),
        ("vdsr_lcnn", [8], {f"conv{i}": 8 for i in range(2, 20)}),
    ],
)
def test_lcnns_have_lookups_where_they_save_any(name, sizes, expected, tmp_path):
    model = build(name, dictionary_sizes=sizes)
    assert {x.name: x.dictionary_size for x in lookup_layers(model)} == expected
    model.save(tmp_path / "model.keras")
    image = random((1, 5, 4, 1))
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(numpy(loaded(image)), numpy(model(image)))


@pytest.mark.parametrize(("name", "tables"), [("espcn", 1), ("vdsr", 18)])
def test_trained_ones_become_deep_lookup_networks(name, tables):
    keras.utils.set_random_seed(0)
    model, images = build(name), np.abs(random((4, 8, 8, 1))) / 3
    made = lookupify(
        model, family="deep_lookup", init="trained", images=images, activation_levels=255
    )
    assert sum(map(has_table, made.layers)) == tables
    expected, found = numpy(model(images)), numpy(made(images))
    assert np.abs(found - expected).max() < 0.1 * np.abs(expected).max()


@pytest.mark.parametrize(
    ("name", "given", "message"),
    [
        ("espcn", {"classes": 10}, "espcn is for super_resolution, which knows no classes: 10"),
        ("resnet20", {"scale": 2}, "resnet20 is for classification, which knows no scale: 2"),
        ("espcn", {"scale": 0}, "must be a whole number >= 1"),
    ],
)
def test_what_another_task_knows_is_refused(name, given, message):
    with pytest.raises(ValueError, match=message):
        build(name, **given)
