"""The tables of a record: each data set in a line, the goals, and each side in a line."""

from collections.abc import Iterator
from statistics import geometric_mean

from .._harness import markdown
from ..validation._sides import duration
from ._candidates import OURS

SORTS = {"fit": ("One fit", 1.5, 0.9), "grid": ("5 penalties × 5 folds", 4.0, 1.0)}  # goals: mean ratio, least ratio
ENOUGH = 15  # pairs, for a ratio to count as below its goal
SILENT = 1e-3  # ten times the default tol


def line(one: dict) -> str:
    """The ratios of a case, to follow a run."""
    parts = []
    for sort in SORTS:
        peer = one[sort]["peer"]
        ratio = f"{_ratio(one[sort]['rows'][peer])} of {peer}" if peer else "no peer"
        parts.append(f"{sort} {duration(one[sort]['rows'][OURS]['median'])}, {ratio}")
    return "; ".join(parts)


def table(result: dict) -> str:
    """The record as markdown."""
    settings = result["settings"]
    lines = [
        "## What a user types",
        f"`LinearClassifier()` and `LinearRegressor()`, alone and in `GridSearchCV`, against scikit-learn's "
        f'`LogisticRegression()`, `SGDClassifier("log_loss")`, `Ridge()`, `RidgeCV` and `SGDRegressor()`: default '
        f"arguments, the same folds, {settings['threads']} cores for everybody. Everything was compiled and every "
        "process started before. The grid takes "
        f"{len(settings['alphas'])} penalties from alpha = {min(settings['alphas']):g} to {max(settings['alphas']):g}, "
        "the same ones for everybody (C = 1 / (n alpha)). Ratio: how many times the time of ours the fastest of "
        "scikit-learn's takes that reaches our held-out log-loss + 1 % (R² − 0.001) on the same features: median of "
        "alternating pairs, 95 % interval of the median, pairs. Where none reaches it, `max_iter` of "
        "LogisticRegression is raised; where that does not help either, there is no ratio. “Scaled first” is the "
        "ratio to the fastest of those behind a StandardScaler, which is not asked for. Score: accuracy or R², held "
        "out, mean of five folds; it is good if it lies at most half a standard error of the folds below the best of "
        "scikit-learn's on the same features. Gap: the objective less that of a tight solution, as a part of the loss "
        "of a constant.",
    ]
    for sort, (title, *_) in SORTS.items():
        lines += [f"### {title}", markdown(COLUMNS, list(_rows(result["cases"], sort))), *_goals(result["cases"], sort)]
    lines += [f"Skipped: {one['case']}: {one['skipped']}." for one in result["cases"] if "skipped" in one]
    if result["left_out"]:
        lines.append(f"Left out of this run: {'; '.join(result['left_out'])}.")
    first = ", ".join(f"{who}: {duration(seconds)}" for who, seconds in result["first"].items())
    lines += [f"The first answer in a new process (import and one fit of iris): {first}."]
    lines += ["### Each side", markdown(SIDES, list(_sides(result["cases"])))]
    return "\n\n".join(lines) + "\n"


COLUMNS = ("data", "rows × columns, classes", "time", "solver", "peer", "its time", "ratio", "scaled first", "log-loss",
           "its best", "score", "its best", "good", "gap", "peer's gap", "warnings", "peer's")  # fmt: skip
SIDES = ("data", "", "side", "time", "runs", "log-loss", "score", "gap", "warnings", "as good")


def _rows(cases: list[dict], sort: str) -> Iterator[list[str]]:
    for one in cases:
        if "skipped" in one:
            continue
        found = one[sort]
        rows, peer = found["rows"], found["peer"]
        ours, theirs = rows[OURS], rows[peer] if peer else {}
        same = [row for name, row in rows.items() if name != OURS and "failed" not in row and "scaled" not in name]
        losses = [row["loss"] for row in same]
        yield [
            one["case"], _shape(one), duration(ours["median"]), ours.get("solver", ""), peer or "none",
            duration(theirs["median"]) if peer else "", _ratio(theirs), _ratio(rows.get(found["scaled_peer"], {})),
            f"{ours['loss']:.4g}" if "classes" in one else "",
            f"{min(losses):.4g}" if losses and "classes" in one else "", f"{ours['score']:.4f}",
            f"{rows[found['best']]['score']:.4f}" if "best" in found else "",
            {True: "yes", False: "**no**"}[found.get("score_is_good", True)], _gap(ours), _gap(theirs),
            str(ours["warnings"]), str(theirs.get("warnings", "")),
        ]  # fmt: skip


def _shape(one: dict) -> str:
    classes = f", {one['classes']}" if "classes" in one else ""
    return f"{one['rows']:,} × {one['columns']:,}{classes}"


def _ratio(row: dict) -> str:
    if "ratio" not in row:
        return ""
    low, high = row["interval"]
    return f"{row['ratio']:.2f} ({low:.2f} – {high:.2f}, {row['runs']})"


def _gap(row: dict) -> str:
    return "" if row.get("gap") is None else f"{row['gap']:.1e}"


def _goals(cases: list[dict], sort: str) -> Iterator[str]:
    """The mean of the ratios and the cases that miss a goal, by name."""
    _, mean_goal, least_goal = SORTS[sort]
    measured = {one["case"]: one for one in cases if "skipped" not in one}
    by_case = {name: one[sort]["rows"][one[sort]["peer"]] for name, one in measured.items() if one[sort]["peer"]}
    if by_case:
        mean = geometric_mean([row["ratio"] for row in by_case.values()])
        below = {name: row for name, row in by_case.items() if row["interval"][1] < least_goal}
        sure = [name for name, row in below.items() if row["runs"] >= ENOUGH]
        yield (
            f"Geometric mean of {len(by_case)} ratios: {mean:.2f} (aim: {mean_goal:g}). Ratios whose whole interval "
            f"lies below {least_goal:g}, of {ENOUGH} pairs or more: {_named(sure)}; of fewer pairs: "
            f"{_named([name for name in below if name not in sure])}."
        )
    worse = [name for name, one in measured.items() if not one[sort].get("score_is_good", True)]
    silent = []
    for name, one in measured.items():
        ours = one[sort]["rows"][OURS]
        if not ours["warnings"] and (name in worse or (ours.get("gap") or 0.0) > SILENT):
            silent.append(name)
    yield f"Scores that are not good: {_named(worse)}. Of these, or with a gap above {SILENT:g}, without a warning: "\
          f"{_named(silent)}."  # fmt: skip
    if sort == "grid":
        timed = [f"{name}: {duration(one[sort]['rows'][OURS]['median'])} (aim: {one['seconds']:g} s)"
                 for name, one in measured.items() if "seconds" in one]  # fmt: skip
        if timed:
            yield f"Times that were aimed for: {'; '.join(timed)}."


def _named(names: list[str]) -> str:
    return f"{len(names)} ({'; '.join(names)})" if names else "none"


def _sides(cases: list[dict]) -> Iterator[list[str]]:
    for one in cases:
        for sort in SORTS if "skipped" not in one else ():
            for name, row in one[sort]["rows"].items():
                if "failed" in row:
                    yield [one["case"], sort, name, row["failed"].partition(".")[0], *[""] * 6]
                    continue
                good = "" if name == OURS else "yes" if row.get("reaches") else "no"
                loss, score = f"{row['loss']:.4g}" if "classes" in one else "", f"{row['score']:.4g}"
                seconds = duration(row.get("median", row["first"]))
                yield [one["case"], sort, name, seconds, str(row.get("runs", 1)), loss, score, _gap(row),
                       str(row["warnings"]), good]  # fmt: skip
