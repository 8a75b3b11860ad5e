"""A Keras net in a neutral file, so that Keras 2 can rebuild what Keras 3 trained, and back."""

import inspect
import json

import keras
import numpy as np

from tf_lcnn import files

TOLERANCE = 1e-4


def write(path, model, images):
    """Writes layers and weights of a functional or Sequential model, and its logits on images.

    Raises:
        ValueError: a layer that is not one of Keras's own, or one that is called twice.
    """
    functional = keras.Model(model.inputs, model.outputs)
    layers = [_layer(entry) for entry in json.loads(functional.to_json())["config"]["layers"]]
    logits = keras.ops.convert_to_numpy(model(images, training=False))
    with files.replacing(path) as beside, open(beside, "wb") as file:
        np.savez(file, layers=json.dumps(layers), images=images, logits=logits, **weights(model))


def _layer(entry):
    name, kind, nodes = entry["name"], entry["class_name"], entry["inbound_nodes"]
    if entry["module"] != "keras.layers" or len(nodes) > 1:
        raise ValueError(
            f"Layer {name} ({kind}) cannot be handed to Keras 2: only Keras's own layers can, each "
            "called once."
        )
    # Initializers and the like, which are objects, no longer matter.
    plain = {k: v for k, v in entry["config"].items() if v is not None and not isinstance(v, dict)}
    return {"name": name, "kind": kind, "arguments": plain, "sources": _sources(nodes)}


def _sources(node):
    """The names of the layers whose outputs a node of Keras's JSON takes."""
    if isinstance(node, dict):
        if "keras_history" in node:
            return [node["keras_history"][0]]
        node = list(node.values())
    return [name for part in node for name in _sources(part)] if isinstance(node, list) else []


def weights(model):
    """LAYER/NUMBER -> array, of a model of either Keras."""
    return {
        f"{layer.name}/{i}": array
        for layer in model.layers
        for i, array in enumerate(layer.get_weights())
    }


def set_weights(model, arrays):
    """Puts what `weights` gave into a model of either Keras."""
    for layer in model.layers:
        count = len(layer.get_weights())
        layer.set_weights([arrays[f"{layer.name}/{i}"] for i in range(count)])


def rebuild(path, kit):
    """The model in a file of `write`, made of the layers of another Keras.

    Args:
        kit: its module, `tf_keras`.

    Raises:
        ValueError: that Keras lacks a layer, or the model does not give the same logits.
    """
    with np.load(path) as handed:
        arrays = dict(handed)
    outputs = {}
    for layer in json.loads(str(arrays["layers"])):
        name, arguments = layer["name"], layer["arguments"]
        if layer["kind"] == "InputLayer":
            inputs = outputs[name] = kit.Input(arguments["batch_shape"][1:], name=name)
            continue
        kind = getattr(kit.layers, layer["kind"], None)
        if kind is None:
            raise ValueError(f"{kit.__name__} has no layer {layer['kind']}.")
        known = inspect.signature(kind).parameters
        made = kind(**{k: v for k, v in arguments.items() if k in known and k != "name"}, name=name)
        sources = [outputs[source] for source in layer["sources"]]
        outputs[name] = made(sources if len(sources) > 1 else sources[0])
    model = kit.Model(inputs, outputs[name])
    set_weights(model, arrays)
    logits = np.asarray(model(arrays["images"], training=False))
    difference = np.abs(logits - arrays["logits"]).max() / np.abs(arrays["logits"]).max()
    if not difference <= TOLERANCE:
        raise ValueError(f"Rebuilt in {kit.__name__}, the logits differ by {difference:.1e}.")
    return model
