"""The one-standard-error rule by hand, in both searches, and every named failure."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler, scale

import lifecycle as lc

from .several import SeveralRidges
from .test_search import both

IRIS = load_iris(return_X_y=True)


CANCER = scale(load_breast_cancer().data), load_breast_cancer().target


DIABETES = load_diabetes(return_X_y=True)


ALPHAS = [0.0, 0.1, 1.0]


def results(scores, **params):
    """A cv_results_ of these fold scores, (candidates, folds)."""
    scores = np.asarray(scores, float)
    found = {f"split{k}_test_score": scores[:, k] for k in range(scores.shape[1])}
    found |= {"mean_test_score": scores.mean(axis=1), "rank_test_score": np.argsort(-scores.mean(axis=1)) + 1}
    return found | {f"param_{name}": np.ma.array(values, dtype=object) for name, values in params.items()}


def test_one_standard_error_by_hand():
    # means 0.8, 0.78, 0.7; the best one's standard error is 0.1 / sqrt(3) of ddof 1, so the second is within
    scores = [[0.7, 0.8, 0.9], [0.78, 0.78, 0.78], [0.7, 0.7, 0.7]]
    found = results(scores, alpha=[0.1, 1.0, 10.0])
    assert lc.OneStandardError("alpha")(found) == 1
    assert lc.OneStandardError("alpha", simpler="smaller")(found) == 0
    # of equally simple ones the better; ddof 0 would leave this one out
    near = 0.8 - 0.0573
    found = results([*scores[:2], [near] * 3], alpha=[0.1, 1.0, 10.0])
    assert lc.OneStandardError("alpha")(found) == 2
    found = results([scores[0], [0.77] * 3, scores[1]], alpha=[1.0, 2.0, 2.0], other=[1, 2, 3])
    assert lc.OneStandardError("alpha")(found) == 2
    found = results([*scores, [np.nan] * 3], alpha=[0.1, 1.0, 10.0, 99.0])
    assert lc.OneStandardError("alpha")(found) == 1


def test_one_standard_error_in_both_searches():
    pipeline = Pipeline([("scale", StandardScaler()), ("clf", SeveralRidges())])
    grid = {"clf__alpha": np.geomspace(1, 1000, 7)}
    best = lc.GridSearchCV(pipeline, grid).fit(*DIABETES).best_params_["clf__alpha"]
    for rule in (lc.OneStandardError("clf__alpha"), lc.OneStandardError("alpha")):
        ours, theirs = both(pipeline, grid, *DIABETES, exact=False, refit=rule)
        assert best < ours.best_params_["clf__alpha"] < 1000
        assert ours.best_estimator_[-1].alpha == theirs.best_params_["clf__alpha"]
    rule = lc.OneStandardError("alpha", metric="neg_max_error")
    several = lc.GridSearchCV(pipeline, grid, scoring=["r2", "neg_max_error"], refit=rule).fit(*DIABETES)
    assert several.best_index_ == rule(several.cv_results_)
    assert repr(rule) == "OneStandardError('alpha', simpler='larger', metric='neg_max_error')"


@pytest.mark.parametrize(
    ("rule", "found", "error", "sentence"),
    [
        (("beta",), results([[1, 2]], alpha=[1]), ValueError, "'beta' is no parameter of the search: .* 'alpha'"),
        (("a",), results([[1, 2]], p__a=[1], q__a=[1]), ValueError, "'a' is ambiguous: .* 'p__a', 'q__a'"),
        (
            ("a",),
            results([[1, 2]], a=["rbf"]),
            TypeError,
            "a must be a number to say which model is simpler; got 'rbf'",
        ),
        (("a",), results([[1, 2]], a=[None]), TypeError, "a must be a number .* got None"),
        (("a",), results([[1]], a=[1]), ValueError, "needs at least 2 folds"),
        (("a",), results([[np.nan, 1]], a=[1]), ValueError, "no candidate has a mean test score"),
        (("a", "f1"), results([[1, 2]], a=[1]), ValueError, "there is no metric 'f1': metric must be one of 'score'"),
    ],
)
def test_one_standard_error_says_what_is_wrong(rule, found, error, sentence):
    param, *metric = rule
    with pytest.raises(error, match=sentence):
        lc.OneStandardError(param, metric=metric[0] if metric else None)(found)
    with pytest.raises(ValueError, match="simpler must be one of 'larger', 'smaller'"):
        lc.OneStandardError("a", simpler="bigger")
    with pytest.raises(TypeError, match="param must be the name"):
        lc.OneStandardError(3)
