"""A size plan: k and s of every layer, as data and as JSON."""

import dataclasses
import glob
import json
import os
import pathlib

from tf_lcnn import checks, files, markup
from tf_lcnn.compression import sites
from tf_lcnn.layers import family

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
        return self.other_cost + sum(choice.cost for choice in self.layers)

    @property
    def dense_cost(self):
        return self.other_cost + sum(choice.dense_cost for choice in self.layers)

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
        for choice in self.layers:
            kernel = kernels.get(choice.name)
            if kernel != choice.kernel:
                what = "no such layer" if kernel is None else f"a kernel of {kernel}"
                raise ValueError(
                    f"The plan is for another model, {self.model}: its layer {choice.name} has a "
                    f"kernel of {choice.kernel}, {model.name} has {what}."
                )
        missing = sorted(set(kernels) - {choice.name for choice in self.layers})
        if missing:
            raise ValueError(
                f"The plan is for another model, {self.model}: it lacks {', '.join(missing)} of "
                f"{model.name}."
            )
        # Names, not patterns.
        rules = {glob.escape(x.name): x.dictionary_size or "keep" for x in self.layers}
        return 1, rules, {name: s for name, (_, s) in self.sizes.items()}

    def save(self, path):
        """Writes the plan as JSON, one layer per line."""
        head = {"model": self.model, "unit": self.unit, "budget": self.budget}
        head["other_cost"] = self.other_cost
        lines = [f"  {json.dumps(name)}: {json.dumps(value)}," for name, value in head.items()]
        rows = ",\n".join(f"    {json.dumps(dataclasses.asdict(x))}" for x in self.layers)
        files.write(path, "\n".join(["{", *lines, f'  "layers": [\n{rows}\n  ]', "}"]) + "\n")

    def __str__(self):
        width = max([5, *(len(choice.name) for choice in self.layers)])
        shown = "{:,.4f}" if self.unit == "milliseconds" else "{:,.0f}"
        lines = [f"{'layer':{width}}     k   s  {'dense':>12}  {self.unit:>15}  {'error':>9}"]
        for choice in self.layers:
            sizes = "    dense"
            if choice.dictionary_size is not None:
                sizes = f"{choice.dictionary_size:5}  {choice.lookups:2}"
            lines.append(
                f"{choice.name:{width}} {sizes}  {shown.format(choice.dense_cost):>12}  "
                f"{shown.format(choice.cost):>15}  {choice.error:9.5f}"
            )
        return "\n".join([*lines, self._summary])

    @property
    def _summary(self):
        shown = "{:,.4f}" if self.unit == "milliseconds" else "{:,.0f}"
        whole, dense = shown.format(self.cost), shown.format(self.dense_cost)
        return (
            f"{self.model}: {whole} {self.unit} of a budget of {shown.format(self.budget)}; dense "
            f"{dense}, {self.dense_cost / self.cost:.2f}x"
        )

    def _repr_html_(self):
        """What a notebook shows: sizes and errors, and what each layer costs, before in grey."""
        rows = [
            (x.name, x.dictionary_size or "dense", x.lookups or "", x.dense_cost, x.cost, x.error)
            for x in self.layers
        ]
        costs = [
            (x.name, [(x.dense_cost, markup.DENSE), (x.cost, markup.LCNN)]) for x in self.layers
        ]
        columns = ("layer", "k", "s", f"dense {self.unit}", self.unit, "error")
        parts = markup.table(columns, rows), markup.bars(self.unit, costs)
        return "\n".join([*parts, markup.paragraph(self._summary)])


def taken(plan):
    """A Plan, given one, the path of its file, or a dict as the file has it.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is none of these; the message says what is wrong.
    """
    if isinstance(plan, Plan):
        return plan
    if isinstance(plan, dict):
        return _from_data(plan, "The dict")
    if isinstance(plan, (str, os.PathLike)):
        return load(plan)
    raise ValueError(f"A plan is a Plan, the path of one or a dict, not {plan!r}.")


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
    except ValueError as error:
        raise ValueError(f"{path} is no plan: {checks.first_line(error)}.") from None
    return _from_data(data, path)


def _from_data(data, name):
    try:
        layers = tuple(
            Choice(**{**layer, "kernel": tuple(layer["kernel"])}) for layer in data["layers"]
        )
        plan = Plan(**{**data, "layers": layers})
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{name} is no plan: {error}.") from None
    if plan.unit not in UNITS:
        raise ValueError(f"{name} has an unknown unit {plan.unit!r}: {', '.join(UNITS)}.")
    for what in ("budget", "other_cost"):
        checks.number(getattr(plan, what), f"{name}: {what}", least=0)
    names = [layer.name for layer in layers]
    for layer in layers:
        _check(layer, f"{name}, layer {layer.name}")
        if names.count(layer.name) > 1:
            raise ValueError(f"{name} lists layer {layer.name} {names.count(layer.name)} times.")
    return plan


def _check(layer, where):
    """Raises ValueError where the numbers of a Choice are none."""
    for what in ("cost", "dense_cost", "error"):
        checks.number(getattr(layer, what), f"{where}: {what}", least=0)
    for size in layer.kernel:
        checks.whole_number(size, f"{where}: a size of the kernel")
    k, s = layer.dictionary_size, layer.lookups
    sizes = [x for x in (k, s) if x is not None]
    whole = all(isinstance(x, int) and not isinstance(x, bool) and x >= 1 for x in sizes)
    if not (whole and len(sizes) in (0, 2) and (not sizes or s <= k)):
        raise ValueError(
            f"{where}: dictionary_size {k} and lookups {s} must be whole numbers with 1 <= lookups "
            "<= dictionary_size, or both null for a dense layer."
        )


def loosened(plan, model, lookups, rows):
    """A plan with more lookups and rows, for a start that `Tighten` brings down to this one's.

    Args:
        plan: a Plan.
        model: the dense model that it is for.
        lookups, rows: factors >= 1 for s and k. Of a layer k stays below its weight vectors.

    Returns:
        a Plan.

    Raises:
        ValueError: a factor that is no number >= 1, or a plan for another model.
    """
    plan.arguments(model)
    checks.number(lookups, "The factor of the lookups", least=1)
    checks.number(rows, "The factor of the rows", least=1)
    layers, by_name = [], sites.candidates(model)
    for choice in plan.layers:
        if choice.dictionary_size:
            layer = by_name[choice.name]
            vectors = family.replacing(layer).weight_vectors(layer)
            k = min(round(choice.dictionary_size * rows), vectors - 1)
            choice = dataclasses.replace(
                choice, dictionary_size=k, lookups=min(k, round(choice.lookups * lookups))
            )
        layers.append(choice)
    return dataclasses.replace(plan, layers=tuple(layers))
