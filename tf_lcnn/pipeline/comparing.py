"""A parent and its LCNN as int8 files: timed in turn, scored on examples, and a report of both."""

import json

import keras
import numpy as np

from tf_lcnn import checks, files, tasks
from tf_lcnn.lite.export import export
from tf_lcnn.lite.proof import signal_to_noise
from tf_lcnn.pipeline import page, sizing
from tf_lcnn.runtime.interpreter import Interpreter

# The files in their folder.
PARENT, LCNN = "parent.tflite", "model.tflite"
REPORT = "report.html"


class Pair:
    """A parent and its LCNN in one folder.

    Args:
        parent: dense Keras model.
        folder: a path, or another that joins names by `/`; the files go there.
        examples: inputs, with labels or without, to prove and compare the files on, in any form
            that `checks.batches` takes more than once.
        calibration: inputs to measure int8 ranges on.
        prices: a `prices.Prices`.
        delegate: whether LiteRT will run the LCNN with the native delegate.
        dataset, task: see `lite.export.export`.
    """

    def __init__(
        self, parent, folder, examples, calibration, prices, delegate, dataset=None, task=None
    ):
        self.parent, self.folder, self.examples = parent, folder, examples
        self.calibration, self.prices, self.delegate = calibration, prices, delegate
        self.dataset, self.task = dataset, task or tasks.of(parent)

    def export_parent(self):
        """Writes `PARENT`, proved: plain Python types about it."""
        return self._export(self.parent, PARENT, False)

    def export(self, lcnn):
        """Writes `LCNN`, proved: plain Python types about it."""
        return self._export(lcnn, LCNN, self.delegate)

    def _export(self, model, name, delegate):
        report = export(
            model,
            self.folder / name,
            self.examples,
            quantize="int8",
            calibration=self.calibration,
            prices=self.prices,
            delegate=delegate,
            dataset=self.dataset,
            task=self.task,
        )
        return {"text": str(report), "bytes": report.bytes, "proof": report.proof.as_dict()}

    def times(self):
        """Milliseconds of both files in turn, the parent on XNNPACK; see `sizing.interleaved`."""
        paths = [self.folder / PARENT, self.folder / LCNN]
        times = sizing.interleaved(paths, [False, self.delegate])
        low, middle, high = np.percentile(times, (10, 50, 90), axis=0)
        ratio = float(np.median(times[:, 0] / times[:, 1]))
        spread = [f"{a:.4g} to {b:.4g}" for a, b in zip(low, high, strict=True)]
        parent_ms, lcnn_ms = map(float, middle)
        return {"parent_ms": parent_ms, "lcnn_ms": lcnn_ms, "speedup": ratio, "spread": spread}

    def report(self, plan, exported, times, *, tried=(), coded=None, phases=()):
        """Writes report.html, and report.json with the same as data: that data.

        Args:
            plan: the `size_plan.Plan` of the LCNN.
            exported: what `export_parent` and `export` returned.
            times: what `times` returned.
            tried: what `sizing.plan_for` says it tried.
            coded: layer name -> error after coding.
            phases: of reconstruction, as dicts.
        """
        scores = self._scores(exported, times)
        told = ", ".join(
            f"{name} {_short(b)} (parent {_short(a)})"
            for name, a, b in zip(
                scores["columns"], scores["parent"][3:], scores["lcnn"][3:], strict=True
            )
        )
        how = "with the native delegate" if self.delegate else "with stock LiteRT"
        summary = (
            f"{self.parent.name}: {times['lcnn_ms']:.4g} ms {how}, the parent in int8 on XNNPACK "
            f"{times['parent_ms']:.4g} ms, {times['speedup']:.2f} times as fast; on "
            f"{scores['examples']} examples: {told}."
        )
        layers = [
            {
                "name": x.name,
                "k": x.dictionary_size,
                "s": x.lookups,
                "dense_ms": x.dense_cost,
                "ms": x.cost,
                "error": x.error,
                "coded": (coded or {}).get(x.name),
            }
            for x in plan.layers
        ]
        found = {
            "summary": summary,
            "times": times,
            "scores": scores,
            "layers": layers,
            "tried": list(tried),
            "phases": list(phases),
            "export": exported[1]["text"],
        }
        title = f"{self.parent.name}, compressed"
        files.write(self.folder / REPORT, page.render(title, found))
        files.write(self.folder / "report.json", json.dumps(found, indent=1) + "\n")
        return found

    def _scores(self, exported, times):
        """Columns and cells of parent and LCNN, both as int8 files, on the examples."""
        expected, labels, outputs = self._outputs()
        rows, columns = [], ["dB to the parent in float32"]
        for i, name in enumerate(("parent", "lcnn")):
            cells = [times[f"{name}_ms"], times["spread"][i], exported[i]["bytes"]]
            cells.append(signal_to_noise(expected, outputs[i]))
            if labels is not None:
                cells.append(self.task.score(outputs[i], labels))
            elif expected.ndim == 2:
                same = outputs[i].argmax(axis=-1) == expected.argmax(axis=-1)
                cells.append(float(same.mean()))
            rows.append(cells)
        if labels is not None:
            columns.append(self.task.figure)
        elif expected.ndim == 2:
            columns.append("same class as the parent")
        found = {"columns": columns, "parent": rows[0], "lcnn": rows[1]}
        return found | {"examples": len(expected)}

    def _outputs(self):
        """(the parent's outputs in float32, labels or None, [outputs of both files])."""
        interpreters = [Interpreter(self.folder / name) for name in (PARENT, LCNN)]
        expected, labels, outputs = [], [], [[], []]
        for inputs, wanted in checks.batches(self.examples, checks.input_shape(self.parent)):
            expected.append(keras.ops.convert_to_numpy(self.parent(inputs, training=False)))
            labels.append(wanted)
            for interpreter, rows in zip(interpreters, outputs, strict=True):
                rows.append(interpreter.predict(inputs))
        unknown = any(wanted is None for wanted in labels)
        return (
            np.concatenate(expected),
            None if unknown else np.concatenate(labels),
            [np.concatenate(rows) for rows in outputs],
        )


def _short(value):
    return f"{value:.4g}"
