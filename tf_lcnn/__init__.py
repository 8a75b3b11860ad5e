"""LCNN for Keras: convolutions and dense layers as a small dictionary and a few lookups."""

# First: Keras imports TensorFlow.
from tf_lcnn import quiet  # noqa: F401

# isort: split
from tf_lcnn.compression.convert import lookupify
from tf_lcnn.costs.counting import profile
from tf_lcnn.costs.report import LayerProfile, ModelProfile
from tf_lcnn.layers.convolution import LookupConv1D, LookupConv2D, LookupConv3D
from tf_lcnn.layers.dense import LookupDense
from tf_lcnn.layers.separable import LookupSeparableConv1D, LookupSeparableConv2D
from tf_lcnn.layers.sparsity import LookupL1
from tf_lcnn.layers.transposed import LookupConv2DTranspose

# Keras finds the loss of a model that was taught.
from tf_lcnn.training import distillation  # noqa: F401

__version__ = "0.1.0"


def __getattr__(name):
    # Only where it is used: it imports TensorFlow, which training on another backend does without.
    if name == "compress":
        from tf_lcnn.pipeline.compressing import compress

        return compress
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


__all__ = [
    "LayerProfile",
    "LookupConv1D",
    "LookupConv2D",
    "LookupConv2DTranspose",
    "LookupConv3D",
    "LookupDense",
    "LookupL1",
    "LookupSeparableConv1D",
    "LookupSeparableConv2D",
    "ModelProfile",
    "compress",
    "lookupify",
    "profile",
]
