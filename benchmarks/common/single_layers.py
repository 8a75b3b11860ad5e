"""Networks of one 3x3 layer, dense or with lookups, and their .tflite files."""

import keras
import numpy as np

from tf_lcnn import LookupConv2D
from tf_lcnn.lite.choice import choose_lowerings
from tf_lcnn.lite.export import convert
from tf_lcnn.training.callbacks import project

# By name, what the converter calls them.
FORMATS = {"float32": None, "int8": "int8"}


def layer_model(layer, channels, size):
    keras.utils.set_random_seed(0)
    return keras.Sequential([keras.Input((size, size, channels)), layer])


def layer_file(model, name):
    """The bytes of a .tflite of one layer; int8 goes in and out as int8."""
    quantize = FORMATS[name]
    examples = np.random.default_rng(0).normal(size=(2, *model.input_shape[1:])).astype(np.float32)
    choices = choose_lowerings(model, "sparse", quantize=quantize)
    return convert(model, choices, quantize, examples, "int8" if quantize else "float32")


def dense_layer(channels, size):
    layer = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")
    return layer_model(layer, channels, size)


def lookup_layer(channels, size, k, lookups):
    layer = LookupConv2D(channels, 3, k, padding="same", activation="relu")
    model = layer_model(layer, channels, size)
    project(model, lookups)
    return model
