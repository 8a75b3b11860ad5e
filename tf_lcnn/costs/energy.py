"""An estimate of the energy of a model's operations, of published energies per operation.

Source: M. Horowitz, "Computing's energy problem (and what we can do about it)", ISSCC 2014, for a
45 nm process at 0.9 V. It is an estimate: of arithmetic and reads of tables alone, without the
traffic of weights and activations, instructions, control and leakage, which in a processor are
most of it.

What is counted, for batch 1, of the layers and in the convention that `counting` counts:

- an addition for each multiplication and each table read: to the sum;
- a *rescaling* for each number that is a sum: the multiplication that brings it to the range of
  what reads it, batch normalization and bias with it. In int8 every sum has one, those of a
  dictionary stage too. In float it is folded into weights, where these are multiplied with; the
  sums of tables and of an AdderNet keep it;
- for an *AdderNet* of the same net (Chen et al., "AdderNet: Do we really need multiplications in
  deep learning?", CVPR 2020) no multiplication, but a subtraction of an activation and a weight
  and an addition of its absolute value to the sum; taking that value is counted as nothing. The
  first and the last layer are plain, as in the paper;
- a read of one table entry is a whole access of the memory that the table lies in: 10 pJ in 8 KB
  of SRAM, 20 pJ in an L1 cache of 32 KB, however few bytes the entry has. For registers the source
  has 6 pJ in an instruction; a third of them, one operand of three of 32 bits, gives 0.5 pJ for a
  byte.
"""

import dataclasses

SOURCE = 'M. Horowitz, "Computing\'s energy problem", ISSCC 2014, 45 nm, 0.9 V'


@dataclasses.dataclass(frozen=True)
class Prices:
    """Picojoules of an operation on numbers of one type, and the bytes of a number.

    Attributes:
        multiplication: of two numbers.
        subtraction: of two numbers.
        addition: to a sum; sums of int8 are int32.
        rescaling: a multiplication of a sum.
        bytes: of a number.
    """

    multiplication: float
    subtraction: float
    addition: float
    rescaling: float
    bytes: int


PRICES = {
    "int8": Prices(0.2, 0.03, 0.1, 3.1, 1),
    "float16": Prices(1.1, 0.4, 0.4, 1.1, 2),
    "float32": Prices(3.7, 0.9, 0.9, 3.7, 4),
}

# Where a table may lie -> picojoules of a read of an entry of so many bytes.
PLACES = {
    "registers": lambda size: 0.5 * size,
    "8 KB SRAM": lambda size: 10.0,
    "32 KB L1": lambda size: 20.0,
}


@dataclasses.dataclass(frozen=True)
class Operations:
    """What a net computes for one example.

    Attributes:
        net: "as it is", "dense twin" or "AdderNet".
        multiplications, additions, subtractions, table_reads, rescalings: counts; see the module.
        microjoules: where a table lies -> the estimate; without tables they are the same.
    """

    net: str
    multiplications: int
    additions: int
    subtractions: int
    table_reads: int
    rescalings: int
    microjoules: dict


@dataclasses.dataclass(frozen=True)
class Energy:
    """An estimate of what the operations of a model, its dense twin and its AdderNet take.

    Attributes:
        name: of the model.
        numbers: type of weights and activations, one of PRICES.
        source: of the energies per operation, with the process.
        nets: an Operations each.
        unknown: names of the layers that could not be counted.
    """

    name: str
    numbers: str
    source: str
    nets: tuple
    unknown: tuple

    def as_dict(self):
        """Everything in plain Python types."""
        data = dataclasses.asdict(self)
        return {**data, "nets": list(data["nets"]), "unknown": list(self.unknown), "estimate": True}

    def __str__(self):
        heads = ("net", "mult.", "additions", "subtractions", "table reads", "rescalings", *PLACES)
        rows = [heads]
        for net in self.nets:
            counts = (net.multiplications, net.additions, net.subtractions)
            counts = (*counts, net.table_reads, net.rescalings)
            joules = (f"{net.microjoules[place]:,.2f}" for place in PLACES)
            rows.append((net.net, *(f"{count:,}" for count in counts), *joules))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [
            "  ".join(
                cell.rjust(width) if i else cell.ljust(width)
                for i, (cell, width) in enumerate(zip(row, widths, strict=True))
            )
            for row in rows
        ]
        lines += [
            "",
            f"{self.name} in {self.numbers}: an estimate, in microjoules for one example, with "
            f"tables in {', '.join(PLACES)}; of operations alone, without other memory traffic.",
            f"Energies per operation: {self.source}.",
        ]
        if self.unknown:
            lines.append(f"Left out, unknown: {', '.join(self.unknown)}.")
        return "\n".join(lines)


def estimate(profile, numbers):
    """The Energy of a `report.ModelProfile`.

    Args:
        numbers: type of weights and activations: "int8" (sums in int32), "float16" or "float32".

    Raises:
        ValueError: another type.
    """
    if numbers not in PRICES:
        raise ValueError(f"Unknown type of numbers {numbers!r}: {', '.join(PRICES)}.")
    known = [layer for layer in profile.layers if layer.multiplications is not None]
    adders = {id(layer) for layer in [layer for layer in known if layer.outputs][1:-1]}
    own, twin, adder = ("as it is", "dense twin", "AdderNet")
    nets = (
        _net(own, numbers, [_own(layer) for layer in known]),
        _net(twin, numbers, [_twin(layer) for layer in known]),
        _net(adder, numbers, [_adder(x) if id(x) in adders else _twin(x) for x in known]),
    )
    return Energy(profile.name, numbers, SOURCE, nets, tuple(profile.unknown))


@dataclasses.dataclass(frozen=True)
class _Counts:
    """Of a layer; `sums` are numbers that int8 rescales, `unfolded` those that float does."""

    multiplications: int = 0
    additions: int = 0
    subtractions: int = 0
    table_reads: int = 0
    sums: int = 0
    unfolded: int = 0


def _own(layer):
    products = layer.multiplications + layer.table_reads
    return _Counts(
        multiplications=layer.multiplications,
        additions=products if layer.outputs else 0,
        table_reads=layer.table_reads,
        sums=layer.outputs + layer.dictionary_outputs,
        unfolded=layer.outputs if layer.table_reads else 0,
    )


def _twin(layer):
    # What adds nothing up are products of two inputs, number by number.
    products = layer.dense_multiplications
    return _Counts(products, products if layer.outputs else 0, sums=layer.outputs)


def _adder(layer):
    taps, sums = layer.dense_multiplications, layer.outputs
    return _Counts(additions=taps, subtractions=taps, sums=sums, unfolded=sums)


def _net(name, numbers, layers):
    """The Operations of a net of such layers."""
    total = {
        field.name: sum(getattr(layer, field.name) for layer in layers)
        for field in dataclasses.fields(_Counts)
    }
    sums, unfolded = total.pop("sums"), total.pop("unfolded")
    rescalings = sums if numbers == "int8" else unfolded
    prices = PRICES[numbers]
    arithmetic = (
        total["multiplications"] * prices.multiplication
        + total["subtractions"] * prices.subtraction
        + total["additions"] * prices.addition
        + rescalings * prices.rescaling
    )
    microjoules = {
        place: (arithmetic + total["table_reads"] * read(prices.bytes)) / 1e6
        for place, read in PLACES.items()
    }
    return Operations(name, **total, rescalings=rescalings, microjoules=microjoules)
