"""Layers with lookups. Importing this registers their families."""

from tf_lcnn.layers import convolution, dense, separable, transposed  # noqa: F401
