"""The tables of a case: what was done, its answers, seconds; and what was measured beside its targets."""

from typing import Any

from .._harness import markdown


def table_of(one: dict[str, Any]) -> list[str]:
    """The markdown of a case: heading, table, targets, remarks."""
    if "skipped" in one:
        return [f"### {one['case']}", f"Skipped: {one['skipped']}."]
    names = list(dict.fromkeys(name for row in one["rows"].values() for name in row))
    rows = [[who, *(shown(row.get(name)) for name in names)] for who, row in one["rows"].items()]
    return [f"### {one['case']}", markdown(["", *names], rows), *targets_of(one), one["about"]]


def targets_of(one: dict[str, Any]) -> list[str]:
    """The table of what has a target: {"what", "measured", "least" or "most", perhaps "low" and "high"}.

    Ratios are medians of pairs that alternate; low and high are their quartiles, or the ends of an interval.
    """
    rows = []
    for target in one.get("targets", ()):
        spread = f"{shown(target['low'])} – {shown(target['high'])}" if "low" in target else ""
        limit = f"≥ {target['least']:.3g}" if "least" in target else f"≤ {target['most']:.3g}"
        rows.append([target["what"], shown(target["measured"]), spread, limit, "yes" if is_met(target) else "no"])
    return [markdown(["", "measured", "quartiles or interval", "target", "met"], rows)] if rows else []


def is_met(target: dict[str, Any]) -> bool:
    """Whether what was measured is at least, or at most, what was aimed for."""
    if "least" in target:
        return bool(target["measured"] >= target["least"])
    return bool(target["measured"] <= target["most"])


def shown(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool | str):
        return {True: "yes", False: "no"}.get(value, str(value))  # type: ignore[call-overload]
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}"
