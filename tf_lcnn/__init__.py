"""LCNN for Keras: convolutions and dense layers as a small dictionary and a few lookups."""

from tf_lcnn.compression.convert import lookupify
from tf_lcnn.costs.counting import profile
from tf_lcnn.costs.report import LayerProfile, ModelProfile
from tf_lcnn.layers.lookup import LookupConv2D, LookupDense
from tf_lcnn.layers.sparsity import LookupL1

__version__ = "0.1.0"

__all__ = [
    "LayerProfile",
    "LookupConv2D",
    "LookupDense",
    "LookupL1",
    "ModelProfile",
    "lookupify",
    "profile",
]
