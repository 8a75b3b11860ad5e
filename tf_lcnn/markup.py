"""Tables and bars as HTML, for reports that open without a network."""

import html

_STYLE = (
    "body{font:15px sans-serif;max-width:60em;margin:2em auto;color:#222}"
    "table{border-collapse:collapse}td,th{padding:.2em .8em;text-align:right;"
    "border-bottom:1px solid #ddd}td:first-child,th:first-child{text-align:left}"
    "svg{margin:.5em 0}"
)

# Of bars: before, and after.
DENSE, LCNN = "#bbb", "#2a6fb0"


def page(title, parts):
    """A whole page of these parts, as text."""
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
    body = "\n".join(parts)
    return f"<!doctype html>\n<html><head>{head}</head><body>\n{body}\n</body></html>\n"


def paragraph(text):
    """A paragraph."""
    return f"<p>{html.escape(text)}</p>"


def _shown(value):
    if isinstance(value, float):
        return f"{value:.4g}"
    return html.escape(f"{value:,}" if isinstance(value, int) else str(value))


def table(columns, rows):
    """A table; numbers get commas, or four digits."""
    head = "".join(f"<th>{html.escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{_shown(x)}</td>' for x in row)}</tr>" for row in rows)
    return f"<table><tr>{head}</tr>{body}</table>"


def bars(title, rows):
    """Bars from left to right: rows are (name, [(value, color), ...]). SVG."""
    top = max((value for _, values in rows for value, _ in values), default=0) or 1
    height, drawn, y = 12, [], 24
    for name, values in rows:
        middle = y + height * len(values) / 2 + 4
        drawn.append(f'<text x="150" y="{middle:.0f}" text-anchor="end">{html.escape(name)}</text>')
        for value, color in values:
            width = 480 * value / top
            drawn.append(
                f'<rect x="156" y="{y}" width="{width:.1f}" height="{height - 2}" fill="{color}"/>'
                f'<text x="{160 + width:.1f}" y="{y + height - 3}">{value:.3g}</text>'
            )
            y += height
        y += 6
    return (
        f'<svg width="720" height="{y + 6}" font-family="sans-serif" font-size="11" '
        f'fill="currentColor"><text x="0" y="14" font-size="13">'
        f"{html.escape(title)}</text>{''.join(drawn)}</svg>"
    )
