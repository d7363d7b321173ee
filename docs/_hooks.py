"""Lists that follow from the code: a rule, loss or penalty that lands is on its page without an edit."""

import importlib
import pkgutil
import re

from griffe import Extension

_MARK = re.compile(r"<!-- every (rule|loss|penalty) -->")


def on_page_markdown(markdown: str, **_) -> str:
    """Put the documentation of every member of a registry where a page asks for it."""
    return _MARK.sub(lambda found: _LISTS[found[1]](), markdown)


def _modules(package: str) -> list[str]:
    path = importlib.import_module(f"lifecycle.{package}").__path__
    return [m.name for m in pkgutil.iter_modules(path) if not m.name.startswith("_")]


def _rules() -> str:
    from lifecycle.rules import list_rules

    return "\n".join(
        f"### {rule.class_name}\n\n"
        f"::: lifecycle.rules.{name}.step\n"
        "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
        for name, rule in list_rules().items()
    )


def _first_lines(package: str) -> str:
    lines = []
    for name in _modules(package):
        doc = importlib.import_module(f"lifecycle.{package}.{name}").__doc__ or ""
        lines.append(f"* `{name}`: {doc.strip().splitlines()[0] if doc.strip() else ''}")
    return "\n".join(lines)


_LISTS = {"rule": _rules, "loss": lambda: _first_lines("losses"), "penalty": lambda: _first_lines("penalties")}


class ArrayLike(Extension):
    """Keep the type "array-like, shape (n,)" as it is written; it would be read as a difference and a call."""

    def on_object(self, *, obj, **_) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("array-like", "array\N{NON-BREAKING HYPHEN}like")
