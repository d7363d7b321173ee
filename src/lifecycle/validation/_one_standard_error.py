"""The one-standard-error rule, as a `refit` of a search."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from lifecycle._check import one_of
from lifecycle.validation._metrics import fold_scores, search_metric


class OneStandardError:
    """Choose the simplest candidate whose mean score is within one standard error of the best.

    For `refit=` of `GridSearchCV` and `RandomizedSearchCV`, scikit-learn's too: among models that the folds cannot tell
    from the best one, the simplest is preferred (Hastie, Tibshirani & Friedman, 2009, section 7.10). The standard error
    is that of the best candidate's mean over its folds, s/√K.

    Parameters
    ----------
    param : str
        The parameter that says how simple a model is: "clf__alpha", or "alpha" where only one ends so.
    simpler : {"larger", "smaller"}, default="larger"
        Whether a larger or a smaller value makes a simpler model.
    metric : str, default=None
        Needed where the search has several.

    Raises
    ------
    ValueError
        When called, if the search has no such parameter or metric, or fewer than two folds.
    TypeError
        When called, if a value of the parameter is no number.
    """

    def __init__(self, param: str, *, simpler: str = "larger", metric: str | None = None):
        if not isinstance(param, str):
            raise TypeError(f"param must be the name of a parameter; got {param!r}")
        self.param, self.simpler, self.metric = param, one_of("simpler", simpler, ["larger", "smaller"]), metric

    def __repr__(self) -> str:
        return f"OneStandardError({self.param!r}, simpler={self.simpler!r}, metric={self.metric!r})"

    def __call__(self, cv_results: Mapping[str, Any]) -> int:
        """Index of the chosen candidate."""
        metric = search_metric(cv_results, self.metric)
        scores = fold_scores(cv_results, metric)
        if scores.shape[1] < 2:
            raise ValueError("a standard error needs at least 2 folds; the search has 1")
        simplicity = self._values(cv_results) * (1 if self.simpler == "larger" else -1)
        means = scores.mean(axis=1)
        if np.isnan(means).all():
            raise ValueError(f"no candidate has a mean test score of {metric!r}")
        best = int(np.nanargmax(means))
        threshold = means[best] - scores[best].std(ddof=1) / np.sqrt(scores.shape[1])
        simplicity[~(means >= threshold)] = np.nan
        if np.isnan(simplicity).all():
            raise ValueError(
                f"none of the candidates within one standard error of the best has a value of {self.param}"
            )
        simplest = np.flatnonzero(simplicity == np.nanmax(simplicity))
        return int(simplest[np.argmax(means[simplest])])

    def _values(self, cv_results: Mapping[str, Any]) -> np.ndarray:
        """The parameter's value for each candidate, NaN where it is not set."""
        known = [key.removeprefix("param_") for key in cv_results if key.startswith("param_")]
        matching = [name for name in known if name == self.param] or [
            name for name in known if name.endswith(f"__{self.param}")
        ]
        if len(matching) != 1:
            fault = "is ambiguous" if matching else "is no parameter of the search"
            options = ", ".join(map(repr, matching or known))
            raise ValueError(f"{self.param!r} {fault}: param must be one of {options}")
        name = matching[0]
        column = np.ma.asarray(cv_results[f"param_{name}"])
        values = np.full(len(column), np.nan)
        for k, (value, unset) in enumerate(zip(column.data, np.ma.getmaskarray(column), strict=True)):
            if not unset:
                try:
                    values[k] = float(value)
                except (TypeError, ValueError):
                    raise TypeError(f"{name} must be a number to say which model is simpler; got {value!r}") from None
        return values
