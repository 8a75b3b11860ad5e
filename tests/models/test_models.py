"""The networks by name: parameter counts, twins, presets, which layers stay plain, errors."""

import keras
import numpy as np
import pytest

from tf_lcnn import LookupConv2D, LookupDense
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.models import build, input_shape, names, twin

IMAGENET = ["resnet10", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152"]
CIFAR = ["resnet8", "resnet20", "resnet32", "resnet44", "resnet56"]
WITH_LCNN = ["alexnet", *IMAGENET, *CIFAR]
PLAIN_KIND = {LookupConv2D: keras.layers.Conv2D, LookupDense: keras.layers.Dense}


@pytest.fixture
def quick_weights(monkeypatch):
    """Ones instead of random draws: shapes and counts do not depend on them."""

    def draw(self, shape, dtype=None, **_):
        return keras.ops.ones(shape, dtype or "float32")

    monkeypatch.setattr(keras.initializers.VarianceScaling, "__call__", draw)


def trainable_parameters(model):
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)


def plain_layers(model):
    kinds = keras.layers.Conv2D, keras.layers.Dense
    return {layer.name for layer in model.layers if type(layer) in kinds}


def sizes_by_stage(model):
    """The dictionary sizes in each stage: the part of the layer's name before "_"."""
    sizes = {}
    for layer in lookup_layers(model):
        sizes.setdefault(layer.name.split("_")[0], set()).add(layer.dictionary_size)
    return sizes


def test_names_are_all_networks_and_their_lcnns():
    expected = [*WITH_LCNN, *(f"{name}_lcnn" for name in WITH_LCNN), "alexnet_wide"]
    assert names("classification") == sorted(expected)


def test_input_shapes_are_those_of_the_data_sets():
    for name in names("classification"):
        cifar = twin(name) in CIFAR
        assert input_shape(name) == ((32, 32, 3) if cifar else (224, 224, 3))


def test_the_twin_of_an_lcnn_is_its_dense_net():
    assert {name: twin(name) for name in WITH_LCNN} == {name: name for name in WITH_LCNN}
    assert {twin(f"{name}_lcnn") for name in WITH_LCNN} == set(WITH_LCNN)


@pytest.mark.parametrize(
    "name, published",
    [
        # torchvision's counts, 1000 classes.
        ("resnet18", 11_689_512),
        ("resnet34", 21_797_672),
        ("resnet50", 25_557_032),
        ("resnet101", 44_549_160),
        ("resnet152", 60_192_808),
        # The well-known counts of the CIFAR nets with projection shortcuts, 10 classes.
        ("resnet20", 272_474),
        ("resnet32", 466_906),
        ("resnet44", 661_338),
        ("resnet56", 855_770),
    ],
)
def test_dense_resnets_have_the_published_parameters(quick_weights, name, published):
    assert trainable_parameters(build(name)) == published


@pytest.mark.parametrize(
    "name, widths",
    [("alexnet", (64, 192, 384, 256, 256)), ("alexnet_wide", (96, 256, 384, 384, 256))],
)
def test_dense_alexnets_have_the_parameters_of_the_table(quick_weights, name, widths):
    channels, areas = (3, *widths, 4096), (121, 25, 9, 9, 9, 36, 1)
    filters = (*widths, 4096, 4096)
    kernels = sum(m * area * n for m, area, n in zip((*channels,), areas, filters, strict=True))
    batch_norms, classifier = 2 * sum(filters), 4096 * 1000 + 1000
    assert trainable_parameters(build(name)) == kernels + batch_norms + classifier


def test_feature_maps_of_alexnet_have_the_sizes_of_the_table(quick_weights):
    model = build("alexnet", classes=5)
    out = {layer.name: layer.output.shape[1:] for layer in model.layers}
    assert out["conv1"] == (55, 55, 64) and out["conv2"] == (27, 27, 192)
    assert [out[f"conv{i}"] for i in (3, 4, 5)] == [(13, 13, n) for n in (384, 256, 256)]
    assert out["conv5_pool"] == (6, 6, 256)
    assert out["fc6"] == (1, 1, 4096) and out["fc7"] == (4096,) and out["logits"] == (5,)


@pytest.mark.parametrize("name", WITH_LCNN)
def test_lcnn_and_twin_are_equal_layer_by_layer(quick_weights, name):
    dense, lcnn = build(name), build(f"{name}_lcnn")
    assert (dense.name, lcnn.name) == (name, f"{name}_lcnn")
    assert lookup_layers(dense) == [] and lookup_layers(lcnn) != []
    assert [layer.name for layer in dense.layers] == [layer.name for layer in lcnn.layers]
    for plain, layer in zip(dense.layers, lcnn.layers, strict=True):
        assert type(plain) is PLAIN_KIND.get(type(layer), type(layer))
        assert plain.output.shape == layer.output.shape
        if type(layer) in PLAIN_KIND:
            m, k = layer.dictionary.shape
            *taps, rows, n = layer.coefficients.shape
            assert rows == k and (*taps, m, n) == plain.kernel.shape
            assert layer.use_bias == plain.use_bias
        elif type(layer) is keras.layers.Conv2D:
            assert layer.kernel.shape == plain.kernel.shape
        if isinstance(plain, keras.layers.Conv2D):
            assert (plain.strides, plain.padding) == (layer.strides, layer.padding)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20"])
def test_projection_shortcuts_and_classifier_stay_plain(name):
    model = build(f"{name}_lcnn")
    shortcuts = {layer.name for layer in model.layers if layer.name.endswith("shortcut")}
    assert len(shortcuts) == {"resnet18": 3, "resnet50": 4, "resnet20": 2}[name]
    cifar_first = {"conv1"} if name == "resnet20" else set()
    assert plain_layers(model) == shortcuts | {"logits"} | cifar_first


def test_only_the_classifier_of_alexnet_stays_plain(quick_weights):
    assert plain_layers(build("alexnet_lcnn")) == {"logits"}


@pytest.mark.parametrize("filters_in_stage", [1, 2, 3])
def test_a_size_not_below_the_weight_vectors_keeps_the_layer_plain(filters_in_stage):
    stage = filters_in_stage
    vectors = 9 * (16, 32, 64)[stage - 1]

    def kinds(k):
        sizes = [4, 4, 4]
        sizes[stage - 1] = k
        model = build("resnet20_lcnn", dictionary_sizes=sizes)
        return {type(model.get_layer(f"stage{stage}_block{j}_conv2")) for j in (1, 2, 3)}

    assert kinds(vectors - 1) == {LookupConv2D}
    assert kinds(vectors) == {keras.layers.Conv2D}
    assert kinds(0) == {keras.layers.Conv2D}


def test_the_limit_goes_by_layer_not_by_stage():
    # In a bottleneck the 1x1 convolutions have n weight vectors, the 3x3 has 9n.
    model = build("resnet50_lcnn", dictionary_sizes=(3, 64, 0, 0, 0), input_shape=(32, 32, 3))
    assert type(model.get_layer("stage1_block1_conv1")) is keras.layers.Conv2D
    assert type(model.get_layer("stage1_block1_conv2")) is LookupConv2D
    assert type(model.get_layer("stage1_block1_conv3")) is LookupConv2D


def test_size_0_keeps_a_stage_plain():
    model = build("resnet18_lcnn", dictionary_sizes=(0, 16, 0, 64, 0), input_shape=(32, 32, 3))
    assert sizes_by_stage(model) == {"stage1": {16}, "stage3": {64}}
    assert lookup_layers(build("resnet20_lcnn", dictionary_sizes=(0, 0, 0))) == []


@pytest.mark.parametrize(
    "name, preset, expected",
    [
        ("alexnet", "fast", (3, 30, 30, 30, 30, 512, 512)),
        ("alexnet", "accurate", (3, 500, 500, 500, 500, 1024, 1024)),
        ("resnet18", "fast", (3, 16, 32, 64, 128)),
        ("resnet18", "accurate", (3, 128, 256, 512, 1024)),
        ("resnet50", "fast", (3, 16, 32, 64, 128)),
        ("resnet20", "fast", (8, 16, 32)),
        ("resnet20", "accurate", (16, 32, 64)),
        ("alexnet", "register", (3, 64, 64, 64, 64, 128, 128)),
        ("resnet18", "register", (3, 16, 32, 64, 128)),
        ("resnet50", "register", (3, 16, 32, 64, 128)),
        ("resnet20", "register", (16, 16, 32)),
    ],
)
def test_presets_are_the_papers_and_ours(quick_weights, name, preset, expected):
    stages = {
        "alexnet": ("conv1", "conv2", "conv3", "conv4", "conv5", "fc6", "fc7"),
        "resnet20": ("stage1", "stage2", "stage3"),
    }.get(name, ("conv1", "stage1", "stage2", "stage3", "stage4"))
    model = build(f"{name}_lcnn", dictionary_sizes=preset, classes=10)
    sizes = {stage: {k} for stage, k in zip(stages, expected, strict=True)}
    assert sizes_by_stage(model) == sizes


@pytest.mark.parametrize("name", WITH_LCNN)
def test_the_register_preset_fits_registers_and_is_no_larger_than_accurate(quick_weights, name):
    sizes = {
        preset: {
            layer.name: layer.dictionary_size
            for layer in lookup_layers(build(f"{name}_lcnn", dictionary_sizes=preset))
        }
        for preset in ("register", "accurate")
    }
    for layer, k in sizes["register"].items():
        # The first layer of the ImageNet families has three channels.
        assert k in (16, 32, 64, 128) or (layer == "conv1" and k == 3)
        assert k <= sizes["accurate"].get(layer, k)


def test_fast_is_the_default():
    assert sizes_by_stage(build("resnet20_lcnn")) == sizes_by_stage(
        build("resnet20_lcnn", dictionary_sizes="fast")
    )


@pytest.mark.parametrize("name, scale", [("alexnet_lcnn", 0.01), ("resnet20_lcnn", 0.001)])
def test_the_threshold_scale_is_the_papers_unless_given(quick_weights, name, scale):
    small = (64, 64, 3)
    layers = lookup_layers(build(name, small, dictionary_sizes=(3, 4, 5)))
    assert {layer.threshold_scale for layer in layers} == {scale}
    given = lookup_layers(build(name, small, dictionary_sizes=(3, 4, 5), threshold_scale=0))
    assert {layer.epsilon for layer in given} == {0}


def test_l1_and_threshold_gradient_reach_every_lookup_layer():
    model = build("resnet20_lcnn", l1=0.3, threshold_gradient="straight_through")
    for layer in lookup_layers(model):
        assert layer.threshold_gradient == "straight_through"
        assert layer.coefficients.regularizer.strength == 0.3
        assert layer.coefficients.regularizer.epsilon == layer.epsilon > 0
    for layer in lookup_layers(build("resnet20_lcnn")):
        assert layer.coefficients.regularizer is None


@pytest.mark.parametrize("name", ["resnet20", "resnet20_lcnn", "resnet10_lcnn"])
def test_input_shape_and_classes_can_be_chosen(name):
    model = build(name, input_shape=(40, 48, 1), classes=7)
    assert model.input_shape == (None, 40, 48, 1)
    assert model.output_shape == (None, 7)
    assert model(np.zeros((2, 40, 48, 1), "float32")).shape == (2, 7)


def test_the_networks_return_logits():
    model = build("resnet20")
    assert model.layers[-1].activation is keras.activations.linear


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"name": "resnet19"}, ["resnet19", *names()]),
        ({"name": "alexnet_wide_lcnn"}, names()),
        (
            {"name": "resnet20_lcnn", "dictionary_sizes": "quick"},
            ["quick", "fast", "accurate", "register"],
        ),
        ({"name": "resnet20_lcnn", "dictionary_sizes": (8, 16)}, ["3", "2", "(8, 16)"]),
        ({"name": "resnet18_lcnn", "dictionary_sizes": (3, 4, 5, 6)}, ["5", "4"]),
        ({"name": "alexnet_lcnn", "dictionary_sizes": (3,) * 4}, ["3", "4"]),
        ({"name": "resnet20_lcnn", "dictionary_sizes": (8, -1, 8)}, ["-1", ">= 0"]),
        ({"name": "resnet20_lcnn", "dictionary_sizes": (8, 1.5, 8)}, ["whole number", "1.5"]),
        ({"name": "resnet20_lcnn", "dictionary_sizes": 8}, ["3 dictionary sizes", "fast", "8"]),
        ({"name": "resnet20_lcnn", "dictionary_sizes": None}, ["3 dictionary sizes", "None"]),
        ({"name": "resnet20", "input_shape": 32}, ["input_shape like (32, 32, 3)", "not 32"]),
        ({"name": "resnet20", "input_shape": (32, 32)}, ["like (32, 32, 3)", "(32, 32)"]),
        ({"name": "resnet20", "input_shape": "32x32x3"}, ["like (32, 32, 3)", "32x32x3"]),
        ({"name": "resnet20", "input_shape": (32, 0, 3)}, ["size of input_shape", ">= 1", "0"]),
        ({"name": "alexnet", "input_shape": (None, None, 3)}, ["fc6", "whole map"]),
        ({"name": "resnet20", "classes": 0}, ["classes", ">= 1"]),
        ({"name": "resnet20", "classes": "ten"}, ["classes", "'ten'"]),
        ({"name": "resnet20_lcnn", "l1": "strong"}, ["l1", "'strong'"]),
        ({"name": "resnet20_lcnn", "threshold_scale": np.nan}, ["threshold_scale", "nan"]),
        ({"name": 20}, ["Unknown model 20", *names()]),
        ({"name": ["resnet20"]}, ["Unknown model ['resnet20']"]),
        ({"name": "resnet20_lcnn", "threshold_scale": -1}, ["threshold_scale", "-1"]),
        ({"name": "resnet20_lcnn", "l1": -1}, ["-1"]),
        ({"name": "resnet20_lcnn", "threshold_gradient": "none"}, ["masked", "straight_through"]),
    ],
)
def test_a_wrong_argument_is_one_line_that_names_what_works(arguments, told):
    with pytest.raises(ValueError) as error:
        build(**arguments)
    assert "\n" not in str(error.value)
    for word in told:
        assert word in str(error.value)


def test_sizes_may_be_arrays_and_integers_of_numpy(quick_weights):
    model = build(
        "resnet20_lcnn",
        input_shape=tuple(np.array([16, 16, 3])),
        classes=np.int64(7),
        dictionary_sizes=np.array([8, 8, 16]),
        l1=np.float32(0.1),
    )
    assert model.input_shape == (None, 16, 16, 3) and model.output_shape == (None, 7)
    assert {k for sizes in sizes_by_stage(model).values() for k in sizes} == {8, 16}
    assert build("resnet20", [None, None, 3]).input_shape == (None, None, None, 3)


@pytest.mark.parametrize("about", [twin, input_shape])
def test_unknown_names_are_refused_everywhere(about):
    with pytest.raises(ValueError, match="resnet18_lcnn"):
        about("vgg16")


def test_an_input_too_small_for_the_network_is_refused(quick_weights):
    with pytest.raises(ValueError):
        build("alexnet_lcnn", input_shape=(32, 32, 3), dictionary_sizes=(3, 4, 5))


@pytest.mark.parametrize("name", ["resnet20", "resnet20_lcnn"])
def test_a_saved_network_gives_the_same_outputs(name, tmp_path):
    model = build(name, input_shape=(16, 16, 3), l1=0.1)
    images = np.random.default_rng(0).normal(size=(4, 16, 16, 3)).astype("float32")
    model.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(np.asarray(model(images)), np.asarray(loaded(images)))
    assert loaded.count_params() == model.count_params()
    assert sizes_by_stage(loaded) == sizes_by_stage(model)


def test_an_input_too_small_for_the_network_is_refused_in_one_line():
    with pytest.raises(ValueError, match="designed for") as error:
        build("alexnet", input_shape=(32, 32, 3))
    assert "\n" not in str(error.value)
