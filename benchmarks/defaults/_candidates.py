"""Who is compared: our estimators as they are, and scikit-learn's, each with the penalties of the same grid."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV, SGDClassifier, SGDRegressor
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

import lifecycle as lc

OURS = "lifecycle"
SCALED = ", scaled first"


@dataclass(frozen=True)
class Candidate:
    """An estimator with default arguments, and the grid that penalizes the mean loss of n rows by each alpha."""

    name: str
    make: Callable[[], Any]
    grid: Callable[[np.ndarray, int], dict] = lambda alphas, n: {"alpha": alphas}
    searches: bool = False  # the estimator is a search itself, of the n given to `grid`

    def search(self, alphas: np.ndarray, n: int, threads: int, **options: Any) -> Any:
        """A grid search, whose training sets have n rows."""
        if self.searches:
            (values,) = self.grid(alphas, n).values()
            return self.make().set_params(alphas=values)
        if self.name == OURS:
            return lc.GridSearchCV(self.make(), {"alpha": alphas}, progress=False, **options)
        return GridSearchCV(self.make(), self.grid(alphas, n), n_jobs=threads, **options)


CLASSIFIERS = (
    Candidate(OURS, partial(lc.LinearClassifier, progress=False)),
    Candidate("LogisticRegression", LogisticRegression, lambda alphas, n: {"C": 1 / (n * alphas)}),
    Candidate("SGDClassifier", partial(SGDClassifier, "log_loss", random_state=0)),
)
REGRESSORS = (
    Candidate(OURS, partial(lc.LinearRegressor, progress=False)),
    Candidate("Ridge", Ridge, lambda alphas, n: {"alpha": n * alphas}),
    Candidate("SGDRegressor", partial(SGDRegressor, random_state=0)),
)
RIDGE_CV = Candidate("RidgeCV", RidgeCV, lambda alphas, n: {"alpha": n * alphas}, searches=True)


def after_scaling(candidate: Candidate) -> Candidate:
    """The estimator behind a StandardScaler, as people do."""
    return replace(
        candidate,
        name=candidate.name + SCALED,
        make=lambda: Pipeline([("scale", StandardScaler()), ("model", candidate.make())]),
        grid=lambda alphas, n: {f"model__{name}": values for name, values in candidate.grid(alphas, n).items()},
    )


def with_max_iter(candidate: Candidate, max_iter: int) -> Candidate:
    """The estimator with a larger max_iter than its default."""
    name = f"{candidate.name}(max_iter={max_iter:,})"
    return replace(candidate, name=name, make=lambda: candidate.make().set_params(max_iter=max_iter))


def candidates(is_regression: bool, is_scaled: bool, is_grid: bool) -> list[Candidate]:
    """All that are compared on a data set, ours first."""
    same = [*(REGRESSORS if is_regression else CLASSIFIERS), *([RIDGE_CV] if is_regression and is_grid else [])]
    behind = [after_scaling(one) for one in same[1:] if not one.searches]
    return same if is_scaled else same + behind
