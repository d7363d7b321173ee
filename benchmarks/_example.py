"""Examples that the documentation shows as they were run: their code, and what they printed."""

import contextlib
import inspect
import io
from collections.abc import Callable
from typing import Any


def printed(function: Callable, *arguments: Any) -> tuple[Any, str]:
    """What an example returns, and what it prints."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        result = function(*arguments)
    return result, said.getvalue()


def code_of(function: Callable, **shown: str) -> str:
    """The body of an example between its docstring and its `return`; arguments are shown as what `shown` gives."""
    lines = inspect.getsource(function).splitlines()
    code = inspect.cleandoc("\n".join(lines[2:-1]))
    for argument, text in shown.items():
        code = code.replace(f"({argument}", f"({text}")
    return _with_blank_lines([line.removesuffix("  # fmt: skip") for line in code.splitlines()])


def _with_blank_lines(lines: list[str]) -> str:
    """Two empty lines before and after each function, as in a module."""
    found: list[str] = []
    in_function = False
    for line in lines:
        starts = line.startswith("def ")
        if line and (starts or (in_function and not line.startswith(" "))):
            while found and not found[-1]:
                found.pop()
            found += ["", ""]
            in_function = starts
        found.append(line)
    return "\n".join(found)
