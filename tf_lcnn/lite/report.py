"""What was exported, as data, as JSON and as text."""

import dataclasses
import json
import pathlib

from tf_lcnn import files
from tf_lcnn.lite import lowerings
from tf_lcnn.lite.proof import Proof


@dataclasses.dataclass(frozen=True)
class Report:
    """What was exported.

    Attributes:
        path: the file.
        plans: a LoweringChoice per lookup layer.
        operators: LiteRT operator -> how many the file has.
        bytes: size of the file.
        proof: the Proof.
        io: type of input and output, "float32" or "int8".
        figures: a `layerwise.LayerFigures` per plan, where they were asked for, else empty.
    """

    path: pathlib.Path
    plans: tuple
    operators: dict
    bytes: int
    proof: Proof
    io: str
    figures: tuple

    def as_dict(self):
        """Everything in plain Python types, as in the JSON file."""
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "operators": self.operators,
            "io": self.io,
            "proof": self.proof.as_dict(),
            "layers": [
                {
                    "name": each.layer.name,
                    "lowering": each.lowering,
                    "k": each.layer.k,
                    "rows_dropped": each.layer.rows_dropped,
                    "max_s": each.layer.lookups,
                    "batch_normalization": each.folded.name if each.folded else None,
                    "predicted_ms": {way: 1e3 * t for way, t in each.seconds.items()},
                    "delegate": each.delegate.kernel if each.delegate else None,
                    "bytes": each.bytes,
                    **measured,
                }
                for each, measured in zip(self.plans, self._measured(), strict=True)
            ],
        }

    def _measured(self):
        if not self.figures:
            return [{}] * len(self.plans)
        return [
            {"measured_ms": 1e3 * found.seconds, "decibels": found.decibels}
            for found in self.figures
        ]

    def write_json(self, path):
        """Writes the report as JSON."""
        files.write(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def __str__(self):
        lines = []
        for each, measured in zip(self.plans, self._measured(), strict=True):
            ways = ", ".join(
                f"{way} {1e3 * each.seconds[way]:.3f} ms {each.bytes[way]:,} bytes"
                for way in lowerings.LOWERINGS
            )
            line = (
                f"{each.layer.name}: {each.lowering}, k {each.layer.k}, s <= {each.layer.lookups}; "
                f"predicted: {ways}"
            )
            if each.delegate:
                found = each.delegate
                line += f"; native delegate: {found.kernel}, {1e3 * found.seconds:.3f} ms"
            if measured:
                line += "; measured alone {measured_ms:.3f} ms, {decibels:.1f} dB".format(
                    **measured
                )
            lines.append(line)
        if not self.plans:
            lines.append("No lookup layers: the model leaves as it is.")
        operators = ", ".join(f"{name} {count}" for name, count in sorted(self.operators.items()))
        lines += [f"Operators, all builtin: {operators}", f"{self.path}: {self.bytes:,} bytes"]
        smallest = sum(min(each.bytes.values()) for each in self.plans)
        taken = sum(each.bytes[each.lowering] for each in self.plans)
        sparse = sum(each.bytes["sparse"] for each in self.plans)
        if taken > 1.1 * smallest:
            lines.append(
                f"The lookup layers take {taken:,} bytes for speed; the smallest way for each "
                f"would take {smallest:,}, all of them sparse {sparse:,}."
            )
        if self.io == "int8":
            lines.append(
                "Input and output are int8: LiteRT.js, in browsers, cannot run this file; it takes "
                "float32 input and output only."
            )
        return "\n".join([*lines, str(self.proof)])
