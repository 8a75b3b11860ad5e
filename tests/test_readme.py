"""The README's way from a trained CNN to a fine-tuned LCNN, run as it stands there."""

import inspect
import pathlib
import re

import keras
import numpy as np
import pytest
from support.helpers import chain, random, settle

import tf_lcnn
from tf_lcnn import profile
from tf_lcnn.compression.reconstruction import Schedule
from tf_lcnn.layers.family import lookup_layers

README = pathlib.Path(__file__).resolve().parents[1] / "README.md"


def snippet(mentioned):
    """The one block of Python that mentions this."""
    blocks = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    (block,) = [block for block in blocks if mentioned in block]
    return block


@pytest.fixture
def names(tmp_path, monkeypatch):
    """What the snippets find: a trained net, its images and labels."""
    monkeypatch.chdir(tmp_path)
    keras.utils.set_random_seed(0)
    dense = chain(
        (8, 8, 3),
        keras.layers.Conv2D(16, 3, padding="same", use_bias=False, name="first"),
        keras.layers.BatchNormalization(),
        keras.layers.ReLU(),
        keras.layers.Conv2D(24, 3, padding="same", name="second"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(10, name="logits"),
    )
    settle(dense, 3)
    return {
        "keras": keras,
        "dense": dense,
        "images": random((32, 8, 8, 3), 1),
        "labels": np.arange(32) % 10,
    }


def test_a_trained_net_becomes_one_of_tables(names):
    names |= {"lookupify": tf_lcnn.lookupify, "distillation": tf_lcnn.distillation}
    names["loss"] = tf_lcnn.distillation.DistillationLoss(10)
    names["accuracy"] = tf_lcnn.distillation.LabelAccuracy(10)
    exec(snippet('family="deep_lookup"'), names)
    table = names["tables"].get_layer("second")
    assert table.integer_table().shape == (16, 16)


def test_a_trained_net_is_planned_coded_and_fine_tuned_and_keeps_its_lookups(names, tmp_path):
    whole = profile(names["dense"]).multiplications
    code = snippet("plan.save").replace("budget=8e6", f"budget={whole / 2}")
    names["short"] = Schedule(block_steps=4, output_steps=8)
    code = code.replace(
        "reconstruct(dense, lcnn, images)", "reconstruct(dense, lcnn, images, short)"
    )
    exec(code, names)
    plan, lcnn = names["plan"], names["lcnn"]
    assert (tmp_path / "plan.json").is_file() and plan.sizes
    assert profile(lcnn).multiplications <= plan.cost <= whole / 2
    assert {x.name: x.lookups()[0].shape[-1] for x in lookup_layers(lcnn)} == {
        name: s for name, (_, s) in plan.sizes.items()
    }


def test_the_one_call_has_arguments_that_there_are(names, monkeypatch):
    signature = inspect.signature(tf_lcnn.compress)
    # What it does is in tests/pipeline; here nothing is as large as the speedup needs.
    monkeypatch.setattr(
        tf_lcnn, "compress", lambda *given, **named: signature.bind(*given, **named), raising=False
    )
    exec(snippet("compress(dense"), names)
    assert names["made"].arguments["images"] is names["images"]
