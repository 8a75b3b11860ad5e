"""The one way to clone a Keras model and replace layers in it; what layers share stays shared."""

import keras

from tf_lcnn.graph.trace import sublayers


def is_cloneable(model):
    """Whether `clone` can take this model: it is functional or Sequential."""
    return isinstance(model, keras.Sequential) or (
        isinstance(model, keras.Model) and hasattr(model, "operations")
    )


def clone(model, make=None, changes=None, call=None):
    """A model of copies of the layers, with weights of their own, not set.

    Layers inside other layers (TimeDistributed, Bidirectional, custom ones) come with these.

    Args:
        model: functional or Sequential, with models nested in it or not. It is not changed.
        make: a function (layer) -> the layer to put in its place, or None to copy it.
        changes: a function (layer) -> dict, changes of the configuration of a layer that is
            copied.
        call: a function (layer, its copy, *inputs) -> outputs, that calls the copy; None calls it
            as the layer was. Within a nested Sequential model it is not asked.

    Returns:
        (copy, pairs): the model, and (layer, its copy) for each layer and operation.

    Raises:
        ValueError: a model that is neither functional nor Sequential.
    """
    refuse_other_models(model)
    copies = {}

    def copy_of(layer):
        if layer not in copies:
            made = make(layer) if make is not None else None
            copies[layer] = _copy(layer, copy_of, changes) if made is None else made
        return copies[layer]

    how = {}
    if call is not None:
        # Keras has calls to change in functional models alone.
        if isinstance(model, keras.Sequential):
            model = keras.Model(model.inputs[0], model.outputs[0], name=model.name)

        def of_copy(copy, *arguments, **others):
            for layer, made in copies.items():
                if made is copy:
                    return call(layer, copy, *arguments, **others)
            # A model that is nested in this one.
            return copy(*arguments, **others)

        how["call_function"] = of_copy
    copy = keras.models.clone_model(model, clone_function=copy_of, recursive=True, **how)
    return copy, list(copies.items())


def refuse_other_models(model):
    """Raises ValueError for what is no functional or Sequential model."""
    if not isinstance(model, keras.Model):
        raise ValueError(
            f"A Keras model is needed, not {model!r}: keras.models.load_model(path) loads one."
        )
    if not is_cloneable(model):
        raise ValueError(
            f"{model.name} is a subclassed model ({type(model).__name__}), which cannot be taken "
            "apart: build it as a functional or Sequential model of the same layers, or put "
            "lookup layers in its code."
        )


def copy_weights(pairs):
    """Gives each copy of `clone` the weights of its layer; operations have none."""
    for layer, copy in pairs:
        # A layer outside the model, that one inside shares with, is copied and not built.
        if isinstance(layer, keras.Layer) and copy.built:
            copy.set_weights(layer.get_weights())


def _copy(layer, copy_of, changes):
    changes = changes(layer) if changes is not None else {}
    if hasattr(layer, "copied"):
        # A layer that shares weights with another, see `layers.lookup`.
        return layer.copied(copy_of, **changes)
    config = {**layer.get_config(), **changes}
    if isinstance(layer, keras.layers.Lambda):
        # Its functions as they are: in a configuration they are byte code, which Keras refuses.
        config["function"] = layer.function
        if isinstance(config.get("output_shape"), dict):
            config["output_shape"] = layer.compute_output_shape
        return type(layer)(**config)
    return type(layer).from_config(config)


def leaves(model):
    """The layers that `clone` copies one by one: it looks into models, not into layers."""
    inner = []
    for layer in model.layers:
        inner += leaves(layer) if is_cloneable(layer) else [layer]
    return list(dict.fromkeys(inner))


def in_precision(model, policy):
    """The model itself, or a copy of it that computes as a dtype policy says.

    Args:
        model: functional or Sequential.
        policy: "float32", "mixed_bfloat16" or another name of a `keras.DTypePolicy`.
    """
    wanted = keras.DTypePolicy(policy).compute_dtype

    def idle(layer):
        # It computes nothing itself, and a copy of it has its dtype from Keras.
        return is_cloneable(layer) or isinstance(layer, keras.layers.InputLayer)

    if all(idle(layer) or layer.compute_dtype == wanted for layer in sublayers(model)):
        return model

    def changed(layer):
        # Operations have no dtype of their own.
        return {"dtype": policy} if isinstance(layer, keras.Layer) else {}

    copy, pairs = clone(model, changes=changed)
    copy_weights(pairs)
    return copy
