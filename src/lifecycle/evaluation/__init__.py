"""What a fitted model is worth on rows that it was not trained on: every number with its interval."""

from dataclasses import dataclass, field
from html import escape
from time import perf_counter
from typing import Any

import numpy as np

from lifecycle._check import number
from lifecycle.evaluation.intervals import (
    Estimate,
    bootstrap_confusion,
    bootstrap_rows,
    probability_metrics,
    regression_metrics,
    wilson,
)

__all__ = ["Bin", "Estimate", "Evaluation", "Latency", "evaluate"]

_N_BINS = 10
_BATCH = 256


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies in (low, high]: how sure they were, and how often they were right."""

    low: float
    high: float
    count: int
    mean_probability: float
    accuracy: Estimate


@dataclass(frozen=True)
class Latency:
    """Median seconds of one call of `predict`, for one row and for a batch of `batch_size` rows."""

    row: float
    batch: float
    batch_size: int


@dataclass(repr=False)
class Evaluation:
    """Result of `evaluate`.

    Attributes
    ----------
    task : str
        "classification" or "regression".
    model : str
        Class name of the model.
    n_samples : int
        Number of rows.
    confidence_level : float
        Of every interval.
    metrics : dict of str to Estimate
        accuracy, balanced_accuracy, f1_macro, and with probabilities log_loss and roc_auc; or r2, rmse, mae.
    latency : Latency
        Median seconds of a call of `predict`.
    labels : list
        Classes in the order of the confusion matrix; empty for regression, as are the three below.
    confusion_matrix : ndarray of shape (n_labels, n_labels)
        Rows are the true classes, columns the predicted ones.
    recall : dict
        For each label the share of its rows that were found, with its interval.
    calibration : list of Bin
        Ten equal ranges of the probability of the predicted class; those without rows are left out.
    expected_calibration_error : float or None
        Mean gap between probability and accuracy, weighted by rows (Guo et al., 2017); None without probabilities.
    y_true, y_pred : ndarray
        The rows' targets and predictions.
    """

    task: str
    model: str
    n_samples: int
    confidence_level: float
    metrics: dict[str, Estimate]
    latency: Latency
    y_true: np.ndarray
    y_pred: np.ndarray
    labels: list = field(default_factory=list)
    confusion_matrix: np.ndarray = field(default_factory=lambda: np.zeros((0, 0), int))
    recall: dict[Any, Estimate] = field(default_factory=dict)
    calibration: list[Bin] = field(default_factory=list)
    expected_calibration_error: float | None = None

    def _rows(self) -> list[tuple[str, float, float, float, str]]:
        rows = [(name, *estimate) for name, estimate in self.metrics.items()]
        return rows + [(f"recall of {label}", *estimate) for label, estimate in self.recall.items()]

    def _latency_text(self) -> str:
        per = self.latency
        return f"{1e3 * per.row:.3g} ms for one row, {1e3 * per.batch:.3g} ms for {per.batch_size} rows (medians)"

    def __repr__(self) -> str:
        lines = [f"{self.task} by {self.model} on {self.n_samples} rows, {self.confidence_level:.4g} intervals"]
        lines += [
            f"  {name:<20} {value:>10.4g}   [{low:.4g}, {high:.4g}]   {method}"
            for name, value, low, high, method in self._rows()[: len(self.metrics)]
        ]
        if self.expected_calibration_error is not None:
            lines.append(f"  {'calibration error':<20} {self.expected_calibration_error:>10.4g}")
        return "\n".join([*lines, f"  latency: {self._latency_text()}"])

    def _repr_html_(self) -> str:
        head = "".join(f"<th>{c}</th>" for c in ("metric", "value", "low", "high", "method"))
        body = "".join(
            f"<tr><td>{escape(name)}</td><td>{v:.4g}</td><td>{low:.4g}</td><td>{high:.4g}</td><td>{escape(how)}</td></tr>"
            for name, v, low, high, how in self._rows()
        )
        caption = f"{self.task} by {self.model} on {self.n_samples} rows; {self._latency_text()}"
        return f"<table><caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def to_frame(self) -> Any:
        """Metrics and per-class recalls as a pandas DataFrame: value, low, high, method.

        Returns
        -------
        pandas.DataFrame
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("to_frame() needs pandas: pip install 'lifecycle-ml[plot]'") from error
        frame = pd.DataFrame(self._rows(), columns=["metric", "value", "low", "high", "method"])
        return frame.set_index("metric")

    def plot(self, ax: Any = None) -> Any:
        """Confusion matrix of a classifier; predicted against true values of a regressor.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("plot() needs matplotlib: pip install 'lifecycle-ml[plot]'") from error
        if ax is None:
            _, ax = plt.subplots(layout="constrained")
        if self.task == "classification":
            places = range(len(self.labels))
            ax.imshow(self.confusion_matrix, cmap="Blues")
            ax.set(xticks=places, yticks=places, xlabel="predicted", ylabel="true")
            ax.set_xticklabels([str(label) for label in self.labels], rotation=90 if len(self.labels) > 10 else 0)
            ax.set_yticklabels([str(label) for label in self.labels])
            middle = self.confusion_matrix.max() / 2
            for (i, j), count in np.ndenumerate(self.confusion_matrix):
                if count:
                    ax.text(j, i, count, ha="center", va="center", color="white" if count > middle else "black")
        else:
            true, predicted = self.y_true.reshape(self.n_samples, -1), self.y_pred.reshape(self.n_samples, -1)
            ax.plot(true, predicted, ".", alpha=0.5)
            ax.axline((true.mean(), true.mean()), slope=1, color="grey", lw=1)
            ax.set(xlabel="true", ylabel="predicted")
        ax.set_title(", ".join(f"{name} {estimate.value:.3g}" for name, estimate in self.metrics.items()), fontsize=9)
        return ax


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
    # whole numbers may be labels or counts: what the model answers decides
    predicted = np.asarray(model.predict(X))
    if _has_fractions(predicted):
        return False
    if np.isin(predicted, y).all():
        return True
    raise ValueError(
        f"cannot tell whether this {type(model).__name__} is a classifier: it predicts whole numbers that are not in "
        "y; give it the attribute classes_, or derive it from sklearn.base.RegressorMixin"
    )


def _has_fractions(values: np.ndarray) -> bool:
    return values.dtype.kind == "f" and bool((values % 1 != 0).any())


def _head(X: Any, n: int) -> Any:
    return X.iloc[:n] if hasattr(X, "iloc") else X[:n]


def _seconds(model: Any, X: Any) -> float:
    """Median over as many calls as fit in 0.2 seconds, at least 5 and at most 50, after one that warms up."""
    model.predict(X)
    times: list[float] = []
    while len(times) < 5 or (len(times) < 50 and sum(times) < 0.2):
        start = perf_counter()
        model.predict(X)
        times.append(perf_counter() - start)
    return float(np.median(times))


def _missing(values: np.ndarray) -> bool:
    if values.dtype.kind == "f":
        return not np.isfinite(values).all()
    # only NaN, NaT and their like differ from themselves; pandas' NA refuses to be compared
    return values.dtype.kind == "O" and any(v is None or type(v).__name__ == "NAType" or v != v for v in values.flat)


def _checked(model: Any, X: Any, y: Any) -> tuple[np.ndarray, int]:
    if isinstance(model, type) or not callable(getattr(model, "predict", None)):
        what = f"the class {model.__name__}" if isinstance(model, type) else f"a {type(model).__name__}"
        raise TypeError(f"evaluate needs a fitted model with a predict method; got {what}")
    y = np.asarray(y)
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    n = X.shape[0] if hasattr(X, "shape") else len(X)
    if y.ndim == 0 or n == 0 or len(y) == 0:
        raise ValueError("evaluate needs at least one row, with one target for each row of X")
    if n != len(y):
        raise ValueError(f"X has {n} rows but y has {len(y)} targets")
    if _missing(y):
        raise ValueError("y has missing or infinite values; leave those rows out")
    return y, n


def _classification(model: Any, X: Any, y: np.ndarray, level: float, progress: bool | None) -> dict[str, Any]:
    if y.ndim > 1:
        raise ValueError(f"y of a classifier must have one dimension; got the shape {y.shape}")
    predicted = np.asarray(model.predict(X)).reshape(len(y))
    known = np.asarray(model.classes_).tolist() if hasattr(model, "classes_") else None
    true_list, predicted_list = y.tolist(), predicted.tolist()
    if known is None:
        known = sorted(set(true_list) | set(predicted_list), key=lambda label: (str(type(label)), label))
    place = {label: i for i, label in enumerate(known)}
    strange = sorted({label for label in true_list if label not in place}, key=str)
    if strange:
        raise ValueError(f"y has labels that the model was not trained on: {', '.join(map(repr, strange[:5]))}")
    codes = np.array([place[label] for label in true_list])
    hits = np.array([place[label] for label in predicted_list])
    k = len(known)
    matrix = np.bincount(codes * k + hits, minlength=k * k).reshape(k, k)
    metrics = {"accuracy": wilson(int(np.trace(matrix)), len(y), level), **bootstrap_confusion(matrix, level)}
    recall = {label: wilson(int(matrix[i, i]), int(matrix[i].sum()), level) for i, label in enumerate(known)}
    found: dict[str, Any] = dict(
        metrics=metrics, labels=known, confusion_matrix=matrix, recall=recall, y_pred=predicted
    )
    if hasattr(model, "predict_proba"):
        probabilities = np.asarray(model.predict_proba(X))
        if probabilities.shape != (len(y), k):
            raise ValueError(f"predict_proba gave the shape {probabilities.shape}; expected {(len(y), k)}")
        if not np.isfinite(probabilities).all():
            raise ValueError("the model gives NaN or infinite probabilities for some rows")
        statistic = probability_metrics(codes, probabilities)
        metrics.update(bootstrap_rows(statistic, ["log_loss", "roc_auc"], len(y), level, progress))
        found["calibration"] = _calibration(probabilities[np.arange(len(y)), hits], codes == hits, level)
        gaps = [b.count * abs(b.accuracy.value - b.mean_probability) for b in found["calibration"]]
        found["expected_calibration_error"] = sum(gaps) / len(y)
    return found


def _calibration(probability: np.ndarray, right: np.ndarray, level: float) -> list[Bin]:
    edges = np.linspace(0, 1, _N_BINS + 1)
    index = np.clip(np.searchsorted(edges, probability, side="left") - 1, 0, _N_BINS - 1)
    table = []
    for i in range(_N_BINS):
        inside = index == i
        count = int(inside.sum())
        if count:
            share = wilson(int(right[inside].sum()), count, level)
            table.append(Bin(float(edges[i]), float(edges[i + 1]), count, float(probability[inside].mean()), share))
    return table


def _regression(model: Any, X: Any, y: np.ndarray, level: float, progress: bool | None) -> dict[str, Any]:
    try:
        y = y.astype(float)
    except (TypeError, ValueError):
        raise ValueError("y of a regressor must be numbers") from None
    predicted = np.asarray(model.predict(X), dtype=float)
    if predicted.size != y.size:
        raise ValueError(f"predict gave the shape {predicted.shape}; expected {y.shape}")
    if not np.isfinite(predicted).all():
        raise ValueError("the model predicts NaN or infinite values for some rows")
    n = len(y)
    statistic = regression_metrics(y.reshape(n, -1), predicted.reshape(n, -1))
    metrics = bootstrap_rows(statistic, ["r2", "rmse", "mae"], n, level, progress)
    return dict(metrics=metrics, y_pred=predicted.reshape(y.shape))


def evaluate(model: Any, X: Any, y: Any, *, confidence_level: float = 0.95, progress: bool | None = None) -> Evaluation:
    """Measure a fitted model on rows that it was not trained on.

    Accuracy and recalls have Wilson's score interval (1927), the other metrics the percentiles of a seeded bootstrap
    over the rows (Efron, 1979). The intervals are about the rows, with the model as it is.

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
        A bar where it takes seconds; None shows it in a terminal or notebook only.

    Returns
    -------
    Evaluation

    Raises
    ------
    TypeError
        The model has no `predict`.
    ValueError
        X and y do not fit each other or the model, the model answers with NaN or infinity, or it cannot be told
        whether it is a classifier.
    """
    level = number("confidence_level", confidence_level, above=0, below=1)
    y, n = _checked(model, X, y)
    classifier = _is_classifier(model, X, y)
    found = (_classification if classifier else _regression)(model, X, y, level, progress)
    size = min(n, _BATCH)
    latency = Latency(_seconds(model, _head(X, 1)), _seconds(model, _head(X, size)), size)
    return Evaluation(
        task="classification" if classifier else "regression",
        model=type(model).__name__,
        n_samples=n,
        confidence_level=level,
        latency=latency,
        y_true=y,
        **found,
    )
