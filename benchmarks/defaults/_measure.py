"""One data set: the answers of all candidates, then alternating runs of ours and of the peers that answer as well."""

import warnings
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from scipy.stats import binom
from sklearn.model_selection import KFold, StratifiedKFold

from .._harness import alternate, quartiles
from ..validation._sides import Side
from ._answers import Objectives, of_fits, of_search, scores
from ._candidates import OURS, SCALED, Candidate, candidates, with_max_iter

FOLDS = 5
ALPHAS = np.logspace(-6, -2, 5)
LOSS, R2 = 0.01, 0.001  # how much worse an answer may be, for a ratio of the times
LIMITS = (1_000, 10_000)  # max_iter that are tried where no peer answers as well
LONGEST = 30.0  # seconds that all fits with a larger max_iter may be expected to take
LONGEST_GRID = 200.0  # seconds that a peer's grid may be expected to take, for it to be asked
BUDGET, FEWEST = 15.0, 3  # seconds of the timed runs of a case, and rounds if they take longer
FAR = 3.0  # a peer that took so many times the fastest one's seconds is not timed again


Answer = Callable[[Candidate], tuple[dict, float]]
MakeSide = Callable[[Candidate], Side]


def splitter(y: np.ndarray) -> Any:
    sort = KFold if y.dtype.kind == "f" else StratifiedKFold
    return sort(FOLDS, shuffle=True, random_state=0)


def reaches(answer: dict, ours: dict, is_regression: bool) -> bool:
    """Whether a peer's held-out loss (R²) is as good as ours, within 1 % (0.001)."""
    if is_regression:
        return bool(answer["score"] >= ours["score"] - R2)
    return bool(answer["loss"] <= ours["loss"] * (1 + LOSS))


def one_fit(X: Any, y: np.ndarray, is_scaled: bool, rounds: int, threads: int) -> dict:
    """Defaults on both sides, timed on the training rows of the first fold."""
    folds = list(splitter(y).split(X, y))
    train = folds[0][0]
    X_train, y_train = X[train], y[train]

    def answer(candidate: Candidate) -> tuple[dict, float]:
        return of_fits(candidate.make, X, y, folds)

    def side(candidate: Candidate) -> Side:
        return Side(candidate.make, X_train, y_train)

    return _compared(candidates(y.dtype.kind == "f", is_scaled, False), answer, side, rounds, FOLDS)


def grid(X: Any, y: np.ndarray, is_scaled: bool, rounds: int, threads: int, fits: dict) -> dict:
    """Five penalties on five folds, and the refit of the best; `fits`: the rows of `one_fit`."""
    cv, n = splitter(y), len(y) * (FOLDS - 1) // FOLDS

    def answer(candidate: Candidate) -> tuple[dict, float]:
        if candidate.searches:
            chosen = candidate.search(ALPHAS, len(y), threads)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                chosen.fit(X, y)
            (peer,) = (one for one in candidates(True, True, False) if one.name == "Ridge")
            alpha = chosen.alpha_ * (FOLDS - 1) / FOLDS
            return of_fits(lambda: peer.make().set_params(alpha=alpha), X, y, list(cv.split(X, y)))
        search = candidate.search(ALPHAS, n, threads, cv=cv, scoring=scores, refit=False)
        return of_search(search, X, y, is_ours=candidate.name == OURS)

    def side(candidate: Candidate) -> Side:
        if candidate.searches:
            return Side(lambda: candidate.search(ALPHAS, len(y), threads), X, y)
        return Side(lambda: candidate.search(ALPHAS, n, threads, cv=cv), X, y)

    everyone = candidates(y.dtype.kind == "f", is_scaled, True)
    seconds = {name: row.get("first", 0.0) * len(ALPHAS) * FOLDS / threads for name, row in fits.items()}
    slow = [one.name for one in everyone if one.name != OURS and seconds.get(one.name, 0.0) > LONGEST_GRID]
    found = _compared([one for one in everyone if one.name not in slow], answer, side, rounds, 1)
    found["rows"].update({name: {"failed": f"not asked: it would take {seconds[name]:.0f} s"} for name in slow})
    return found


def _compared(everyone: list[Candidate], answer: Answer, side: MakeSide, rounds: int, n_fits: int) -> dict:
    """The rows of a case, by candidate, and its verdict; an answer takes so many fits."""
    rows: dict[str, dict] = {}
    sides: dict[str, Side] = {}

    def ask(candidate: Candidate) -> None:
        sides[candidate.name] = side(candidate)
        try:
            found, seconds = answer(candidate)
            rows[candidate.name] = {**found, "first": seconds}
        except ValueError as error:  # SGDRegressor, whose numbers overflow on raw tables
            rows[candidate.name] = {"failed": str(error).partition("\n")[0]}
        if candidate.name != OURS and "failed" not in rows[candidate.name]:
            rows[candidate.name]["reaches"] = reaches(rows[candidate.name], rows[OURS], sides[OURS].y.dtype.kind == "f")

    for candidate in everyone:
        ask(candidate)
    for candidate in everyone:
        if candidate.name == "LogisticRegression":
            _raise_max_iter(candidate, rows, ask, n_fits)
    contenders = [*_contenders(rows, scaled=False), *_contenders(rows, scaled=True)]
    _time(rows, {name: sides[name] for name in (OURS, *contenders)}, rounds)
    _measure_gaps(rows, sides)
    return {"rows": rows, **_verdict(rows)}


def _reaching(rows: dict[str, dict], *, scaled: bool) -> dict[str, dict]:
    """The peers that answer as well as ours, on the features as they are or scaled first."""
    return {name: row for name, row in rows.items() if row.get("reaches") and name.endswith(SCALED) == scaled}


def _raise_max_iter(candidate: Candidate, rows: dict[str, dict], ask: Callable[[Candidate], None], n_fits: int) -> None:
    """While no peer answers as well, and this one used up its max_iter: ask it with more."""
    last = rows[candidate.name]
    for before, limit in pairwise((100, *LIMITS)):
        expected = n_fits * limit / before * last.get("first", np.inf)
        if _reaching(rows, scaled=False) or not last.get("warnings") or expected > LONGEST:
            return
        raised = with_max_iter(candidate, limit)
        ask(raised)
        last = rows[raised.name]


def _contenders(rows: dict[str, dict], *, scaled: bool) -> list[str]:
    """Of the peers that answer as well, those that may be the fastest."""
    good = _reaching(rows, scaled=scaled)
    fastest = min((row["first"] for row in good.values()), default=0.0)
    return [name for name, row in good.items() if row["first"] <= FAR * fastest]


def _time(rows: dict[str, dict], sides: dict[str, Side], rounds: int) -> None:
    """Add times to the rows, and how many times ours each takes, pair by pair."""
    took = sum(rows[name]["first"] for name in sides)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if took < BUDGET:  # the answers may have compiled something; a round that is not counted tells
            took = sum(sum(values) for values in alternate(sides, 1, warm_up=0).values())
        rounds = min(rounds, max(FEWEST, int(BUDGET / took)))
        seconds = alternate(sides, rounds, warm_up=0)
    for name, values in seconds.items():
        low, middle, high = quartiles(values)
        rows[name] |= {"median": middle, "q1": low, "q3": high, "runs": rounds}
        if name != OURS:
            ratios = np.divide(values, seconds[OURS])
            rows[name] |= {"ratio": float(np.median(ratios)), "interval": list(interval_of_median(ratios))}


def interval_of_median(values: Any, level: float = 0.95) -> tuple[float, float]:
    """From the order statistics (a binomial number lies below the median); of fewer than six values all of them."""
    ordered = np.sort(values)
    k = max(1, int(binom.ppf((1 - level) / 2, len(ordered), 0.5)))
    return float(ordered[k - 1]), float(ordered[-k])


def _measure_gaps(rows: dict[str, dict], sides: dict[str, Side]) -> None:
    """Add the objective's gap of the models that were timed last, on the features as they are."""
    models = {name: getattr(side.fitted, "best_estimator_", side.fitted) for name, side in sides.items()}
    models = {name: model for name, model in models.items() if model is not None and not name.endswith(SCALED)}
    solver = getattr(models[OURS], "solver_", None)
    rows[OURS] |= {} if solver is None else {"solver": str(solver)}
    for name, gap in Objectives(sides[OURS].X, sides[OURS].y).gaps(models).items():
        rows[name]["gap"] = gap


def _verdict(rows: dict[str, dict]) -> dict[str, Any]:
    """The fastest peers that answer as well, and whether our score is as good as the best one's."""
    ours = rows[OURS]
    timed = {name: row["ratio"] for name, row in rows.items() if "ratio" in row}
    same = {name: ratio for name, ratio in timed.items() if not name.endswith(SCALED)}
    scaled = {name: ratio for name, ratio in timed.items() if name.endswith(SCALED)}
    peers = {name: row for name, row in rows.items() if "failed" not in row and name != OURS}
    on_same = {name: row["score"] for name, row in peers.items() if not name.endswith(SCALED)}
    found: dict[str, Any] = {"peer": min(same, key=same.__getitem__, default=None)}
    found["scaled_peer"] = min(scaled, key=scaled.__getitem__, default=None)
    if on_same:
        best = max(on_same, key=on_same.__getitem__)
        found |= {"best": best, "score_is_good": bool(ours["score"] >= on_same[best] - rows[best]["error"] / 2)}
    return found
