"""What several test files need: arrays, small models, and the bytes in a .tflite."""

import keras
import numpy as np


def numpy(x):
    return np.asarray(keras.ops.convert_to_numpy(x))


def random(shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def chain(shape, *members):
    """The functional model of these layers, one after the other."""
    inputs = keras.Input(shape)
    outputs = inputs
    for member in members:
        outputs = member(outputs)
    return keras.Model(inputs, outputs)


def settle(model, steps=2):
    """Trains a moment, so that the statistics of batch normalization are not trivial."""
    model.compile(
        keras.optimizers.SGD(0.01),
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    shape = model.input_shape[1:]
    labels = np.arange(8) % model.output_shape[-1]
    for step in range(steps):
        model.train_on_batch(random((8, *shape), step), labels)
    return model


def constant_bytes(model):
    """Bytes of the constants of a parsed .tflite, the indices of sparse ones included."""
    total = 0
    for tensor in model.subgraphs[0].tensors:
        content = model.buffers[tensor.buffer].data
        total += 0 if content is None else len(content)
        for axis in tensor.sparsity.dimMetadata if tensor.sparsity is not None else ():
            if axis.arraySegments is not None:
                total += np.asarray(axis.arraySegments.values).nbytes
                total += np.asarray(axis.arrayIndices.values).nbytes
    return total
