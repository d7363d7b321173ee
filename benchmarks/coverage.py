"""How often the intervals of `evaluate` cover the true value, by metric and number of rows, beside the bootstrap's.

Classification: classes on a line, normal with unit variance, whose neighbouring means lie a separation apart, and the
model that knows these densities and shares. Regression: normal targets and errors that are normal or Laplace's. The
truth is a metric's value over very many rows. Peer: percentiles of resampled rows (Efron, 1979).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
from joblib import Parallel, delayed
from scipy.special import log_softmax

from lifecycle.evaluation import _classification, _regression

from ._harness import markdown, record

LEVEL, SETS, RESAMPLES = 0.95, 1000, 200
ROWS = (10, 20, 50, 100, 300, 1000)
SEPARATIONS = (1.0, 2.0, 4.0, 6.0)
SHARES = ((0.5, 0.5), (0.8, 0.2), (0.95, 0.05), (0.98, 0.02), (0.5, 0.3, 0.2))
EXPLAINED = (0.1, 0.5, 0.9)
ERRORS = ("normal", "laplace")
MANY = 2_000_000  # rows of the truth
CLASSIFICATION = ("accuracy", "recall", "balanced_accuracy", "f1_macro", "log_loss", "roc_auc")
REGRESSION = ("r2", "rmse", "mae")


class Classes:
    """A population of classified rows, and the model that knows it."""

    def __init__(self, shares: tuple[float, ...], separation: float):
        self.name = f"shares {', '.join(f'{s:g}' for s in shares)}, separation {separation:g}"
        self.shares, self.means = np.array(shares), separation * (np.arange(len(shares)) - (len(shares) - 1) / 2)
        self.classes_ = np.arange(len(shares))

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        y = rng.choice(len(self.shares), size=n, p=self.shares)
        return rng.normal(self.means[y])[:, None], y

    def predict_proba(self, X: np.ndarray) -> np.ndarray:
        return np.exp(log_softmax(np.log(self.shares) - (X - self.means) ** 2 / 2, axis=1))

    def predict(self, X: np.ndarray) -> np.ndarray:
        return self.predict_proba(X).argmax(axis=1)

    def measure(self, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        found = _classification(self, X, y, LEVEL, False)
        return {**found["metrics"], "recall": found["recall"][len(self.shares) - 1]}

    def values(self, X: np.ndarray, y: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of m samples in which row i stands counts[:, i] times, NaN where a class is missing: (m,) each."""
        k, predicted, p = len(self.shares), self.predict(X), self.predict_proba(X)
        cells = np.stack([counts[:, y * k + predicted == cell].sum(axis=1) for cell in range(k * k)], axis=1)
        matrix = cells.reshape(-1, k, k)
        hits, n_true, n_predicted = matrix[:, range(k), range(k)], matrix.sum(axis=2), matrix.sum(axis=1)
        with np.errstate(invalid="ignore"):
            recall = hits / n_true
            areas = [area(p[:, c], y == c, counts) for c in ([1] if k == 2 else range(k))]
            return {
                "accuracy": hits.sum(axis=1) / n_true.sum(axis=1),
                "recall": recall[:, -1],
                "balanced_accuracy": recall.mean(axis=1),
                "f1_macro": (2 * hits / (n_true + n_predicted)).mean(axis=1) + 0 * recall.mean(axis=1),
                "log_loss": counts @ -np.log(p[np.arange(len(y)), y]) / counts.sum(axis=1) + 0 * recall.mean(axis=1),
                "roc_auc": np.mean(areas, axis=0),
            }


def area(scores: np.ndarray, positive: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Under the ROC curve, of scores without ties."""
    order = np.argsort(scores)
    positives, negatives = counts[:, order] * positive[order], counts[:, order] * ~positive[order]
    pairs = positives.sum(axis=1) * negatives.sum(axis=1)
    return (positives * np.cumsum(negatives, axis=1)).sum(axis=1) / pairs


class Targets:
    """A population of targets, and the model that knows their mean given X."""

    def __init__(self, explained: float, errors: str):
        self.name = f"R² {explained:g}, errors {errors}"
        self.explained, self.errors = explained, errors

    def draw(self, rng: np.random.Generator, n: int) -> tuple[np.ndarray, np.ndarray]:
        X = rng.normal(scale=np.sqrt(self.explained), size=n)
        error = rng.normal(size=n) if self.errors == "normal" else rng.laplace(scale=np.sqrt(0.5), size=n)
        return X[:, None], X + np.sqrt(1 - self.explained) * error

    def predict(self, X: np.ndarray) -> np.ndarray:
        return X[:, 0]

    def measure(self, X: np.ndarray, y: np.ndarray) -> dict[str, Any]:
        return _regression(self, X, y, LEVEL)["metrics"]

    def values(self, X: np.ndarray, y: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Metrics of m samples in which row i stands counts[:, i] times: (m,) each."""
        n, error = counts.sum(axis=1), y - X[:, 0]
        squared, spread = counts @ error**2 / n, counts @ y**2 / n - (counts @ y / n) ** 2
        with np.errstate(divide="ignore", invalid="ignore"):
            r2 = 1 - squared / spread
        return {"r2": r2, "rmse": np.sqrt(squared), "mae": counts @ np.abs(error) / n}


def populations() -> Iterator[Any]:
    """All populations, those of classes first."""
    yield from (Classes(shares, separation) for shares in SHARES for separation in SEPARATIONS)
    yield from (Targets(explained, errors) for errors in ERRORS for explained in EXPLAINED)


def simulate(population: Any, n: int, sets: int, truth: dict[str, float], seed: int) -> dict[str, dict]:
    """By metric: coverage and median width of both methods, and the share of the data sets without an interval."""
    rng = np.random.default_rng(seed)
    ours: dict[str, list] = {name: [] for name in truth}
    theirs: dict[str, list] = {name: [] for name in truth}
    for k in range(sets):
        X, y = population.draw(rng, n)
        for name, estimate in population.measure(X, y).items():
            ours[name].append((estimate.low, estimate.high))
        if k % 5 == 0:  # it takes long, and its coverage is far from the level
            counts = rng.multinomial(n, np.full(n, 1 / n), size=RESAMPLES).astype(float)
            for name, values in population.values(X, y, counts).items():
                values = values[np.isfinite(values)]
                tails = [50 * (1 - LEVEL), 50 * (1 + LEVEL)]
                theirs[name].append(np.percentile(values, tails) if values.size else (np.nan, np.nan))
    return {name: {**_summary(ours[name], value), "bootstrap": _summary(theirs[name], value)}
            for name, value in truth.items()}  # fmt: skip


def _summary(intervals: list, truth: float) -> dict[str, float]:
    low, high = np.array(intervals, float).T
    known = np.isfinite(low)
    if not known.any():
        return {"none": 1.0}
    covered = (low[known] <= truth) & (truth <= high[known])
    width = float(np.median(high[known] - low[known]))
    return {"coverage": float(covered.mean()), "width": width, "none": float(1 - known.mean())}


def true_values(population: Any, n: int = MANY) -> dict[str, float]:
    """Of each metric, over very many rows."""
    found = population.values(*population.draw(np.random.default_rng(0), n), np.ones((1, n)))
    return {name: float(value[0]) for name, value in found.items()}


def run(*, rounds: int, threads: int, scale: float) -> dict:
    """Simulate, in as many processes as threads; rounds are of benchmarks that time something."""
    sets, everyone = max(20, round(SETS * scale)), list(populations())
    parallel = Parallel(n_jobs=threads)
    truths = parallel(delayed(true_values)(population) for population in everyone)
    jobs = [
        (population, n, truth, 1000 * k + n)
        for k, (population, truth) in enumerate(zip(everyone, truths, strict=True))
        for n in (ROWS if isinstance(population, Classes) else (5, *ROWS))
    ]
    found = parallel(delayed(simulate)(population, n, sets, truth, seed) for population, n, truth, seed in jobs)
    cases = [
        {"population": population.name, "rows": n, "truth": truth, "metrics": metrics}
        for (population, n, truth, _), metrics in zip(jobs, found, strict=True)
    ]
    return record("coverage", settings={"sets": sets, "level": LEVEL, "scale": scale}, cases=cases)


def _mean_smallest_width(cells: list[dict[str, float]]) -> list[str]:
    coverage = [cell["coverage"] for cell in cells]
    return [f"{np.mean(coverage):.3f}", f"{min(coverage):.3f}", f"{np.mean([cell['width'] for cell in cells]):.3g}"]


def table(result: dict) -> str:
    """The record as markdown: for each metric and number of rows the mean and the smallest coverage, and the widths."""
    settings = result["settings"]
    lines = [
        "## Coverage of the intervals of `evaluate`",
        "",
        f"Asked for: {settings['level']:g}. Each line sums up the populations (five vectors of class shares × four "
        f"separations; three R² × two kinds of errors), {settings['sets']} data sets of each: the mean coverage, the "
        "smallest and the population where it is found, the mean of the median widths of the intervals, and the share "
        "of data sets that have no interval. Populations in which fewer than a fifth of the data sets have one, "
        "because the others lack a class, are left out: those that have them all are not typical. Beside it the "
        "percentile bootstrap over rows, on a fifth of the data sets. The standard error of a coverage of 0.95 is "
        f"{np.sqrt(0.95 * 0.05 / settings['sets']):.3f}; that of accuracy and recall is known, and at least 0.93 for "
        "every proportion and number of rows.",
        "",
    ]
    if settings["scale"] < 1:
        lines += ["A trial with few data sets: these numbers mean nothing.", ""]
    columns = ["metric", "rows", "coverage", "smallest", "width", "none", "bootstrap", "smallest", "width", "where"]
    rows = []
    for name in (*CLASSIFICATION, *REGRESSION):
        for n in (5, *ROWS):
            cases = [one for one in result["cases"] if one["rows"] == n and name in one["metrics"]]
            cells = [(one["population"], one["metrics"][name]) for one in cases]
            known = [(where, cell) for where, cell in cells if cell["none"] <= 0.8]
            if not known:
                continue
            where = min(known, key=lambda one: one[1]["coverage"])[0]
            row = [name, str(n), *_mean_smallest_width([cell for _, cell in known])]
            row.insert(5, f"{np.mean([cell['none'] for _, cell in cells]):.2f}")
            theirs = [cell["bootstrap"] for _, cell in known if "coverage" in cell["bootstrap"]]
            rows.append([*row, *_mean_smallest_width(theirs), where])
    return "\n".join([*lines, markdown(columns, rows), ""])
