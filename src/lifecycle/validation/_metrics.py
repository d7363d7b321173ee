"""Metrics of a validation by name: which is meant, which scores the folds have, which are 1 at best."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

_AT_MOST_ONE = tuple(  # beginnings of scikit-learn's names
    "accuracy average_precision balanced_accuracy d2_ explained_variance f1 jaccard precision r2 recall roc_auc "
    "top_k_accuracy".split()
)


def select_metric(known: Sequence[str], metric: str | None) -> str:
    """`metric`, which must be named where there are several."""
    if metric is None and len(known) == 1:
        return known[0]
    if metric is None or metric not in known:
        fault = "which metric" if metric is None else f"there is no metric {metric!r}"
        raise ValueError(f"{fault}: metric must be one of {', '.join(map(repr, known))}")
    return metric


def search_metric(cv_results: Mapping[str, Any], metric: str | None) -> str:
    """`select_metric` among the metrics of a search."""
    return select_metric([key.removeprefix("rank_test_") for key in cv_results if key.startswith("rank_test_")], metric)


def fold_scores(cv_results: Mapping[str, Any], metric: str) -> np.ndarray:
    """Test scores of a search, (candidates, folds)."""
    suffix = f"_test_{metric}"
    n_folds = sum(
        key.startswith("split") and key.endswith(suffix) and key[5:].removesuffix(suffix).isdigit()
        for key in cv_results
    )
    return np.column_stack([cv_results[f"split{k}{suffix}"] for k in range(n_folds)]).astype(float)


def at_most_one(estimator: Any, scoring: Any, names: Iterable[str]) -> set[str]:
    """Those of the metrics that are known to be 1 at best."""
    from sklearn.base import ClassifierMixin, RegressorMixin
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline

    while isinstance(estimator, Pipeline | GridSearchCV | RandomizedSearchCV):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:  # the score of a search is by its own metric
            scoring = estimator.scoring if scoring is None else scoring
            estimator = estimator.estimator
    if scoring is None and getattr(type(estimator), "score", None) in (ClassifierMixin.score, RegressorMixin.score):
        return set(names)  # accuracy or R²
    given = [scoring] if isinstance(scoring, str) else scoring if isinstance(scoring, list | tuple | set) else []
    bounded = {name for name in given if isinstance(name, str) and name.startswith(_AT_MOST_ONE)}
    return set(names) if isinstance(scoring, str) and bounded else bounded
