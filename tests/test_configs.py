"""Every configuration in configs/ parses, builds its model and trains."""

import contextlib
import gc

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import flagsaver

import train
from tf_lcnn import models
from tf_lcnn.data import datasets
from tf_lcnn.models import zoo
from tf_lcnn.pipeline import starting
from tf_lcnn.training import run, run_callbacks

CONFIGS = sorted(train.CONFIGS.rglob("*.cfg"))
NETS = ("alexnet", "resnet18", "resnet50")
SIZES = ("fast", "accurate", "register")
CLASSES = {"digits": 10, "cifar10": 10, "imagenet2012": 1000, "image_folder": 5}


def _long(path):
    """What trains at ImageNet's size takes long."""
    return pytest.param(path, marks=pytest.mark.slow) if "imagenet" in path.stem else path


@contextlib.contextmanager
def parsed(path):
    """The Run of a configuration; train.FLAGS are as before afterwards."""
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        assert train.parse(["train.py", f"--flagfile={path.name}"]) == ["train.py"]
        yield run.Run.of(train.FLAGS)


@pytest.fixture(params=map(_long, CONFIGS), ids=lambda path: path.stem)
def config(request):
    """Parses a configuration into train.FLAGS, which are as before after the test."""
    with parsed(request.param):
        yield request.param
    keras.config.set_dtype_policy("float32")
    keras.backend.clear_session()
    gc.collect()


def classified(flags, count):
    """The arguments of a network, and so many inputs and targets of it."""
    classes = CLASSES[flags.dataset]
    if flags.dataset == "digits":
        shape = datasets.load("digits", image_size=flags.image_size).image_shape
    else:
        height, width, channels = models.input_shape(flags.model)
        channels = 1 if flags.mosaic else channels
        if flags.dataset == "imagenet2012":
            # At their own size these networks are built in tests/models.
            height = width = 64
        shape = (flags.image_size or height, flags.image_size or width, channels)
    images = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    network = {"input_shape": shape, "classes": classes, "mosaic": flags.mosaic}
    return network, images, np.arange(count) % classes


def clouds(flags, count):
    points = np.random.default_rng(0).normal(size=(count, 16, 3)).astype(np.float32)
    return {"input_shape": (16, 3), "classes": 10}, points, np.arange(count) % 10


def made_larger(flags, count):
    rng, size = np.random.default_rng(0), 12
    small, large = (
        rng.random((count, each, each, 1), np.float32) for each in (size, size * flags.scale)
    )
    return {"scale": flags.scale}, small, large


def improved(flags, count):
    before, after = np.random.default_rng(0).random((2, count, 12, 12, 1), np.float32)
    return {}, before, after


def demosaiced(flags, count):
    rng = np.random.default_rng(0)
    mosaics, photos = (rng.random((count, 12, 12, x), np.float32) for x in (1, 3))
    return {"mosaic": flags.mosaic}, mosaics, photos


EXAMPLES = {
    "denoising": improved,
    "filter": improved,
    "demosaicing": demosaiced,
    "classification": classified,
    "super_resolution": made_larger,
    "point_clouds": clouds,
}


def test_there_are_configurations():
    assert CONFIGS


def test_configuration_trains(config, tmp_path):
    flags = run.Run.of(train.FLAGS)
    keras.utils.set_random_seed(flags.seed)
    keras.config.set_dtype_policy(flags.precision)
    steps = 2 * flags.break_batch
    network, images, labels = EXAMPLES[flags.task](flags, 2 * steps)
    model = starting.fresh_model(flags, **network)
    starting.compile_model(flags, model, 2)
    # A graph takes longer to make than these few steps.
    model.run_eagerly = True
    before = [weights.numpy() for weights in model.trainable_variables[:3]]

    # A checkpoint of AlexNet is large, and tells nothing about the configuration.
    made = train.make_callbacks(flags, model, tmp_path, input_shape=images.shape[1:])
    used = [c for c in made if type(c) is not run_callbacks.Checkpoint]
    history = model.fit(
        tf.data.Dataset.from_tensor_slices((images, labels)).batch(2),
        epochs=1,
        callbacks=used,
        verbose=0,
    )

    if flags.init_from:
        trained = [f"{directory}/model.keras" for directory in run_directories()]
        assert flags.init_from in (*zoo.names(), *trained)
        assert flags.tables or flags.budget or flags.speedup
    assert np.isfinite(history.history["loss"]).all()
    after = [weights.numpy() for weights in model.trainable_variables[:3]]
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    if flags.top_s:
        assert history.history["max_s"][0] <= max(flags.top_s, flags.top_s_from or 0)


RECIPES = [path for path in CONFIGS if path.parent.name == "imagenet"]


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_a_recipe_of_imagenet_is_what_its_name_says(path, monkeypatch, tmp_path):
    # What is included is found wherever train.py is started.
    monkeypatch.chdir(tmp_path)
    _, net, *kind = path.stem.split("_")
    with parsed(path) as flags:
        assert flags.dataset == "imagenet2012" and flags.run_dir == f"runs/{path.stem}"
        assert flags.preprocessing == "imagenet"
        assert flags.batch_size == {"alexnet": 128}.get(net, 256)
        if kind[:1] == ["lcnn"]:
            assert flags.model == f"{net}_lcnn" and flags.dictionary_sizes == kind[1:]
            assert flags.top_s == (4 if kind[1] == "register" else None)
            assert flags.l1 == {"fast": 0.3, "accurate": 0.1, "register": 0.0}[kind[1]]
        else:
            assert flags.model == net and flags.coded == (kind[:1] == ["coded"])
            assert not flags.coded or flags.init_from == f"runs/imagenet_{net}/model.keras"
    text = path.read_text()
    assert "Expected:" in text and "ot run by anyone here" in text
    assert f"--flagfile={path.name} --data_dir=TFDS_FOLDER" in text
    # For one GPU and for eight.
    assert "--distribute" in text and "8 GPUs" in text


def test_each_net_has_every_recipe():
    kinds = [f"{way}_{size}" for way in ("lcnn", "coded") for size in SIZES]
    wanted = {f"imagenet_{net}{x}" for net in NETS for x in ("", *(f"_{kind}" for kind in kinds))}
    assert {path.stem for path in RECIPES} == wanted


@pytest.mark.parametrize("net, times", [("alexnet", 714.2e6), ("resnet50", 4089e6)])
def test_the_budgets_are_shares_of_the_parents_multiplications(net, times):
    for size, share in (("accurate", 5), ("fast", 10)):
        with parsed(train.CONFIGS / "imagenet" / f"imagenet_{net}_coded_{size}.cfg") as flags:
            np.testing.assert_allclose(flags.budget * share, times, rtol=0.01)


def run_directories():
    """Directory -> the configurations whose runs are there."""
    directories = {}
    for path in CONFIGS:
        lines = [line for line in path.read_text().splitlines() if line.startswith("--")]
        flags = dict(line.removeprefix("--").split("=", 1) for line in lines if "=" in line)
        run_dir = flags.get("run_dir") or f"runs/{flags['model']}_{flags['dataset']}"
        directories.setdefault(run_dir, []).append(path.name)
    return directories


def test_no_two_configurations_share_a_run_directory():
    directories = run_directories()
    assert all(len(names) == 1 for names in directories.values()), directories
