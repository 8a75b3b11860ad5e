"""The report of a compression: one HTML file with its plots in it."""

import html

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "svg{margin:.5em 0}"
)
_DENSE, _LCNN = "#bbb", "#2a6fb0"


def render(title, found):
    """The page as text.

    Args:
        title: of the page.
        found: what `compressing.compress` found, as its report.json has it.
    """
    layers, times = found["layers"], found["times"]
    parts = [
        f"<h1>{html.escape(title)}</h1>",
        _paragraph(found["summary"]),
        _bars(
            "Milliseconds of the whole file, one thread, int8",
            [("parent", [(times["parent_ms"], _DENSE)]), ("LCNN", [(times["lcnn_ms"], _LCNN)])],
        ),
        _table(
            ["", "ms", "spread of the turns", "bytes", *found["scores"]["columns"]],
            [["parent", *found["scores"]["parent"]], ["LCNN", *found["scores"]["lcnn"]]],
        ),
        "<h2>Layers</h2>",
        _table(
            ["layer", "k", "s", "ms, dense", "ms, LCNN", "error of the plan", "after coding"],
            [
                [
                    *(x["name"], x["k"] or "dense", x["s"] or "", x["dense_ms"], x["ms"]),
                    *(x["error"], x["coded"] if x["coded"] is not None else ""),
                ]
                for x in layers
            ],
        ),
        _bars(
            "Milliseconds by layer, as priced on this machine (grey: dense)",
            [(x["name"], [(x["dense_ms"], _DENSE), (x["ms"], _LCNN)]) for x in layers],
        ),
        _bars(
            "What each layer's sizes cost the output before reconstruction, share of its power",
            [(x["name"], [(x["error"], _LCNN)]) for x in layers],
        ),
        "<h2>What was tried</h2>",
        _table(
            ["sizes for, ms", "predicted, ms", "measured, ms", "parent, ms", "sum of errors"],
            [
                [x[k] for k in ("budget_ms", "predicted_ms", "ms", "parent_ms", "error")]
                for x in found["tried"]
            ],
        ),
        _table(
            ["phase of reconstruction", "updates", "relative error at first", "at last"],
            [[x["name"], x["steps"], x["before"], x["after"]] for x in found["phases"]],
        ),
        "<h2>The file</h2>",
        f"<pre>{html.escape(found['export'])}</pre>",
    ]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f"<!doctype html>\n<html><head>{head}</head><body>\n{body}\n</body></html>\n"


def _paragraph(text):
    return f"<p>{html.escape(text)}</p>"


def _shown(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(f"{value:,}" if isinstance(value, int) else str(value))


def _table(columns, rows):
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_shown(x)}</td>' for x in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def _bars(title, rows):
    """Bars from left to right: rows are (name, [(value, color), ...])."""
    top = max((value for _, bars in rows for value, _ in bars), default=0) or 1
    height, drawn, y = 12, [], 24
    for name, bars in rows:
        middle = y + height * len(bars) / 2 + 4
        drawn.append(f'<text x="150" y="{middle:.0f}" text-anchor="end">{html.escape(name)}</text>')
        for value, color in bars:
            width = 480 * value / top
            drawn.append(
                f'<rect x="156" y="{y}" width="{width:.1f}" height="{height - 2}" fill="{color}"/>'
                f'<text x="{160 + width:.1f}" y="{y + height - 3}">{value:.3g}</text>'
            )
            y += height
        y += 6
    return (
        f'<svg width="720" height="{y + 6}" '
        f'font-family="sans-serif" font-size="11"><text x="0" y="14" font-size="13">'
        f"{html.escape(title)}</text>{''.join(drawn)}</svg>"
    )
