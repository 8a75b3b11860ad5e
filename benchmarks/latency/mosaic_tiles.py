"""The dictionary stage of a Bayer mosaic's first layer, as two operators and as one.

    python -m benchmarks.latency.mosaic_tiles

Exported are SPACE_TO_DEPTH and a 1x1 convolution of four channels; a 2x2 convolution of stride 2 on
the mosaic computes the same. Median of processor time on one thread, stock operators.
"""

import keras
import numpy as np

from benchmarks.common import processor_time
from benchmarks.common.single_layers import FORMATS, layer_file
from tf_lcnn import programs
from tf_lcnn.layers.depth_to_space import SpaceToDepth
from tf_lcnn.runtime.interpreter import Interpreter

# k, height and width of the mosaic.
STAGES = ((16, 224), (16, 512), (32, 224))
TIMED = 300


def stages(k, size):
    """Models of the two, with the same weights."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((size, size, 1))
    one = keras.layers.Conv2D(k, 2, strides=2, use_bias=False)
    tiles = keras.layers.Conv2D(k, 1, use_bias=False)
    models = [keras.Sequential([inputs, *x]) for x in ((SpaceToDepth(2), tiles), (one,))]
    one.kernel.assign(keras.ops.reshape(tiles.kernel, one.kernel.shape))
    images = np.random.default_rng(0).normal(size=(1, size, size, 1)).astype(np.float32)
    two, other = (keras.ops.convert_to_numpy(model(images)) for model in models)
    np.testing.assert_allclose(two, other, rtol=1e-4, atol=1e-5)
    return models


def main():
    print("k, mosaic      numbers    two operators    one    two over one")
    for k, size in STAGES:
        models = stages(k, size)
        for name in FORMATS:
            interpreters = [Interpreter(content=layer_file(model, name)) for model in models]
            for interpreter in interpreters:
                interpreter.set_random_input()
            times = [
                [processor_time.seconds(interpreter.run) for interpreter in interpreters]
                for _ in range(TIMED)
            ]
            two, one = 1e6 * np.median(times, axis=0)
            cells = f"{name:7}    {two:10.0f} us {one:6.0f} us {two / one:8.2f}"
            print(f"{k:2}, {size}x{size}    {cells}", flush=True)


if __name__ == "__main__":
    programs.run(main)
