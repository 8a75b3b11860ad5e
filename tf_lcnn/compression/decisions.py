"""Which layers of a model get dictionaries, and why others do not."""

import dataclasses
import fnmatch

from tf_lcnn import checks
from tf_lcnn.graph import rebuild
from tf_lcnn.graph.trace import sublayers
from tf_lcnn.layers import family

KEEP = "keep"


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

    Args and errors as of `convert.lookupify`.
    """
    return [decision for _, decision in decide(model, dictionary_size, rules)]


def decide(model, dictionary_size, rules=None):
    """(layer, its Decision) for each layer with a kernel; see `decisions`."""
    rebuild.refuse_other_models(model)
    if not isinstance(rules or {}, dict):
        raise ValueError(f"rules is a dict, layer-name pattern -> k or {KEEP!r}, not {rules!r}.")
    rules = dict(rules or {})
    for pattern, size in rules.items():
        if not (isinstance(size, str) and size == KEEP):
            rules[pattern] = checks.whole_number(size, f"{pattern}: a dictionary size")
    dictionary_size = checks.whole_number(dictionary_size, "dictionary_size: a dictionary size")
    layers = [layer for layer in rebuild.leaves(model) if _has_kernel(layer)]
    refuse_unmatched(rules, layers, f"layer of {model.name} that has a kernel; these have")
    decided = []
    for layer in layers:
        matching = (s for p, s in rules.items() if matches(layer, p))
        decided.append((layer, _decision(layer, next(matching, dictionary_size))))
    return decided


def matches(layer, pattern):
    """Whether a rule's pattern, with * and ?, names a layer."""
    return fnmatch.fnmatchcase(layer.name, pattern)


def refuse_unmatched(rules, layers, which):
    """Raises ValueError for a rule that matches none of the layers, which it says `which` are."""
    for pattern in rules:
        if not any(matches(layer, pattern) for layer in layers):
            names = ", ".join(layer.name for layer in layers)
            raise ValueError(f"The rule {pattern!r} matches no {which}: {names}.")


def _decision(layer, size):
    kind = type(layer)
    if isinstance(size, str):
        return Decision(layer.name, kind.__name__, None, "kept by rule", wanted=False)
    reason = family.obstacle(layer, size)
    return Decision(layer.name, kind.__name__, None if reason else size, reason)


def _has_kernel(layer):
    if family.replacing(layer) is not None:
        return True
    return any(len(w.shape) >= 2 for sub in sublayers(layer) for w in sub.weights)
