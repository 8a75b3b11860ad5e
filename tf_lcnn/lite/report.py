"""What was exported, as data, as JSON and as text."""

import dataclasses
import json
import pathlib

from tf_lcnn import files
from tf_lcnn.lite.learning_proof import LearningProof
from tf_lcnn.lite.proof import Proof


@dataclasses.dataclass(frozen=True)
class Report:
    """What was exported.

    Attributes:
        path: the file.
        choices: a LoweringChoice per lookup layer.
        operators: LiteRT operator -> how many the file has.
        bytes: size of the file.
        proof: the Proof.
        io: type of input and output, "float32" or "int8".
        measured: a `layerwise.LayerFigures` per choice, where they were asked for, else empty.
        input_shape: of one input, without the batch; of a file that can be resized, at first.
        resizable: the same with None where LiteRT can resize it; None for a file of one size.
        tables: a `table_forms.TableForm` per layer with a table.
        frame: the `frames.Frame` that the file takes; None of one that takes the model's input.
        frame_proof: the Proof of the whole on frames, where `proof` is that of the network.
        learning: a `learning_proof.LearningProof` of a file that can be trained, else None.
    """

    path: pathlib.Path
    choices: tuple
    operators: dict
    bytes: int
    proof: Proof
    io: str
    measured: tuple
    input_shape: tuple
    resizable: tuple | None = None
    tables: tuple = ()
    frame: object = None
    frame_proof: Proof | None = None
    learning: LearningProof | None = None

    def as_dict(self):
        """Everything in plain Python types, as in the JSON file."""
        frames = {}
        if self.frame is not None:
            frames = {"frame": str(self.frame), "frame_proof": self.frame_proof.as_dict()}
        return {
            "path": str(self.path),
            "bytes": self.bytes,
            "operators": self.operators,
            "io": self.io,
            "input_shape": list(self.input_shape),
            "resizable": None if self.resizable is None else list(self.resizable),
            "proof": self.proof.as_dict(),
            **frames,
            "layers": [
                {
                    "name": choice.layer.name,
                    "lowering": choice.lowering,
                    "k": choice.layer.k,
                    "rows_dropped": choice.layer.rows_dropped,
                    "max_s": choice.layer.lookups,
                    "batch_normalization": choice.folded.name if choice.folded else None,
                    "predicted_ms": {name: 1e3 * t for name, t in choice.seconds.items()},
                    "delegate": choice.delegate.kernel if choice.delegate else None,
                    "bytes": choice.bytes,
                    **measured,
                }
                for choice, measured in self._layers()
            ],
            "tables": [form.as_dict() for form in self.tables],
            "learning": None if self.learning is None else self.learning.as_dict(),
        }

    def _layers(self):
        """(choice, what was measured of it as JSON has it) of each lookup layer."""
        measured = [
            {"measured_ms": 1e3 * layer.seconds, "decibels": layer.decibels}
            for layer in self.measured
        ]
        return zip(self.choices, measured or [{}] * len(self.choices), strict=True)

    def write_json(self, path):
        """Writes the report as JSON."""
        files.write(path, json.dumps(self.as_dict(), indent=2) + "\n")

    def __str__(self):
        lines = [_line(*layer) for layer in self._layers()]
        lines += map(str, self.tables)
        if not lines and self.learning is None:
            lines.append("No lookup layers: the model is converted as it is.")
        operators = ", ".join(f"{name} {count}" for name, count in sorted(self.operators.items()))
        lines += [f"Operators, all builtin: {operators}", f"{self.path}: {self.bytes:,} bytes"]
        smallest = sum(min(choice.bytes.values()) for choice in self.choices)
        taken = sum(choice.bytes[choice.lowering] for choice in self.choices)
        sparse = sum(choice.bytes["sparse"] for choice in self.choices)
        if taken > 1.1 * smallest:
            lines.append(
                f"The lookup layers take {taken:,} bytes for speed; the smallest lowering of each "
                f"would take {smallest:,}, all of them sparse {sparse:,}."
            )
        if self.resizable is not None:
            sizes = ["any" if size is None else str(size) for size in self.resizable]
            lines.append(
                f"The input is {' x '.join(map(str, self.input_shape))}, and LiteRT can resize it "
                f"to {' x '.join(sizes)}."
            )
        if self.io == "int8":
            lines.append(
                "Input and output are int8: LiteRT.js, in browsers, cannot run this file; it takes "
                "float32 input and output only."
            )
        if self.learning is not None:
            lines.append(str(self.learning))
        lines.append(str(self.proof))
        if self.frame is not None:
            lines.append(f"The whole, from frames of {self.frame} on: {self.frame_proof}")
        return "\n".join(lines)


def _line(choice, measured):
    """A lookup layer in one line."""
    predicted = ", ".join(
        f"{name} {1e3 * choice.seconds[name]:.3f} ms {choice.bytes[name]:,} bytes"
        for name in choice.seconds
    )
    line = (
        f"{choice.layer.name}: {choice.lowering}, k {choice.layer.k}, "
        f"s <= {choice.layer.lookups}; predicted: {predicted}"
    )
    if choice.delegate:
        kernel, ms = choice.delegate.kernel, 1e3 * choice.delegate.seconds
        line += f"; native delegate: {kernel}, {ms:.3f} ms"
    if measured:
        line += "; measured alone {measured_ms:.3f} ms, {decibels:.1f} dB".format(**measured)
    return line
