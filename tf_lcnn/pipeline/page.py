"""The report of a compression: one HTML file with its plots in it."""

import html

from tf_lcnn import markup


def render(title, found):
    """The page as text.

    Args:
        title: of the page.
        found: what `compressing.compress` found, as its report.json has it.
    """
    layers, times = found["layers"], found["times"]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        markup.paragraph(found["summary"]),
        markup.bars(
            "Milliseconds of the whole file, one thread, int8",
            [
                ("parent", [(times["parent_ms"], markup.DENSE)]),
                ("LCNN", [(times["lcnn_ms"], markup.LCNN)]),
            ],
        ),
        markup.table(
            ["", "ms", "spread of the turns", "bytes", *found["scores"]["columns"]],
            [["parent", *found["scores"]["parent"]], ["LCNN", *found["scores"]["lcnn"]]],
        ),
        "<h2>Layers</h2>",
        markup.table(
            ["layer", "k", "s", "ms, dense", "ms, LCNN", "error of the plan", "after coding"],
            [
                [
                    *(x["name"], x["k"] or "dense", x["s"] or "", x["dense_ms"], x["ms"]),
                    *(x["error"], x["coded"] if x["coded"] is not None else ""),
                ]
                for x in layers
            ],
        ),
        markup.bars(
            "Milliseconds by layer, as priced on this machine (grey: dense)",
            [(x["name"], [(x["dense_ms"], markup.DENSE), (x["ms"], markup.LCNN)]) for x in layers],
        ),
        markup.bars(
            "What each layer's sizes cost the output before reconstruction, share of its power",
            [(x["name"], [(x["error"], markup.LCNN)]) for x in layers],
        ),
        "<h2>What was tried</h2>",
        markup.table(
            ["sizes for, ms", "predicted, ms", "measured, ms", "parent, ms", "sum of errors"],
            [
                [x[k] for k in ("budget_ms", "predicted_ms", "ms", "parent_ms", "error")]
                for x in found["tried"]
            ],
        ),
        markup.table(
            ["phase of reconstruction", "updates", "relative error at first", "at last"],
            [[x["name"], x["steps"], x["before"], x["after"]] for x in found["phases"]],
        ),
        "<h2>The file</h2>",
        f"<pre>{html.escape(found['export'])}</pre>",
    ]
    return markup.page(title, parts)
