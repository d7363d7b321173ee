"""What training one model gives, and the warning of those that have not converged."""

import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning

NOT_CONVERGED = (
    "stopped at max_iter={} before the loss stopped falling: increase max_iter, scale the features, try another "
    "optimizer, or pass tol=None to make exactly max_iter epochs"
)
_LIBRARIES = ("lifecycle", "sklearn", "joblib")  # that may stand between the user and a model
_N_NAMED = 3  # models that a warning of many describes


@dataclass
class FitResult:
    """Coefficients and what happened on the way to them.

    Parameters
    ----------
    coef : (n_outputs, n_features);  intercept : (n_outputs,), of centred features
    objectives : the objective in each epoch or iteration
    validation_losses : the loss on the rows that early stopping holds out, after each epoch
    gap : a bound or an estimate of what the objective is above its minimum, or None
    null_loss : the loss of zero coefficients, in whose unit the gap is told, or None
    warning : what happened, a colon and what helps, or None where the model has converged
    large_feature : column with most of the variance of all features, which makes steps short for the others, or None
    error : what made training impossible, or None
    """

    coef: np.ndarray
    intercept: np.ndarray
    objectives: list[float] = field(default_factory=list)
    validation_losses: list[float] = field(default_factory=list)
    warning: str | None = None
    gap: float | None = None
    null_loss: float | None = None
    large_feature: int | None = None
    error: Exception | None = None


def warn_not_converged(models: Sequence[Any], results: dict[int, FitResult], names: Sequence[str]) -> None:
    """One ConvergenceWarning of the models that `results` has, at the line of the user that asked for them.

    Parameters
    ----------
    models : all estimators that were trained together
    results : those of models that have not converged, by the index of the model
    names : what tells each model from the others, such as its parameters; "" where there is one
    """
    if not results:
        return
    kind, named = type(models[0]).__name__, sorted(results)[:_N_NAMED]
    told = {i: _what_happened(results[i]) for i in named}
    advice = "; ".join(dict.fromkeys(_what_helps(models[i], results[i]) for i in named))
    if len(models) == 1:
        sentence = f"{kind} {told[0]}: {advice}"
    else:
        list_ = [f"model {i} ({names[i]}) {told[i]}" for i in named]
        list_ += [f"and {len(results) - _N_NAMED} more"] if len(results) > _N_NAMED else []
        sentence = f"{len(results)} of {len(models)} {kind}s did not converge: {'; '.join(list_)}. What helps: {advice}"
    warnings.warn(sentence, ConvergenceWarning, stacklevel=_stacklevel_of_caller())


def _what_happened(result: FitResult) -> str:
    assert result.warning is not None
    happened = result.warning.partition(": ")[0]
    if result.gap is None:
        return happened
    of_null = f" ({result.gap / result.null_loss:.2g} of the loss of zero coefficients)" if result.null_loss else ""
    return f"{happened}, with an objective about {result.gap:.2g} above its minimum{of_null}"


def _what_helps(model: Any, result: FitResult) -> str:
    advice = (result.warning or "").partition(": ")[2]
    if result.large_feature is None:
        return advice
    names = getattr(model, "feature_names_in_", None)
    name = result.large_feature if names is None else repr(names[result.large_feature])
    return f"{advice}; column {name} has most of the variance of all columns, which makes steps short for the others"


def describe_models(params: Sequence[dict[str, Any]], sets: Sequence[Any], rows: Sequence[Any]) -> Iterator[str]:
    """For each model the parameters in which models differ, its training set if there are several, and how many rows.

    Parameters
    ----------
    params : of each model; sets : of its training rows, equal where the rows are;  rows : their numbers
    """
    names = dict.fromkeys(name for p in params for name in p)
    differing = {name for name in names if len({repr(p.get(name)) for p in params}) > 1}
    places = {one: k for k, one in enumerate(dict.fromkeys(sets), 1)}
    for p, one, numbers in zip(params, sets, rows, strict=True):
        parts = [f"{name}={value!r}" for name, value in p.items() if name in differing]
        parts += [f"training set {places[one]} of {len(places)}"] if len(places) > 1 else []
        yield ", ".join([*parts, f"{len(numbers)} rows"])


def _stacklevel_of_caller() -> int:
    """The stacklevel with which a warning of the calling function points to the line of the user."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").partition(".")[0] in _LIBRARIES:
        level, frame = level + 1, frame.f_back
    return level
