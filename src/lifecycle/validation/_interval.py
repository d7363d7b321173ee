"""The interval of a mean over folds whose training sets overlap; the one place of the formula."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from lifecycle._check import number


class Interval(NamedTuple):
    """Ends of a confidence interval."""

    low: float
    high: float


def count(rows: np.ndarray) -> int:
    """Number of rows that an index array or a mask chooses."""
    return int(rows.sum()) if rows.dtype == bool else len(rows)


def overlap(folds: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """Mean number of test rows over mean number of training rows."""
    trains = float(np.mean([count(train) for train, _ in folds]))
    return float(np.mean([count(test) for _, test in folds])) / trains if trains else np.inf


def standard_error(values: np.ndarray, tests_per_train: float) -> float:
    """Of the mean over J folds, sqrt((1/J + n_test/n_train) s²) (Nadeau & Bengio, 2003; Bouckaert & Frank, 2004)."""
    return float(np.sqrt((1 / len(values) + tests_per_train) * values.var(ddof=1)))


def corrected_interval(values: np.ndarray, tests_per_train: float, confidence_level: float,
                       most: float = np.inf) -> Interval:  # fmt: skip
    """Student's t interval of the mean over folds, its upper end at `most` at most.

    Raises
    ------
    ValueError
        If there are fewer than two folds, one has no score, or all have the same.
    """
    level = number("confidence_level", confidence_level, above=0, below=1)
    values = np.asarray(values, dtype=float)
    if len(values) < 2:
        raise ValueError("an interval needs the scores of at least 2 folds; there is 1")
    if not np.isfinite(values).all():
        raise ValueError(f"an interval needs the scores of all folds; they are {values.tolist()}")
    if values.max() == values.min():
        raise ValueError(
            f"an interval needs folds whose scores differ; all are {values[0]:.4g}, which says nothing of its error"
        )
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.5 + level / 2)) * standard_error(values, tests_per_train)
    mean = float(values.mean())
    return Interval(mean - half, min(mean + half, most))


_BEST_IS_ONE = ("accuracy", "average_precision", "balanced_accuracy", "d2_", "explained_variance", "f1", "jaccard",
                "precision", "r2", "recall", "roc_auc", "top_k_accuracy")  # fmt: skip


def at_most_one(estimator: Any, scoring: Any, names: Iterable[str]) -> set[str]:
    """Those of the metrics that are known to be 1 at best."""
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline

    while isinstance(estimator, Pipeline | GridSearchCV | RandomizedSearchCV):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:  # its score is by its own metric
            scoring = estimator.scoring if scoring is None else scoring
            estimator = estimator.estimator
    if scoring is None and getattr(type(estimator), "score", None) in (ClassifierMixin.score, RegressorMixin.score):
        return set(names)  # accuracy or R²
    known = [scoring] if isinstance(scoring, str) else scoring if isinstance(scoring, list | tuple | set) else []
    found = {name for name in known if isinstance(name, str) and name.startswith(_BEST_IS_ONE)}
    return set(names) if isinstance(scoring, str) and found else found
