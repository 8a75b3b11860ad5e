"""DnCNN: parameters of the paper, what it returns, its LCNNs; both backends."""

import numpy as np
import pytest
from support.helpers import numpy, random

from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.models import build, names, task

NAMES = ["dncnn", "dncnn_lcnn", "dncnn_small", "dncnn_small_lcnn"]


def test_they_are_the_networks_of_their_task():
    assert names("denoising") == NAMES
    assert {task(name) for name in NAMES} == {"denoising"}


@pytest.mark.parametrize(("name", "depth", "width"), [("dncnn", 17, 64), ("dncnn_small", 7, 32)])
def test_they_have_the_layers_of_the_paper(name, depth, width):
    model = build(name)
    kernels = 9 * width + (depth - 2) * 9 * width * width + 9 * width
    normalized = (depth - 2) * 4 * width
    assert model.count_params() == kernels + width + 1 + normalized


@pytest.mark.parametrize("name", NAMES)
def test_the_noise_that_is_found_is_taken_away(name):
    model, image = build(name), random((1, 6, 7, 1))
    last = [layer for layer in model.layers if layer.name.startswith("conv")][-1]
    last.set_weights([np.zeros(weight.shape) for weight in last.weights])
    np.testing.assert_array_equal(numpy(model(image)), image)


@pytest.mark.parametrize(("sizes", "expected"), [("fast", 8), ([24], 24), ([0], None)])
def test_lcnns_have_lookups_between_the_first_and_the_last(sizes, expected):
    model = build("dncnn_small_lcnn", dictionary_sizes=sizes)
    found = {x.name: x.dictionary_size for x in lookup_layers(model)}
    assert found == ({f"conv{i}": expected for i in range(2, 7)} if expected else {})


@pytest.mark.parametrize("given", [{"classes": 10}, {"scale": 2}])
def test_what_another_task_knows_is_refused(given):
    with pytest.raises(ValueError, match=r"dncnn is for denoising, which knows no (scale|classes)"):
        build("dncnn", **given)
