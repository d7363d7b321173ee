"""Compression of a model as far as its score holds on rows that it was not trained on."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import lifecycle as lc
from lifecycle._progress import progress_bar
from lifecycle.validation import CVResult
from lifecycle.validation._corrected_t_interval import corrected_standard_error, fold_size_ratio

_AMOUNTS = (0.25, 0.5, 0.75)  # of the weights that are pruned
_MAX_DROP = 0.005  # of the mean score


class Trial(NamedTuple):
    """A way to compress, the mean score of the folds with it, how far that fell, and whether it is kept."""

    name: str
    score: float
    drop: float
    kept: bool


class Compressed(NamedTuple):
    """A compressed model, what was tried, and the largest drop that was accepted."""

    model: Any
    name: str
    trials: list[Trial]
    max_drop: float


def compress_while_score_holds(
    model: Any, folds: CVResult, X: Any, y: np.ndarray, metric: str, progress: bool | None
) -> Compressed:
    """Quantize a fitted model, then prune it further and further, while the score holds.

    Each way to compress is applied to the models of the folds, and scored on the rows that each was not trained on. It
    is kept if the mean score falls by no more than the standard error of that mean (Breiman et al., 1984), and by no
    more than 0.005. Pruning stops at the first amount that is refused.

    Parameters
    ----------
    model : object
        Fitted on all rows of X.
    folds : CVResult
        Of the same estimator on X and y, with its estimators and indices.
    X, y : DataFrame of shape (n_samples, n_features), ndarray of shape (n_samples,)
    metric : str
        Name of a scorer of scikit-learn.
    """
    estimators, test = folds["estimator"], folds["indices"]["test"]
    before = _scores(estimators, X, y, test, metric)
    error = corrected_standard_error(before, fold_size_ratio(list(zip(folds["indices"]["train"], test, strict=True))))
    max_drop = min(error, _MAX_DROP)
    trials: list[Trial] = []

    def holds(name: str, bits: int | None, amount: float) -> bool:
        after = _scores([_compressed(e, bits, amount) for e in estimators], X, y, test, metric)
        drop = float(before.mean() - after.mean())
        trials.append(Trial(name, float(after.mean()), drop, drop <= max_drop))
        return trials[-1].kept

    with progress_bar(1 + len(_AMOUNTS), "compressions", progress) as bar:
        bits, kept, name = (8, 0.0, "int8") if holds("int8", 8, 0.0) else (None, 0.0, "uncompressed")
        bar.update()
        for amount in _AMOUNTS:
            candidate = "int8, " * (bits is not None) + f"{100 * amount:.0f} % pruned"
            if not holds(candidate, bits, amount):
                break
            kept, name = amount, candidate
            bar.update()
    return Compressed(_compressed(model, bits, kept), name, trials, max_drop)


def _compressed(model: Any, bits: int | None, amount: float) -> Any:
    if amount:
        model = lc.prune(model, amount)
    return model if bits is None else lc.quantize(model, bits=bits)


def _scores(models: Sequence[Any], X: Any, y: np.ndarray, test: Sequence[np.ndarray], metric: str) -> np.ndarray:
    """The score of each fold's model on its test rows."""
    from sklearn.metrics import get_scorer

    scorer = get_scorer(metric)
    return np.array([scorer(m, X.iloc[rows], y[rows]) for m, rows in zip(models, test, strict=True)])
