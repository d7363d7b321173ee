"""The demo compresses a model only as far as its score holds on rows of the folds."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits

import lifecycle as lc
from lifecycle.cli.compression import compress_while_score_holds
from lifecycle.cli.demo import _choose

pandas = pytest.importorskip("pandas")


def compressed(model, X, y, metric):
    X = pandas.DataFrame(X)
    folds = lc.cross_validate(model, X, y, cv=5, scoring=metric, return_estimator=True, return_indices=True)
    fitted = clone(model).fit(X, y)
    return fitted, folds, compress_while_score_holds(fitted, folds, X, y, metric, progress=False)


@pytest.mark.parametrize(
    ("load", "model", "metric"),
    [
        (load_digits, lc.LinearClassifier(optimizer="newton"), "accuracy"),
        (load_diabetes, lc.LinearRegressor(optimizer="exact"), "r2"),
    ],
)
def test_what_is_kept_holds_and_what_is_refused_does_not(load, model, metric):
    X, y = load(return_X_y=True)
    fitted, folds, result = compressed(model, X, y, metric)
    assert 0 < result.max_drop <= 0.005
    assert [t.kept for t in result.trials] == [t.drop <= result.max_drop for t in result.trials]
    assert [t.kept for t in result.trials[1:]] == sorted([t.kept for t in result.trials[1:]], reverse=True)
    assert result.name == [t.name for t in result.trials if t.kept][-1]
    again = [
        lc.quantize(e).score(pandas.DataFrame(X).iloc[rows], y[rows])
        for e, rows in zip(folds["estimator"], folds["indices"]["test"], strict=True)
    ]
    np.testing.assert_allclose(result.trials[0].score, np.mean(again), rtol=1e-12)
    np.testing.assert_allclose(result.trials[0].drop, folds["test_score"].mean() - np.mean(again), atol=1e-12)
    assert lc.size_of(result.model) < lc.size_of(fitted)


def test_a_model_that_compression_ruins_is_shipped_as_it_is():
    rng = np.random.RandomState(0)
    X = rng.normal(size=(400, 4)) * [1, 1e4, 1e4, 1e4]
    y = X @ [1, 1e-3, 1e-3, 1e-3]  # the small coefficients, on which most depends, are below the step of an int8 code
    fitted, _, result = compressed(lc.LinearRegressor(optimizer="exact"), X, y, "r2")
    assert [(t.name, t.kept) for t in result.trials] == [("int8", False), ("25 % pruned", False)]
    assert result.name == "uncompressed"
    assert result.model is fitted


def test_the_higher_score_is_shipped_and_equal_or_missing_scores_are_said():
    X, y = load_diabetes(return_X_y=True)
    low, high = (lc.cross_validate(lc.LinearRegressor(optimizer="exact", alpha=a), X, y, cv=5) for a in (10.0, 0.0))
    without = lc.cross_validate(lc.LinearRegressor(optimizer="exact"), X, y, cv=5)
    without["test_score"][2] = np.nan
    for network, linear, ships_network, said in [
        (high, low, True, "the network is shipped"),
        (low, high, False, "the linear model is shipped"),
        (high, high, False, "equal: the linear model is shipped"),
        (without, low, False, "the network has no finite score in some fold: the linear model is shipped"),
        (low, without, True, "the linear model has no finite score in some fold: the network is shipped"),
    ]:
        found, comparison, text = _choose(network, linear)
        assert found is ships_network
        assert text.endswith(said)
        assert len(comparison) == (network is not without and linear is not without)
    with pytest.raises(ValueError, match="needs the scores of all folds"):
        _choose(without, without)
