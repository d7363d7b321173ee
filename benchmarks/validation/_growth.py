"""How the time grows with the number of models trained in one pass, and with the rows."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import lifecycle as lc

from .. import _data
from .._harness import alternate, markdown, quartiles
from ._sides import duration, rounds_of

MODELS = tuple(2**k for k in range(10))
ROWS = (10**4, 10**5, 10**6, 10**7)
FEW = 3  # rounds at the most rows
LEAST_SAVING = 0.05  # of the time per model, for a doubling that pays


def optimizers(epochs: int) -> dict[str, Any]:
    common = {"progress": False, "random_state": 0}
    return {
        f"per-sample SGD, {epochs} epochs": lc.LinearClassifier(optimizer="sgd", max_iter=epochs, tol=None, **common),
        "newton": lc.LinearClassifier(optimizer="newton", **common),
    }


def times(runs: dict, rounds: int) -> list[dict]:
    """Median and quartiles of each."""
    return [dict(zip(("q1", "median", "q3"), quartiles(v), strict=True)) for v in alternate(runs, rounds).values()]


def models(rounds: int, scale: float) -> dict:
    """1, 2, 4, ..., 512 alphas on the same rows."""
    n, p = max(500, round(scale * 20_000)), 50
    X, y = _data.normal(n, p)
    rows = np.arange(n)
    seconds = {}
    for who, model in optimizers(5).items():

        def side(k: int, model: Any = model) -> Any:
            params = [{"alpha": alpha} for alpha in np.logspace(-6, -1, k)]
            return lambda: model.fit_many(X, y, train=[rows] * k, params=params) and None

        seconds[who] = times({k: side(k) for k in MODELS}, rounds)
    return {
        "case": "growth with the number of models",
        "n": n,
        "p": p,
        "rounds": rounds,
        "x": list(MODELS),
        "rows": seconds,
    }


def rows(rounds: int, scale: float) -> dict:
    """10 alphas x 5 folds on 10⁴ to 10⁷ rows."""
    p = 10
    sizes = [max(200, round(scale * n)) for n in ROWS]
    seconds: dict[str, list] = {who: [] for who in optimizers(2)}
    for n in sizes:
        X, y = _data.normal(n, p)
        folds = list(lc.KFold(5, shuffle=True, random_state=0).split(X))
        for who, model in optimizers(2).items():

            def run(model: Any = model, X: Any = X, y: Any = y, folds: Any = folds) -> None:
                lc.GridSearchCV(model, {"alpha": np.logspace(-6, -1, 10)}, cv=folds, refit=False, progress=False).fit(
                    X, y
                )

            seconds[who] += times({n: run}, min(rounds, FEW) if n == sizes[-1] else rounds)
    return {"case": "growth with the rows", "p": p, "rounds": rounds, "x": sizes, "rows": seconds}


def pays_up_to(x: list[int], seconds: list[float]) -> int:
    """From this number of models on, no doubling lowers the time per model by more than LEAST_SAVING."""
    per_model = [s / k for s, k in zip(seconds, x, strict=True)]
    savings = [1 - after / before for before, after in pairwise(per_model)]
    last = max((i for i, saving in enumerate(savings) if saving > LEAST_SAVING), default=-1)
    return x[last + 1]


def table_of(one: dict) -> list[str]:
    """The markdown of a growth: table, sentence, plot."""
    by_model = "models" in file_of(one)
    lines, who = [f"### {one['case']}"], list(one["rows"])
    what = "per model" if by_model else "per million rows"
    columns = ["models" if by_model else "rows", *(c for w in who for c in (w, what))]
    cells = []
    for i, x in enumerate(one["x"]):
        cells.append([f"{x:,}"])
        for w in who:
            median = one["rows"][w][i]["median"]
            cells[-1] += [duration(median), duration(median / x * (1 if by_model else 1e6))]
    lines.append(markdown(columns, cells))
    if by_model:
        lines.append(
            f"{one['n']:,} rows of {one['p']} features in float32, one alpha a model, `fit_many`; medians of "
            f"{rounds_of(one['rounds'])}. {limits(one)}"
        )
        title = "Time per model against the number of models trained in one pass"
    else:
        few = "" if one["rounds"] <= FEW else f", at the most rows of {FEW}"
        lines.append(
            f"10 alphas x 5 folds, {one['p']} features, float32, `lc.GridSearchCV`; medians of "
            f"{rounds_of(one['rounds'])}{few}."
        )
        title = "Time of a grid against the number of rows"
    return [*lines, f"![{title}](images/{file_of(one)})"]


def limits(one: dict) -> str:
    """From how many models on a doubling saves little, in words."""
    parts = []
    for who, times_of_models in one["rows"].items():
        end, most = pays_up_to(one["x"], [row["median"] for row in times_of_models]), one["x"][-1]
        parts.append(f"with {who}, {f'not up to {most:,} models' if end == most else f'from {end:,} models on'}")
    return f"A doubling of the models saves at most {LEAST_SAVING:.0%} of the time per model: {'; '.join(parts)}."


def file_of(one: dict) -> str:
    return f"validation-{'rows' if 'rows' in one['case'] else 'models'}.svg"


def draw(one: dict, folder: Path) -> Path:
    """The plot of a growth."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    by_model, x = "models" in file_of(one), one["x"]
    with mpl.rc_context({"svg.hashsalt": "lifecycle", "svg.fonttype": "none"}):  # the same file from the same numbers
        figure = Figure(figsize=(6.4, 4), layout="constrained")
        axes = figure.add_subplot()
        for who, seconds in one["rows"].items():
            low, middle, high = (
                np.array([row[k] for row in seconds]) / (x if by_model else 1) for k in ("q1", "median", "q3")
            )
            axes.plot(x, middle, marker="o", label=who)
            axes.fill_between(x, low, high, alpha=0.2, linewidth=0)
        axes.set(
            xscale="log",
            yscale="log",
            xlabel="models" if by_model else "rows",
            ylabel="seconds per model" if by_model else "seconds",
        )
        if by_model:
            axes.set_xscale("log", base=2)
            axes.set_xticks(x, [str(k) for k in x])
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / file_of(one)
        figure.savefig(path, metadata={"Date": None})
    return path
