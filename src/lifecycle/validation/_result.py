"""The result of cross_validate."""

from typing import Any

import numpy as np

from lifecycle._display import axes_or_new, format_interval, html_table, import_optional, text_table
from lifecycle.validation._corrected_t_interval import Interval, corrected_t_interval, fold_size_ratio
from lifecycle.validation._folds import FoldResult
from lifecycle.validation._metrics import select_metric

_COLUMNS = ("metric", "mean", "95 % interval", "folds")


class CVResult(dict):
    """Scores of every fold under scikit-learn's keys ("test_score", "fit_time", …), and what follows from them."""

    def __init__(
        self,
        keys: dict[str, Any],
        estimator: str,
        folds: list[tuple[np.ndarray, np.ndarray]],
        results: list[FoldResult],
        n: int,
        at_most_one: set[str],
        no_curves: str,
        scorers: dict[str, str],
        targets: str,
    ):
        super().__init__(keys)
        self._scorers, self._targets = scorers, targets
        self._estimator, self._folds, self._n, self._at_most_one = estimator, folds, n, at_most_one
        self._failed = [k for k, result in enumerate(results) if result.failure is not None]
        self._unpredicted = [k for k, result in enumerate(results) if result.no_prediction is not None]
        self._predictions = [result.prediction for result in results]
        self._probabilities = [result.probability for result in results]
        self._classes = [result.classes for result in results]
        self._curves = None
        if any(result.curves is not None for result in results):
            self._curves = [np.array([]) if result.curves is None else result.curves for result in results]
        self._no_curves = no_curves

    def __reduce__(self) -> tuple:
        return _unpickle, (dict(self), self.__dict__)

    @property
    def metrics(self) -> list[str]:
        """Names of the scores; "score" where there is one."""
        return [key[len("test_") :] for key in self if key.startswith("test_")]

    @property
    def n_splits(self) -> int:
        """Number of folds."""
        return len(self._folds)

    @property
    def predictions(self) -> np.ndarray:
        """Out-of-fold predictions, aligned with y: row i is predicted by the fold that did not train on it.

        Raises
        ------
        ValueError
            If the test folds do not hold every row exactly once, or a fit failed.
        AttributeError
            If the estimator has no `predict`.
        """
        return self._aligned("predict", self._predictions)

    @property
    def probabilities(self) -> np.ndarray:
        """Out-of-fold class probabilities (n, classes), aligned with y, columns as `classes`; see `predictions`."""
        classes = self.classes
        tables: list[np.ndarray | None] = []
        for table, fold_classes in zip(self._probabilities, self._classes, strict=True):
            if table is None or fold_classes is None:
                tables.append(None)
                continue
            # a class that a training fold lacks has probability zero there
            columns = np.zeros((len(table), len(classes)), dtype=table.dtype)
            columns[:, np.searchsorted(classes, fold_classes)] = table
            tables.append(columns)
        return self._aligned("predict_proba", tables)

    @property
    def classes(self) -> np.ndarray:
        """Classes of the columns of `probabilities`, in ascending order."""
        known = [classes for classes in self._classes if classes is not None]
        return np.unique(np.concatenate(known)) if known else np.array([])

    def _aligned(self, method: str, outputs: list[Any]) -> np.ndarray:
        if self._failed:
            raise ValueError(f"the fit failed on the folds {self._failed}: their rows have no prediction")
        if self._unpredicted:
            raise ValueError(f"predict failed on the folds {self._unpredicted}: their rows have no prediction")
        if any(output is None for output in outputs):
            raise AttributeError(f"{self._estimator} has no {method} that gives one table of values")
        rows = np.concatenate([test for _, test in self._folds])
        if not np.array_equal(np.sort(rows), np.arange(self._n)):
            raise ValueError(
                f"the test folds do not hold each of the {self._n} rows exactly once, so there is no out-of-fold "
                "prediction for each; use a splitter that partitions the rows, such as KFold"
            )
        values = np.concatenate([np.asarray(output) for output in outputs])
        aligned = np.empty_like(values)
        aligned[rows] = values
        return aligned

    def _metric(self, metric: str | None) -> str:
        return select_metric(self.metrics, metric)

    def interval(self, confidence_level: float = 0.95, metric: str | None = None) -> Interval:
        """Confidence interval of the mean score, corrected for training sets that overlap.

        The variance of the mean over J folds is taken as (1/J + n_test/n_train) s², s² being that of the fold
        scores, with Student's t on J - 1 degrees of freedom (Nadeau & Bengio, 2003; Bouckaert & Frank, 2004): s²/J
        alone would treat folds that share most of their training rows as independent. The upper end is at most 1 for a
        metric that is known to be 1 at best, such as accuracy or R².

        Parameters
        ----------
        confidence_level : float, default=0.95
        metric : str, default=None
            Needed where there are several.

        Raises
        ------
        ValueError
            If there are fewer than two folds, one has no score, or all have the same.
        """
        name = self._metric(metric)
        upper_bound = 1.0 if name in self._at_most_one else np.inf
        return corrected_t_interval(self[f"test_{name}"], fold_size_ratio(self._folds), confidence_level, upper_bound)

    @property
    def curves(self) -> np.ndarray | dict[str, np.ndarray]:
        """Held-out score after each epoch, (folds, epochs); of several metrics, a dict.

        NaN after a fold's last epoch, and where the scorer failed.

        Raises
        ------
        AttributeError
            If the estimator has no epochs, or their scores are not known.
        """
        if self._curves is None:
            raise AttributeError(self._no_curves)
        tables = {}
        for name in self.metrics:
            curves = [np.atleast_1d(np.asarray(c[name] if isinstance(c, dict) else c, float)) for c in self._curves]
            tables[name] = np.full((len(curves), max(map(len, curves))), np.nan)
            for row, curve in zip(tables[name], curves, strict=True):
                row[: len(curve)] = curve
        return tables if len(tables) > 1 else tables[self.metrics[0]]

    @property
    def best_epoch(self) -> int | dict[str, int]:
        """Epoch, from 1, of the best mean of `curves`; a fold that ended earlier counts with its last score."""
        tables = self.curves
        best = {}
        for name, table in tables.items() if isinstance(tables, dict) else [("score", tables)]:
            has_score = ~np.isnan(table)
            if not has_score.any(axis=1).all():
                raise ValueError(f"there is no best epoch of {name!r}: not every fold has scores")
            last = np.maximum.accumulate(np.where(has_score, np.arange(table.shape[1]), 0), axis=1)
            best[name] = 1 + int(np.nanargmax(np.take_along_axis(table, last, axis=1).mean(axis=0)))
        return best if isinstance(tables, dict) else best["score"]

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = []
        for name in self.metrics:
            scores = np.asarray(self[f"test_{name}"], dtype=float)
            try:
                interval = format_interval(*self.interval(metric=name))
            except ValueError:
                interval = "none"
            rows.append((name, f"{scores.mean():.4g}", interval, " ".join(f"{s:.4g}" for s in scores)))
        return rows

    def _title(self) -> str:
        return f"{self._estimator}, {self.n_splits} folds, {self._n} rows"

    def summary(self) -> str:
        """A table as text: each metric's mean, its 95 % interval, and the score of each fold."""
        return "\n".join([self._title(), *text_table([_COLUMNS, *self._rows()])])

    def __repr__(self) -> str:
        return self.summary()

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._rows(), caption=self._title())

    def to_frame(self) -> Any:
        """A pandas DataFrame with a row per fold: scores, times, and numbers of rows."""
        pandas = import_optional("pandas", "to_frame()")
        columns = {k: v for k, v in self.items() if k.endswith("_time") or k.startswith(("test_", "train_"))}
        columns["n_train"] = [len(train) for train, _ in self._folds]
        columns["n_test"] = [len(test) for _, test in self._folds]
        return pandas.DataFrame(columns).rename_axis("fold")

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw the fold scores, their mean and its 95 % interval; returns the matplotlib Axes."""
        name = self._metric(metric)
        scores = np.asarray(self[f"test_{name}"], dtype=float)
        low, high = self.interval(metric=name)
        ax = axes_or_new(ax, figsize=(6, 2.5))
        ax.axvspan(low, high, alpha=0.2, label="95 % interval of the mean")
        ax.axvline(scores.mean(), label=f"mean {scores.mean():.4g}")
        ax.plot(scores, np.arange(len(scores)), "o", color="black", label="folds")
        ax.set(xlabel=name, ylabel="fold", title=self._title(), yticks=np.arange(len(scores)))
        ax.invert_yaxis()
        ax.legend(loc="best", fontsize="small")
        return ax


def _unpickle(keys: dict, attributes: dict) -> CVResult:
    result = CVResult.__new__(CVResult)
    dict.update(result, keys)
    result.__dict__.update(attributes)
    return result
