"""A size plan: k and s of every layer, as data and as JSON."""

import dataclasses
import json
import math
import pathlib

from tf_lcnn import files
from tf_lcnn.compression import sites

UNITS = ("multiplications", "bytes", "milliseconds")


@dataclasses.dataclass(frozen=True)
class Choice:
    """One layer of a plan.

    Attributes:
        name: of the layer.
        kernel: shape of its kernel.
        dictionary_size, lookups: k and s; both None keeps the layer dense.
        cost, dense_cost: in the plan's unit, of this choice and of the dense layer.
        error: what the choice costs the model's output, as a share of its power.
    """

    name: str
    kernel: tuple
    dictionary_size: int | None
    lookups: int | None
    cost: float
    dense_cost: float
    error: float


@dataclasses.dataclass(frozen=True)
class Plan:
    """Sizes for the layers of a model.

    Attributes:
        model: its name.
        unit: of the costs, one of `UNITS`.
        budget: for the whole model.
        other_cost: what the layers cost that have no lookup form.
        layers: a Choice per layer that has one.
    """

    model: str
    unit: str
    budget: float
    other_cost: float
    layers: tuple

    @property
    def cost(self):
        return self.other_cost + sum(each.cost for each in self.layers)

    @property
    def dense_cost(self):
        return self.other_cost + sum(each.dense_cost for each in self.layers)

    @property
    def sizes(self):
        """name -> (k, s) of the layers that are not kept dense."""
        return {x.name: (x.dictionary_size, x.lookups) for x in self.layers if x.dictionary_size}

    def arguments(self, model):
        """(dictionary_size, rules, lookups) for `lookupify`.

        Raises:
            ValueError: the plan is for a model with other layers.
        """
        kernels = sites.kernels(model)
        for each in self.layers:
            found = kernels.get(each.name)
            if found != each.kernel:
                what = "no such layer" if found is None else f"a kernel of {found}"
                raise ValueError(
                    f"The plan is for another model, {self.model}: its layer {each.name} has a "
                    f"kernel of {each.kernel}, {model.name} has {what}."
                )
        missing = sorted(set(kernels) - {each.name for each in self.layers})
        if missing:
            raise ValueError(
                f"The plan is for another model, {self.model}: it lacks {', '.join(missing)} of "
                f"{model.name}."
            )
        rules = {each.name: each.dictionary_size or "keep" for each in self.layers}
        return 1, rules, {name: s for name, (_, s) in self.sizes.items()}

    def save(self, path):
        """Writes the plan as JSON, one layer per line."""
        head = {"model": self.model, "unit": self.unit, "budget": self.budget}
        head["other_cost"] = self.other_cost
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
        rows = ",\n".join(f"    {json.dumps(dataclasses.asdict(x))}" for x in self.layers)
        files.write(path, "\n".join(["{", *lines, f'  "layers": [\n{rows}\n  ]', "}"]) + "\n")

    def __str__(self):
        width = max(5, *(len(each.name) for each in self.layers))
        shown = "{:,.4f}" if self.unit == "milliseconds" else "{:,.0f}"
        lines = [f"{'layer':{width}}     k   s  {'dense':>12}  {self.unit:>15}  {'error':>9}"]
        for each in self.layers:
            sizes = (
                "    dense"
                if each.dictionary_size is None
                else (f"{each.dictionary_size:5}  {each.lookups:2}")
            )
            lines.append(
                f"{each.name:{width}} {sizes}  {shown.format(each.dense_cost):>12}  "
                f"{shown.format(each.cost):>15}  {each.error:9.5f}"
            )
        whole, dense = shown.format(self.cost), shown.format(self.dense_cost)
        lines.append(
            f"{self.model}: {whole} {self.unit} of a budget of {shown.format(self.budget)}; dense "
            f"{dense}, {self.dense_cost / self.cost:.2f}x"
        )
        return "\n".join(lines)


def load(path):
    """Reads a plan that `Plan.save` has written, edited by hand or not.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is no plan; the message says what is wrong.
    """
    path = pathlib.Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"No plan {path}.")
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        layers = tuple(Choice(**{**x, "kernel": tuple(x["kernel"])}) for x in data.pop("layers"))
        read = Plan(layers=layers, **data)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is no plan: {error}.") from None
    for each in layers:
        k, s = each.dictionary_size, each.lookups
        sizes = [x for x in (k, s) if x is not None]
        whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 1 for x in sizes)
        if not (whole and len(sizes) in (0, 2) and (not sizes or s <= k)):
            raise ValueError(
                f"{path}, layer {each.name}: dictionary_size {k} and lookups {s} must be whole "
                "numbers with 1 <= lookups <= dictionary_size, or both null for a dense layer."
            )
    return read


def loosened(plan, lookups, rows):
    """A plan with more lookups and rows, for a start that `Tighten` brings down to this one's.

    Args:
        plan: a `planner.Plan`.
        lookups, rows: factors >= 1 for s and k. Of a layer k stays below its weight vectors.

    Returns:
        a Plan.
    """
    layers = []
    for each in plan.layers:
        if each.dictionary_size:
            *taps, _, n = each.kernel
            k = min(round(each.dictionary_size * rows), n * math.prod(taps) - 1)
            each = dataclasses.replace(
                each, dictionary_size=k, lookups=min(k, round(each.lookups * lookups))
            )
        layers.append(each)
    return dataclasses.replace(plan, layers=tuple(layers))
