"""Which way each lookup layer of a model leaves, and the model as it leaves."""

import contextlib
import dataclasses

import keras

from tf_lcnn.layers import lookup_layers
from tf_lcnn.lite import cost_model, lowering
from tf_lcnn.profile import trace

AUTO = "auto"


@dataclasses.dataclass(frozen=True)
class LayerPlan:
    """How one lookup layer leaves, and what each way would take.

    Attributes:
        source: the Keras layer.
        layer: its `lowering.Constants`.
        lowering: the way it leaves.
        seconds: by lowering, predicted, on one thread.
        bytes: by lowering, of its constants in the file.
        folded: the BatchNormalization that is folded into it, or None.
    """

    source: keras.Layer
    layer: lowering.Constants
    lowering: str
    seconds: dict
    bytes: dict
    folded: keras.Layer | None


def plan(model, way=AUTO, optimise="speed", costs=cost_model.DEFAULT, quantize=None):
    """Chooses how each lookup layer leaves.

    Args:
        model: a built Keras model with inputs of known shape.
        way: one of `lowering.LOWERINGS` for all layers, or "auto": for each layer the one that
            is fastest by the cost model.
        optimise: "speed" or "size", decides between times that are predicted equal.
        costs: a `cost_model.CostModel`.
        quantize: what the file will be, see `converter.to_tflite`.

    Returns:
        list of LayerPlan.

    Raises:
        ValueError: unknown way or optimise, or a layer that is channels_first.
    """
    if way != AUTO and way not in lowering.LOWERINGS:
        raise ValueError(f"Unknown lowering {way!r}: {', '.join((AUTO, *lowering.LOWERINGS))}.")
    calls = trace(model)
    plans = []
    for layer in lookup_layers(model):
        of_layer = [call for call in calls if call.layer is layer]
        if not of_layer:
            # In the model, but not on the way to its outputs.
            continue
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise ValueError(
                f"Layer {layer.name} is channels_first, and LiteRT's convolutions are "
                "channels_last: build the model so, its weights fit."
            )
        normalisation = _batch_normalisation(of_layer, calls)
        constants = lowering.constants(of_layer[0], normalisation)
        chosen = cost_model.choose(constants, costs, optimise, quantize) if way == AUTO else way
        plans.append(
            LayerPlan(
                source=layer,
                layer=constants,
                lowering=chosen,
                seconds={w: costs.seconds(constants, w, quantize) for w in lowering.LOWERINGS},
                bytes={
                    w: cost_model.stored_bytes(constants, w, quantize) for w in lowering.LOWERINGS
                },
                folded=normalisation,
            )
        )
    return plans


def _batch_normalisation(calls_of_layer, calls):
    """The BatchNormalization that can be folded into a layer, or None."""
    layer = calls_of_layer[0].layer
    once = len(calls_of_layer) == 1 and calls_of_layer[0].uses == 1
    if not once or layer.activation is not keras.activations.linear:
        return None
    for call in calls:
        found = call.layer
        if call.follows is layer and isinstance(found, keras.layers.BatchNormalization):
            last = found.axis in (-1, len(call.input_shape))
            if last and sum(other.layer is found for other in calls) == 1:
                return found
    return None


@contextlib.contextmanager
def lowered(plans):
    """Within this context the model of these plans runs its lookup layers as planned."""
    calls = {}
    for each in plans:
        calls[each.source] = _call(each)
        if each.folded is not None:
            calls[each.folded] = lambda x, **_: x
    try:
        for layer, call in calls.items():
            layer.call = call
        yield
    finally:
        for layer in calls:
            if "call" in vars(layer):
                del layer.call


def _call(plan):
    return lambda x, **_: lowering.apply(plan.layer, x, plan.lowering)
