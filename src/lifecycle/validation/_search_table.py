"""Tables and plots of the candidates of a search."""

from typing import Any

import numpy as np

from lifecycle._display import axes_or_new, format_interval, import_optional, text_table
from lifecycle.validation._corrected_t_interval import Interval, corrected_t_interval
from lifecycle.validation._metrics import at_most_one, fold_scores, search_metric

_MAX_CANDIDATES = 10  # of a summary


class SearchTable:
    """Table and plot of a fitted search; each mean with its 95 % interval, corrected for overlapping training sets."""

    cv_results_: dict[str, Any]
    _fold_size_ratio: float
    estimator: Any
    scoring: Any

    def _columns(self, metric: str | None) -> tuple[str, dict[str, np.ndarray]]:
        """The metric, and by name the columns of the table, best candidate first."""
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "cv_results_")
        results = self.cv_results_
        name = search_metric(results, metric)
        upper_bound = 1.0 if at_most_one(self.estimator, self.scoring, [name]) else np.inf
        intervals = []
        for scores in fold_scores(results, name):
            try:
                intervals.append(corrected_t_interval(scores, self._fold_size_ratio, 0.95, upper_bound))
            except ValueError:  # one fold, a failed one, or folds without a spread
                intervals.append(Interval(np.nan, np.nan))
        low, high = np.transpose(intervals)
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
        return import_optional("pandas", "to_frame()").DataFrame(self._columns(metric)[1])

    def summary(self, metric: str | None = None) -> str:
        """The best candidates as text: rank, mean test score, its 95 % interval, parameters."""
        name, columns = self._columns(metric)
        params = [key for key in columns if key.startswith("param_")]
        rows = [("rank", name, "95 % interval", *(key.removeprefix("param_") for key in params))]
        for k in range(min(_MAX_CANDIDATES, len(columns["rank"]))):
            values = (columns[key][k] for key in params)
            cells = (f"{v:.4g}" if isinstance(v, float) else str(v) for v in values)
            interval = format_interval(columns["low"][k], columns["high"][k])
            rows.append((str(columns["rank"][k]), f"{columns['mean'][k]:.4g}", interval, *cells))
        more = len(columns["rank"]) - _MAX_CANDIDATES
        return "\n".join([*text_table(rows), *([f"and {more} more"] if more > 0 else [])])

    def plot(self, metric: str | None = None, *, ax: Any = None) -> Any:
        """Draw the mean test score over the parameter that varies, its 95 % interval as a band, and the choice.

        Returns
        -------
        matplotlib.axes.Axes

        Raises
        ------
        ValueError
            If not exactly one parameter varies, or it is no number.
        """
        name, columns = self._columns(metric)
        varying = [key for key in columns if key.startswith("param_") and len({repr(v) for v in columns[key]}) > 1]
        if len(varying) != 1:
            names = ", ".join(key.removeprefix("param_") for key in varying) or "none"
            raise ValueError(f"plot needs exactly one parameter that varies; these vary: {names}. Use to_frame()")
        label = varying[0].removeprefix("param_")
        try:
            x = columns[varying[0]].astype(float)
        except (TypeError, ValueError):
            raise ValueError(f"plot needs a parameter that is a number, which {label} is not; use to_frame()") from None
        ax = axes_or_new(ax, figsize=(6, 3.5))
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
