"""Layers with lookups. Importing this registers their families."""

from tf_lcnn.layers import lookup  # noqa: F401
