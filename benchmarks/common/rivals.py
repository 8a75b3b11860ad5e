"""What people would use in place of an LCNN: narrower nets, and factorized ones."""

import keras
import numpy as np

from tf_lcnn.compression.convert import lookupify
from tf_lcnn.compression.sites import sites
from tf_lcnn.graph import rebuild


def factorized(model, share, images, cache=None):
    """The net of rank-k layers: k dictionary rows for this share of the channels, and P dense.

    So are all layers with a kernel of several positions; the others stay.

    Args:
        images, cache: as `lookupify` takes them.
    """
    sizes, lookups = {}, {}
    for place in sites(model, images.shape[1:]):
        taps, channels, filters = place.kernel
        k = max(1, round(share * channels))
        fits = taps > 1 and k < min(channels, filters)
        sizes[place.name] = lookups[place.name] = k if fits else "keep"
    return lookupify(
        # The rules name every layer.
        *(model, 1, sizes),
        init="trained",
        lookups={name: k for name, k in lookups.items() if k != "keep"},
        images=images,
        cache=cache,
    )


def narrower(model, share):
    """A net of convolutions and residual sums with this share of the filters in all but the last.

    Those with the largest L1 norms stay, with their weights; layers whose outputs are added up
    keep the same filters, by the sums of their norms.

    Raises:
        ValueError: a layer of another kind.
    """
    groups, norms = _groups(model), {}
    for layer in model.layers:
        if isinstance(layer, _MAKING):
            group = groups[id(layer.output)]
            norms[group] = norms.get(group, 0) + _norms(layer)
    # All channels of the image, and all answers.
    kept = dict.fromkeys(groups.values(), slice(None))
    for group, values in norms.items():
        if group != groups[id(model.outputs[0])]:
            count = max(1, round(share * len(values)))
            kept[group] = np.sort(np.argsort(-values)[:count])
    weights = {}
    for layer in model.layers:
        if layer.weights:
            inputs, outputs = kept[groups[id(layer.input)]], kept[groups[id(layer.output)]]
            weights[layer] = [x[..., outputs] for x in layer.get_weights()]
            if isinstance(layer, _MAKING):
                weights[layer][0] = weights[layer][0][..., inputs, :]

    def changes(layer):
        if not isinstance(layer, _MAKING):
            return {}
        size = "units" if isinstance(layer, keras.layers.Dense) else "filters"
        return {size: weights[layer][0].shape[-1]}

    narrow, pairs = rebuild.clone(model, changes=changes)
    for layer, copy in pairs:
        if layer in weights:
            copy.set_weights(weights[layer])
    return narrow


_MAKING = (keras.layers.Conv2D, keras.layers.Dense)
_PASSING = (
    *(keras.layers.InputLayer, keras.layers.Activation, keras.layers.ReLU, keras.layers.Dropout),
    *(keras.layers.BatchNormalization, keras.layers.ZeroPadding2D, keras.layers.MaxPooling2D),
    keras.layers.GlobalAveragePooling2D,
)


def _groups(model):
    """id of a layer's input or output -> number of its channels; the same where they are added."""
    groups = {}
    for layer in model.layers:
        known = (*_MAKING, *_PASSING, keras.layers.Add)
        if type(layer) not in known or getattr(layer, "groups", 1) > 1:
            raise ValueError(
                f"width: keeps filters of chains and residual nets of convolutions; {layer.name} "
                f"in {model.name} is a {type(layer).__name__}."
            )
        inputs = {groups.setdefault(id(x), id(x)) for x in keras.tree.flatten(layer.input)}
        output = id(layer.output)
        if not isinstance(layer, _MAKING):
            groups.update({x: output for x, group in groups.items() if group in inputs})
        groups[output] = output
    return groups


def _norms(layer):
    kernel = np.abs(keras.ops.convert_to_numpy(layer.kernel))
    return kernel.sum(axis=tuple(range(kernel.ndim - 1)))
