"""The linear estimators as scikit-learn's: its checks, clone, pickle, pipelines, searches, and the documentation."""

import inspect
import pickle

import numpy as np
import pytest
import sklearn.model_selection
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_iris
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import lifecycle as lc

from .data import cancer, wine
from .linear_models import ignore_convergence

CHECKED = [lc.LinearClassifier(optimizer=name) for name in ("sgd", "adam", "gd", "newton")]
CHECKED += [lc.LinearRegressor(optimizer=name) for name in ("sgd", "adam", "gd", "newton", "exact")]


def expected_failures(estimator):
    if estimator.optimizer not in ("sgd", "adam"):
        return {}
    reason = "a repeated row makes another sequence of steps than a heavier one; as with SGDClassifier and SGDRegressor"
    return dict.fromkeys(
        ("check_sample_weight_equivalence_on_dense_data", "check_sample_weight_equivalence_on_sparse_data"), reason
    )


@ignore_convergence  # the checks set a small max_iter
@parametrize_with_checks(CHECKED, expected_failed_checks=expected_failures)
def test_scikit_learn_checks(estimator, check):
    check(estimator)


# -- searches and pipelines -----------------------------------------------------------------------------------------


@ignore_convergence
def test_grid_search_reaches_the_hyperparameters_of_an_optimizer_object():
    X, y = wine()
    model = lc.LinearClassifier(optimizer=lc.Adam(lr=1e-6), max_iter=20, random_state=0)
    search = GridSearchCV(model, {"optimizer__lr": [1e-6, 0.05], "alpha": [1e-3]}, cv=3).fit(X, y)
    assert search.best_params_ == {"alpha": 1e-3, "optimizer__lr": 0.05}
    assert search.best_estimator_.optimizer == lc.Adam(lr=0.05)
    assert search.estimator.optimizer == lc.Adam(lr=1e-6)
    scores = search.cv_results_["mean_test_score"]
    assert scores[1] > 0.95
    assert scores[1] > scores[0]


@ignore_convergence
def test_the_values_of_a_grid_may_be_numpy_scalars():
    X, y = cancer()
    flags = np.array([True, False])
    grid = {"penalty": np.array(["l1", "l2"]), "average": flags, "early_stopping": flags}
    search = GridSearchCV(lc.LinearClassifier(max_iter=2, random_state=0), grid, cv=2, error_score="raise").fit(X, y)
    assert isinstance(search.best_estimator_.penalty, np.str_)
    for name in ("optimizer", "batch_size", "loss"):
        model = lc.LinearClassifier(max_iter=2, random_state=0)
        value = np.str_(getattr(model, name))
        assert np.array_equal(clone(model).set_params(**{name: value}).fit(X, y).coef_, model.fit(X, y).coef_)


def test_a_search_over_a_subclass_uses_its_fit_and_predict():
    class Scaled(lc.LinearClassifier):
        fits = 0

        def fit(self, X, y, sample_weight=None):
            type(self).fits += 1
            return super().fit(X / 100.0, y, sample_weight)

        def decision_function(self, X):
            return super().decision_function(X / 100.0)

    X, y = load_breast_cancer(return_X_y=True)
    model = Scaled(optimizer="newton")
    ours, theirs = (
        search(model, {"alpha": [1e-3, 1e-1]}, cv=3).fit(X, y).cv_results_["mean_test_score"]
        for search in (lc.GridSearchCV, sklearn.model_selection.GridSearchCV)
    )
    np.testing.assert_array_equal(ours, theirs)
    assert Scaled.fits == 14


@pytest.mark.parametrize("n_jobs", [None, 2])
def test_a_pipeline_is_cross_validated(n_jobs):
    X, y = load_iris(return_X_y=True)
    model = make_pipeline(StandardScaler(), lc.LinearClassifier(random_state=0))
    assert cross_val_score(model, X, y, cv=3, n_jobs=n_jobs).mean() > 0.92


# -- state ----------------------------------------------------------------------------------------------------------


@ignore_convergence
def test_a_fit_that_fails_leaves_the_estimator_as_it_was():
    X, y = wine()
    diverges = {"loss": "squared_hinge", "optimizer": "gd", "lr": 1e200}
    for model in (lc.LinearClassifier(**diverges), lc.LinearClassifier(alpha=-1)):
        with pytest.raises(ValueError, match=r"without bound|alpha must be"):
            model.fit(X, y)
        assert not hasattr(model, "classes_")
        with pytest.raises(NotFittedError):
            model.predict(X)
    model = lc.LinearClassifier(max_iter=2, random_state=0).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match="without bound"):
        model.set_params(**diverges).fit(X, np.array(["a", "b", "c"])[y])
    assert np.array_equal(model.predict(X), before)


def test_clone_and_pickle_keep_parameters_and_predictions():
    X, y = cancer()
    model = lc.LinearClassifier(optimizer=lc.SGD(lr=0.01, momentum=0.9), max_iter=5, tol=None, random_state=0)
    before = model.optimizer.get_params()
    model.fit(X, y)
    assert model.optimizer.get_params() == before
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.decision_function(X), model.decision_function(X))
    fresh = clone(model)
    assert fresh.get_params()["optimizer__momentum"] == 0.9
    assert not hasattr(fresh, "coef_")
    np.testing.assert_array_equal(fresh.fit(X, y).coef_, model.coef_)


# -- documentation --------------------------------------------------------------------------------------------------


def documented_names(cls):
    """{parameter or attribute: its text} of a numpydoc docstring, read from the source as documentation tools do."""
    lines = inspect.cleandoc(cls.__doc__).splitlines()
    texts, name = {}, None
    for line in lines[: lines.index("Notes")]:
        if line and not line.startswith((" ", "-")) and " : " in line:
            name = line.partition(" : ")[0]
            texts[name] = line.partition(" : ")[2]
        elif name is not None and line.startswith("    "):
            texts[name] += " " + line.strip()
        else:
            name = None
    return texts


def test_every_parameter_is_documented_with_its_default_and_equally_in_both_estimators():
    documented = {}
    for cls in (lc.LinearClassifier, lc.LinearRegressor):
        documented[cls] = documented_names(cls)
        for name, parameter in inspect.signature(cls).parameters.items():
            default = parameter.default
            written = f'default="{default}"' if isinstance(default, str) else f"default={default!r}"
            text = documented[cls][name].replace("1e-4", "0.0001").replace("optional", "default=None")
            assert written in text, (cls, name)
    different = {"loss", "epsilon", "optimizer", "tol", "early_stopping", "coef_", "intercept_", "history_"}
    shared = set(documented[lc.LinearClassifier]) & set(documented[lc.LinearRegressor]) - different
    assert len(shared) > 15
    for name in shared:
        assert documented[lc.LinearClassifier][name] == documented[lc.LinearRegressor][name], name
