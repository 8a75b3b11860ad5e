"""What the README and the pages of the site show: each block of Python runs as it stands there."""

import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
from support.helpers import chain, random, settle

import tf_lcnn
from tf_lcnn import profile
from tf_lcnn.compression import reconstruction
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.layers.sparsity import top_s

ROOT = pathlib.Path(__file__).resolve().parents[1]
PAGES = ["README.md", *sorted(f"docs/{x.name}" for x in (ROOT / "docs").glob("*.md"))]


def blocks(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


def trained():
    keras.utils.set_random_seed(0)
    dense = chain(
        (32, 32, 3),
        keras.layers.Conv2D(8, 3, strides=4, padding="same", use_bias=False, name="first"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv2D(24, 3, padding="same", name="second"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, name="logits"),
    )
    settle(dense, 3)
    return dense


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the blocks find: a trained net, its LCNN, images, labels, features of a classifier."""
    monkeypatch.chdir(tmp_path)
    # What the one call does is in tests/pipeline; here nothing is as large as the speedup needs.
    signature = inspect.signature(tf_lcnn.compress)

    def call(*given, **named):
        return signature.bind(*given, **named).arguments

    monkeypatch.setattr(tf_lcnn, "compress", call, raising=False)
    short = reconstruction.Schedule(block_steps=2, output_steps=4)
    whole = reconstruction.reconstruct
    monkeypatch.setattr(reconstruction, "reconstruct", lambda *given: whole(*given, short))
    images = random((32, 32, 32, 3), 1)
    dense = trained()
    model = tf_lcnn.lookupify(dense, 8, rules={"first": "keep"})
    for layer in lookup_layers(model):
        layer.coefficients.assign(top_s(layer.coefficients, 3))
    return {
        "dense": dense,
        "model": model,
        "images": images,
        "labels": np.arange(32) % 10,
        "examples": images[:4],
        "features": random((64, 32), 2),
        "photos": np.random.default_rng(3).integers(0, 256, (4, 16, 16, 3), np.uint8),
        # Of the run with a net that denoises.
        "dncnn": None,
        **dict.fromkeys(("clean", "noise", "set12"), images),
    }


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")])
def test_python_runs_as_it_stands(page, names, tmp_path, capsys):
    for block in blocks(page, "python"):
        exec(compile(block, page, "exec"), names)
    if "made" in names:
        assert names["made"]["images"] is names["images"] and names["made"]["folder"]
    if "plan" in names:
        assert (tmp_path / "plan.json").is_file() and names["plan"].sizes
        lookups = {x.name: x.lookups()[0].shape[-1] for x in lookup_layers(names["lcnn"])}
        assert lookups == {name: s for name, (_, s) in names["plan"].sizes.items()}
    if "tables" in names:
        assert names["tables"].get_layer("second").integer_table().shape == (16, 16)
    if "coded" in names:
        (layer,) = lookup_layers(names["coded"])
        assert layer.dictionary_size == 8 and (tmp_path / "own.tflite").is_file()
        counted = profile(names["coded"])
        assert counted.multiplications < counted.dense_multiplications
