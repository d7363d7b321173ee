"""How the transformers of columns of numbers are stored."""

from functools import partial
from typing import Any

import numpy as np

from lifecycle._check import one_of
from lifecycle.store import limits
from lifecycle.store.adapters.sklearn.transformers.stored import (
    N_FEATURES,
    TWO_ROWS,
    Functions,
    Numbers,
    Stored,
    refit,
)

_PER_COLUMN = Numbers(("n",), nan=True)  # NaN for a column without values
_TWO_COLUMNS = ((0.0, 1.0), (1.0, 0.0))
_COUNT = Numbers((), "iu")
_SEEN = Numbers(("n",), "iuf", or_number=True)
_SCALER = {"mean_": _PER_COLUMN, "var_": _PER_COLUMN, "scale_": _PER_COLUMN, "n_samples_seen_": _SEEN}
_UFUNCS = Functions(
    "numpy",
    (
        *("absolute", "arcsinh", "arctan", "cbrt", "ceil", "cos", "cosh", "exp", "exp2", "expm1", "floor", "isfinite"),
        *("isnan", "log", "log10", "log1p", "log2", "negative", "reciprocal", "rint", "sign", "sin", "sinh", "sqrt"),
        *("square", "tan", "tanh", "trunc"),
    ),
)
_SCORES = Functions(
    "sklearn.feature_selection",
    ("chi2", "f_classif", "f_regression", "mutual_info_classif", "mutual_info_regression", "r_regression"),
)


def _n_components(step: Any) -> int:
    return len(step.components_)


def _n_selected(step: Any) -> int:
    return int(step.get_support().sum())


def _no_scores(X: Any, y: Any) -> np.ndarray:
    return np.zeros(X.shape[1])


def _check_components(step: Any, learned: dict[str, Any]) -> None:
    if learned["n_components_"] != len(learned["components_"]):
        raise ValueError("n_components_ is not the number of components")


def _check_quantiles(step: Any, learned: dict[str, Any]) -> None:
    if learned["n_quantiles_"] != len(learned["quantiles_"]):
        raise ValueError("n_quantiles_ is not the number of quantiles")


# -- PowerTransformer, whose scaler is private -------------------------------------------------------------------------


def _read_power(step: Any) -> dict[str, Any]:
    scaler = getattr(step, "_scaler", None) if step.standardize else None
    return {k: getattr(scaler, k, None) for k in _SCALER}


def _check_method(step: Any, learned: dict[str, Any]) -> None:
    one_of("method", step.method, ("yeo-johnson", "box-cox"))


def _restore_power(step: Any, learned: dict[str, Any]) -> Any:
    scaler = {k: learned.pop(k) for k in _SCALER}
    refit(step, learned, during={"method": "yeo-johnson"})  # it searches no exponent for a constant column
    if step.standardize:
        vars(step._scaler).update(scaler, n_features_in_=learned[N_FEATURES])
    return step


# -- PolynomialFeatures ------------------------------------------------------------------------------------------------


def _check_degree(step: Any, learned: dict[str, Any]) -> None:
    """ExceedsLimit for more outputs than a file may ask for: they are counted only as far as that."""
    low, high = step.degree if isinstance(step.degree, (tuple, list)) else (0, step.degree)
    n, most = int(learned[N_FEATURES]), limits.MAX_WORK * limits.COLUMNS_PER_UNIT
    if not 0 <= low <= high:
        raise ValueError(f"the degree {step.degree} of a PolynomialFeatures is malformed")
    limits.spend_work(high)
    total, of_degree = 1, 1  # of each degree: combinations of its columns, with or without repetition
    for degree in range(1, high + 1):
        of_degree = of_degree * (n - degree + 1 if step.interaction_only else n + degree - 1) // degree
        total += of_degree
        if total > most or not of_degree:
            break
    limits.spend_work(max(n, total) // limits.COLUMNS_PER_UNIT)


def _restore_polynomial(step: Any, learned: dict[str, Any]) -> Any:
    from scipy.sparse import csr_array

    return refit(step, learned, csr_array((1, learned[N_FEATURES])))  # takes no memory for its zeros


# -- KBinsDiscretizer, whose encoder is private ------------------------------------------------------------------------


def _read_bins(step: Any) -> dict[str, Any]:
    return {"bin_edges_": np.concatenate(step.bin_edges_)}


def _check_bins(step: Any, learned: dict[str, Any]) -> None:
    n_bins, edges = learned["n_bins_"], learned["bin_edges_"]
    limits.spend_work(limits.COLUMN * len(n_bins))
    if not (n_bins >= 1).all() or (n_bins > len(edges)).any() or n_bins.sum() + len(n_bins) != len(edges):
        raise ValueError("the edges of the bins are not those of n_bins_")
    if any((part[1:] < part[:-1]).any() for part in np.split(edges, _first_edges(n_bins))):
        raise ValueError("the edges of the bins are not sorted")


def _first_edges(n_bins: np.ndarray) -> np.ndarray:
    """Of all columns but the first: where their edges begin."""
    return np.cumsum(n_bins.astype(np.int64) + 1)[:-1]


def _restore_bins(step: Any, learned: dict[str, Any]) -> Any:
    n_bins = learned["n_bins_"]
    parts = np.split(learned["bin_edges_"], _first_edges(n_bins))
    learned["bin_edges_"] = np.empty(len(parts), dtype=object)
    for column, part in enumerate(parts):
        learned["bin_edges_"][column] = part
    rows = np.zeros((2, len(n_bins)))
    rows[1, n_bins > 1] = 1.0  # a constant column has one bin
    during = {"n_bins": np.maximum(n_bins, 2), "strategy": "uniform", "subsample": None}
    return refit(step, learned, rows, during=during)


def _n_bins(step: Any) -> int:
    return len(step.n_bins_) if step.encode == "ordinal" else int(step.n_bins_.sum())


# -- SplineTransformer, which keeps objects of scipy -------------------------------------------------------------------


def _read_splines(step: Any) -> dict[str, Any]:
    return {"knots": np.stack([spline.t for spline in step.bsplines_])}


def _check_splines(step: Any, learned: dict[str, Any]) -> None:
    knots = learned["knots"]
    if (knots[:, 1:] < knots[:, :-1]).any():
        raise ValueError("the knots of a SplineTransformer are not sorted")
    if not 0 <= step.degree <= (knots.shape[1] - 2) // 2:
        raise ValueError(f"the degree {step.degree} of a SplineTransformer does not fit its knots")
    limits.spend_bytes(16 * knots.shape[1] ** 2)  # of its coefficients, an identity matrix


def _restore_splines(step: Any, learned: dict[str, Any]) -> Any:
    from scipy.interpolate import BSpline

    knots = learned.pop("knots")
    during = {"knots": "uniform", "n_knots": knots.shape[1] - 2 * step.degree}
    refit(step, learned, TWO_ROWS, during=during)
    (one,) = step.bsplines_
    step.bsplines_ = [BSpline.construct_fast(row, one.c, one.k, one.extrapolate) for row in knots]
    step.n_features_out_ *= len(knots)
    return step


# -- FunctionTransformer -----------------------------------------------------------------------------------------------


def _check_function(step: Any, learned: dict[str, Any]) -> None:
    if step.feature_names_out not in (None, "one-to-one"):
        raise ValueError("feature_names_out of a FunctionTransformer is neither None nor 'one-to-one'")


_SELECTION = {"scores_": Numbers(("n",), "fiu", True, True), "pvalues_": Numbers(("n",), "f", True, True, none=True)}
_restore_selection = partial(refit, rows=TWO_ROWS, y=(0, 1), during={"score_func": _no_scores})

TRANSFORMERS = {
    "StandardScaler": Stored(
        "sklearn.preprocessing",
        ("copy", "with_mean", "with_std"),
        {
            **_SCALER,
            "mean_": _PER_COLUMN._replace(none="with_mean"),
            "var_": _PER_COLUMN._replace(none="with_std"),
            "scale_": _PER_COLUMN._replace(none="with_std"),
        },
    ),
    "MinMaxScaler": Stored(
        "sklearn.preprocessing",
        ("feature_range", "copy", "clip"),
        {
            **dict.fromkeys(("min_", "scale_", "data_min_", "data_max_", "data_range_"), _PER_COLUMN),
            "n_samples_seen_": _COUNT,
        },
    ),
    "MaxAbsScaler": Stored(
        "sklearn.preprocessing",
        ("copy", "clip"),
        {"scale_": _PER_COLUMN, "max_abs_": _PER_COLUMN, "n_samples_seen_": _COUNT},
    ),
    "RobustScaler": Stored(
        "sklearn.preprocessing",
        ("with_centering", "with_scaling", "quantile_range", "copy", "unit_variance"),
        {
            "center_": _PER_COLUMN._replace(none="with_centering"),
            "scale_": _PER_COLUMN._replace(none="with_scaling"),
        },
    ),
    "Normalizer": Stored("sklearn.preprocessing", ("norm", "copy")),
    "Binarizer": Stored("sklearn.preprocessing", ("threshold", "copy")),
    "PowerTransformer": Stored(
        "sklearn.preprocessing",
        ("method", "standardize", "copy"),
        {"lambdas_": Numbers(("n",)), **{k: rule._replace(none="standardize") for k, rule in _SCALER.items()}},
        read=_read_power,
        check=_check_method,
        restore=_restore_power,
    ),
    "QuantileTransformer": Stored(
        "sklearn.preprocessing",
        ("n_quantiles", "output_distribution", "ignore_implicit_zeros", "subsample", "random_state", "copy"),
        {
            "n_quantiles_": _COUNT,
            "quantiles_": Numbers(("quantiles", "n"), nan=True),
            "references_": Numbers(("quantiles",)),
        },
        check=_check_quantiles,
    ),
    "KBinsDiscretizer": Stored(
        "sklearn.preprocessing",
        ("n_bins", "encode", "strategy", "quantile_method", "dtype", "subsample", "random_state"),
        {"n_bins_": Numbers(("n",), "iu"), "bin_edges_": Numbers(("edges",), inf=True)},
        read=_read_bins,
        check=_check_bins,
        restore=_restore_bins,
        n_outputs=_n_bins,
    ),
    "PolynomialFeatures": Stored(
        "sklearn.preprocessing",
        ("degree", "interaction_only", "include_bias", "order"),
        check=_check_degree,
        restore=_restore_polynomial,
        n_outputs=lambda step: int(step.n_output_features_),
    ),
    "SplineTransformer": Stored(
        "sklearn.preprocessing",
        (
            *("n_knots", "degree", "knots", "extrapolation", "include_bias", "order", "handle_missing"),
            "sparse_output",
        ),
        {"knots": Numbers(("n", "knots"))},
        read=_read_splines,
        check=_check_splines,
        restore=_restore_splines,
        n_outputs=lambda step: int(step.n_features_out_),
    ),
    "FunctionTransformer": Stored(
        "sklearn.preprocessing",
        ("func", "inverse_func", "validate", "accept_sparse", "check_inverse", "feature_names_out"),
        functions={"func": _UFUNCS, "inverse_func": _UFUNCS},
        fitted=None,
        check=_check_function,
        restore=partial(refit, during={"check_inverse": False}),
    ),
    "PCA": Stored(
        "sklearn.decomposition",
        (
            *("n_components", "copy", "whiten", "svd_solver", "tol", "iterated_power", "n_oversamples"),
            *("power_iteration_normalizer", "random_state"),
        ),
        {
            "components_": Numbers(("components", "n")),
            "mean_": Numbers(("n",)),
            "explained_variance_": Numbers(("components",)),
            "explained_variance_ratio_": Numbers(("components",), nan=True),
            "singular_values_": Numbers(("components",)),
            "noise_variance_": Numbers(nan=True),
            "n_components_": _COUNT,
            "n_samples_": _COUNT,
        },
        check=_check_components,
        restore=partial(refit, rows=TWO_ROWS, during={"n_components": 1, "svd_solver": "full"}),
        n_outputs=_n_components,
    ),
    "TruncatedSVD": Stored(
        "sklearn.decomposition",
        (
            *("n_components", "algorithm", "n_iter", "n_oversamples", "power_iteration_normalizer", "random_state"),
            "tol",
        ),
        {
            "components_": Numbers(("components", "n")),
            "explained_variance_": Numbers(("components",)),
            "explained_variance_ratio_": Numbers(("components",), nan=True),
            "singular_values_": Numbers(("components",)),
        },
        restore=partial(
            refit,
            rows=_TWO_COLUMNS,
            during={"n_components": 1, "algorithm": "randomized", "n_iter": 1, "n_oversamples": 1, "random_state": 0},
        ),
        n_outputs=_n_components,
    ),
    "VarianceThreshold": Stored(
        "sklearn.feature_selection",
        ("threshold",),
        {"variances_": Numbers(("n",), nan=True, inf=True)},
        restore=partial(refit, rows=((0.0,), (1e150,))),  # of a variance beyond the threshold
        n_outputs=_n_selected,
    ),
    "SelectKBest": Stored(
        "sklearn.feature_selection",
        ("score_func", "k"),
        _SELECTION,
        {"score_func": _SCORES},
        restore=_restore_selection,
        n_outputs=_n_selected,
    ),
    "SelectPercentile": Stored(
        "sklearn.feature_selection",
        ("score_func", "percentile"),
        _SELECTION,
        {"score_func": _SCORES},
        restore=_restore_selection,
        n_outputs=_n_selected,
    ),
}
