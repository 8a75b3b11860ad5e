"""Which layer of a Keras model is called on what: one run on zeros, watched."""

import dataclasses
import functools

import keras
import numpy as np
from keras import layers as kl

from tf_lcnn.graph import intercept

_PADDING = (kl.ZeroPadding1D, kl.ZeroPadding2D, kl.ZeroPadding3D)


@dataclasses.dataclass
class Call:
    """One call of a layer, or of an operation, while the model ran.

    Shapes are without the batch; `output_shape` is None for a layer with weights that was not
    called. `unpadded_shape` is the input's shape before a ZeroPadding right in front of it;
    `source` is the Call whose output, used directly, is the input; `uses` counts the calls,
    and outputs of the model, that use this call's output directly.
    """

    layer: object
    input_shape: tuple
    output_shape: tuple
    unpadded_shape: tuple
    source: object = None
    uses: int = 0

    @property
    def follows(self):
        """The layer whose output, used directly, is the input; None for an input of the model."""
        return None if self.source is None else self.source.layer


def trace(model, input_shape=None):
    """Runs the model once, on zeros, and lists the calls of its layers in order."""
    calls, produced, alive = [], {}, []

    def count_uses(tensors):
        for tensor in tensors:
            if id(tensor) in produced:
                produced[id(tensor)].uses += 1

    def watch(layer, run, *args, **kwargs):
        outputs = run(*args, **kwargs)
        sources, results = _tensors((args, kwargs)), _tensors(outputs)
        count_uses(sources)
        if not sources or not results:
            return outputs
        source, result = sources[0], results[0]
        before = produced.get(id(source))
        shape = tuple(source.shape)[1:]
        padded = before is not None and isinstance(before.layer, _PADDING)
        unpadded = before.unpadded_shape if padded else shape
        entry = Call(layer, shape, tuple(result.shape)[1:], unpadded, before)
        calls.append(entry)
        # Kept alive, so that no other tensor can take over the id.
        alive.append((source, result))
        produced[id(result)] = entry
        return outputs

    inputs = _zeros(model, input_shape)
    if not all(layer.built for layer in sublayers(model)):
        # Building may call layers too, and make new ones.
        model(inputs, training=False)
    watched = _watched(model)
    with intercept.calls({layer: functools.partial(watch, layer) for layer in watched}):
        count_uses(_tensors(model(inputs, training=False)))
    called = {id(call.layer) for call in calls}
    # Keras runs some layers past `call`, quantized ones for example.
    passed = (x for x in watched if id(x) not in called and own_weights(x))
    return calls + [Call(layer, (), None, ()) for layer in passed]


def own_weights(layer):
    """The weights of a layer that are not those of layers inside it; an operation has none."""
    if not isinstance(layer, keras.Layer):
        return []
    inner = {id(w) for sub in sublayers(layer)[1:] for w in sub.weights}
    return [w for w in layer.weights if id(w) not in inner]


def _watched(model):
    """The layers and operations that run, at any depth."""
    layers_inside = sublayers(model)
    operations = [x for layer in layers_inside for x in getattr(layer, "operations", ())]
    layers = [x for x in layers_inside if not isinstance(x, keras.Model)]
    return layers + [x for x in operations if not isinstance(x, keras.Layer)]


def _tensors(structure):
    return [x for x in keras.tree.flatten(structure) if hasattr(x, "shape")]


def _zeros(model, input_shape):
    # Subclassed models have no inputs before they are called.
    known = getattr(model, "inputs", None)
    if input_shape is not None:
        dtype = known[0].dtype if known else keras.config.floatx()
        return np.zeros((1, *input_shape), dtype)
    if not known or any(None in x.shape[1:] for x in known):
        raise ValueError(
            f"Model {model.name} does not fix the shape of its input: pass input_shape, without "
            "the batch."
        )
    inputs = known[0] if isinstance(model, keras.Sequential) else model.input
    return keras.tree.map_structure(lambda x: np.zeros((1, *x.shape[1:]), x.dtype), inputs)


def sublayers(layer):
    """The layer and all layers inside it, at any depth, each once, in order of definition."""
    found, seen = [], set()

    def visit(value):
        if isinstance(value, (list, tuple)):
            for item in value:
                visit(item)
        elif isinstance(value, dict):
            visit(list(value.values()))
        elif isinstance(value, keras.Layer) and id(value) not in seen:
            seen.add(id(value))
            found.append(value)
            # A model lists its layers; other composite layers hold them as attributes.
            visit(value.layers if isinstance(value, keras.Model) else list(vars(value).values()))

    visit(layer)
    return found
