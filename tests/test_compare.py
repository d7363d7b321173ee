"""compare against its formulas, Holm's correction by hand, and every named failure."""

import pickle

import numpy as np
import pytest
from scipy import stats
from sklearn.datasets import load_diabetes, load_iris
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.metrics import get_scorer
from sklearn.tree import DecisionTreeRegressor

import lifecycle as lc
from lifecycle.validation._holm import holm_correction

DIABETES = load_diabetes(return_X_y=True)


REPEATED = lc.RepeatedKFold(n_splits=5, n_repeats=2, random_state=0)


def results(**options):
    models = {"ridge": Ridge(0.1), "ols": LinearRegression(), "tree": DecisionTreeRegressor(random_state=0)}
    return {name: lc.cross_validate(model, *DIABETES, cv=REPEATED, **options) for name, model in models.items()}


def test_numbers_are_those_of_the_corrected_paired_test():
    found = results()
    table = lc.compare(found, confidence_level=0.9)
    assert [(p.model, p.against) for p in table] == [("ridge", "ols"), ("ridge", "tree"), ("ols", "tree")]
    p_values = []
    for pair in table:
        d = found[pair.model]["test_score"] - found[pair.against]["test_score"]
        n_test = 442 / 5
        error = np.sqrt((1 / 10 + n_test / (442 - n_test)) * np.var(d, ddof=1))
        assert pair.difference == pytest.approx(d.mean(), rel=1e-12)
        np.testing.assert_allclose(pair.interval, stats.t.interval(0.9, 9, d.mean(), error), rtol=1e-9)
        p_values.append(2 * stats.t.sf(abs(d.mean()) / error, 9))
    np.testing.assert_allclose([p.p_value for p in table], holm_correction(p_values), rtol=1e-9)
    # a paired test that takes folds for independent would be far surer
    plain = stats.ttest_rel(found["ridge"]["test_score"], found["tree"]["test_score"]).pvalue
    assert table[1].p_value > 10 * plain
    assert "Nadeau & Bengio, 2003" in table.method


def test_holm_by_hand():
    assert holm_correction([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm_correction([0.6, 0.5]) == [1.0, 1.0]
    np.testing.assert_allclose(holm_correction([0.01, np.nan]), [0.02, np.nan])


def test_against_a_baseline():
    table = lc.compare(results(), baseline="ols")
    assert [(p.model, p.against) for p in table] == [("ridge", "ols"), ("tree", "ols")]
    assert table[1].difference < 0
    assert table[1].interval.high < 0
    assert table[1].p_value < 0.01


def test_several_metrics():
    found = results(scoring=["r2", "neg_mean_absolute_error"])
    table = lc.compare(found, metric="neg_mean_absolute_error")
    expected = (found["ridge"]["test_neg_mean_absolute_error"] - found["ols"]["test_neg_mean_absolute_error"]).mean()
    assert table[0].difference == pytest.approx(expected)
    with pytest.raises(ValueError, match="which metric: metric must be one of 'r2', 'neg_mean_absolute_error'"):
        lc.compare(found)


def test_what_has_no_spread_has_no_interval():
    folds = lc.KFold(5)
    one, two = (lc.cross_validate(Ridge(), *DIABETES, cv=folds) for _ in range(2))
    shifted = lc.cross_validate(Ridge(), *DIABETES, cv=folds)
    shifted["test_score"] = shifted["test_score"] + 0.25
    same, moved, _ = lc.compare({"a": one, "b": two, "c": shifted})
    assert (same.difference, same.p_value) == (0.0, 1.0)
    assert moved.difference == pytest.approx(-0.25)
    assert np.isnan([*same.interval, *moved.interval, moved.p_value]).all()
    assert "none" in repr(lc.compare({"a": one, "c": shifted}))


def test_what_cannot_be_compared():
    a = lc.cross_validate(Ridge(), *DIABETES)
    other = lc.cross_validate(Ridge(), *DIABETES, cv=lc.KFold(5, shuffle=True, random_state=0))
    with pytest.raises(ValueError, match="'a' and 'b' were not scored on the same folds, so they cannot be paired"):
        lc.compare({"a": a, "b": other})
    with pytest.raises(ValueError, match="not scored on the same folds"):
        lc.compare({"a": a, "b": lc.cross_validate(Ridge(), DIABETES[0][:-1], DIABETES[1][:-1])})
    with pytest.raises(ValueError, match="at least 2 results; got 1"):
        lc.compare({"a": a})
    with pytest.raises(ValueError, match="baseline must be one of 'a', 'b'; got 'c'"):
        lc.compare({"a": a, "b": a}, baseline="c")
    with pytest.raises(TypeError, match="results of lifecycle"):
        lc.compare({"a": a, "b": dict(a)})
    with pytest.raises(ValueError, match="confidence_level must be"):
        lc.compare({"a": a, "b": a}, confidence_level=95)
    single = lc.cross_validate(Ridge(), *DIABETES, cv=lc.ShuffleSplit(1, random_state=0))
    with pytest.raises(ValueError, match="at least 2 folds"):
        lc.compare({"a": single, "b": single})
    spoilt = lc.cross_validate(DummyRegressor(), *DIABETES)
    spoilt["test_score"] = spoilt["test_score"] * np.nan
    with pytest.raises(ValueError, match="scores of all folds; those of 'b' are"):
        lc.compare({"a": a, "b": spoilt})


def test_results_of_different_metrics_are_not_paired():
    X, y = load_iris(return_X_y=True)
    folds = lc.StratifiedKFold(5)

    def result(scoring, model=None):
        return lc.cross_validate(model or lc.LinearClassifier(optimizer="newton"), X, y, cv=folds, scoring=scoring)

    plain, accuracy, loss = result(None), result("accuracy"), result("neg_log_loss")
    sentence = "'a' is scored by 'accuracy' and 'b' by 'neg_log_loss': give both the same scoring"
    for b in (loss, pickle.loads(pickle.dumps(loss)), result(["neg_log_loss"])):
        with pytest.raises(ValueError, match=sentence):
            lc.compare({"a": plain, "b": b})
    with pytest.raises(ValueError, match="the same scoring"):
        lc.compare({"a": result({"s": "accuracy"}), "b": result({"s": "f1_macro"})}, metric="s")
    with pytest.raises(ValueError, match="the same scoring"):
        lc.compare({"a": result(lambda e, X, y: e.score(X, y)), "b": result(lambda e, X, y: -e.score(X, y))})
    searched = result(
        None, lc.GridSearchCV(lc.LinearClassifier(optimizer="newton"), {"alpha": [1e-3]}, scoring="f1_macro")
    )
    with pytest.raises(ValueError, match="the same scoring"):
        lc.compare({"a": plain, "b": searched})
    assert lc.compare({"a": plain, "b": result(None, DummyClassifier())})[0].difference > 0.5
    # accuracy by any of its names
    scorer = get_scorer("accuracy")
    for same in (accuracy, result(scorer), result(["accuracy"]), result({"of mine": scorer})):
        assert lc.compare({"a": plain, "b": same})[0].difference == 0.0


def test_results_of_different_rows_are_not_paired():
    X, y = DIABETES
    a = lc.cross_validate(Ridge(), X, y, cv=lc.KFold(5))
    for other in (y[::-1], y + 1, np.c_[y, y]):
        b = lc.cross_validate(Ridge(), X, other, cv=lc.KFold(5))
        with pytest.raises(ValueError, match="'a' and 'b' were scored against different y"):
            lc.compare({"a": a, "b": b})
    same = lc.cross_validate(Ridge(), X.tolist(), y.tolist(), cv=lc.KFold(5))
    assert lc.compare({"a": a, "b": same})[0].difference == pytest.approx(0, abs=1e-12)
    # labels and their codes are the same targets
    X, codes = load_iris(return_X_y=True)
    names, dummy = np.array(["setosa", "versicolor", "virginica"])[codes], DummyClassifier()
    one, two = (lc.cross_validate(dummy, X, labels, cv=lc.StratifiedKFold(3)) for labels in (codes, names))
    assert lc.compare({"a": one, "b": two})[0].difference == 0.0


def test_what_people_look_at():
    pandas = pytest.importorskip("pandas")
    table = lc.compare(results())
    lines = repr(table).splitlines()
    assert lines[0].split()[:2] == ["models", "score"]
    assert lines[2].startswith(f"ridge - tree  {table[1].difference:+.4g}")
    assert lines[-1] == table.method
    assert table._repr_html_().count("<tr>") == 4
    frame = table.to_frame()
    assert isinstance(frame, pandas.DataFrame)
    assert list(frame) == ["model", "against", "difference", "low", "high", "p_value", "method"]
    again = pickle.loads(pickle.dumps(table))
    assert repr(again) == repr(table)


def test_plot():
    pytest.importorskip("matplotlib")
    import matplotlib.pyplot as plt

    table = lc.compare(results())
    axes = table.plot()
    np.testing.assert_array_equal(axes.lines[-1].get_xdata(), [p.difference for p in table])
    assert [t.get_text() for t in axes.get_yticklabels()] == ["ridge - ols", "ridge - tree", "ols - tree"]
    plt.close("all")
