"""PointNet: the paper's counts, sets without order, its transforms, and the way to a file."""

import keras
import numpy as np
import pytest
from support.helpers import numpy, random, settle

from tf_lcnn import LookupConv1D, LookupDense, lookupify, profile
from tf_lcnn.layers.deep_lookup import DeepLookupConv1D, DeepLookupDense, has_table
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.models import build, input_shape, names, pointnet, task, twin

CLOUDS = random((8, 24, 3), 5)
exported = pytest.mark.skipif(
    keras.backend.backend() != "tensorflow", reason="export needs the TensorFlow backend"
)


def set_matrices(model):
    """Gives the T-nets, which start as the identity, weights of their own."""
    rng = np.random.default_rng(3)
    for name in ("input_matrix", "feature_matrix"):
        kernel = model.get_layer(name).kernel
        kernel.assign(0.05 * rng.normal(size=kernel.shape))


@pytest.fixture(scope="module")
def trained():
    keras.utils.set_random_seed(0)
    model = settle(build("pointnet_small", (24, 3), 5))
    set_matrices(model)
    return model


@pytest.fixture(scope="module")
def lcnn():
    keras.utils.set_random_seed(0)
    model = settle(build("pointnet_small_lcnn", (None, 3), 5), steps=0)
    set_matrices(model)
    return model


def plain(model):
    kinds = keras.layers.Conv1D, keras.layers.Dense
    return {layer.name for layer in model.layers if type(layer) in kinds}


def test_the_names_are_those_of_the_task():
    expected = ["pointnet", "pointnet_lcnn", "pointnet_small", "pointnet_small_lcnn"]
    assert names("point_clouds") == expected
    assert {task(name) for name in expected} == {"point_clouds"}
    assert {input_shape(name) for name in expected} == {(1024, 3)}
    assert twin("pointnet_small_lcnn") == "pointnet_small"


def test_pointnet_costs_what_the_paper_says():
    # Table 6 of the paper: 3.5 million parameters and 440 million operations for 1,024 points.
    counted = profile(build("pointnet"))
    shared = (3 * 64 + 64 * 128 + 128 * 1024) + (64 * 64 + 64 * 128 + 128 * 1024)
    shared += 3 * 64 + 64 * 64 + 64 * 64 + 64 * 128 + 128 * 1024
    full = 3 * (1024 * 512 + 512 * 256) + 256 * (9 + 64 * 64 + 40)
    turns = 1024 * (3 * 3 + 64 * 64)
    assert counted.multiplications == 1024 * shared + full + turns
    assert 1024 * shared == pytest.approx(440e6, rel=0.01)
    # Kernels, biases of what has no batch normalization after it, and four numbers for a filter.
    filters = 2 * (64 + 128 + 1024) + (64 + 64 + 64 + 128 + 1024) + 3 * (512 + 256)
    assert counted.parameters == shared + full + 9 + 4096 + 40 + 4 * filters
    assert counted.parameters == pytest.approx(3.5e6, rel=0.01)
    assert not counted.unknown


@pytest.mark.parametrize("name", ["pointnet", "pointnet_small"])
def test_lcnn_and_twin_are_equal_layer_by_layer(name):
    dense, made = build(name, (16, 3)), build(f"{name}_lcnn", (16, 3))
    kind = {LookupConv1D: keras.layers.Conv1D, LookupDense: keras.layers.Dense}
    assert lookup_layers(dense) == []
    for one, other in zip(dense.layers, made.layers, strict=True):
        assert (one.name, type(one)) == (other.name, kind.get(type(other), type(other)))
        assert one.output.shape == other.output.shape
    matrices = {"input_matrix", "feature_matrix", "logits"}
    assert plain(made) == {"input_conv1", "conv1"} | matrices
    assert plain(dense) == {layer.name for layer in lookup_layers(made)} | plain(made)


@pytest.mark.parametrize(
    "name, preset, expected",
    [
        ("pointnet", "fast", (16, 32, 64)),
        ("pointnet", "accurate", (32, 64, 128)),
        ("pointnet_small", "fast", (8, 16, 32)),
        ("pointnet_small", "accurate", (12, 32, 64)),
    ],
)
def test_presets_are_for_narrow_wide_and_full_layers(name, preset, expected):
    model = build(f"{name}_lcnn", (16, 3), dictionary_sizes=preset)
    stages = ("conv2", "conv5", "fc1")
    sizes = tuple(model.get_layer(layer).dictionary_size for layer in stages)
    assert sizes == expected
    for t_net in ("input", "feature"):
        layers = (f"{t_net}_conv2", f"{t_net}_conv3", f"{t_net}_fc1")
        assert tuple(model.get_layer(x).dictionary_size for x in layers) == expected


def test_the_order_of_points_does_not_matter(trained):
    order = np.random.default_rng(0).permutation(24)
    outputs = numpy(trained(CLOUDS))
    np.testing.assert_allclose(numpy(trained(CLOUDS[:, order])), outputs, atol=1e-5)
    # Nor does it matter that a point comes twice.
    assert np.abs(outputs - outputs[0]).max() > 1e-3


def test_any_number_of_points_will_do(lcnn):
    twice = np.concatenate([CLOUDS, CLOUDS[:, :5]], axis=1)
    np.testing.assert_allclose(numpy(lcnn(twice)), numpy(lcnn(CLOUDS)), atol=1e-5)


def test_an_untrained_net_turns_nothing():
    model = build("pointnet_small", (24, 3), 5)
    for name, source in (("input_turn", "points"), ("feature_turn", "conv2_relu")):
        parts = [model.get_layer(x).output for x in (name, source)]
        turned, before = keras.Model(model.input, parts)(CLOUDS)
        np.testing.assert_allclose(numpy(turned), numpy(before), atol=1e-6)


def test_a_transform_is_the_product_of_points_and_matrix(trained):
    parts = [trained.get_layer(x).output for x in ("feature_turn", "conv2_relu", "feature_shape")]
    turned, before, matrices = map(numpy, keras.Model(trained.input, parts)(CLOUDS))
    wanted = np.einsum("bpi,bij->bpj", before.astype(np.float64), matrices)
    np.testing.assert_allclose(turned, wanted, atol=1e-4)
    assert np.abs(matrices - np.eye(16)).max() > 0.01


@pytest.mark.parametrize("count", [2, 8])
def test_the_loss_has_the_distance_from_orthogonality_of_a_mean_example(trained, count):
    matrices = keras.Model(trained.input, trained.get_layer("feature_shape").output)
    trained(CLOUDS[:count], training=False)
    (loss,) = trained.losses
    a = numpy(matrices(CLOUDS[:count], training=False)).astype(np.float64)
    distance = np.eye(16) - a @ a.swapaxes(1, 2)
    wanted = 0.001 * (distance**2).sum(axis=(1, 2)).mean()
    assert float(loss) == pytest.approx(wanted, rel=1e-4) and wanted > 0
    model = build("pointnet_small", (24, 3), 5)
    model(CLOUDS)
    assert float(model.losses[0]) == pytest.approx(0, abs=1e-9)


def test_training_adds_the_regularizer_to_the_loss(trained):
    trained.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    labels = np.arange(8) % 5
    logits = numpy(trained(CLOUDS, training=False))
    crossed = trained.loss(labels, logits)
    total = trained.evaluate(CLOUDS, labels, verbose=0)
    trained(CLOUDS, training=False)
    assert total == pytest.approx(float(crossed) + float(trained.losses[0]), rel=1e-4)


def test_a_saved_network_gives_the_same_outputs_and_losses(trained, tmp_path):
    trained.save(tmp_path / "net.keras")
    loaded = keras.models.load_model(tmp_path / "net.keras")
    np.testing.assert_array_equal(numpy(loaded(CLOUDS)), numpy(trained(CLOUDS)))
    assert float(loaded.losses[0]) == float(trained.losses[0])


def test_a_trained_network_takes_lookups_and_tables(trained):
    made = lookupify(trained, 4, rules={"logits": "keep"})
    kinds = {type(layer) for layer in lookup_layers(made)}
    assert kinds == {LookupConv1D, LookupDense}
    coarse, tables = (
        lookupify(
            trained,
            family="deep_lookup",
            activation_levels=levels,
            table="separable",
            init="trained",
            images=CLOUDS,
            rules={"conv1": "keep", "*_matrix": "keep"},
        )
        for levels in (9, 129)
    )
    kept = {"input_conv1", "conv1", "input_matrix", "feature_matrix", "logits"}
    assert plain(tables) == kept
    assert {type(x) for x in tables.layers if has_table(x)} == {DeepLookupConv1D, DeepLookupDense}
    # What a T-net turned may be below zero, what a ReLU gives not.
    assert tables.get_layer("conv3").signed_input and not tables.get_layer("conv4").signed_input
    for model in (made, tables):
        model(CLOUDS, training=False)
        assert len(model.losses) == 1
    few, many = (
        np.square(numpy(x(CLOUDS)) - numpy(trained(CLOUDS))).sum() for x in (coarse, tables)
    )
    assert many < few / 10


@exported
@pytest.mark.parametrize("quantize", [None, "int8"])
def test_its_file_computes_the_same(trained, quantize, tmp_path):
    from tf_lcnn.lite.export import export

    calibration = {"calibration": CLOUDS} if quantize else {}
    report = export(trained, tmp_path / "net.tflite", CLOUDS, quantize=quantize, **calibration)
    assert report.operators["BATCH_MATMUL"] == 2
    assert report.proof.decibels > (100 if quantize is None else 15)


@exported
def test_the_file_of_an_lcnn_takes_any_number_of_points(lcnn, tmp_path):
    from tf_lcnn.lite.export import export

    report = export(lcnn, tmp_path / "net.tflite", CLOUDS)
    assert {shape[0] for shape in report.proof.shapes} == {12, 24, 48}
    assert report.proof.relative_difference < 1e-5
    # One-dimensional layers have no planes to gather, and dense ones have.
    lines = {line.partition(":")[0]: line for line in str(report).splitlines()}
    assert "sparse" in lines["conv5"] and "gather" not in lines["conv5"]
    assert "gather" in lines["fc1"]


@pytest.mark.parametrize(
    "arguments, told",
    [
        ({"input_shape": (64, 2)}, ["3 coordinates", "2"]),
        ({"input_shape": (8, 8, 3)}, ["like (1024, 3)", "(8, 8, 3)"]),
        ({"dictionary_sizes": "register"}, ["'register'", "fast, accurate"]),
        ({"dictionary_sizes": (8, 16)}, ["3 dictionary sizes", "2"]),
    ],
)
def test_a_wrong_argument_is_one_line(arguments, told):
    with pytest.raises(ValueError) as error:
        build("pointnet_small_lcnn", **arguments)
    assert "\n" not in str(error.value)
    for word in told:
        assert word in str(error.value)


def test_a_bias_that_is_no_square_is_refused():
    with pytest.raises(ValueError, match="square"):
        pointnet.FlatIdentity()((8,))
