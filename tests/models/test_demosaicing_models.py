"""Networks on mosaics: counts, what a file computes, and which networks pack."""

import itertools

import keras
import numpy as np
import pytest
from support.helpers import numpy

from tests.data.test_photos import smooth
from tf_lcnn import models, profile
from tf_lcnn.data import bayer, patterns
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.layers.sparsity import top_s
from tf_lcnn.lite import proof
from tf_lcnn.lite.export import export


def mosaics(count, size=(16, 12)):
    light = bayer.bayer(np.stack([smooth(size, i) for i in range(count)]), seed=1)
    return bayer.encoded(light).numpy()


def test_the_network_works_at_half_the_size():
    model = models.build("demosaic_lcnn", dictionary_sizes="register")
    assert model.output_shape == (None, None, None, 3)
    counted = profile(model, (32, 20, 1))
    # Six convolutions at 16x10: of a tile, of 32 channels, to the pixels of a tile; and one.
    places = 16 * 10
    widths = (4, 32, 32, 32, 32, 32, 12)
    dense = sum(9 * a * b for a, b in itertools.pairwise(widths)) + 9 * 4 * 12
    assert counted.dense_multiplications == places * dense
    assert counted.dictionary_multiplications == places * 16 * sum(widths[:-1])
    assert profile(models.build("demosaic"), (32, 20, 1)).multiplications == places * dense
    (first, *_) = lookup_layers(model)
    assert first.name == "conv1" and first.dictionary.shape == (4, 16)


@pytest.mark.parametrize("pattern", patterns.PATTERNS)
def test_without_what_it_finds_it_is_bilinear_interpolation(pattern):
    model = models.build("demosaic_lcnn", mosaic=pattern)
    last = lookup_layers(model)[-1]
    last.coefficients.assign(np.zeros(last.coefficients.shape))
    given = np.random.default_rng(0).random((1, 10, 12, 1), np.float32)
    found, expected = numpy(model(given)), patterns.bilinear(given, pattern)
    np.testing.assert_allclose(found[:, 2:-2, 2:-2], expected[:, 2:-2, 2:-2], atol=1e-6)


def test_a_resnet_that_packs_has_a_dictionary_of_tiles():
    model = models.build("resnet8_lcnn", (32, 32, 1), 5, mosaic="RGGB")
    plain = models.build("resnet8_lcnn", (16, 16, 3), 5)
    assert lookup_layers(model)[0].dictionary.shape == (4, 8)
    assert [x.name for x in lookup_layers(model)][1:] == [x.name for x in lookup_layers(plain)]
    dense = [profile(x).dense_multiplications for x in (model, plain)]
    assert dense[0] - dense[1] == 16 * 16 * 9 * 16 * (4 - 3)


@pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="export needs TensorFlow")
@pytest.mark.parametrize("name", ["demosaic_lcnn", "resnet8_lcnn"])
def test_an_int8_file_takes_mosaics_with_stock_operators(tmp_path, name):
    keras.utils.set_random_seed(0)
    packs = name != "demosaic_lcnn"
    how = {"input_shape": (16, 12, 1), "classes": 3} if packs else {}
    model = models.build(name, dictionary_sizes="register", mosaic="RGGB", **how)
    given = mosaics(16)
    for layer in lookup_layers(model):
        layer.coefficients.assign(top_s(layer.coefficients, 4))
    # Statistics of batch normalization are those of mosaics.
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(given, np.zeros((16, *model.compute_output_shape(given.shape)[1:])), 8, 20, verbose=0)
    report = export(
        *(model, tmp_path / "model.tflite", given),
        lowering="sparse",
        quantize="int8",
        calibration=given,
    )
    assert report.operators["SPACE_TO_DEPTH"] == 1
    # `export` refuses less.
    assert report.proof.decibels >= proof.MINIMUM_DECIBELS["int8"]


def test_what_does_not_pack_is_one_line():
    for name in ("dncnn", "resnet18_lcnn"):
        with pytest.raises(ValueError, match=f"{name} takes no mosaics: demosaic, demosaic_lcnn"):
            models.build(name, mosaic="RGGB")
    with pytest.raises(ValueError, match="Mosaics of 15x16 do not divide into tiles of 2x2"):
        models.build("resnet8", (15, 16, 1), mosaic="RGGB")
    with pytest.raises(ValueError, match="Unknown Bayer pattern 'RGB'"):
        models.build("demosaic", mosaic="RGB")
    with pytest.raises(ValueError, match="is for demosaicing, which knows no classes"):
        models.build("demosaic", classes=3)
