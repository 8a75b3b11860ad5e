"""lookupify: any functional or Sequential Keras model -> its LCNN."""

import warnings

from tf_lcnn.compression import coding, size_plan, tables
from tf_lcnn.compression.decisions import decide
from tf_lcnn.graph import rebuild
from tf_lcnn.layers import family as families
from tf_lcnn.layers import sparsity

INITS = ("random", "trained")


def lookupify(
    model,
    dictionary_size=None,
    rules=None,
    *,
    family="lookup",
    plan=None,
    init="random",
    lookups=None,
    images=None,
    seed=0,
    cache=None,
    report=None,
    **lookup_arguments,
):
    """Builds the LCNN of a Keras model: its convolutions and dense layers get dictionaries.

    Biases and the layers that are kept take over their weights. Dictionaries and coefficients
    start at random, or with init="trained" as the sparse code of the trained weights, layer by
    layer, that keeps the layer's output on real images as close to the model's as it can; see
    `coding.transcribe`. Follow that by `coding.reestimate` where there is batch normalization.

    A layer that has no lookup form (depthwise, custom, or with a dictionary_size not smaller than
    its weight vectors) is kept as it is, and one warning names these layers and the reasons;
    `decisions.decisions` lists all layers.

    Args:
        model: functional or Sequential, with models nested in it or not. It is not changed.
        dictionary_size: k of every layer that no rule names.
        rules: layer-name pattern, with * and ?, -> k, or "keep" for the plain layer. The first
            match counts.
        family: "lookup", or "deep_lookup" for tables in place of products, as of
            `layers.deep_lookup`: dictionary sizes, plans, lookups, cache and report do not belong
            there, the one rule is "keep", the first and the last layer stay, and with
            init="trained" scales are chosen by the images, and `signed_input` where it is not
            given.
        plan: a `size_plan.Plan`, the path of one, or a dict as its file has it; in place of
            dictionary_size, rules and lookups.
        init: "random" or "trained".
        lookups: s, the most lookups per kernel position and filter: a number, or a dict by name
            of every layer; a layer with a smaller dictionary takes all its rows. Only for
            init="trained", and needed there.
        images, seed, cache, report: for init="trained": a few hundred real inputs as the model
            takes them, in any form that `checks.inputs` takes; the seed; a folder that keeps each
            layer when it is done, so that an interrupted call goes on there; a function that gets
            each layer's errors, a `coding.LayerError`, as soon as it is done.
        **lookup_arguments: arguments of the lookup layers (see `LookupConv2D`) for all of them,
            like threshold_scale. With init="trained" that is tiny unless it is given: training
            then keeps the lookups, for with the masked gradient what is zero stays zero.

    Returns:
        A new model, not compiled.

    Raises:
        ValueError: no Keras model or a subclassed one, a size that is no whole number >= 1, a
            rule that matches no layer, a plan for another model, weights with NaN, images that
            are missing or do not fit, or what belongs to init="trained" without it.
    """
    rebuild.refuse_other_models(model)
    if init not in INITS:
        raise ValueError(f"Unknown init={init!r}: {', '.join(INITS)}.")
    if family == "deep_lookup":
        sizes = (dictionary_size, plan, lookups, cache, report)
        if any(x is not None for x in sizes):
            raise ValueError(
                "dictionary_size, plan, lookups, cache and report are not for family="
                '"deep_lookup": activation_levels and table say what its layers are.'
            )
        return _with_tables(model, rules, init, images, seed, lookup_arguments)
    if family != "lookup":
        raise ValueError(f"Unknown family={family!r}: lookup, deep_lookup.")
    if plan is not None:
        if (dictionary_size, rules, lookups) != (None, None, None):
            raise ValueError("A plan holds dictionary sizes and lookups: give it alone.")
        dictionary_size, rules, lookups = size_plan.taken(plan).arguments(model)
    coded = init == "trained"
    if coded:
        _refuse_lookups(lookups)
        images = coding.calibration_images(model, images)
        lookup_arguments = {"threshold_scale": sparsity.HOLDING_SCALE, **lookup_arguments}
    elif plan is None and not all(x is None for x in (lookups, images, cache, report)):
        raise ValueError('lookups, images, cache and report are for init="trained".')
    decided = decide(model, dictionary_size, rules)
    lcnn, pairs = _with_dictionaries(model, decided, coded, lookup_arguments)
    _warn_of_kept(model, decided)
    if coded:
        coding.transcribe(model, lcnn, pairs, _bounds(pairs, lookups), images, seed, cache, report)
        _warn_of_loose(pairs)
    return lcnn


def _with_tables(model, rules, init, images, seed, arguments):
    tables.check_arguments(arguments)
    if init == "trained":
        images = coding.calibration_images(model, images)
        coding.refuse_unusable_weights(model)
    elif images is not None:
        raise ValueError('images are for init="trained".')
    return tables.with_tables(model, rules, images, seed, arguments)


def _with_dictionaries(model, decided, coded, lookup_arguments):
    """The LCNN of a model, and the pairs (layer, its copy) of layers that get lookups."""
    sizes = {id(layer): d.dictionary_size for layer, d in decided if d.dictionary_size is not None}

    def with_lookups(layer):
        k = sizes.get(id(layer))
        if k is None:
            return None
        return families.replacing(layer).build(layer, k, coded, **lookup_arguments)

    lcnn, copies = rebuild.clone(model, with_lookups)
    rebuild.copy_weights(pair for pair in copies if id(pair[0]) not in sizes)
    pairs = [pair for pair in copies if id(pair[0]) in sizes]
    for layer, copy in pairs:
        if layer.built:
            families.replacing(layer).carry_over(layer, copy)
    return lcnn, pairs


def _warn_of_kept(model, decided):
    surprises = [d for _, d in decided if d.dictionary_size is None and d.wanted]
    if surprises:
        listed = "; ".join(f"{d.name} ({d.type}: {d.reason})" for d in surprises)
        warnings.warn(
            f"lookupify kept {len(surprises)} of {len(decided)} layers of {model.name} as they "
            f"are: {listed}",
            stacklevel=3,
        )


def _warn_of_loose(pairs):
    loose = [copy.name for _, copy in pairs if not copy.holds_lookups]
    if loose:
        warnings.warn(
            f"Training will add lookups in {', '.join(loose)}: leave threshold_scale and "
            "threshold_gradient as they are, or train with TopS or Tighten.",
            stacklevel=3,
        )


def _refuse_lookups(lookups):
    if lookups is None:
        raise ValueError('init="trained" needs lookups: how many per kernel position and filter.')
    for s in lookups.values() if isinstance(lookups, dict) else [lookups]:
        sparsity.check_lookups(s)


def _bounds(pairs, lookups):
    """name -> s of each layer that is coded."""
    if not isinstance(lookups, dict):
        lookups = {copy.name: lookups for _, copy in pairs}
    missing = [copy.name for _, copy in pairs if copy.name not in lookups]
    if missing:
        raise ValueError(f"lookups says nothing of {', '.join(missing)}; it names each layer.")
    return {copy.name: int(min(lookups[copy.name], copy.dictionary_size)) for _, copy in pairs}
