"""Metrics of a fitted model on rows that it was not trained on, each with its interval."""

from typing import Any

import numpy as np

from lifecycle._check import number
from lifecycle._progress import progress_bar
from lifecycle.evaluation.calibration import calibration_bins, expected_calibration_error
from lifecycle.evaluation.confusion import balanced_accuracy, f1_macro
from lifecycle.evaluation.latency import measure_latency
from lifecycle.evaluation.log_loss import log_loss
from lifecycle.evaluation.proportion import proportion_interval
from lifecycle.evaluation.regression import regression_metrics
from lifecycle.evaluation.result import Bin, Estimate, Evaluation, Latency
from lifecycle.evaluation.roc_auc import roc_auc

__all__ = ["Bin", "Estimate", "Evaluation", "Latency", "evaluate"]


def evaluate(model: Any, X: Any, y: Any, *, confidence_level: float = 0.95, progress: bool | None = None) -> Evaluation:
    """Measure a fitted model on rows that it was not trained on.

    The intervals describe the choice of the rows; the model is taken as given. They are made for few rows and for
    metrics near their bounds: Wilson's score interval (1927) of accuracy and recalls, its combinations for balanced
    accuracy and F1, the score interval of Newcombe (2006) for ROC AUC, t intervals of the logarithm for the others.
    Where the rows say nothing of a metric's error, as where a class has no row, its interval is NaN, and `method` says
    why.

    Parameters
    ----------
    model : object
        Fitted, with scikit-learn's `predict`, and `predict_proba` where it has probabilities.
    X : array-like of shape (n_samples, ...)
        Rows, of any type that the model takes.
    y : array-like of shape (n_samples,) or (n_samples, n_targets)
        Targets; several only for a regressor, whose metrics are then means over the targets.
    confidence_level : float, default=0.95
        Between 0 and 1.
    progress : bool, default=None
        A bar if it takes more than two seconds; None shows it in a terminal or notebook only.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError
        The model has no `predict`.
    ValueError
        X and y do not fit each other or the model, the model predicts NaN or infinity, or it is not clear whether it is
        a classifier.
    """
    level = number("confidence_level", confidence_level, above=0, below=1)
    y, n = _validate(model, X, y)
    classifier = _is_classifier(model, X, y)
    measured = _classification(model, X, y, level, progress) if classifier else _regression(model, X, y, level)
    return Evaluation(
        task="classification" if classifier else "regression",
        model=type(model).__name__,
        n_samples=n,
        confidence_level=level,
        latency=measure_latency([model], X)[0],
        y_true=y,
        **measured,
    )


def _validate(model: Any, X: Any, y: Any) -> tuple[np.ndarray, int]:
    """The targets as an array, and the number of rows."""
    if isinstance(model, type) or not callable(getattr(model, "predict", None)):
        given = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"evaluate needs a fitted model with a predict method; got {given}")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if y.ndim == 0 or n == 0 or len(y) == 0:
        raise ValueError("evaluate needs at least one row, with one target for each row of X")
    if n != len(y):
        raise ValueError(f"X has {n} rows but y has {len(y)} targets")
    if has_missing(y):
        raise ValueError("y has missing or infinite values; leave those rows out")
    return y, n


def has_missing(values: np.ndarray) -> bool:
    """Whether there is a NaN, an infinity, None or pandas' NA."""
    if values.dtype.kind == "f":
        return not np.isfinite(values).all()
    # only NaN, NaT and their like differ from themselves; pandas' NA refuses to be compared
    return values.dtype.kind == "O" and any(v is None or type(v).__name__ == "NAType" or v != v for v in values.flat)


def _has_fractions(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool((values % 1 != 0).any())


def _is_classifier(model: Any, X: Any, y: np.ndarray) -> bool:
    from sklearn.base import is_classifier, is_regressor

    if hasattr(model, "__sklearn_tags__"):
        if is_classifier(model):
            return True
        if is_regressor(model):
            return False
    if hasattr(model, "classes_") or hasattr(model, "predict_proba"):
        return True
    if y.ndim > 1 or _has_fractions(y):
        return False
    if y.dtype.kind not in "iuf":
        return True
    # integers may be labels or counts: the predictions decide
    predicted = np.asarray(model.predict(X))
    if _has_fractions(predicted):
        return False
    if np.isin(predicted, y).all():
        return True
    raise ValueError(
        f"cannot tell whether this {type(model).__name__} is a classifier: it predicts whole numbers that are not in "
        "y; give it the attribute classes_, or derive it from sklearn.base.RegressorMixin"
    )


def _classification(model: Any, X: Any, y: np.ndarray, level: float, progress: bool | None) -> dict[str, Any]:
    """Attributes of the Evaluation of a classifier."""
    if y.ndim > 1:
        raise ValueError(f"y of a classifier must have one dimension; got the shape {y.shape}")
    y_pred = np.asarray(model.predict(X)).reshape(len(y))
    labels = np.asarray(model.classes_).tolist() if hasattr(model, "classes_") else None
    true_labels, predicted_labels = y.tolist(), y_pred.tolist()
    if labels is None:
        labels = sorted(set(true_labels) | set(predicted_labels), key=lambda label: (str(type(label)), label))
    code_of = {label: i for i, label in enumerate(labels)}
    unknown = sorted({label for label in true_labels if label not in code_of}, key=str)
    if unknown:
        raise ValueError(f"y has labels that the model was not trained on: {', '.join(map(repr, unknown[:5]))}")
    true = np.array([code_of[label] for label in true_labels])
    predicted = np.array([code_of[label] for label in predicted_labels])
    k = len(labels)
    matrix = np.bincount(true * k + predicted, minlength=k * k).reshape(k, k)
    recall = {
        label: proportion_interval(int(matrix[i, i]), int(matrix[i].sum()), level) for i, label in enumerate(labels)
    }
    metrics = {
        "accuracy": proportion_interval(int(np.trace(matrix)), len(y), level),
        "balanced_accuracy": balanced_accuracy(list(recall.values()), labels),
        "f1_macro": f1_macro(matrix, labels, level),
    }
    measured = {"metrics": metrics, "labels": labels, "confusion_matrix": matrix, "recall": recall, "y_pred": y_pred}
    if not hasattr(model, "predict_proba"):
        return measured
    probabilities = np.asarray(model.predict_proba(X))
    if probabilities.shape != (len(y), k):
        raise ValueError(f"predict_proba gave the shape {probabilities.shape}; expected {(len(y), k)}")
    if not np.isfinite(probabilities).all():
        raise ValueError("the model gives NaN or infinite probabilities for some rows")
    metrics["log_loss"] = log_loss(true, probabilities, labels, level)
    with progress_bar(1 if k == 2 else k, "evaluate: ROC curves", progress) as bar:
        metrics["roc_auc"] = roc_auc(true, probabilities, labels, level, bar.update)
    bins = calibration_bins(probabilities[np.arange(len(y)), predicted], true == predicted, level)
    return {**measured, "calibration": bins, "expected_calibration_error": expected_calibration_error(bins, len(y))}


def _regression(model: Any, X: Any, y: np.ndarray, level: float) -> dict[str, Any]:
    """Attributes of the Evaluation of a regressor."""
    try:
        y = y.astype(float)
    except (TypeError, ValueError):
        raise ValueError("y of a regressor must be numbers") from None
    y_pred = np.asarray(model.predict(X), dtype=float)
    if y_pred.size != y.size:
        raise ValueError(f"predict gave the shape {y_pred.shape}; expected {y.shape}")
    if not np.isfinite(y_pred).all():
        raise ValueError("the model predicts NaN or infinite values for some rows")
    n = len(y)
    metrics = regression_metrics(y.reshape(n, -1), y_pred.reshape(n, -1), level)
    return {"metrics": metrics, "y_pred": y_pred.reshape(y.shape)}
