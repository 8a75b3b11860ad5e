"""A CNN as a Deep Lookup Network: its convolutions and dense layers read products from tables.

See `layers.deep_lookup`. Of a trained net the weights stay, the tables start as the product, and
the scales of activations and weights are those at which rounding them loses least; training or
`coding.reestimate` does the rest.
"""

import keras
import numpy as np

from tf_lcnn.compression import activations
from tf_lcnn.compression.decisions import KEEP, matches, refuse_unmatched
from tf_lcnn.graph import intercept, rebuild
from tf_lcnn.layers import deep_lookup, family

# Numbers of each layer's inputs that its scale is chosen by, about.
_SAMPLED = 100_000

# Scales are tried at these shares of the largest number.
_SHARES = np.linspace(0.02, 1, 50)


def check_arguments(arguments):
    """Raises ValueError unless these arguments make layers with tables."""
    where = 'family="deep_lookup":'
    unknown = sorted(set(arguments) - set(deep_lookup.OWN_ARGUMENTS))
    if unknown:
        raise ValueError(
            f"{where} unknown argument {unknown[0]}: "
            f"{', '.join(deep_lookup.OWN_ARGUMENTS)} are known."
        )
    if arguments.get("activation_levels") is None:
        raise ValueError(f"{where} activation_levels are needed, 2 to 256.")
    apart = ("signed_input", "monotone", "rescaled_gradient")
    deep_lookup.check_table(where, **{k: v for k, v in arguments.items() if k not in apart})


def with_tables(model, rules, images, seed, arguments):
    """The Deep Lookup Network of a model; see `convert.lookupify`.

    Args:
        images: float32 array, for weights and scales of the trained model; None for random weights.
        arguments: of the layers.
    """
    chosen = _chosen(model, rules)
    seen = {} if images is None else _inputs(model, chosen, images, seed)
    signed = arguments.get("signed_input")
    own = {layer: {"signed_input": _is_signed(layer, x, signed)} for layer, x in seen.items()}

    def with_table(layer):
        if layer not in chosen:
            return None
        kind = deep_lookup.REPLACING[type(layer)]
        return kind.from_config({**layer.get_config(), **arguments, **own.get(layer, {})})

    made, pairs = rebuild.clone(model, with_table)
    rebuild.copy_weights((layer, copy) for layer, copy in pairs if layer not in chosen)
    for layer, copy in pairs:
        if layer in seen:
            _take_over(layer, copy, seen[layer])
    return made


def _chosen(model, rules):
    """The layers that get tables: those of a kind, but the first and last, and kept ones."""
    layers = [x for x in rebuild.leaves(model) if type(x) in deep_lookup.REPLACING]
    rules = dict(rules or {})
    for pattern, wanted in rules.items():
        if wanted != KEEP:
            raise ValueError(f"The rule {pattern!r}: {wanted!r}: tables know {KEEP!r} alone.")
    refuse_unmatched(rules, layers, f"layer of {model.name} that can have a table; these can")
    chosen = [x for x in layers[1:-1] if not any(matches(x, pattern) for pattern in rules)]
    for layer in chosen:
        if family.changed(layer):
            raise ValueError(
                f"Layer {layer.name} cannot have a table, since {family.changed(layer)}: keep it "
                f"by rules={{{layer.name!r}: {KEEP!r}}}."
            )
    if not chosen:
        raise ValueError(
            f"{model.name} has no layer for a table: its first and last convolution or dense layer "
            f"stay as they are, and of {', '.join(x.name for x in layers) or 'no others'} none is "
            "left."
        )
    return set(chosen)


def _inputs(model, chosen, images, seed):
    """layer -> a sample of the numbers that it is called on, float32."""
    rng, seen = np.random.default_rng(seed), {layer: [] for layer in chosen}
    batches = list(activations.batches(images))

    def see(layer, inputs):
        numbers = np.ravel(keras.ops.convert_to_numpy(inputs))
        count = min(numbers.size, max(1, _SAMPLED // len(batches)))
        seen[layer].append(numbers[rng.integers(0, numbers.size, count)])

    functions = {layer: lambda x, layer=layer: see(layer, x) for layer in chosen}
    with intercept.inputs(functions):
        for batch in batches:
            model(batch, training=False)
    return {layer: np.concatenate(parts) for layer, parts in seen.items() if parts}


def _is_signed(layer, numbers, wanted):
    negative = bool((numbers < 0).any())
    if negative and wanted is False:
        raise ValueError(
            f"Layer {layer.name} is called on numbers below zero, which {_feeding(layer)} gives: "
            "signed_input=False does not fit."
        )
    return negative if wanted is None else wanted


def _feeding(layer):
    history = getattr(layer.input, "_keras_history", None)
    return "the layer before it" if history is None else history.operation.name


def _take_over(layer, copy, numbers):
    copy.kernel.assign(layer.kernel)
    if layer.use_bias:
        copy.bias.assign(layer.bias)
    kernel = keras.ops.convert_to_numpy(layer.kernel)
    scale = best_scale(numbers, copy.activation_levels, copy.signed_input)
    copy.log_activation_scale.assign(np.log(scale))
    copy.log_weight_scale.assign(np.log(best_scale(kernel, copy.weight_levels, True)))


def best_scale(numbers, levels, signed):
    """The scale at which clipping and rounding to levels changes the numbers least, by squares.

    Levels lie evenly from -scale, or 0, to scale.
    """
    numbers = np.ravel(numbers).astype(np.float64)
    largest = np.abs(numbers).max()
    if not largest > 0:
        return 1.0
    lowest = -1 if signed else 0
    steps = (levels - 1) / (1 - lowest)

    def error(scale):
        rounded = np.rint((np.clip(numbers / scale, lowest, 1) - lowest) * steps) / steps + lowest
        return ((rounded * scale - numbers) ** 2).sum()

    return float(min(largest * _SHARES, key=error))
