"""The forms of X and y that linear models take: data frames, mapped files, read-only arrays; and data they refuse."""

import tracemalloc

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_wine
from sklearn.exceptions import NotFittedError

import lifecycle as lc

from .data import cancer, diabetes
from .linear_models import CLASSIFICATION, SOLVER_CASES, assert_same_bits, ignore_convergence, kfold_rows, make_model


def test_a_data_frame_gives_its_names_and_float32_the_same_model():
    pytest.importorskip("pandas")
    frame = load_wine(as_frame=True)
    X, y = (frame.data - frame.data.mean()) / frame.data.std(), frame.target
    model = lc.LinearClassifier(optimizer="newton", alpha=0.01).fit(X, y)
    assert model.feature_names_in_.tolist() == frame.feature_names
    assert model.n_features_in_ == 13
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(X[frame.feature_names[::-1]])
    single = clone(model).fit(X.to_numpy(np.float32), y)
    assert not hasattr(single, "feature_names_in_")
    np.testing.assert_allclose(single.coef_, model.coef_, atol=1e-5)
    np.testing.assert_array_equal(single.predict(X.to_numpy(np.float32)), model.predict(X))


@ignore_convergence
@pytest.mark.parametrize(("loss", "penalty", "optimizer"), SOLVER_CASES)
def test_mapped_files_and_read_only_arrays_give_the_same_bits(loss, penalty, optimizer, tmp_path):
    X, y = cancer() if loss in CLASSIFICATION else diabetes()
    X = np.ascontiguousarray(X[:, :5])
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    read_only, labels = X.copy(), y.copy()
    read_only.flags.writeable = labels.flags.writeable = False
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer)
    train, params = kfold_rows(len(X)), [{"alpha": a} for a in (0.01, 0.1, 1.0)]
    expected = estimator.fit_many(X, y, train=train, params=params, test=train)
    for table in (mapped, read_only):
        models = estimator.fit_many(table, labels, train=train, params=params, test=train)
        for one, other in zip(models, expected, strict=True):
            assert_same_bits(one, other)
            assert one.test_score_ == other.test_score_
    np.testing.assert_array_equal(X, read_only)


@ignore_convergence
@pytest.mark.parametrize(
    ("loss", "penalty", "optimizer"),
    # coordinate descent copies the columns of a training set, unless the moments of squared errors replace them
    [case for case in SOLVER_CASES if case[1:] not in (("elasticnet", "adam"), ("l1", "coordinate_descent"))],
)
def test_x_is_not_copied(loss, penalty, optimizer):
    rng = np.random.RandomState(0)
    X = rng.standard_normal((80_000, 100))  # 64 MB
    y = X[:, 0] + rng.randn(len(X))
    y = (y > 0) if loss in CLASSIFICATION else y
    estimator = make_model(loss, penalty=penalty, optimizer=optimizer, max_iter=2, tol=None)
    half = np.arange(len(X)) % 2 == 0
    estimator.fit_many(X, y, train=[half, ~half], params=[{}, {}], test=[~half, half])  # imports and kernels
    tracemalloc.start()
    try:
        estimator.fit_many(X, y, train=[half, ~half], params=[{}, {}], test=[~half, half])
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    # a number or two for each row, and pieces of a size that X does not change: less than the rows of one training set
    assert peak < X.nbytes / 3, f"{peak / X.nbytes:.0%} of X"


def test_data_that_cannot_be_fitted_are_refused():
    X, y = cancer()
    model = lc.LinearClassifier(random_state=0)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        model.fit(np.where(X > 3, np.nan, X), y)
    with pytest.raises(ValueError, match=r"y has one class only, 1: a classifier needs at least two classes"):
        model.fit(X, np.ones(len(X), int))
    with pytest.raises(ValueError, match=r"only the class 1 has a weight above zero: a classifier needs two"):
        model.fit(X, y, y)
    for estimator in (model, lc.LinearRegressor()):
        with pytest.raises(ValueError, match=r"[Ss]ample weights .*zero"):  # scikit-learn's sentence, or ours
            estimator.fit(X, y, np.zeros(len(X)))
        with pytest.raises(ValueError, match="Negative values in data passed to `sample_weight`"):
            estimator.fit(X, y, np.full(len(X), -1.0))
        with pytest.raises(ValueError, match=r"hold a value of \S+e\+120 in row 0, and above 1e\+100 squares ov"):
            estimator.fit(X * (5e120 / np.abs(X).max()), y)
    with pytest.raises(ValueError, match="all sample weights are zero: there is nothing to fit"):
        clone(model).set_params(class_weight={0: 0.0, 1: 0.0}).fit(X, y)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, np.linspace(0.0, 1.0, len(X)))
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
