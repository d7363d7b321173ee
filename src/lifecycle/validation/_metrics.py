"""Metrics of a validation: which is meant, what it is scored by and of which targets, which are 1 at best."""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
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
    estimator, scoring = _own_scoring(estimator, scoring)
    if scoring is None:
        scoring = _scoring_of_score(estimator)
    given = [scoring] if isinstance(scoring, str) else scoring if isinstance(scoring, list | tuple | set) else []
    bounded = {name for name in given if isinstance(name, str) and name.startswith(_AT_MOST_ONE)}
    return set(names) if isinstance(scoring, str) and bounded else bounded


def scorer_names(estimator: Any, scoring: Any, names: Iterable[str]) -> dict[str, str]:
    """For each metric what it is scored by, the same text for the same scorer."""
    estimator, scoring = _own_scoring(estimator, scoring)
    if scoring is None:
        scoring = _scoring_of_score(estimator) or getattr(type(estimator), "score", type(estimator))
    if isinstance(scoring, Mapping):
        return {name: _scorer_name(scoring.get(name, name)) for name in names}
    of_name = isinstance(scoring, list | tuple | set)
    return {name: _scorer_name(name if of_name else scoring) for name in names}


def _scorer_name(scorer: Any) -> str:
    from sklearn.metrics import get_scorer, get_scorer_names

    if isinstance(scorer, str):
        return repr(get_scorer(scorer)) if scorer in get_scorer_names() else scorer
    if type(scorer).__module__ == "sklearn.metrics._scorer":
        return repr(scorer)
    named = scorer if hasattr(scorer, "__qualname__") else type(scorer)
    name, code = f"{named.__module__}.{named.__qualname__}", getattr(scorer, "__code__", None)
    if code is None:
        return name
    # functions of one name, such as lambdas, differ by what they do
    return f"{name} {_digest(code.co_code, repr((code.co_names, code.co_varnames, _plain(code.co_consts))).encode())}"


def shown_scorer(text: str) -> str:
    """What `scorer_names` gives, by the name that a user types for it, if there is one."""
    from sklearn.metrics import get_scorer, get_scorer_names

    return next((repr(name) for name in get_scorer_names() if repr(get_scorer(name)) == text), text)


def _plain(constants: tuple) -> tuple:
    return tuple(one for one in constants if isinstance(one, str | int | float | None))


def _own_scoring(estimator: Any, scoring: Any) -> tuple[Any, Any]:
    """What a Pipeline or a search is scored by: its last step, or its own metric."""
    from sklearn.model_selection import GridSearchCV, RandomizedSearchCV
    from sklearn.pipeline import Pipeline

    while isinstance(estimator, Pipeline | GridSearchCV | RandomizedSearchCV):
        if isinstance(estimator, Pipeline):
            estimator = estimator.steps[-1][1]
        else:
            scoring = estimator.scoring if scoring is None else scoring
            estimator = estimator.estimator
    return estimator, scoring


def _scoring_of_score(estimator: Any) -> Any:
    """What gives the score that `score` of an estimator gives, where that is known: scikit-learn's own, or its."""
    from sklearn.base import ClassifierMixin, RegressorMixin, is_classifier, is_regressor

    score: Any = getattr(type(estimator), "score", None)
    if score is ClassifierMixin.score:
        return "accuracy"
    if score is RegressorMixin.score:
        return "r2"
    if not getattr(score, "__module__", "").startswith("sklearn."):
        return None
    own = getattr(estimator, "scoring", None)  # as of LogisticRegressionCV
    return own or ("accuracy" if is_classifier(estimator) else "r2" if is_regressor(estimator) else None)


def digest_of_targets(y: Any) -> str:
    """Equal for the same targets in any container, and for labels that are encoded in their order."""
    if y is None:
        return ""
    values = np.asarray(y.toarray() if hasattr(y, "toarray") else y)
    if values.ndim == 2 and values.shape[1] == 1:
        values = values[:, 0]
    if values.dtype.kind not in "biuf":
        labels = [str(value) for value in values.ravel().tolist()]
        values = np.unique(labels, return_inverse=True)[1].reshape(values.shape)
    # + 0.0: the two zeros are the same target
    return _digest(repr(values.shape).encode(), np.ascontiguousarray(values.astype(float) + 0.0).tobytes())


def _digest(*parts: bytes) -> str:
    hashed = blake2b(digest_size=8)
    for part in parts:
        hashed.update(part)
    return hashed.hexdigest()
