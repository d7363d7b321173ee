"""Graphs of the transformers of columns of numbers, and of the inverse of those that targets are transformed by."""

from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.converters.transformers.columns import Columns, joined

_EPS = float(np.spacing(1.0))

# -- scalers -----------------------------------------------------------------------------------------------------------


def standard_scaler(step: Any, X: Columns) -> Columns:
    X = X - step.mean_ if step.with_mean else X
    return X / step.scale_ if step.with_std else X


def inverse_standard_scaler(step: Any, X: Columns) -> Columns:
    X = X * step.scale_ if step.with_std else X
    return X + step.mean_ if step.with_mean else X


def min_max_scaler(step: Any, X: Columns) -> Columns:
    X = X * step.scale_ + step.min_
    return _clip(X, *step.feature_range) if step.clip else X


def inverse_min_max_scaler(step: Any, X: Columns) -> Columns:
    return (X - step.min_) / step.scale_


def max_abs_scaler(step: Any, X: Columns) -> Columns:
    X = X / step.scale_
    return _clip(X, -1.0, 1.0) if getattr(step, "clip", False) else X  # an argument of scikit-learn 1.8 and later


def inverse_max_abs_scaler(step: Any, X: Columns) -> Columns:
    return X * step.scale_


def robust_scaler(step: Any, X: Columns) -> Columns:
    X = X - step.center_ if step.with_centering else X
    return X / step.scale_ if step.with_scaling else X


def inverse_robust_scaler(step: Any, X: Columns) -> Columns:
    X = X * step.scale_ if step.with_scaling else X
    return X + step.center_ if step.with_centering else X


def _clip(X: Columns, low: Any, high: Any) -> Columns:
    """Limited to [low, high]; NaN stays NaN, as the operator Clip does not promise."""
    X = X.where(X.compare("Less", low), low)
    return X.where(X.compare("Greater", high), high)


def normalizer(step: Any, X: Columns) -> Columns:
    norm = _norm(X, step.norm)
    # as scikit-learn divides no row by a norm that is zero but for rounding
    return X / norm.where(norm.compare("Less", 10 * np.finfo(X.dtype).eps), 1.0)


def tfidf_transformer(step: Any, X: Columns) -> Columns:
    if step.sublinear_tf:
        if step.norm is not None:  # which takes no logarithms that are NaN
            X = X.refused_where(X.compare("Less", 0.0), "negative")
        X = (X.apply("Log") + 1.0).where(X.compare("Equal", 0.0), 0.0)
    X = X * step.idf_ if step.use_idf else X
    if step.norm is None:
        return X
    norm = _norm(X.finite(), step.norm)
    return X / norm.where(norm.compare("Equal", 0.0), 1.0)


def _norm(X: Columns, kind: str) -> Columns:
    """Of each row: l1, l2 or max."""
    if kind == "l2":
        return (X * X).reduce("ReduceSum").apply("Sqrt")
    return X.apply("Abs").reduce("ReduceSum" if kind == "l1" else "ReduceMax")


# -- bins and quantiles ------------------------------------------------------------------------------------------------


def binarizer(step: Any, X: Columns) -> Columns:
    return X.compare("Greater", step.threshold).as_type(X.dtype)


def k_bins_discretizer(step: Any, X: Columns) -> Columns:
    dtype = np.dtype(step.dtype or X.dtype).name
    X, inner = X.as_type("float64"), [edges[1:-1] for edges in step.bin_edges_]
    if step.encode == "ordinal":
        return joined([_count_reached(X.take([k]), edges) for k, edges in enumerate(inner)]).as_type(dtype)
    low = np.concatenate([[-np.inf, *edges] for edges in inner])
    high = np.concatenate([[*edges, np.inf] for edges in inner])
    X = X.take(np.repeat(np.arange(len(inner)), [len(edges) + 1 for edges in inner]))
    return X.compare("GreaterOrEqual", low).apply("And", X.compare("Less", high)).as_type(dtype)


def _count_reached(column: Columns, edges: np.ndarray, op: str = "GreaterOrEqual") -> Columns:
    """How many of the edges a value reaches, or exceeds, (rows, 1), in its dtype."""
    if not len(edges):
        return column * 0.0
    return column.compare(op, edges).as_type(column.dtype).reduce("ReduceSum")


def quantile_transformer(step: Any, X: Columns) -> Columns:
    if step.output_distribution != "uniform":
        raise UnsupportedModel(
            "a QuantileTransformer with output_distribution='normal' cannot be exported to ONNX: give it 'uniform'"
        )
    dtype, X = X.dtype, X.as_type("float64")
    columns = [_quantile(X.take([k]), step.quantiles_[:, k], step.references_) for k in range(X.width)]
    return joined(columns).as_type(dtype)


def _quantile(x: Columns, quantiles: np.ndarray, references: np.ndarray) -> Columns:
    """The mean of two interpolations, which differ where quantiles are equal: from below, and from above."""
    low, high = quantiles[0], quantiles[-1]
    inside = _clip(x, low, high)
    with np.errstate(all="ignore"):
        slopes = np.diff(references) / np.diff(quantiles)

    def line(count: Columns, slopes: np.ndarray) -> Columns:
        place = count.as_type("int64")
        at, start, slope = (_constants(x, values).apply("Gather", place) for values in (quantiles, references, slopes))
        return start + (inside - at) * slope

    upper = line(_count_reached(inside, quantiles) - 1.0, np.append(slopes, 0.0))
    lower = line(_count_reached(inside, quantiles, "Greater"), np.append(0.0, slopes))
    mean = (upper + lower) * 0.5
    mean = mean.where(x.compare("GreaterOrEqual", high), 1.0)
    return mean.where(x.compare("LessOrEqual", low), 0.0)


def _constants(like: Columns, values: np.ndarray) -> Columns:
    return Columns(like.build, like.build.constant(np.asarray(values, like.dtype)), like.dtype, 1)


# -- powers ------------------------------------------------------------------------------------------------------------


def power_transformer(step: Any, X: Columns) -> Columns:
    dtype, X = X.dtype, X.as_type("float64")
    if step.method == "box-cox":
        X = X.refused_where(X.compare("LessOrEqual", 0.0), "not_positive")
        X = _box_cox(X, step.lambdas_)
    else:  # one of both parts is 0, and so is what becomes of it; NaN stays
        half, size = X * 0.5, X.apply("Abs") * 0.5
        X = _box_cox(half + size + 1.0, step.lambdas_) - _box_cox(size - half + 1.0, 2.0 - step.lambdas_)
    return (standard_scaler(step._scaler, X.finite()) if step.standardize else X).as_type(dtype)


def _box_cox(X: Columns, powers: np.ndarray) -> Columns:
    """(X^power − 1) / power of each column, or log X."""
    logs, is_zero = X.apply("Log"), np.abs(powers) < _EPS
    safe = np.where(is_zero, 1.0, powers)
    return ((logs * safe).apply("Exp") - 1.0).apply("Div", safe).where_constant(is_zero, logs)


def inverse_power_transformer(step: Any, X: Columns) -> Columns:
    X = inverse_standard_scaler(step._scaler, X) if step.standardize else X
    if step.method == "box-cox":
        return _inverse_box_cox(X, step.lambdas_)
    positive = _inverse_box_cox(X, step.lambdas_) - 1.0
    negative = _inverse_box_cox(X * -1.0, 2.0 - step.lambdas_) * -1.0 + 1.0
    return positive.where(X.compare("Less", 0.0), negative)


def _inverse_box_cox(X: Columns, powers: np.ndarray) -> Columns:
    is_zero = np.abs(powers) < _EPS
    safe = np.where(is_zero, 1.0, powers)
    return (X * safe + 1.0).apply("Pow", 1.0 / safe).where_constant(is_zero, X.apply("Exp"))


def polynomial_features(step: Any, X: Columns) -> Columns:
    """Products of as many columns as the degree, among them a column of ones in place of those that a term lacks."""
    terms = [np.repeat(np.arange(X.width), powers).tolist() for powers in step.powers_]
    degree = max(max(map(len, terms)), 1)
    factors = np.array([term + [X.width] * (degree - len(term)) for term in terms])
    ones = (X.take([0]).is_nan().as_type(X.dtype) * 0.0) + 1.0
    X = joined([X, ones])
    product = X.take(factors[:, 0])
    for places in factors[:, 1:].T:
        product = product * X.take(places)
    return product


# -- projections and selections ----------------------------------------------------------------------------------------


def pca(step: Any, X: Columns) -> Columns:
    projected = truncated_svd(step, X) - step.mean_ @ step.components_.T
    if not step.whiten:
        return projected
    scale = np.sqrt(step.explained_variance_)
    return projected / np.maximum(scale, np.finfo(scale.dtype).eps)


def truncated_svd(step: Any, X: Columns) -> Columns:
    return X.as_type(np.result_type(X.dtype, step.components_.dtype).name) @ step.components_.T


def selection(step: Any, X: Columns) -> Columns:
    return X.take(step.get_support(indices=True))


# -- functions ---------------------------------------------------------------------------------------------------------

_OPERATORS = {
    "absolute": "Abs", "ceil": "Ceil", "cos": "Cos", "exp": "Exp", "floor": "Floor", "log": "Log", "negative": "Neg",
    "reciprocal": "Reciprocal", "rint": "Round", "sign": "Sign", "sin": "Sin", "sqrt": "Sqrt", "tanh": "Tanh",
}  # fmt: skip
_FORMULAS = {
    "exp2": lambda X: (X * np.log(2.0)).apply("Exp"),
    "expm1": lambda X: X.apply("Exp") - 1.0,
    "log1p": lambda X: (X + 1.0).apply("Log"),
    "log2": lambda X: X.apply("Log") / np.log(2.0),
    "log10": lambda X: X.apply("Log") / np.log(10.0),
    "square": lambda X: X * X,
}


def function_transformer(step: Any, X: Columns) -> Columns:
    return _apply_function(step.func, X)


def inverse_function_transformer(step: Any, X: Columns) -> Columns:
    return _apply_function(step.inverse_func, X)


def _apply_function(function: Any, X: Columns) -> Columns:
    name = None if function is None else function.__name__
    if name is None:
        return X
    if name in _FORMULAS:
        return _FORMULAS[name](X)
    if name not in _OPERATORS:
        known = ", ".join(sorted((*_OPERATORS, *_FORMULAS)))
        raise UnsupportedModel(f"the function {name} cannot be exported to ONNX; what can: {known}")
    return X.apply(_OPERATORS[name])


TRANSFORMERS = {
    "StandardScaler": standard_scaler,
    "MinMaxScaler": min_max_scaler,
    "MaxAbsScaler": max_abs_scaler,
    "RobustScaler": robust_scaler,
    "Normalizer": normalizer,
    "TfidfTransformer": tfidf_transformer,
    "Binarizer": binarizer,
    "KBinsDiscretizer": k_bins_discretizer,
    "QuantileTransformer": quantile_transformer,
    "PowerTransformer": power_transformer,
    "PolynomialFeatures": polynomial_features,
    "PCA": pca,
    "TruncatedSVD": truncated_svd,
    "VarianceThreshold": selection,
    "SelectKBest": selection,
    "SelectPercentile": selection,
}
INVERSES = {
    "StandardScaler": inverse_standard_scaler,
    "MinMaxScaler": inverse_min_max_scaler,
    "MaxAbsScaler": inverse_max_abs_scaler,
    "RobustScaler": inverse_robust_scaler,
    "PowerTransformer": inverse_power_transformer,
    "FunctionTransformer": inverse_function_transformer,
}
