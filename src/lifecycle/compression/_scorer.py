"""Predictions of models of any kind, on rows of any type."""

from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.evaluation import has_missing
from lifecycle.evaluation.rows import n_rows
from lifecycle.store import adapters


class Scorer:
    """What a model and its compressed copies predict; `predict` is the user's, or None."""

    def __init__(self, model: Any, predict: Callable | None, y: np.ndarray):
        self.predict, self.adapter = predict, adapters.adapter_for(model)
        self.adapter.layers(model)  # raises where the model is not fitted
        self.is_classifier = _is_classifier(model, y)
        self.labels = np.unique(y) if self.is_classifier else np.empty(0)
        self.classes = getattr(model, "classes_", None)
        if isinstance(self.classes, list):
            raise UnsupportedModel(f"a drop is certified for one target; this model has {len(self.classes)}")
        if self.is_classifier and self.classes is not None and predict is None:
            unknown = set(self.labels.tolist()) - set(np.asarray(self.classes).tolist())
            if unknown:
                shown = ", ".join(sorted(map(repr, unknown))[:5])
                raise ValueError(f"y has labels that the model was not trained on: {shown}")

    def outputs(self, model: Any, X: Any) -> np.ndarray:
        """What changes smoothly with the weights: probabilities, scores or values."""
        if self.predict is not None:
            found = self.predict(model, X)
            return np.asarray(found.detach() if hasattr(found, "detach") else found)
        for name in ("predict_proba", "decision_function", "predict"):
            if hasattr(model, name):
                return np.asarray(getattr(model, name)(X))
        if not hasattr(self.adapter, "outputs"):
            raise TypeError(f"got a {type(model).__name__}, which predicts nothing: pass a model")
        return np.asarray(self.adapter.outputs(model, X))  # a torch module

    def predictions(self, model: Any, X: Any) -> np.ndarray:
        """Labels, or values; one for each row."""
        if self.predict is None and hasattr(model, "predict"):
            found = np.asarray(model.predict(X))
        else:
            found = self._of_outputs(self.outputs(model, X))
        if found.ndim == 0 or len(found) != n_rows(X):
            raise ValueError(f"predict must give one prediction for each of {n_rows(X)} rows; got shape {found.shape}")
        found = found[:, 0] if found.ndim == 2 and found.shape[1] == 1 else found
        if self.is_classifier and len(found) and not (set(self.labels.tolist()) & set(found.ravel().tolist())):
            raise ValueError(
                f"predictions such as {found.flat[0]!r} are none of the labels of y, such as {self.labels[0]!r}: "
                "predict must give a label, or a score for each class, for every row"
            )
        return found

    def probabilities(self, model: Any, X: Any) -> np.ndarray | None:
        """Of a classifier that has them."""
        if self.predict is not None or not self.is_classifier or not hasattr(model, "predict_proba"):
            return None
        return np.asarray(model.predict_proba(X))

    def _of_outputs(self, out: np.ndarray) -> np.ndarray:
        """Labels of scores, or values as they are."""
        if not self.is_classifier or (self.predict is not None and out.ndim == 1):
            return out
        if out.ndim != 2 or out.shape[1] < 2:
            raise ValueError(
                f"the model gives the shape {out.shape}, and y holds classes: pass predict=, which gives a label, or a "
                "score for each class, for every row; or pass y in floating point, if it is a quantity"
            )
        best = out.argmax(axis=1)
        if self.classes is not None:
            return np.asarray(self.classes)[best]
        first, last = self.labels[0], self.labels[-1]
        if self.labels.dtype.kind not in "iu" or first < 0 or last >= out.shape[1]:
            raise ValueError(
                f"y must hold the numbers 0 to {out.shape[1] - 1} of the model's {out.shape[1]} scores; it has "
                f"{first!s} to {last!s}: pass predict=, which gives labels"
            )
        return best


def check_targets(X: Any, y: Any) -> np.ndarray:
    """The targets as an array; ValueError where they do not fit the rows."""
    y = np.asarray(y)
    if y.ndim == 0 or n_rows(X) != len(y):
        raise ValueError(f"X has {n_rows(X)} rows but y has {len(y) if y.ndim else 'no'} targets")
    if has_missing(y):
        raise ValueError("y has missing or infinite values; leave those rows out")
    return y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y


def _is_classifier(model: Any, y: np.ndarray) -> bool:
    from sklearn.base import is_classifier, is_regressor

    if hasattr(model, "__sklearn_tags__"):
        if is_classifier(model):
            return True
        if is_regressor(model):
            return False
    if y.dtype.kind == "f" and np.isin(y, (0.0, 1.0)).all():
        raise ValueError("y holds 0.0 and 1.0 only: pass it in whole numbers if these are classes")
    return y.ndim == 1 and y.dtype.kind != "f"
