"""TreeClassifier and TreeRegressor: the predictions of forests and of boosting, from the layout of `lifecycle.trees`.

They are made of scikit-learn's models, by `lc.compress` and when a file is loaded; they are not fitted. scikit-learn is
not needed to predict.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from lifecycle._check import check_column_names, one_of
from lifecycle._threads import map_ordered
from lifecycle.loops.trees import BY_CATEGORY, FLAG_BITS, MISSING_LEFT, add_trees, node_dtype
from lifecycle.trees import TreeEnsemble

__all__ = ["Rows", "TreeClassifier", "TreeRegressor"]

_CHUNK = 1024  # rows of a task of a thread
_CHUNK_ELEMENTS = 1 << 22  # of sparse rows that are made dense at once
_LEVELS = 8  # of a tree, in the estimate of how long a walk takes


@dataclass(frozen=True)
class Rows:
    """What a model accepts as rows, and how these become the features of its trees.

    Attributes
    ----------
    n_features : int
    feature_names : array of str, or None
    allow_infinite, allow_missing, allow_sparse : bool
    encoded : sequence of (column, categories)
        Columns of categories come first among the features of the trees, as the places of their values in
        `categories`; NaN for other values. The other columns follow in their order.
    """

    n_features: int
    feature_names: np.ndarray | None = None
    allow_infinite: bool = False
    allow_missing: bool = True
    allow_sparse: bool = True
    encoded: Sequence[tuple[int, np.ndarray]] = ()

    def read(self, X: Any, dtype: Any) -> Any:
        """The features of the trees, a C-contiguous array of that dtype or a CSR array; ValueError for other rows."""
        if type(X) is np.ndarray and X.dtype == dtype and not self.encoded:  # in little time
            rows = np.ascontiguousarray(X)
            if rows.shape[1:] == (self.n_features,):
                return rows
        names = getattr(X, "columns", None)
        if names is not None and self.feature_names is not None:
            check_column_names([str(name) for name in names], list(self.feature_names))
        if hasattr(X, "tocsr"):
            if not self.allow_sparse:
                raise ValueError("this model does not accept sparse rows: pass X.toarray()")
            rows = X.tocsr()
            rows = rows if rows.dtype == dtype else rows.astype(dtype)
        elif self.encoded:
            rows = self._encode(X, dtype)
        else:
            with np.errstate(over="ignore"):  # what is too large becomes infinite, which is reported
                rows = np.ascontiguousarray(_numbers(X, dtype), dtype)
        if rows.ndim != 2:
            raise ValueError(f"X must have two dimensions, rows and features; it has the shape {rows.shape}")
        if rows.shape[1] != self.n_features:
            raise ValueError(f"X has {rows.shape[1]} features; this model was trained on {self.n_features}")
        return rows

    @cached_property
    def _other_columns(self) -> np.ndarray:
        return np.setdiff1d(np.arange(self.n_features), [column for column, _ in self.encoded])

    @cached_property
    def _codes(self) -> list[dict[Any, int]]:
        """The code of each category, of each column that has them."""
        return [
            {value: k for k, value in enumerate(values.tolist()) if value is not None and value == value}
            for _, values in self.encoded
        ]

    @cached_property
    def _codes_of_pandas(self) -> dict[int, tuple[Any, np.ndarray]]:
        """By column: the categories of the last column of pandas, and the codes of these, the last one of no value."""
        return {}

    def _encode(self, X: Any, dtype: Any) -> np.ndarray:
        """Columns of categories first, as codes."""
        is_frame = hasattr(X, "iloc")
        table = np.asarray(X, dtype=None if isinstance(X, np.ndarray) else object) if not is_frame else None
        shape = X.shape if table is None else table.shape
        out = np.empty(shape, dtype)
        if len(shape) != 2 or shape[1] != self.n_features:
            return out  # `read` says what is wrong
        columns = list(table.T) if table is not None else [column.array for _, column in X.items()]
        for k, (column, _) in enumerate(self.encoded):
            out[:, k] = self._codes_of(k, columns[column])
        for k, column in enumerate(self._other_columns, len(self.encoded)):
            out[:, k] = _numbers(columns[column], dtype)
        return out

    def _codes_of(self, k: int, values: Any) -> np.ndarray:
        """The code of each value of a column; NaN where it is missing or has none."""
        codes = self._codes[k]
        if not hasattr(values, "categories"):
            return np.array([codes.get(value, np.nan) for value in values.tolist()], dtype=np.float64)
        known = self._codes_of_pandas.get(k)
        if known is None or known[0] is not values.categories:
            of_categories = [codes.get(value, np.nan) for value in values.categories.tolist()]
            known = self._codes_of_pandas[k] = values.categories, np.array([*of_categories, np.nan], dtype=np.float64)
        return known[1][values.codes]  # -1 is missing


def _numbers(values: Any, dtype: Any) -> Any:
    """Of a column or a table of pandas, whose missing values become NaN; anything else as it is."""
    return values.to_numpy(dtype=dtype, na_value=np.nan) if hasattr(values, "to_numpy") else values


class _TreeModel:
    """The sums of the leaves of an ensemble, and what stands before and behind them."""

    _estimator_type: str

    def __init__(self, ensemble: TreeEnsemble, rows: Rows, baseline: np.ndarray, averages: bool):
        self.ensemble, self.rows = ensemble, rows
        self.baseline, self.averages = baseline, averages
        self._nodes: tuple | None = None

    @property
    def n_features_in_(self) -> int:
        return self.rows.n_features

    @property
    def feature_names_in_(self) -> np.ndarray:
        if self.rows.feature_names is None:
            raise AttributeError("the model was trained on rows whose features have no names")
        return self.rows.feature_names

    @property
    def n_trees(self) -> int:
        return self.ensemble.n_trees

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.n_trees} trees, {len(self.ensemble.is_leaf):,} nodes)"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_nodes": None}

    def fit(self, X: Any, y: Any = None) -> Any:
        """Raise TypeError; scikit-learn's pipelines ask for the method."""
        raise TypeError(f"a {type(self).__name__} is made of a trained model and is not trained itself")

    def __sklearn_is_fitted__(self) -> bool:
        return True

    def __sklearn_tags__(self) -> Any:
        from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

        mixin = ClassifierMixin if self._estimator_type == "classifier" else RegressorMixin
        return type("Tags", (mixin, BaseEstimator), {})().__sklearn_tags__()

    def _kernel_arguments(self) -> tuple:
        if self._nodes is None:
            ensemble, splits, leaves = self.ensemble, self.ensemble.splits, self.ensemble.leaves
            roots, left, right = ensemble.links()
            by_category = splits.category_set >= 0
            nodes = np.zeros(max(len(splits), 1), node_dtype(splits.threshold.dtype))  # walks that have ended read one
            flags = splits.missing_left * MISSING_LEFT | by_category * BY_CATEGORY
            used = nodes[: len(splits)]
            used["threshold"] = np.where(by_category, splits.category_set, splits.threshold)
            used["feature"] = splits.feature.astype(np.uint32) << FLAG_BITS | flags.astype(np.uint32)
            used["left"], used["right"] = left, right
            self._nodes = (nodes, roots, splits.categories, leaves.start, leaves.output, leaves.value)
        return self._nodes

    def _raw_predictions(self, X: Any) -> np.ndarray:
        """Sums, or means, of shape (rows, outputs)."""
        self._kernel_arguments()  # before threads ask for them
        features = self.rows.read(X, self.ensemble.splits.threshold.dtype)
        n = features.shape[0]
        out = np.empty((n, self.ensemble.n_outputs))
        out[:] = self.baseline
        is_dense = isinstance(features, np.ndarray)
        chunk = _CHUNK if is_dense else max(1, min(_CHUNK, _CHUNK_ELEMENTS // self.n_features_in_))
        if is_dense and n <= chunk:
            self._add_trees(features, 0, n, out)
        else:

            def work(begin: int) -> None:
                end = min(begin + chunk, n)
                if is_dense:
                    self._add_trees(features, begin, end, out)
                else:
                    self._add_trees(features[begin:end].toarray(), 0, end - begin, out[begin:end], begin)

            for _ in map_ordered(work, range(0, n, chunk), n * self.n_trees * _LEVELS):
                pass
        if self.averages:
            out /= self.n_trees
        return out

    def _add_trees(self, X: np.ndarray, begin: int, end: int, out: np.ndarray, first: int = 0) -> None:
        """Add the leaves of all trees to rows of `out`; row 0 of X is row `first` of the caller's."""
        rows = self.rows
        row = add_trees(self.ensemble.n_categorical > 0)(
            *self._kernel_arguments(), X, begin, end, not rows.allow_infinite, rows.allow_missing, out
        )  # fmt: skip
        if row < end:
            missing = "" if rows.allow_missing else "NaN, "
            raise ValueError(f"row {first + row} of X has {missing}infinity or a number too large for {X.dtype}")


class TreeClassifier(_TreeModel):
    """Classes by the sums of trees.

    Parameters
    ----------
    ensemble : TreeEnsemble
        Its outputs are the probabilities of the classes of each target, one after another, or, with a `link`, one score
        a class, or one score alone for two classes.
    rows : Rows
    classes : list of ndarray
        The labels of each target, sorted.
    link : {"identity", "expit", "expit of twice", "softmax"}
        From scores to probabilities.
    zero_is_second : bool
        Whether a single score of 0 is the second class.
    baseline : ndarray of shape (n_outputs,)
    averages : bool
        Whether the outputs are means over the trees.

    Attributes
    ----------
    classes_ : ndarray, or list of ndarray where there are several targets
    n_features_in_ : int
    feature_names_in_ : ndarray of str
        Where the model was trained on named features.
    """

    _estimator_type = "classifier"
    LINKS = ("identity", "expit", "expit of twice", "softmax")

    def __init__(
        self, ensemble: TreeEnsemble, rows: Rows, baseline: np.ndarray, averages: bool, *, classes: list[np.ndarray],
        link: str, zero_is_second: bool = False,
    ):  # fmt: skip
        super().__init__(ensemble, rows, baseline, averages)
        self.labels, self.link = classes, one_of("link", link, self.LINKS)
        self.zero_is_second = zero_is_second
        self._ends = np.cumsum([len(labels) for labels in classes])[:-1]

    @property
    def classes_(self) -> Any:
        return self.labels[0] if len(self.labels) == 1 else self.labels

    def predict(self, X: Any) -> np.ndarray:
        """Labels of shape (n_samples,), or (n_samples, n_targets)."""
        out = self._raw_predictions(X)
        if self.link in ("expit", "expit of twice"):
            score = out[:, 0]
            return self.labels[0][(score >= 0 if self.zero_is_second else score > 0).astype(np.intp)]
        if len(self.labels) == 1:
            return self.labels[0].take(out.argmax(axis=1))
        parts = zip(self.labels, np.split(out, self._ends, axis=1), strict=True)
        return np.stack([labels.take(part.argmax(axis=1)) for labels, part in parts], axis=1)

    def predict_proba(self, X: Any) -> Any:
        """Probabilities of shape (n_samples, n_classes), or a list of these where there are several targets."""
        out = self._raw_predictions(X)
        if self.link == "softmax":
            from scipy.special import softmax

            return softmax(out, axis=1)
        if self.link != "identity":
            from scipy.special import expit

            second = expit(out[:, 0] if self.link == "expit" else 2 * out[:, 0])
            return np.stack([1 - second, second], axis=1)
        return out if len(self.labels) == 1 else np.split(out, self._ends, axis=1)

    def score(self, X: Any, y: Any) -> float:
        """Accuracy: the share of the rows whose labels are all right."""
        right = np.asarray(self.predict(X) == np.asarray(y))
        return float(np.mean(right if right.ndim == 1 else right.all(axis=1)))


class TreeRegressor(_TreeModel):
    """Values by the sums of trees.

    Parameters
    ----------
    ensemble : TreeEnsemble
    rows : Rows
    link : {"identity", "exp"}
        From the sums to the values.
    baseline : ndarray of shape (n_outputs,)
    averages : bool
        Whether the outputs are means over the trees.
    """

    _estimator_type = "regressor"
    LINKS = ("identity", "exp")

    def __init__(
        self, ensemble: TreeEnsemble, rows: Rows, baseline: np.ndarray, averages: bool, *, link: str = "identity"
    ):
        super().__init__(ensemble, rows, baseline, averages)
        self.link = one_of("link", link, self.LINKS)

    def predict(self, X: Any) -> np.ndarray:
        """Values of shape (n_samples,), or (n_samples, n_targets)."""
        out = self._raw_predictions(X)
        out = np.exp(out) if self.link == "exp" else out
        return out[:, 0] if self.ensemble.n_outputs == 1 else out

    def score(self, X: Any, y: Any) -> float:
        """R², the mean of the targets' where there are several."""
        from sklearn.metrics import r2_score

        return float(r2_score(y, self.predict(X)))
