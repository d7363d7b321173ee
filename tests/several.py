"""Estimators with fit_many, slow and obvious: each model is fitted by itself."""

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin, clone, is_regressor
from sklearn.metrics import check_scoring
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import check_is_fitted, validate_data

CALLS = []  # (number of models, whether they had test rows) of every call of fit_many


class Several(BaseEstimator):
    def fit_many(self, X, y=None, *, train, params, test=None, scoring=None, callback=None, sample_weight=None):
        CALLS.append((len(params), test is not None))
        models = []
        for i, (rows, setting) in enumerate(zip(train, params, strict=True)):
            model = clone(self).set_params(**setting)
            weights = {} if sample_weight is None else {"sample_weight": np.asarray(sample_weight)[rows]}
            held = None
            if test is not None:
                held = (_safe_indexing(X, test[i]), _safe_indexing(y, test[i]), check_scoring(model, scoring))
            model._fit(_safe_indexing(X, rows), _safe_indexing(y, rows), held=held, **weights)
            if held is not None:
                model.test_score_ = held[2](model, *held[:2])
            models.append(model)
            if callback is not None:
                callback(i + 1, len(train))
        return models

    def fit(self, X, y, sample_weight=None):
        return self._fit(X, y, sample_weight=sample_weight)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    def _start(self, X, y, sample_weight):
        if not self.alpha >= 0:
            raise ValueError(f"alpha must be at least 0; got {self.alpha}")
        X, y = validate_data(self, X, y, accept_sparse="csr", dtype=np.float64, y_numeric=is_regressor(self))
        X = X.toarray() if hasattr(X, "toarray") else X
        return X, y, np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, float)

    def _scores(self, X):
        check_is_fitted(self)
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=False)
        return X @ self.coef_ + self.intercept_


class SeveralRidges(RegressorMixin, Several):
    """Ridge regression."""

    def __init__(self, alpha=1.0):
        self.alpha = alpha

    def _fit(self, X, y, sample_weight=None, held=None):
        X, y, w = self._start(X, y, sample_weight)
        mean, target = np.average(X, axis=0, weights=w), np.average(y, weights=w)
        gram = (X - mean).T @ (w[:, None] * (X - mean)) + self.alpha * np.eye(X.shape[1])
        self.coef_ = np.linalg.solve(gram, (X - mean).T @ (w * (y - target)))
        self.intercept_ = target - mean @ self.coef_
        return self

    def predict(self, X):
        return self._scores(X)


class SeveralClassifiers(ClassifierMixin, Several):
    """Least squares on indicators of the classes, by `max_iter` epochs of gradient descent."""

    def __init__(self, alpha=0.0, max_iter=20, lr=0.1):
        self.alpha, self.max_iter, self.lr = alpha, max_iter, lr

    def _fit(self, X, y, sample_weight=None, held=None):
        X, y, w = self._start(X, y, sample_weight)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise ValueError("there is only one class")
        Y = 2.0 * (y[:, None] == self.classes_) - 1
        w = (w / w.sum())[:, None]
        self.coef_, self.intercept_, curve = np.zeros((X.shape[1], Y.shape[1])), np.zeros(Y.shape[1]), []
        for _ in range(self.max_iter):
            slope = w * (X @ self.coef_ + self.intercept_ - Y)
            self.coef_ = self.coef_ - self.lr * (X.T @ slope + self.alpha * self.coef_)
            self.intercept_ = self.intercept_ - self.lr * slope.sum(axis=0)
            if held is not None:
                curve.append(held[2](self, *held[:2]))
        if held is not None:
            several = isinstance(curve[0], dict)
            self.test_scores_ = {k: np.array([c[k] for c in curve]) for k in curve[0]} if several else np.array(curve)
        return self

    def decision_function(self, X):
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict(self, X):
        return self.classes_[np.argmax(self._scores(X), axis=1)]
