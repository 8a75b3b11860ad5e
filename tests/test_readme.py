"""The README's way from a trained CNN to a fine-tuned LCNN, run as it stands there."""

import pathlib
import re

import keras
import numpy as np
import pytest
from support.helpers import chain, random, settle

from tf_lcnn import profile
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import prices

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


def test_a_trained_net_is_planned_coded_and_fine_tuned_and_keeps_its_lookups(names, tmp_path):
    whole = profile(names["dense"]).multiplications
    code = snippet("plan.save").replace("budget=8e6", f"budget={whole / 2}")
    exec(code, names)
    plan, lcnn = names["plan"], names["lcnn"]
    assert (tmp_path / "plan.json").is_file() and plan.sizes
    assert profile(lcnn).multiplications <= plan.cost <= whole / 2
    assert {x.name: x.lookups()[0].shape[-1] for x in lookup_layers(lcnn)} == {
        name: s for name, (_, s) in plan.sizes.items()
    }


def test_milliseconds_are_planned_with_the_prices_of_this_machine(names, monkeypatch):
    monkeypatch.setattr(prices, "machine", lambda: prices.DEFAULT)
    exec("from tf_lcnn.compression import planner", names)
    exec(snippet("PlanPrices").replace("delegate=True", "delegate=False"), names)
    assert names["plan"].unit == "milliseconds"
