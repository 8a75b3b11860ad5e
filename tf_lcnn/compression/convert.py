"""lookupify: any functional or Sequential Keras model -> its LCNN."""

import dataclasses
import fnmatch
import warnings

from tf_lcnn.compression import coding
from tf_lcnn.graph import rebuild
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import family, sparsity

KEEP = "keep"
INITS = ("random", "trained")


@dataclasses.dataclass(frozen=True)
class Decision:
    """What becomes of one layer.

    `dictionary_size` is None for a layer that is kept; `reason` then says why. `wanted` is
    False where a rule says "keep", so that keeping was no surprise.
    """

    name: str
    type: str
    dictionary_size: int | None
    reason: str = ""
    wanted: bool = True


def decisions(model, dictionary_size, rules=None):
    """What `lookupify` would do, layer by layer: a Decision for each layer with a kernel.

    Args and errors as of `lookupify`.
    """
    return [decision for _, decision in _decide(model, dictionary_size, rules)]


def lookupify(
    model,
    dictionary_size=None,
    rules=None,
    *,
    plan=None,
    init="random",
    lookups=None,
    images=None,
    seed=0,
    cache=None,
    report=None,
    **lookup_arguments,
):
    """Builds the LCNN of a Keras model: its Conv2D and Dense layers get dictionaries.

    Biases and the layers that are kept take over their weights. Dictionaries and coefficients
    start at random, or with init="trained" as the sparse code of the trained weights, layer by
    layer, that keeps the layer's output on real images as close to the model's as it can; see
    `trained`. Follow that by `trained.reestimate` where there is batch normalization.

    A layer that has no lookup form (depthwise, grouped, transposed, custom, or
    with a dictionary_size not smaller than its n*kh*kw weight vectors) is kept as it is, and
    one warning names these layers and the reasons; `decisions` lists all layers.

    Args:
        model: functional or Sequential, with models nested in it or not. It is not changed.
        dictionary_size: k of every layer that no rule names.
        rules: layer-name pattern, with * and ?, -> k, or "keep" for the plain layer. The first
            match counts.
        plan: a `planner.Plan`, in place of dictionary_size, rules and lookups.
        init: "random" or "trained".
        lookups: s, the most lookups per kernel position and filter of every layer; a layer with
            a smaller dictionary takes all its rows. Only for init="trained", and needed there.
        images, seed, cache, report: for init="trained": a few hundred real inputs, (count, ...),
            as the model takes them; the seed; a folder that keeps each layer when it is done, so
            that an interrupted call goes on there; a function that gets each layer's errors, a
            `trained.LayerError`, as soon as it is done.
        **lookup_arguments: arguments of the lookup layers (see `LookupConv2D`) for all of them,
            like threshold_scale. With init="trained" that is tiny unless it is given: training
            then keeps the lookups, for with the masked gradient what is zero stays zero.

    Returns:
        A new model, not compiled.

    Raises:
        ValueError: a subclassed model, a size that is no whole number >= 1, a rule that
            matches no layer, a plan for another model, weights with NaN, images that are
            missing or do not fit, or what belongs to init="trained" without it.
    """
    if plan is not None and (dictionary_size, rules, lookups) != (None, None, None):
        raise ValueError("A plan holds dictionary sizes and lookups: give it alone.")
    if plan is not None:
        dictionary_size, rules, lookups = plan.arguments(model)
    if init not in INITS:
        raise ValueError(f"Unknown init={init!r}: {', '.join(INITS)}.")
    if init == "trained":
        _refuse_lookups(lookups)
        if images is None:
            raise ValueError('init="trained" needs images: a few hundred inputs of the model.')
        lookup_arguments = {"threshold_scale": sparsity.HOLDING_SCALE, **lookup_arguments}
    elif plan is None and (lookups, images, cache, report) != (None,) * 4:
        raise ValueError('lookups, images, cache and report are for init="trained".')
    decided = _decide(model, dictionary_size, rules)
    sizes = {id(layer): d.dictionary_size for layer, d in decided}

    def with_lookups(layer):
        k = sizes.get(id(layer))
        if k is None:
            return None
        coded = init == "trained"
        return family.replacing(layer).build(layer, k, coded, **lookup_arguments)

    lcnn, copies = rebuild.clone(model, with_lookups)
    rebuild.copy_weights(pair for pair in copies if sizes.get(id(pair[0])) is None)
    for layer, copy in copies:
        if sizes.get(id(layer)) is not None and layer.built:
            family.replacing(layer).carry_over(layer, copy)
    surprises = [d for _, d in decided if d.dictionary_size is None and d.wanted]
    if surprises:
        listed = "; ".join(f"{d.name} ({d.type}: {d.reason})" for d in surprises)
        warnings.warn(
            f"lookupify kept {len(surprises)} of {len(decided)} layers of {model.name} as they "
            f"are: {listed}",
            stacklevel=2,
        )
    if init == "trained":
        pairs = [(layer, copy) for layer, copy in copies if sizes.get(id(layer)) is not None]
        bounds = {
            copy.name: min(
                lookups[copy.name] if isinstance(lookups, dict) else lookups, copy.dictionary_size
            )
            for _, copy in pairs
        }
        coding.transcribe(model, lcnn, pairs, bounds, images, seed, cache, report)
        loose = [copy.name for _, copy in pairs if not copy.holds_lookups]
        if loose:
            warnings.warn(
                f"Training will add lookups in {', '.join(loose)}: leave threshold_scale and "
                "threshold_gradient as they are, or train with TopS or Tighten.",
                stacklevel=2,
            )
    return lcnn


def _refuse_lookups(lookups):
    if lookups is None:
        raise ValueError('init="trained" needs lookups: how many per kernel position and filter.')
    if not isinstance(lookups, dict):
        sparsity.check_lookups(lookups)


def _decide(model, dictionary_size, rules):
    if not rebuild.is_cloneable(model):
        raise ValueError(
            f"lookupify takes a functional or Sequential model; {model.name} is a "
            f"{type(model).__name__}: put the layers of tf_lcnn.layers in its code instead."
        )
    rules = dict(rules or {})
    for pattern, size in {"dictionary_size": dictionary_size, **rules}.items():
        whole = isinstance(size, int) and not isinstance(size, bool) and size >= 1
        if not whole and not (size == KEEP and pattern in rules):
            raise ValueError(f"{pattern}: {size!r} is no dictionary size, a whole number >= 1.")
    layers = [layer for layer in rebuild.leaves(model) if _has_kernel(layer)]
    for pattern in rules:
        if not any(fnmatch.fnmatchcase(layer.name, pattern) for layer in layers):
            raise ValueError(
                f"The rule {pattern!r} matches no layer of {model.name} that has a kernel; these "
                f"have: {', '.join(layer.name for layer in layers)}."
            )
    decided = []
    for layer in layers:
        matching = (s for p, s in rules.items() if fnmatch.fnmatchcase(layer.name, p))
        decided.append((layer, _decision(layer, next(matching, dictionary_size))))
    return decided


def _decision(layer, size):
    kind = type(layer)
    if size == KEEP:
        return Decision(layer.name, kind.__name__, None, "kept by rule", wanted=False)
    reason = family.obstacle(layer, size)
    return Decision(layer.name, kind.__name__, None if reason else size, reason)


def _has_kernel(layer):
    if family.replacing(layer) is not None:
        return True
    return any(len(w.shape) >= 2 for sub in sublayers(layer) for w in sub.weights)
