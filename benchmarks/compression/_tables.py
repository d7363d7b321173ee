"""The table of a case: what was done, its answers, seconds."""

from typing import Any

from .._harness import markdown


def table_of(one: dict[str, Any]) -> list[str]:
    """The markdown of a case: heading, table, remarks."""
    if "skipped" in one:
        return [f"### {one['case']}", f"Skipped: {one['skipped']}."]
    names = list(dict.fromkeys(name for row in one["rows"].values() for name in row))
    rows = [[who, *(shown(row.get(name)) for name in names)] for who, row in one["rows"].items()]
    return [f"### {one['case']}", markdown(["", *names], rows), one["about"]]


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return {True: "yes", False: "no"}.get(value, str(value))  # type: ignore[call-overload]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"
