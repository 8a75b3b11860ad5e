"""Every configuration in configs/ parses, builds its model and trains."""

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
CLASSES = {"digits": 10, "cifar10": 10, "imagenet2012": 1000}


def _long(path):
    """What trains at ImageNet's size takes long."""
    return pytest.param(path, marks=pytest.mark.slow) if "imagenet" in path.stem else path


@pytest.fixture(params=map(_long, CONFIGS), ids=lambda path: path.stem)
def config(request):
    """Parses a configuration into train.FLAGS, which are as before after the test."""
    with flagsaver.flagsaver():
        train.FLAGS.unparse_flags()
        rest = train.parse(["train.py", f"--flagfile={request.param.name}"])
        assert rest == ["train.py"]
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
        shape = (flags.image_size or height, flags.image_size or width, channels)
    images = np.random.default_rng(0).normal(size=(count, *shape)).astype(np.float32)
    return {"input_shape": shape, "classes": classes}, images, np.arange(count) % classes


def clouds(flags, count):
    points = np.random.default_rng(0).normal(size=(count, 16, 3)).astype(np.float32)
    return {"input_shape": (16, 3), "classes": 10}, points, np.arange(count) % 10


def made_larger(flags, count):
    rng, size = np.random.default_rng(0), 12
    small, large = (
        rng.random((count, each, each, 1), np.float32) for each in (size, size * flags.scale)
    )
    return {"scale": flags.scale}, small, large


EXAMPLES = {
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
        assert flags.tables or flags.budget > 0
    assert np.isfinite(history.history["loss"]).all()
    after = [weights.numpy() for weights in model.trainable_variables[:3]]
    assert all((a != b).any() for a, b in zip(after, before, strict=True))
    if flags.top_s:
        assert history.history["max_s"][0] <= max(flags.top_s, flags.top_s_from or 0)


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
