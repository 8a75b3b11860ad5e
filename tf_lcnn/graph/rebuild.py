"""Copies of the layers of a Keras model."""


def copy_layer(layer, copies, **changes):
    """A layer of the same configuration, but for these changes, with weights of its own.

    Args:
        layer: a layer or operation.
        copies: id of a layer -> its copy; the new one is added. A dictionary that the layer
            shares is looked up here, so that the copies share one too.
    """
    config = {**layer.get_config(), **changes}
    owner = getattr(layer, "dictionary_owner", None)
    if owner is not None:
        config["dictionary"] = copies.get(id(owner)) or copy_layer(owner, copies)
    copies[id(layer)] = type(layer).from_config(config)
    return copies[id(layer)]
