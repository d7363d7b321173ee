"""The HTML page: its style sheet, sections, tables and large numbers."""

import re
from collections.abc import Collection, Iterable, Sequence
from html import escape
from typing import Any

from lifecycle._display import html_table

# control characters, lone surrogates and noncharacters
_NO_TEXT = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

STYLE = """
:root { color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --ink: #16202c; --soft: #526070; --rule: #dde3ea; --grid: #e8ecf1;
  --s0: #1d5fd1; --s1: #c2410c; --s2: #0f766e; --s3: #7c3aed; --hit: #1d5fd1; --miss: #c2410c; --cell: #f0f3f7;
  --band: rgba(29, 95, 209, .13); --on-strong: #ffffff; --better: #0b6b43; --worse: #b42318; }
@media (prefers-color-scheme: dark) { :root {
  --page: #0f141b; --card: #171e28; --ink: #e7ecf2; --soft: #a3b0be; --rule: #2b3644; --grid: #263140;
  --s0: #74a9ff; --s1: #fb9a63; --s2: #4fd1bd; --s3: #bda0ff; --hit: #74a9ff; --miss: #fb9a63; --cell: #1e2733;
  --band: rgba(116, 169, 255, .18); --on-strong: #0b1220; --better: #5fd6a0; --worse: #ff8f85; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0; background: var(--page); color: var(--ink); line-height: 1.55;
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", Arial, sans-serif; }
header, main, footer { max-width: 960px; margin: 0 auto; padding: 0 20px; }
header { padding-top: 40px; padding-bottom: 8px; }
h1 { font-size: clamp(1.6rem, 5vw, 2.3rem); line-height: 1.15; letter-spacing: -.02em; margin: 0 0 6px; }
header p, footer, .note, caption { color: var(--soft); }
header p { margin: 0; }
footer { padding-top: 4px; padding-bottom: 40px; font-size: .85rem; }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 22px 24px;
  margin: 20px 0; min-width: 0; }
h2 { font-size: 1.25rem; letter-spacing: -.01em; margin: 0 0 4px; overflow-wrap: anywhere; }
h3 { font-size: 1rem; margin: 26px 0 8px; }
h3 + svg, .note + svg { margin-top: 10px; }
.note { margin: 0 0 14px; font-size: .92rem; overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; margin: 16px 0 6px;
  padding: 0; list-style: none; }
.tiles li { border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px; min-width: 0; }
.tiles b { display: block; font-size: 1.5rem; font-weight: 650; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; }
.tiles span { display: block; color: var(--soft); font-size: .84rem; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; margin: 8px 0; }
table { border-collapse: collapse; width: 100%; font-size: .93rem; font-variant-numeric: tabular-nums; }
th, td { padding: 8px 12px; text-align: right; border-bottom: 1px solid var(--rule); white-space: nowrap; }
th { color: var(--soft); font-weight: 600; font-size: .84rem; }
tbody tr:last-child > * { border-bottom: 0; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
th:last-child, td:last-child { padding-right: 0; }
td.text, th.text { text-align: left; }
td.wrap { white-space: normal; min-width: 16em; }
tbody th { color: var(--ink); font-weight: 500; font-size: .93rem; }
.better { color: var(--better); } .worse { color: var(--worse); }
svg { display: block; width: 100%; height: auto; margin: 6px auto; }
svg text { fill: var(--ink); font-family: inherit; font-size: 12px; }
svg .axis, svg .tick { fill: var(--soft); }
svg .count { font-size: inherit; font-variant-numeric: tabular-nums; }
svg .count.strong { fill: var(--on-strong); font-weight: 600; }
.grid { stroke: var(--grid); } .diagonal { stroke: var(--soft); stroke-dasharray: 4 4; }
.line { fill: none; stroke-width: 2.25; stroke-linejoin: round; } .whisker { stroke-width: 2; }
.line.s0, .whisker.s0 { stroke: var(--s0); } .line.s1, .whisker.s1 { stroke: var(--s1); }
.line.s2 { stroke: var(--s2); } .line.s3, .whisker.s3 { stroke: var(--s3); } .line.faint { stroke-opacity: .55; }
.dot.s0 { fill: var(--s0); } .dot.s1 { fill: var(--s1); } .dot.s2 { fill: var(--s2); } .dot.s3 { fill: var(--s3); }
.dot { stroke: var(--card); stroke-width: 1.5; } .dot.faint { stroke: none; fill-opacity: .55; }
.band { fill: var(--band); } .cell { fill: var(--cell); } .hit { fill: var(--hit); } .miss { fill: var(--miss); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; margin: 2px 0 0; padding: 0;
  color: var(--soft); font-size: .88rem; }
.key { display: inline-block; width: 14px; height: 4px; border-radius: 2px; margin-right: 7px; vertical-align: middle; }
.key.s0 { background: var(--s0); } .key.s1 { background: var(--s1); }
.key.s2 { background: var(--s2); } .key.s3 { background: var(--s3); }
a, summary { color: var(--s0); } summary { cursor: pointer; margin-top: 14px; }
@media (max-width: 520px) { header, main, footer { padding-left: 12px; padding-right: 12px; }
  header { padding-top: 24px; } section { padding: 16px 14px; border-radius: 12px; }
  th, td { padding: 8px 7px; } td.text, tbody th { white-space: normal; } td.wrap { min-width: 0; }
  svg text { font-size: 19px; } }
@media print { body { background: #fff; } section { break-inside: avoid; border: 0; padding: 0; } }
"""


def section(title: str, body: str, note: str = "") -> str:
    """One card of the page; `title` and `note` are plain text."""
    note_html = f'<p class="note">{escape(str(note))}</p>' if note else ""
    return f"<section><h2>{escape(str(title))}</h2>{note_html}{body}</section>"


def tiles(items: Iterable[tuple[str, str, str]]) -> str:
    """Large numbers: (name, value, caption)."""
    cells = "".join(
        f"<li><span>{escape(name)}</span><b>{escape(value)}</b><span>{escape(caption)}</span></li>"
        for name, value, caption in items
    )
    return f'<ul class="tiles">{cells}</ul>'


def table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, text_columns: Collection[int] = ()) -> str:
    """An `html_table` that scrolls sideways on a narrow screen."""
    # a region that scrolls must be reachable by keyboard
    return (
        '<div class="scroll" tabindex="0" role="region" aria-label="table">'
        f"{html_table(columns, rows, text_columns=text_columns)}</div>"
    )


def page(title: str, lead: str, sections: Sequence[str], footer: str) -> str:
    """The HTML document; a character that no HTML file can hold becomes the replacement character U+FFFD."""
    return _NO_TEXT.sub(
        "\ufffd",
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f"<header><h1>{escape(title)}</h1><p>{escape(lead)}</p></header>\n<main>\n"
        + "\n".join(sections)
        + f"\n</main>\n<footer>{escape(footer)}</footer>\n</body>\n</html>\n",
    )
