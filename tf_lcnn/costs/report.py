"""The costs of layers and models as data, and as JSON, CSV and a table. `profile` makes them."""

import csv
import dataclasses
import io
import json

from tf_lcnn import files, markup
from tf_lcnn.costs import energy


@dataclasses.dataclass(frozen=True)
class LayerProfile:
    """The cost of one layer, all of its calls together.

    Shapes are without the batch. `multiplications` is None where the layer is unknown; then it
    counts in no total. `mean_s` and `max_s`, lookups per kernel position and filter, and
    `dictionary_size` are None for layers without lookups. `held` is False where P has zeros that
    training would fill: no threshold with the masked gradient, nothing else that keeps them.
    `table_reads` are those of a layer with a table, which has no multiplications, and an addition
    for each. `outputs` are the numbers that the twin computes as sums of products, and
    `dictionary_outputs` those of S. `bytes` are those of float32, `sizes` have those of all
    `storage.NUMBERS`. `filters` and `dictionary_parameters` are n and the numbers of D that the
    layer has itself, of one with lookups.
    """

    name: str
    type: str
    input_shape: tuple
    output_shape: tuple
    dense_multiplications: int | None
    dictionary_multiplications: int
    lookup_multiplications: int
    multiplications: int | None
    parameters: int
    twin_parameters: int
    nonzeros: int
    bytes: int
    twin_bytes: int
    dictionary_size: int | None = None
    lookups: int = 0
    coefficients: int = 0
    mean_s: float | None = None
    max_s: int | None = None
    held: bool = True
    table_reads: int = 0
    outputs: int = 0
    dictionary_outputs: int = 0
    filters: int = 0
    dictionary_parameters: int = 0
    sizes: dict = dataclasses.field(default_factory=dict)

    @property
    def is_lookup(self):
        return self.dictionary_size is not None

    @property
    def density(self):
        """The share of P that is not zero; 1 for a layer without lookups."""
        return self.lookups / self.coefficients if self.is_lookup else 1.0

    @property
    def speedup(self):
        """Multiplications of the twin over those of the layer, a count, not a time; or None.

        None where they are not known, or a table leaves none.
        """
        if self.multiplications is None or self.table_reads:
            return None
        return _ratio(self.dense_multiplications, self.multiplications)


@dataclasses.dataclass(frozen=True)
class ModelProfile:
    """The costs of a model, layer by layer, and their totals over the known layers.

    `numbers` are those whose bytes the table shows beside float32's and int8's; `graph` has, by
    the numbers, the bytes of a .tflite beside those of its weights.
    """

    name: str
    convention: str
    layers: tuple
    numbers: str = "int8"
    graph: dict = dataclasses.field(default_factory=dict)

    def _total(self, field):
        return sum(getattr(layer, field) or 0 for layer in self.layers)

    multiplications = property(lambda self: self._total("multiplications"))
    dense_multiplications = property(lambda self: self._total("dense_multiplications"))
    dictionary_multiplications = property(lambda self: self._total("dictionary_multiplications"))
    lookup_multiplications = property(lambda self: self._total("lookup_multiplications"))
    parameters = property(lambda self: self._total("parameters"))
    twin_parameters = property(lambda self: self._total("twin_parameters"))
    nonzeros = property(lambda self: self._total("nonzeros"))
    table_reads = property(lambda self: self._total("table_reads"))
    bytes = property(lambda self: self._total("bytes"))
    twin_bytes = property(lambda self: self._total("twin_bytes"))

    def size(self, numbers):
        """Bytes of the weights in these numbers, one of `storage.NUMBERS`."""
        return sum(layer.sizes[numbers] for layer in self.layers)

    def file_size(self, numbers):
        """About the bytes of the .tflite of these numbers, without metadata."""
        return self.size(numbers) + self.graph[numbers]

    @property
    def speedup(self):
        """Multiplications of the dense twin over those of the model: a count, not a time."""
        return _ratio(self.dense_multiplications, self.multiplications)

    @property
    def density(self):
        """The share of all P that is not zero; 1 without lookup layers."""
        return _ratio(self._total("lookups"), self._total("coefficients"))

    @property
    def mean_s(self):
        """Mean lookups per kernel position and filter, over all lookup layers."""
        positions = sum(x.coefficients / x.dictionary_size for x in self.layers if x.is_lookup)
        return self._total("lookups") / positions if positions else 0.0

    @property
    def max_s(self):
        return max((layer.max_s for layer in self.layers if layer.is_lookup), default=0)

    @property
    def unknown(self):
        """Names of the layers that could not be counted."""
        return [layer.name for layer in self.layers if layer.multiplications is None]

    @property
    def unheld(self):
        """Names of the layers whose lookups become more in training; see `LayerProfile.held`."""
        return [layer.name for layer in self.layers if not layer.held]

    def energy(self, numbers):
        """An estimate of the energy of the operations, see `costs.energy`.

        Args:
            numbers: type of weights and activations: "int8" (sums in int32), "float16" or
                "float32".

        Returns:
            `energy.Energy`: of the model as it is, its dense twin, and an AdderNet of it.

        Raises:
            ValueError: another type.
        """
        return energy.estimate(self, numbers)

    def as_dict(self):
        """Everything in plain Python types, as in the JSON file."""
        fields = (
            *("name", "convention", "multiplications", "dense_multiplications"),
            *("dictionary_multiplications", "lookup_multiplications", "speedup", "parameters"),
            *("twin_parameters", "nonzeros", "density", "mean_s", "max_s", "bytes", "twin_bytes"),
            *("table_reads", "unknown", "unheld"),
        )
        data = {field: getattr(self, field) for field in fields}
        data["layers"] = [
            {**dataclasses.asdict(layer), "density": layer.density, "speedup": layer.speedup}
            for layer in self.layers
        ]
        return data

    def write_json(self, path):
        """Writes the profile as JSON."""
        files.write(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def write_csv(self, path):
        """Writes a row per layer as CSV."""
        rows = [
            {**layer, "sizes": None, **{f"bytes_{x}": n for x, n in layer["sizes"].items()}}
            for layer in self.as_dict()["layers"]
        ]
        for row in rows:
            del row["sizes"]
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0] if rows else ["name"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        files.write(path, text.getvalue())

    def __str__(self):
        return _text(self)

    def _repr_html_(self):
        """What a notebook shows."""
        columns, *rows = _table(self)
        return "\n".join([markup.table(columns, rows), *map(markup.paragraph, _notes(self))])


def _ratio(numerator, denominator):
    # Nothing against nothing is no change.
    return numerator / denominator if denominator else 1.0


_COLUMNS = (
    *("layer", "type", "output", "k", "mean s", "max s", "dense mult.", "dictionary", "lookup"),
    *("total", "ratio", "non-zeros", "bytes"),
)


def _table(model):
    """Cells of the table with a column of bytes for each of the numbers that it is asked for."""
    asked = dict.fromkeys(x for x in ("int8", model.numbers) if x != "float32")
    layers = iter([x for x in model.layers if x.multiplications != 0 or x.bytes])
    columns, *rows, totals = _rows(model)
    return [
        (*columns, *asked),
        *(
            (*row, *(f"{layer.sizes[x]:,}" for x in asked))
            for row, layer in zip(rows, layers, strict=True)
        ),
        (*totals, *(f"{model.size(x):,}" for x in asked)),
    ]


def _rows(model):
    """Cells of the table: the columns, the layers, the totals."""
    rows = [_COLUMNS]
    for layer in model.layers:
        if layer.multiplications == 0 and not layer.bytes:
            # Folded into another layer; JSON and CSV have its row.
            continue
        shape = "x".join(str(size) for size in layer.output_shape)
        known = layer.multiplications is not None
        rows.append(
            (
                layer.name,
                layer.type,
                shape,
                str(layer.dictionary_size or ""),
                f"{layer.mean_s:.2f}" if layer.is_lookup else "",
                str(layer.max_s) if layer.is_lookup else "",
                f"{layer.dense_multiplications:,}" if known else "unknown",
                f"{layer.dictionary_multiplications:,}" if layer.is_lookup else "",
                f"{layer.lookup_multiplications:,}" if layer.is_lookup else "",
                f"{layer.multiplications:,}" if known else "unknown",
                "" if layer.speedup is None else f"{layer.speedup:.2f}x",
                f"{layer.nonzeros:,}",
                f"{layer.bytes:,}",
            )
        )
    has_lookups = any(layer.is_lookup for layer in model.layers)
    rows.append(
        (
            *("total", "", "", ""),
            f"{model.mean_s:.2f}" if has_lookups else "",
            str(model.max_s) if has_lookups else "",
            f"{model.dense_multiplications:,}",
            f"{model.dictionary_multiplications:,}",
            f"{model.lookup_multiplications:,}",
            f"{model.multiplications:,}",
            f"{model.speedup:.2f}x",
            f"{model.nonzeros:,}",
            f"{model.bytes:,}",
        )
    )
    return rows


def _text(model):
    rows = _table(model)
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = [
        "  ".join(
            cell.ljust(width) if i < 3 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    rule = "-" * max(len(line) for line in lines)
    return "\n".join([lines[0], rule, *lines[1:-1], rule, lines[-1], "", *_notes(model)])


def _notes(model):
    lines = [
        f"{model.name}: {model.multiplications:,} multiplications ({model.convention} count), "
        f"{model.speedup:.2f}x fewer than its dense twin's {model.dense_multiplications:,}; "
        f"{model.bytes:,} bytes of float32 weights, the twin's {model.twin_bytes:,}.",
    ]
    if model.graph:
        told = dict.fromkeys(("float32", "int8", model.numbers))
        files = [f"{x} {model.file_size(x):,}" for x in told]
        lines.append(f"About the bytes of a .tflite of it, lowered as sparse: {', '.join(files)}.")
    if model.table_reads:
        lines.append(f"Beside them {model.table_reads:,} table reads, and an addition for each.")
    if model.unknown:
        lines.append(f"Left out of the totals, unknown: {', '.join(model.unknown)}.")
    if model.unheld:
        lines.append(
            f"Training would add lookups in {', '.join(model.unheld)}: use TopS, or a "
            "threshold_scale > 0 with the masked gradient."
        )
    return lines
