"""Parts of the pages that follow from the code: lists of implementations, and a check of the files that are named."""

import importlib
import logging
import re
from pathlib import Path

from griffe import Extension

_LIST_OF = re.compile(r"<!-- every (rule|loss|penalty|splitter) -->")
_ROOT = Path(__file__).parents[1]
_FILE = re.compile(r"`(\w[\w.*/-]*(?:/|\.py|\.md))`")
_PAGES_OF_FILES = re.compile(r"contributing\.md|decisions/.*")
_log = logging.getLogger("mkdocs.hooks")


def on_page_markdown(markdown: str, page, **_) -> str:
    """Write the documentation of every member of a registry where a page asks for it."""
    if _PAGES_OF_FILES.fullmatch(page.file.src_uri):
        for name in _FILE.findall(markdown):
            if not any(any(folder.glob(name)) for folder in (_ROOT / "src" / "lifecycle", _ROOT)):
                _log.warning("%s names %s, which does not exist", page.file.src_uri, name)
    return _LIST_OF.sub(lambda match: _LISTS[match[1]](), markdown)


def _rules() -> str:
    from lifecycle.rules import list_rules

    return "\n".join(
        f"### {rule.class_name}\n\n"
        f"::: lifecycle.rules.{name}.step\n"
        "    options:\n      show_root_heading: false\n      show_root_toc_entry: false\n"
        for name, rule in list_rules().items()
    )


def _splitters() -> str:
    from lifecycle.splits import list_splitters

    return "\n".join(
        f"::: {splitter.__module__}.{name}\n    options:\n      heading_level: 3\n"
        for name, splitter in list_splitters().items()
    )


def _first_lines(package: str) -> str:
    lines = []
    for name in getattr(importlib.import_module(f"lifecycle.{package}"), f"list_{package}")():
        doc = importlib.import_module(f"lifecycle.{package}.{name}").__doc__ or ""
        lines.append(f"* `{name}`: {doc.strip().splitlines()[0] if doc.strip() else ''}")
    return "\n".join(lines)


_LISTS = {
    "rule": _rules,
    "loss": lambda: _first_lines("losses"),
    "penalty": lambda: _first_lines("penalties"),
    "splitter": _splitters,
}


class ArrayLike(Extension):
    """Keep the type "array-like, shape (n,)" as it is written; griffe would read it as a difference and a call."""

    def on_object(self, *, obj, **_) -> None:
        if obj.docstring is not None:
            obj.docstring.value = obj.docstring.value.replace("array-like", "array\N{NON-BREAKING HYPHEN}like")
