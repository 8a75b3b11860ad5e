"""Layers with tables go to LiteRT as they are: stock operators, the numbers of Keras."""

import dataclasses

import pytest
from keras import layers
from support.helpers import chain, random

from tf_lcnn import lookupify
from tf_lcnn.lite.export import export


@pytest.mark.parametrize(
    "table",
    [{"table": "separable"}, {"table": "low_rank", "table_rank": 2}, {"table": "free"}],
    ids=lambda table: table["table"],
)
def test_a_file_with_tables_is_exact(table, tmp_path):
    images = random((20, 8, 8, 2), 7)
    parent = chain(
        (8, 8, 2),
        layers.Conv2D(6, 3),
        layers.Conv2D(8, 3, padding="same", strides=2, activation="relu"),
        layers.Flatten(),
        layers.Dense(12),
        layers.Dense(4),
    )
    made = lookupify(
        parent,
        family="deep_lookup",
        activation_levels=12,
        weight_levels=9,
        init="trained",
        images=images,
        **table,
    )
    report = export(made, tmp_path / "model.tflite", images)
    assert report.proof.decibels > 100
    # Flex operators would be named.
    assert "all builtin" in str(report)
    # A step here and there is no other net; a tenth of the output is.
    worse = dataclasses.replace(report.proof, relative_difference=0.02, decibels=40.0)
    assert worse.holds("tables")
    assert not worse.holds(None)
    assert not dataclasses.replace(worse, decibels=20.0).holds("tables")
