"""The packages that a search runs through, as an SVG made from the imports of the source when the site is built."""

import ast
from functools import cache
from html import escape
from pathlib import Path
from textwrap import wrap

SOURCE = Path(__file__).parents[1] / "src" / "lifecycle"
ROOTS = ("validation._search", "linear.classifier", "linear.regressor")  # the search, and estimators with fit_many
PROTOCOL = ("validation", "linear")  # a search calls fit_many of whatever estimator it is given, and imports none
MARK = "<!-- picture of the imports -->"
LINE, COLUMN, BOX, GAP = 17, 30, 236, 64  # pixels, characters, pixels, pixels


def on_page_markdown(markdown: str, **_) -> str:
    """Put the picture where a page asks for it."""
    return markdown.replace(MARK, picture()) if MARK in markdown else markdown


def modules() -> dict[str, Path]:
    """Path of each module, by its name below the package."""
    names = {path: path.relative_to(SOURCE).with_suffix("").parts for path in SOURCE.rglob("*.py")}
    return {".".join(p for p in parts if p != "__init__"): path for path, parts in names.items()}


def imports(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of this package that a module imports, inside functions too."""
    targets = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "lifecycle":
            targets |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            targets |= {alias.name for alias in node.names if alias.name.startswith("lifecycle.")}
    below = {target.removeprefix("lifecycle.") for target in targets}
    return {name if name in known else name.rpartition(".")[0] for name in below} & known.keys() - {""}


def package_of(module: str, known: dict[str, Path]) -> str:
    """The folder of a module; a module directly below the root counts as a package."""
    is_package = known[module].name == "__init__.py"
    return module if is_package else module.rpartition(".")[0] or module


@cache
def graph() -> tuple[dict[str, list[str]], set[tuple[str, str]]]:
    """Modules of each package that is reached from the roots, and the imports between packages."""
    known, reached, waiting = modules(), set(), list(ROOTS)
    arrows = {PROTOCOL}
    while waiting:
        module = waiting.pop()
        if module in reached:
            continue
        reached.add(module)
        for target in imports(known[module], known):
            waiting.append(target)
            arrows.add((package_of(module, known), package_of(target, known)))
    packages: dict[str, list[str]] = {package_of(module, known): [] for module in reached}
    for module in sorted(known):
        package = package_of(module, known)
        # the implementations of a registry are imported by name, which no import statement shows
        if package in packages and module != package:
            packages[package].append(module.rpartition(".")[2])
    # a package inside another one may import its modules: only the way down is drawn
    arrows = {(a, b) for a, b in arrows if a != b and not a.startswith(f"{b}.")}
    return packages, arrows


def rows(packages: list[str], arrows: set[tuple[str, str]]) -> dict[str, int]:
    """The row of each package: one below the lowest that imports it."""
    row = dict.fromkeys(packages, 0)
    for _ in range(len(packages) + 1):
        below = {b: max((row[a] + 1 for a, c in arrows if c == b), default=0) for b in packages}
        if below == row:
            return row
        row = below
    raise ValueError("packages of lifecycle import each other in a circle")


def picture() -> str:
    """The SVG; arrows that follow from others, and those to the foundation, are left out."""
    packages, arrows = graph()
    foundation = sorted(name for name in packages if name.startswith("_"))
    upper = [name for name in packages if name not in foundation]
    arrows = {(a, b) for a, b in arrows if a in upper and b in upper}
    row = rows(upper, arrows)
    arrows = {(a, b) for a, b in arrows if not _other_way(a, b, arrows)}

    lines = {name: wrap(", ".join(packages[name]), COLUMN) for name in upper}
    count, place = max(row.values()) + 1, {}
    widest = max(sum(r == k for r in row.values()) for k in range(count))
    width, y, body = widest * (BOX + GAP) - GAP, 8, []
    for k in range(count):
        parents = {n: [place[a][0] for a, b in arrows if b == n] for n in upper if row[n] == k}
        # each below the middle of those that import it
        members = [n for _, n in sorted((sum(x) / max(1, len(x)), n) for n, x in parents.items())]
        height = LINE * (2 + max(len(lines[n]) for n in members))
        for i, name in enumerate(members):
            x = (width - len(members) * (BOX + GAP) + GAP) / 2 + i * (BOX + GAP)
            place[name] = (x + BOX / 2, y, y + LINE * (2 + len(lines[name])))
            body.append(_box(x, y, BOX, name.replace(".", "/"), lines[name]))
        y += height + GAP
    bar = ", ".join(foundation)
    body.append(_box(0, y, width, f"used throughout: {bar}", []))
    body += [_arrow(place[a], place[b], (a, b) == PROTOCOL) for a, b in sorted(arrows)]
    return (
        f'<figure><svg viewBox="-2 0 {width + 4} {y + 2 * LINE + 8}" role="img" font-size="13" fill="currentColor" '
        'style="width:100%;height:auto"><title>Packages that a search runs through, and their imports</title>'
        '<defs><marker id="tip" markerWidth="8" markerHeight="8" refX="7" refY="4" orient="auto">'
        '<path d="M0 0 L8 4 L0 8 z"/></marker></defs>' + "".join(body) + "</svg></figure>"
    )


def _other_way(a: str, b: str, arrows: set[tuple[str, str]]) -> bool:
    """Whether b is also reached from a through a third package."""
    seen, waiting = set(), [c for x, c in arrows if x == a and c != b]
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            waiting += [c for x, c in arrows if x == name]
    return b in seen


def _box(x: float, y: float, width: float, title: str, lines: list[str]) -> str:
    frame = f'<rect x="{x}" y="{y}" width="{width}" height="{LINE * (2 + len(lines))}" rx="5" '
    text = f'<text x="{x + 9}" y="{y + 1.3 * LINE}" font-weight="bold">{escape(title)}</text>'
    for i, line in enumerate(lines):
        text += f'<text x="{x + 9}" y="{y + (2.3 + i) * LINE}">{escape(line)}</text>'
    return f'{frame} fill="none" stroke="currentColor" stroke-opacity="0.5"/>{text}'


def _arrow(start: tuple, end: tuple, dashed: bool) -> str:
    (x0, _, y0), (x1, y1, _) = start, end
    middle = (y0 + y1) / 2
    label = f'<text x="{(x0 + x1) / 2 + 6}" y="{middle + 4}">fit_many</text>' if dashed else ""
    dash = ' stroke-dasharray="5 4"' if dashed else ""
    path = f"M{x0} {y0} C{x0} {middle} {x1} {middle} {x1} {y1 - 2}"
    line = f'<path d="{path}" fill="none" stroke="currentColor" stroke-opacity="0.6"{dash} marker-end="url(#tip)"/>'
    return line + label
