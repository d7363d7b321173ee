"""The result of `evaluate`: its numbers, and how they are shown."""

from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from lifecycle._display import axes_or_new, format_interval, html_table, import_optional, text_table

_COLUMNS = ["metric", "value", "low", "high", "method"]


class Estimate(NamedTuple):
    """A measured value, the ends of its interval, and the name of the method that gave them."""

    value: float
    low: float
    high: float
    method: str

    def __str__(self) -> str:
        return f"{self.value:.4g} {format_interval(self.low, self.high)}"


@dataclass(frozen=True)
class Bin:
    """Predictions whose probability lies in (low, high]: their mean probability, and their accuracy."""

    low: float
    high: float
    count: int
    mean_probability: float
    accuracy: Estimate


@dataclass(frozen=True)
class Latency:
    """Seconds of one call of `predict`, for one row and for a batch of `batch_size` rows: medians and quartiles."""

    row: float
    batch: float
    batch_size: int
    row_quartiles: tuple[float, float]
    batch_quartiles: tuple[float, float]

    def __str__(self) -> str:
        return (
            f"{_milliseconds(self.row, self.row_quartiles)} for one row, "
            f"{_milliseconds(self.batch, self.batch_quartiles)} for {self.batch_size} rows (medians and quartiles)"
        )


def _milliseconds(median: float, quartiles: tuple[float, float]) -> str:
    low, high = quartiles
    return f"{1e3 * median:.3g} ms ({1e3 * low:.3g} to {1e3 * high:.3g})"


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
        Seconds of a call of `predict`, medians and quartiles.
    labels : list
        Classes in the order of the confusion matrix; empty for regression, as are the three below.
    confusion_matrix : ndarray of shape (n_labels, n_labels)
        Rows are the true classes, columns the predicted ones.
    recall : dict
        For each label the share of its rows that are predicted as such, with its interval.
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

    def __repr__(self) -> str:
        title = f"{self.task} by {self.model} on {self.n_samples} rows, {self.confidence_level:.4g} intervals"
        rows = [(name, f"{e.value:.4g}", format_interval(e.low, e.high), e.method) for name, e in self.metrics.items()]
        if self.expected_calibration_error is not None:
            rows.append(("calibration error", f"{self.expected_calibration_error:.4g}", "", ""))
        lines = [f"  {line}" for line in [*text_table(rows, "<>"), f"latency: {self.latency}"]]
        return "\n".join([title, *lines])

    def _repr_html_(self) -> str:
        caption = f"{self.task} by {self.model} on {self.n_samples} rows; {self.latency}"
        return html_table(_COLUMNS, self._rows(), caption=caption, text_columns=[4])

    def to_frame(self) -> Any:
        """Metrics and per-class recalls as a pandas DataFrame: value, low, high, method.

        Returns
        -------
        pandas.DataFrame
        """
        pandas = import_optional("pandas", "to_frame()")
        return pandas.DataFrame(self._rows(), columns=_COLUMNS).set_index("metric")

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
        ax = axes_or_new(ax)
        if self.task == "classification":
            positions = range(len(self.labels))
            ax.imshow(self.confusion_matrix, cmap="Blues")
            ax.set(xticks=positions, yticks=positions, xlabel="predicted", ylabel="true")
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
