"""Searches and cross-validation on joblib's backends, a dask cluster among them, and a worker that dies."""

import os

import numpy as np
import pytest
from joblib import parallel_config
from sklearn import model_selection
from sklearn.base import BaseEstimator, RegressorMixin
from sklearn.datasets import load_diabetes
from sklearn.linear_model import Ridge

import lifecycle as lc

from .several import SeveralRidges

DIABETES = load_diabetes(return_X_y=True)
ALPHAS = [0.1, 1.0, 10.0]


class Dies(RegressorMixin, BaseEstimator):
    """Takes the worker that fits it down."""

    def __init__(self, alpha=1.0, caller=None):
        self.alpha, self.caller = alpha, caller

    def predict(self, X):
        return X[:, 0]

    def fit(self, X, y):
        if os.getpid() == self.caller:
            raise AssertionError("fitted by the caller")
        os._exit(1)


def agrees(estimator, **options):
    ours = lc.GridSearchCV(estimator, {"alpha": ALPHAS}, **options).fit(*DIABETES)
    with parallel_config(backend="sequential"):
        theirs = model_selection.GridSearchCV(estimator, {"alpha": ALPHAS}).fit(*DIABETES)
    for key in ("mean_test_score", "rank_test_score", "split3_test_score"):
        np.testing.assert_allclose(ours.cv_results_[key], theirs.cv_results_[key], rtol=1e-9)
    assert ours.best_params_ == theirs.best_params_


@pytest.mark.parametrize("backend", ["threading", "loky"])
@pytest.mark.parametrize("progress", [None, True])
def test_joblib_backends(backend, progress):
    with parallel_config(backend=backend, n_jobs=2):
        agrees(Ridge(), progress=progress)
        agrees(SeveralRidges(), progress=progress)
        nested = lc.cross_validate(lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}), *DIABETES, cv=3)
    assert np.isfinite(nested["test_score"]).all()


def died():
    return pytest.raises(RuntimeError, match="a worker ended while it fitted a model")


@pytest.mark.filterwarnings("ignore:A worker stopped while some jobs", "ignore:resource_tracker")
def test_a_process_that_dies_is_one_error():
    model = Dies(caller=os.getpid())
    with parallel_config(backend="loky", n_jobs=2):
        with died():
            lc.GridSearchCV(model, {"alpha": ALPHAS}).fit(*DIABETES)
        with died():
            lc.cross_validate(model, *DIABETES)


@pytest.mark.filterwarnings("ignore")  # of the cluster's own start and end
def test_a_dask_cluster():
    distributed = pytest.importorskip("distributed")
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
        ) as cluster,
        distributed.Client(cluster),
        parallel_config(backend="dask"),
    ):
        agrees(Ridge())
        agrees(SeveralRidges())
        nested = lc.cross_validate(lc.GridSearchCV(SeveralRidges(), {"alpha": ALPHAS}), *DIABETES, cv=3)
        assert np.isfinite(nested["test_score"]).all()
