"""LCNN for Keras: convolutions and dense layers as a small dictionary and a few lookups."""
