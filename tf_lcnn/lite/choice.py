"""Which lowering each lookup layer of a model gets, and the model as it is lowered."""

import dataclasses
import math

import keras

from tf_lcnn.graph import folding, intercept
from tf_lcnn.graph.trace import trace
from tf_lcnn.layers import levels
from tf_lcnn.layers.family import lookup_layers
from tf_lcnn.lite import (
    delegate_price,
    forms,  # noqa: F401
    lowerings,
)
from tf_lcnn.lite.prices import DEFAULT, best_lowering, stored_bytes
from tf_lcnn.runtime import native

AUTO = "auto"

# The delegate leaves a layer to LiteRT unless it is predicted to be this much faster.
MINIMUM_SPEEDUP = 1.05


@dataclasses.dataclass(frozen=True)
class LoweringChoice:
    """The lowering of one lookup layer, and what others would take.

    Attributes:
        source: the Keras layer.
        layer: its `lowerings.Constants`.
        lowering: the chosen one.
        seconds: by lowering, predicted, on one thread.
        bytes: by lowering, of its constants in the file.
        folded: the BatchNormalization that is folded into it, or None.
        delegate: the `delegate_price.Prediction` for it, or None where the native delegate will not
            take it: it has another lowering, LiteRT is as fast, or no delegate was built.
    """

    source: keras.Layer
    layer: lowerings.Constants
    lowering: str
    seconds: dict
    bytes: dict
    folded: keras.Layer | None
    delegate: delegate_price.Prediction | None


def choose_lowerings(
    model,
    lowering=AUTO,
    optimize="speed",
    prices=DEFAULT,
    quantize=None,
    delegate=False,
    input_shape=None,
):
    """Chooses the lowering of each lookup layer.

    Args:
        model: a built Keras model.
        lowering: one of `lowerings.LOWERINGS` for all layers, or "auto": for each layer the one
            that is fastest by these prices.
        optimize: "speed" or "size", decides between times that are predicted equal.
        prices: a `prices.Prices`.
        quantize: what the file will be, see `converter.to_tflite`.
        delegate: whether the file is for LiteRT with the native delegate: "auto" then takes
            `sparse` wherever the delegate makes it the fastest.
        input_shape: of one input, without the batch; needed where the model leaves a size open.

    Returns:
        list of LoweringChoice.

    Raises:
        ValueError: unknown lowering or optimize, a layer that is channels_first, or the delegate
            was not built.
    """
    if lowering != AUTO and lowering not in lowerings.LOWERINGS:
        raise ValueError(
            f"Unknown lowering {lowering!r}: {', '.join((AUTO, *lowerings.LOWERINGS))}."
        )
    # First: TensorFlow cannot even run such a layer on some processors.
    for layer in lookup_layers(model):
        if getattr(layer, "data_format", "channels_last") != "channels_last":
            raise ValueError(
                f"Layer {layer.name} is channels_first, and LiteRT's convolutions are "
                "channels_last: build the model so, its weights fit."
            )
    calls = trace(model, input_shape)
    folded = folding.folded(calls)
    choices = []
    for layer in lookup_layers(model):
        of_layer = [call for call in calls if call.layer is layer]
        if not of_layer:
            # In the model, but not on the way to its outputs.
            continue
        normalization = folded.get(layer)
        constants = lowerings.constants(of_layer[0], normalization)
        _refuse(constants, lowering, quantize)
        prediction = _prediction(constants, prices, quantize, delegate)
        chosen = lowering
        if lowering == AUTO and quantize in levels.NARROW:
            # D and P as they are: their product has as many levels as int8.
            chosen = "sparse"
        elif lowering == AUTO:
            with_delegate = prediction.seconds if delegate and prediction else math.inf
            chosen = best_lowering(constants, prices, optimize, quantize, with_delegate)
        choices.append(
            LoweringChoice(
                source=layer,
                layer=constants,
                lowering=chosen,
                seconds={
                    x: prices.seconds(constants, x, quantize) for x in constants.form.lowerings
                },
                bytes={x: stored_bytes(constants, x, quantize) for x in constants.form.lowerings},
                folded=normalization,
                delegate=prediction if chosen == "sparse" else None,
            )
        )
    return choices


def _refuse(constants, lowering, quantize):
    """Raises ValueError for what this layer does not have in LiteRT."""
    form, kind = constants.form, type(constants.layer).__name__
    if lowering not in (AUTO, *form.lowerings):
        raise ValueError(
            f"Layer {constants.name} ({kind}) has no lowering {lowering!r}: "
            f"{', '.join((AUTO, *form.lowerings))}."
        )
    if quantize in levels.NARROW and lowering not in (AUTO, "sparse"):
        raise ValueError(
            f"quantize={quantize!r} stores D and P in few levels, which lowering={lowering!r} does "
            "not keep: 'sparse' and 'auto' do."
        )
    if quantize in levels.FORMATS and not form.int8:
        raise ValueError(
            f"Layer {constants.name} ({kind}): LiteRT has its convolution in float32 alone; None, "
            "float16 and dynamic work."
        )


def _prediction(layer, prices, quantize, needed):
    """The delegate's Prediction in the seconds of these prices, or None if LiteRT is as fast."""
    if not needed and not native.available():
        return None
    prediction = delegate_price.predict(layer, quantize)
    if prediction is None:
        return None
    seconds = prices.delegate_seconds(prediction, quantize)
    if prices.seconds(layer, "sparse", quantize) < MINIMUM_SPEEDUP * seconds:
        return None
    return dataclasses.replace(prediction, seconds=seconds)


def lowered(choices):
    """Within this context the model of these choices runs its lookup layers as chosen."""
    calls = {}
    for choice in choices:
        calls[choice.source] = _call(choice)
        if choice.folded is not None:
            calls[choice.folded] = lambda _, x, **__: x
    return intercept.calls(calls)


def _call(choice):
    return lambda _, x, **__: lowerings.apply(choice.layer, x, choice.lowering)
