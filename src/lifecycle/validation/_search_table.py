"""The candidates of a search as people look at them."""

from typing import Any

import numpy as np

from lifecycle.validation._interval import Interval, at_most_one, corrected_interval
from lifecycle.validation._one_standard_error import fold_scores, metric_of

_SHOWN = 10  # candidates of a summary


class SearchTable:
    """Table and plot of a fitted search; each mean with its 95 % interval, corrected for overlapping training sets."""

    cv_results_: dict[str, Any]
    _tests_per_train: float
    estimator: Any
    scoring: Any

    def _columns(self, metric: str | None) -> tuple[str, dict[str, np.ndarray]]:
        """The metric, and by name the columns of the table, best candidate first."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "cv_results_")
        results = self.cv_results_
        name = metric_of(results, metric)
        most = 1.0 if at_most_one(self.estimator, self.scoring, [name]) else np.inf
        ends = []
        for scores in fold_scores(results, name):
            try:
                ends.append(corrected_interval(scores, self._tests_per_train, 0.95, most))
            except ValueError:  # one fold, a failed one, or folds without a spread
                ends.append(Interval(np.nan, np.nan))
        low, high = np.transpose(ends)
        columns = {"rank": results[f"rank_test_{name}"], "mean": results[f"mean_test_{name}"], "low": low, "high": high}
        columns |= {key: results[key].astype(object).filled(None) for key in results if key.startswith("param_")}
        columns["fit_time"] = results["mean_fit_time"]
        order = np.argsort(columns["rank"], kind="stable")
        return name, {key: np.asarray(column)[order] for key, column in columns.items()}

    def to_frame(self, metric: str | None = None) -> Any:
        """The candidates as a pandas DataFrame, best first: rank, mean test score, its 95 % interval, parameters.

        Parameters
        ----------
        metric : str, default=None
            Needed where there are several.
        """
        try:
            import pandas
        except ImportError as error:
            raise ImportError("to_frame needs pandas: pip install pandas") from error
        return pandas.DataFrame(self._columns(metric)[1])

    def summary(self, metric: str | None = None) -> str:
        """The best candidates as text: rank, mean test score, its 95 % interval, parameters."""
        name, columns = self._columns(metric)
        params = [key for key in columns if key.startswith("param_")]
        rows = [("rank", name, "95 % interval", *(key.removeprefix("param_") for key in params))]
        for k in range(min(_SHOWN, len(columns["rank"]))):
            low, high = columns["low"][k], columns["high"][k]
            ends = "none" if np.isnan(low) else f"[{low:.4g}, {high:.4g}]"
            values = (columns[key][k] for key in params)
            rows.append((str(columns["rank"][k]), f"{columns['mean'][k]:.4g}", ends,
                         *(f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)))  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        more = len(columns["rank"]) - _SHOWN
        return "\n".join([*lines, *([f"and {more} more"] if more > 0 else [])])

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw the mean test score over the parameter that varies, its 95 % interval as a band, the choice marked.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If not exactly one parameter varies, or it is no number.
        """
        try:
            import matplotlib.pyplot as plt
        except ImportError as error:
            raise ImportError("plot needs matplotlib: pip install 'lifecycle-ml[plot]'") from error
        name, columns = self._columns(metric)
        varying = [key for key in columns if key.startswith("param_") and len({repr(v) for v in columns[key]}) > 1]
        if len(varying) != 1:
            told = ", ".join(key.removeprefix("param_") for key in varying) or "none"
            raise ValueError(f"plot needs exactly one parameter that varies; here: {told}. to_frame() has them all")
        label = varying[0].removeprefix("param_")
        try:
            x = columns[varying[0]].astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"plot needs a parameter that is a number, which {label} is not; use to_frame()") from None
        if ax is None:
            _, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
        order = np.argsort(x)
        x, mean, low, high = (values[order] for values in (x, columns["mean"], columns["low"], columns["high"]))
        ax.fill_between(x, low, high, alpha=0.2, label="95 % interval of the mean")
        ax.plot(x, mean, "o-", label="mean over the folds")
        if hasattr(self, "best_index_"):
            chosen = self.cv_results_["params"][self.best_index_][label]
            ax.axvline(float(chosen), color="black", linestyle="--", label=f"chosen: {chosen:.4g}")
        if (x > 0).all() and x.max() / x.min() > 50:
            ax.set_xscale("log")
        ax.set(xlabel=label, ylabel=name)
        ax.legend(loc="best", fontsize="small")
        return ax
