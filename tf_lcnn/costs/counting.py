"""What a Keras model costs: multiplications, parameters, lookups, bytes. Data first, table last.

Counting, for batch 1, in multiplications; bias, batch normalization, activation and pooling are
free. A dense convolution takes ho*wo*n*m*kh*kw. A lookup convolution takes k*m at every position
where S is computed (dictionary stage) and one per output position and non-zero of P (lookup
stage). Two conventions say where S is computed: "unpadded", on the H*W pixels of the map, the
zero padding being applied to S; "padded", on (H + 2p)*(W + 2p) with p = kernel // 2 for "same",
as the paper's own program counts. A 1x1 layer computes S only where it is read, in both.

The dense *twin* of a layer is the plain layer of equal shape. Bytes are those of the weights in
a .tflite, of float32 and of smaller numbers: batch normalization folded into the layer before it,
sparse P stored with its indices; the graph comes on top, metadata too.
"""

import dataclasses
import math

import keras
import numpy as np
from keras import layers as kl

from tf_lcnn.costs import storage
from tf_lcnn.costs.report import LayerProfile, ModelProfile
from tf_lcnn.graph import folding
from tf_lcnn.graph.trace import own_weights, sublayers, trace
from tf_lcnn.layers import deep_lookup, family, levels
from tf_lcnn.layers.binary import BinaryActivation
from tf_lcnn.layers.depth_to_space import DepthToSpace, SpaceToDepth

CONVENTIONS = ("unpadded", "padded")

_RELU = keras.activations.relu
_NO_OPERATOR = (kl.InputLayer, kl.Dropout, kl.SpatialDropout2D, kl.GaussianNoise, kl.Identity)

# One multiplication per weight and output position, or per weight and input position.
_PER_OUTPUT = (kl.Conv1D, kl.Conv2D, kl.Conv3D, kl.DepthwiseConv1D, kl.DepthwiseConv2D, kl.Dense)
_PER_INPUT = (kl.Conv1DTranspose, kl.Conv2DTranspose, kl.Conv3DTranspose)
_FREE = (
    *(kl.InputLayer, kl.Activation, kl.ReLU, kl.LeakyReLU, kl.PReLU, kl.ELU, kl.Softmax),
    *(kl.BatchNormalization, kl.LayerNormalization, kl.GroupNormalization, kl.Rescaling),
    *(kl.Normalization, kl.Dropout, kl.SpatialDropout2D, kl.GaussianNoise, kl.GaussianDropout),
    *(kl.Flatten, kl.Reshape, kl.Permute, kl.RepeatVector, kl.Add, kl.Subtract, kl.Concatenate),
    *(kl.Average, kl.Maximum, kl.Minimum, kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D),
    *(kl.Cropping1D, kl.Cropping2D, kl.Cropping3D, kl.UpSampling1D, kl.UpSampling2D),
    *(kl.MaxPooling1D, kl.MaxPooling2D, kl.MaxPooling3D, kl.AveragePooling1D),
    *(kl.AveragePooling2D, kl.AveragePooling3D, kl.GlobalAveragePooling1D),
    *(kl.GlobalAveragePooling2D, kl.GlobalAveragePooling3D, kl.GlobalMaxPooling1D),
    *(kl.GlobalMaxPooling2D, kl.GlobalMaxPooling3D, kl.Identity, DepthToSpace, SpaceToDepth),
    BinaryActivation,
)
_FREE_OPERATIONS = (
    "Add",
    "Subtract",
    "Relu",
    "Relu6",
    "Reshape",
    "Transpose",
    "Concatenate",
    "Pad",
    "GetItem",
)


def profile(model, input_shape=None, convention="unpadded", numbers="int8"):
    """Counts what a Keras model costs; any model, functional, Sequential or subclassed.

    It runs the model once, on zeros, to see the shapes.

    Args:
        model: a Keras model.
        input_shape: shape of one input without the batch; needed only where the model leaves a
            size open (None) or does not know its input.
        convention: "unpadded" or "padded", see the module's text.
        numbers: one of `storage.NUMBERS`, whose bytes the table has beside those of float32 and
            int8.

    Returns:
        ModelProfile.

    Raises:
        ValueError: unknown convention or numbers, or an input shape that is needed and missing.
    """
    if convention not in CONVENTIONS:
        raise ValueError(f"Unknown convention {convention!r}: {', '.join(CONVENTIONS)}.")
    if numbers not in storage.NUMBERS:
        raise ValueError(f"Unknown numbers {numbers!r}: {', '.join(storage.NUMBERS)}.")
    return measure(trace(model, input_shape), model.name, convention, numbers)


def measure(calls, name, convention="unpadded", numbers="int8"):
    """ModelProfile of traced calls, with the weights as they are now."""
    by_layer = {}
    for call in calls:
        by_layer.setdefault(id(call.layer), []).append(call)
    folded = {id(layer) for layer in folding.folded(calls).values()}
    # A dictionary that layers share counts in the first.
    counted = set()
    profiles = [
        _layer_profile(layer_calls, convention, counted, layer in folded)
        for layer, layer_calls in by_layer.items()
    ]
    layers = tuple(p for p in _sized(profiles, by_layer.values(), folded) if p is not None)
    graph = {x: _structure(calls, folded, layers, x) for x in storage.NUMBERS}
    return ModelProfile(name, convention, layers, numbers, graph)


def _sized(profiles, calls, folded):
    """The LayerProfiles with their bytes by the numbers that the weights are stored in."""
    firsts = [of_layer[0] for of_layer in calls]
    # Below int8 go the layers that have kernels or lookups, all but the first.
    formats = {x: levels.layer_formats(firsts, x) for x in levels.NARROW}
    for found, of_layer in zip(profiles, calls, strict=True):
        if found is None:
            yield None
            continue
        layer = of_layer[0].layer
        sizes = {
            x: _stored(found, layer, formats[x].get(layer, "int8") if x in formats else x)
            for x in storage.NUMBERS
        }
        yield dataclasses.replace(found, sizes=sizes)


def _stored(found, layer, numbers):
    if numbers == "float32" or not found.bytes or found.table_reads:
        return found.bytes
    kind = family.of(layer)
    if kind is None:
        n = found.output_shape[-1] if found.outputs else 0
        weights = found.bytes // 4 - n
        return storage.kernel(weights, n, numbers, levels.is_pointwise(layer))
    taps, k, n = found.coefficients // found.dictionary_size, found.dictionary_size, found.filters
    # What the dictionary does not count is another layer's.
    own = found.dictionary_parameters
    shape = (taps // n, own // k if own else 0, k, n)
    beside = sum(math.prod(w.shape) for w in kind.fixed_weights(layer))
    looked_up = storage.lookup_layer(shape, found.lookups, numbers, dictionary=own > 0)
    return looked_up + (storage.kernel(beside, 0, numbers) if beside else 0)


def _structure(calls, folded, layers, numbers):
    """Bytes of a file beside its numbers, see `storage.structure`."""
    operators = sum(_operators(call, folded) for call in calls)
    weighted = [x for x in layers if x.bytes]
    filters = [n for x in weighted for n in (x.dictionary_size or 0, *x.output_shape[-1:])]
    lookups = sum(x.is_lookup for x in weighted)
    constants = 2 * len(weighted) + lookups
    return storage.structure(operators, constants, lookups, filters, numbers)


def _operators(call, folded):
    """How many operators LiteRT has for a call."""
    layer, before = call.layer, call.source
    # Both stages; a comparison and a cast.
    if family.of(layer) is not None or isinstance(layer, BinaryActivation):
        return 2
    if id(layer) in folded or isinstance(layer, _NO_OPERATOR) or call.output_shape is None:
        return 0
    relu = isinstance(layer, kl.ReLU) or getattr(layer, "activation", None) is _RELU
    if relu and not own_weights(layer) and before is not None and before.uses == 1:
        return 0
    return 1


def _layer_profile(calls, convention, counted, folded):
    layer = calls[0].layer
    if family.of(layer) is not None:
        return _lookup_profile(calls, convention, counted)
    weights = [np.asarray(keras.ops.convert_to_numpy(w)) for w in own_weights(layer)]
    parameters = sum(w.size for w in weights)
    dense = _plain_multiplications(calls)
    if dense == 0 and not parameters:
        return None
    if deep_lookup.has_table(layer):
        return _table_profile(calls, dense, weights)
    is_container = isinstance(layer, keras.Layer) and len(sublayers(layer)) > 1
    if dense is None and is_container and not parameters:
        # Its layers are counted, each by itself.
        return None
    size = 0 if folded else _plain_bytes(calls, parameters)
    return LayerProfile(
        name=layer.name,
        type=type(layer).__name__,
        input_shape=calls[0].input_shape,
        output_shape=calls[0].output_shape or (),
        dense_multiplications=dense,
        dictionary_multiplications=0,
        lookup_multiplications=0,
        multiplications=dense,
        parameters=parameters,
        twin_parameters=parameters,
        nonzeros=sum(int(np.count_nonzero(w)) for w in weights),
        bytes=size,
        twin_bytes=size,
        outputs=_sums(calls) if dense else 0,
    )


def _table_profile(calls, products, weights):
    """Of a layer that reads its products from a table."""
    layer = calls[0].layer
    ranks = layer.factors()[0].shape[1]
    kernel = math.prod(layer.kernel.shape)
    n = layer.kernel.shape[-1]
    parameters = sum(w.size for w in weights)
    return LayerProfile(
        name=layer.name,
        type=type(layer).__name__,
        input_shape=calls[0].input_shape,
        output_shape=calls[0].output_shape,
        dense_multiplications=products,
        dictionary_multiplications=0,
        lookup_multiplications=0,
        multiplications=0,
        parameters=parameters,
        twin_parameters=kernel + (n if layer.use_bias else 0),
        nonzeros=sum(int(np.count_nonzero(w)) for w in weights),
        # What activations are looked up in, and weights that were looked up.
        bytes=4 * (ranks * (layer.activation_levels + kernel) + n),
        twin_bytes=4 * (kernel + n),
        table_reads=products,
        outputs=_sums(calls),
    )


def _plain_multiplications(calls):
    """Multiplications of a layer without lookups; None where they are not known."""
    layer = calls[0].layer
    kind = deep_lookup.keras_type(layer) or family.plain_type(layer)
    if any(call.output_shape is None for call in calls):
        return None
    if kind.__name__ == "Multiply":
        return sum(math.prod(call.output_shape) for call in calls)
    if kind is kl.Dot and not layer.normalize:
        axis = layer.axes if isinstance(layer.axes, int) else layer.axes[0]
        # Shapes here are without the batch, which axes count.
        return sum(math.prod(call.output_shape) * (None, *call.input_shape)[axis] for call in calls)
    if not isinstance(layer, keras.Layer):
        return 0 if kind.__name__ in _FREE_OPERATIONS else None
    if kind in _FREE:
        return 0
    if kind in (*_PER_OUTPUT, *_PER_INPUT):
        kernels = (layer.kernel,)
    elif kind in (kl.SeparableConv1D, kl.SeparableConv2D):
        kernels = (layer.depthwise_kernel, layer.pointwise_kernel)
    else:
        return None
    per_position = sum(math.prod(kernel.shape) for kernel in kernels)
    side = "input_shape" if kind in _PER_INPUT else "output_shape"
    return per_position * sum(_positions(layer, getattr(call, side)) for call in calls)


def _sums(calls):
    """How many numbers a layer without lookups computes as sums of products."""
    layer = calls[0].layer
    kernels = (*_PER_OUTPUT, *_PER_INPUT)
    separable = (kl.SeparableConv1D, kl.SeparableConv2D)
    kind = deep_lookup.keras_type(layer) or family.plain_type(layer)
    if kind not in (*kernels, *separable):
        return 0
    outputs = sum(math.prod(call.output_shape) for call in calls)
    if kind in separable:
        # Those of the depthwise part.
        channels = math.prod(layer.depthwise_kernel.shape[-2:])
        outputs += channels * sum(_positions(layer, call.output_shape) for call in calls)
    return outputs


def _spatial(layer, shape):
    first = getattr(layer, "data_format", "channels_last") == "channels_first"
    return shape[1:] if first else shape[:-1]


def _positions(layer, shape):
    return math.prod(_spatial(layer, shape))


def _plain_bytes(calls, parameters):
    layer = calls[0].layer
    if isinstance(layer, kl.BatchNormalization):
        # Scale and offset. Folded, they are in the kernel and the bias of the layer before.
        return 4 * 2 * math.prod(layer.moving_mean.shape)
    if family.plain_type(layer) in _PER_OUTPUT and not layer.use_bias:
        # LiteRT's convolutions have a bias always.
        shape = calls[0].output_shape
        return 4 * (parameters + math.prod(shape) // math.prod(_spatial(layer, shape)))
    return 4 * parameters


def _lookup_profile(calls, convention, counted):
    layer = calls[0].layer
    kind = family.of(layer)
    used = np.asarray(keras.ops.convert_to_numpy(layer.sparse_coefficients())) != 0
    dictionary = np.asarray(keras.ops.convert_to_numpy(layer.dictionary))
    per_position = used.sum(axis=-2)
    lookups = int(used.sum())
    k = dictionary.shape[1]
    if id(layer.dictionary) in counted:
        dictionary = dictionary[:, :0]
    counted.add(id(layer.dictionary))
    stages = [kind.stages(layer, call, convention) for call in calls]
    sizes = stages[0]
    first = sum(stage.dictionary(k) for stage in stages)
    second = sum(stage.lookup(lookups) for stage in stages)
    n = sizes.n
    kernel = sizes.taps * sizes.m * n
    fixed = [np.asarray(keras.ops.convert_to_numpy(w)) for w in kind.fixed_weights(layer)]
    beside = sum(w.size for w in fixed)
    bias = n if layer.use_bias else 0
    nonzeros = sum(int(np.count_nonzero(w)) for w in fixed)
    nonzeros += int(np.count_nonzero(layer.bias)) if layer.use_bias else 0
    return LayerProfile(
        name=layer.name,
        type=type(layer).__name__,
        input_shape=calls[0].input_shape,
        output_shape=calls[0].output_shape,
        dense_multiplications=sum(stage.dense for stage in stages),
        dictionary_multiplications=first,
        lookup_multiplications=second,
        multiplications=first + second,
        parameters=dictionary.size + used.size + bias + beside,
        twin_parameters=kernel + bias + beside,
        nonzeros=int(np.count_nonzero(dictionary)) + lookups + nonzeros,
        bytes=4 * (dictionary.size + n + beside) + storage.sparse_bytes(used.shape, lookups),
        twin_bytes=4 * (kernel + n + beside),
        dictionary_size=k,
        lookups=lookups,
        coefficients=used.size,
        mean_s=float(per_position.mean()),
        max_s=int(per_position.max()),
        held=lookups == used.size or layer.holds_lookups,
        outputs=sum(math.prod(call.output_shape) for call in calls)
        + sum(stage.positions * stage.m for stage in stages if stage.fixed),
        dictionary_outputs=first // sizes.m,
        filters=n,
        dictionary_parameters=dictionary.size,
    )
