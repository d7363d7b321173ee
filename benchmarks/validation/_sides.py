"""What the cases share: the sides of a comparison, their times and targets, and the table of a case."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .._harness import alternate, markdown, summary


class Side:
    """A call fits what `make` makes; the last is kept as `fitted`."""

    def __init__(self, make: Callable[[], Any], X: Any, y: Any):
        self.make, self.X, self.y = make, X, y
        self.fitted: Any = None

    def __call__(self) -> None:
        self.fitted = self.make().fit(self.X, self.y)


def is_ours(who: str) -> bool:
    return who.startswith("lifecycle")


def compared(
    case: str,
    runs: Mapping[str, Callable],
    rounds: int,
    targets: Mapping[str, float],
    *,
    warm: Mapping[str, Callable] | None = None,
    **more: Any,
) -> dict:
    """Times of all sides, as multiples of the fastest peer's; `warm` runs before in their place, if it is given."""
    if warm is not None:
        alternate(warm, 1, warm_up=0)
    seconds = alternate(runs, rounds, warm_up=int(warm is None))
    rows = summary(seconds, min((who for who in runs if not is_ours(who)), key=lambda who: np.median(seconds[who])))
    for who, row in rows.items():
        row["speed"] = 1 / row.pop("ratio")
        if who in targets:
            row["target"] = targets[who]
    return {"case": case, "rounds": rounds, "rows": rows, **more}


def answered(one: dict, answers: Mapping[str, dict], good: Mapping[str, bool] | None = None) -> dict:
    """Add the answers to the rows, and whether those of ours are good enough."""
    for who, row in one["rows"].items():
        row["answers"] = {name: plain(value) for name, value in answers[who].items()}
        if good is not None and who in good:
            row["answer_is_good"] = bool(good[who])
    return one


def plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def table_of(one: dict) -> list[str]:
    """The markdown of a case: heading, table, remarks."""
    lines = [f"### {one['case']}"]
    if "skipped" in one:
        return [*lines, f"Skipped: {one['skipped']}."]
    names = list(dict.fromkeys(name for row in one["rows"].values() for name in row["answers"]))
    rows = []
    for who, row in one["rows"].items():
        cells = [who, duration(row["median"]), f"{duration(row['q1'])} – {duration(row['q3'])}", f"{row['speed']:.2f}"]
        cells += [f"≥ {row['target']:g}" if "target" in row else "", verdict(row)]
        rows.append([*cells, *(shown(name, row["answers"].get(name)) for name in names)])
    lines.append(markdown(("", "median", "quartiles", "speed", "target", "met", *names), rows))
    return [
        *lines,
        " ".join([one["about"], f"{rounds_of(one['rounds'])}.".capitalize(), *([one["aim"]] if "aim" in one else [])]),
    ]


def duration(seconds: float) -> str:
    """Seconds in the unit that suits them; late, as it imports torch, whose threads are to stay out."""
    from ..optimizers import duration

    return duration(seconds)


def rounds_of(n: int) -> str:
    return f"{n} round{'s' if n > 1 else ''}"


def verdict(row: dict) -> str:
    """Whether a row met its target, and if not, what is missing."""
    if "target" not in row:
        return ""
    missing = [] if row["speed"] >= row["target"] else ["time"]
    missing += [] if row.get("answer_is_good", True) else ["answer"]
    return "no: " + ", ".join(missing) if missing else "yes"


def shown(name: str, value: Any) -> str:
    """An answer, as its name tells: gaps and differences small, counts whole, scores to four places."""
    if value is None:
        return ""
    if isinstance(value, str | bool):
        return {True: "yes", False: "no"}.get(value, value)  # type: ignore[arg-type]
    if "gap" in name or "difference" in name:
        return f"{value:.1e}"
    return f"{value:.7g}" if "objective" in name else f"{value:.4f}"
