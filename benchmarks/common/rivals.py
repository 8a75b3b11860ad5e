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
    """A chain of convolutions with this share of the filters in all but the last one.

    It keeps the filters with the largest L1 norms, and their weights.
    """
    chain = [x for x in model.layers if isinstance(x, keras.layers.Conv2D)]
    if len(chain) + 1 != len(model.layers):
        raise ValueError(f"{model.name} is no chain of convolutions: width: does not work for it.")
    kept = [np.arange(chain[0].kernel.shape[2])]
    for layer in chain[:-1]:
        norms = np.abs(keras.ops.convert_to_numpy(layer.kernel)).sum(axis=(0, 1, 2))
        count = max(1, round(share * layer.filters))
        kept.append(np.sort(np.argsort(-norms)[:count]))
    kept.append(np.arange(chain[-1].filters))
    filters = dict(zip(chain, kept[1:], strict=True))
    made, pairs = rebuild.clone(
        model, changes=lambda x: {"filters": len(filters[x])} if x in filters else {}
    )
    copies = dict(pairs)
    for layer, inputs, outputs in zip(chain, kept[:-1], kept[1:], strict=True):
        kernel, *bias = layer.get_weights()
        copies[layer].set_weights([kernel[:, :, inputs][..., outputs], *(x[outputs] for x in bias)])
    return made
