"""The decisions of the demo: which model it ships, and whether that can be compressed."""

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_digits

import lifecycle as lc
from lifecycle.cli.demo import _choose, _compress


def test_a_model_is_compressed_with_a_certificate():
    X, y = load_digits(return_X_y=True)
    model, answer = lc.LinearClassifier().fit(X[:1200], y[:1200]), []
    shipped, (result,) = _compress(model, X[1200:], y[1200:], False, answer)
    assert shipped is result.model
    assert result.certificate.holds
    assert result.certificate.max_drop == 0.03
    assert lc.size_of(shipped) < lc.size_of(model) / 4
    assert answer[0] == f"597 rows to search and certify on: {result.summary()}"
    assert answer[1].startswith(f"certified, with 95 % confidence: {result.certificate.metric} rises by less than 0.0")


def test_too_few_rows_to_certify_on_are_said_and_the_model_is_shipped_as_it_is():
    X, y = load_diabetes(return_X_y=True)
    model, answer = lc.LinearRegressor().fit(X, y), []
    assert _compress(model, X[:60], y[:60], False, answer) == (model, [])
    (said,) = answer
    assert said.startswith("shipped as it is: max_drop=0.03 with 95 % confidence needs at least ")


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
