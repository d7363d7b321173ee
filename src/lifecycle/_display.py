"""How results are shown: text tables, HTML tables, matplotlib axes, and the import of an optional package."""

import math
from collections.abc import Collection, Iterable, Sequence
from decimal import Decimal
from html import escape
from importlib import import_module
from typing import Any

import numpy as np


def import_optional(module: str, needed_for: str, extra: str = "plot") -> Any:
    """Import a module that only an extra installs.

    Raises
    ------
    ImportError
        The package is not installed; the message names the extra.
    """
    try:
        return import_module(module)
    except ImportError as error:
        package = module.partition(".")[0]
        raise ImportError(f"{needed_for} needs {package}: pip install 'lifecycle-ml[{extra}]'") from error


def axes_or_new(ax: Any, needed_for: str = "plot()", **figure: Any) -> Any:
    """`ax`, or where it is None the matplotlib axes of a new figure."""
    if ax is not None:
        return ax
    return import_optional("matplotlib.pyplot", needed_for).subplots(**{"layout": "constrained", **figure})[1]


def format_value(value: Any) -> str:
    """A float to four significant digits, an integer with thousands separators, anything else as `str` gives it."""
    if isinstance(value, np.number):
        value = value.item()
    if isinstance(value, bool) or not isinstance(value, int | float):
        return str(value)
    if isinstance(value, int):
        # an integer beyond the range of float, or with more digits than Python prints, is no count
        return f"{value:,}" if abs(value) < 10**18 else f"{Decimal(value):.4g}"
    return f"{value:.4g}" if math.isfinite(value) else "–"


def format_interval(low: float, high: float, spec: str = ".4g") -> str:
    """`[low, high]`; "none" where there is no interval (NaN)."""
    return "none" if math.isnan(low) else f"[{low:{spec}}, {high:{spec}}]"


def printable(text: str) -> str:
    """A text with escapes in place of what a terminal obeys or cannot show: controls, marks of direction, surrogates.

    The end of a line is such a control.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def text_table(rows: Iterable[Sequence[str]], align: str = "") -> list[str]:
    """Lines of a text table, its columns two spaces apart; `align` holds "<" or ">" for each column, default "<".

    Cells may be of a file: they are `printable`.
    """
    rows = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    align = align.ljust(len(widths), "<")
    return [
        "  ".join(f"{cell:{side}{width}}" for cell, side, width in zip(row, align, widths, strict=True)).rstrip()
        for row in rows
    ]


class Markup(str):
    """HTML that this library generated and that is not escaped again."""


def html_table(
    columns: Sequence[str], rows: Iterable[Sequence[Any]], *, caption: str = "", text_columns: Collection[int] = ()
) -> str:
    """An HTML table; cells are formatted by `format_value`, `printable` and escaped.

    The first cell of a row is its header. The cells of `text_columns` have the class "text", long ones "wrap" too, so
    that a style sheet can align them left. No header line where `columns` is empty.
    """

    def cell(column: int, value: Any) -> str:
        content = value if isinstance(value, Markup) else escape(printable(format_value(value)))
        if column == 0:
            return f'<th scope="row">{content}</th>'
        if column in text_columns:
            return f'<td class="text{" wrap" if len(str(value)) > 32 else ""}">{content}</td>'
        return f"<td>{content}</td>"

    text_class = ' class="text"'
    head = "".join(
        f'<th scope="col"{text_class if column in text_columns else ""}>{escape(printable(str(name)))}</th>'
        for column, name in enumerate(columns)
    )
    body = "".join("<tr>" + "".join(cell(i, value) for i, value in enumerate(row)) + "</tr>" for row in rows)
    return (
        "<table>"
        + (f"<caption>{escape(printable(caption))}</caption>" if caption else "")
        + (f"<thead><tr>{head}</tr></thead>" if columns else "")
        + f"<tbody>{body}</tbody></table>"
    )
