"""Which way each lookup layer of a model leaves, and the model as it leaves."""

import dataclasses
import math

import keras

from tf_lcnn.graph import folding, intercept
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import delegate_price, lowering, prices
from tf_lcnn.runtime import native

AUTO = "auto"

# The delegate leaves a layer to LiteRT unless it is predicted to be this much faster.
MINIMUM_SPEEDUP = 1.05


@dataclasses.dataclass(frozen=True)
class LoweringChoice:
    """How one lookup layer leaves, and what each way would take.

    Attributes:
        source: the Keras layer.
        layer: its `lowering.Constants`.
        lowering: the way it leaves.
        seconds: by lowering, predicted, on one thread.
        bytes: by lowering, of its constants in the file.
        folded: the BatchNormalization that is folded into it, or None.
        delegate: the `native.Prediction` for it, or None where the native delegate will not
            take it: it leaves otherwise, or LiteRT is as fast, or there is no delegate here.
    """

    source: keras.Layer
    layer: lowering.Constants
    lowering: str
    seconds: dict
    bytes: dict
    folded: keras.Layer | None
    delegate: delegate_price.Prediction | None


def choose_lowerings(
    model, way=AUTO, optimize="speed", costs=prices.DEFAULT, quantize=None, delegate=False
):
    """Chooses how each lookup layer leaves.

    Args:
        model: a built Keras model with inputs of known shape.
        way: one of `lowering.LOWERINGS` for all layers, or "auto": for each layer the one that
            is fastest by the cost model.
        optimize: "speed" or "size", decides between times that are predicted equal.
        costs: a `cost_model.Prices`.
        quantize: what the file will be, see `converter.to_tflite`.
        delegate: whether the file is for LiteRT with the native delegate: "auto" then takes
            `sparse` wherever the delegate makes it the fastest.

    Returns:
        list of LoweringChoice.

    Raises:
        ValueError: unknown way or optimize, a layer that is channels_first, or the delegate was
            not built.
    """
    if way != AUTO and way not in lowering.LOWERINGS:
        raise ValueError(f"Unknown lowering {way!r}: {', '.join((AUTO, *lowering.LOWERINGS))}.")
    calls = trace(model)
    folded = folding.folded(calls)
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
        normalization = folded.get(layer)
        constants = lowering.constants(of_layer[0], normalization)
        prediction = _prediction(constants, costs, quantize, delegate)
        chosen = way
        if way == AUTO:
            with_delegate = prediction.seconds if delegate and prediction else math.inf
            chosen = prices.best_lowering(constants, costs, optimize, quantize, with_delegate)
        plans.append(
            LoweringChoice(
                source=layer,
                layer=constants,
                lowering=chosen,
                seconds={w: costs.seconds(constants, w, quantize) for w in lowering.LOWERINGS},
                bytes={w: prices.stored_bytes(constants, w, quantize) for w in lowering.LOWERINGS},
                folded=normalization,
                delegate=prediction if chosen == "sparse" else None,
            )
        )
    return plans


def _prediction(layer, costs, quantize, needed):
    """The `native.Prediction` in the seconds of these costs, or None if LiteRT is as fast."""
    if not needed and not native.available():
        return None
    found = delegate_price.predict(layer, quantize)
    if found is None:
        return None
    seconds = costs.delegate_seconds(found, quantize)
    if costs.seconds(layer, "sparse", quantize) < MINIMUM_SPEEDUP * seconds:
        return None
    return dataclasses.replace(found, seconds=seconds)


def lowered(plans):
    """Within this context the model of these plans runs its lookup layers as planned."""
    calls = {}
    for each in plans:
        calls[each.source] = _call(each)
        if each.folded is not None:
            calls[each.folded] = lambda _, x, **__: x
    return intercept.calls(calls)


def _call(plan):
    return lambda _, x, **__: lowering.apply(plan.layer, x, plan.lowering)
