"""Structured pruning of scikit-learn's MLPs: hidden units that matter least are removed from the layers around them."""

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store.adapters.sklearn import mlp

_DAMPING = 0.01  # of the second moments, relative to the mean of their diagonal
_TOLERANCE = {"float32": 1e-4, "float64": 1e-9}  # of the largest output


def remove(
    model: Any,
    amount: float,
    method: str,
    scope: str,
    calibration: Any,
    protect: Sequence[str],
    seed: np.random.RandomState,
) -> Any:
    """The network, in place, without that share of its hidden units.

    Of the units between layers that are not protected, those with the lowest scores go; every layer keeps one. The
    result is compared with the network whose units are zero, on the calibration rows. Then the layer after the units is
    fitted to those that remain.
    """
    if mlp.is_quantized(model):
        raise UnsupportedModel(
            f"the weights of this {type(model).__name__} are quantized: remove hidden units first, then quantize"
        )
    X = mlp.validated(model, calibration[0] if method == "taylor" else calibration)
    n_hidden = len(model.coefs_) - 1
    free = [k for k in range(n_hidden) if not _is_protected(k, protect) and not _is_protected(k + 1, protect)]
    if not free:
        raise UnsupportedModel(
            f"no hidden unit of this {type(model).__name__} can be removed: it has {n_hidden} hidden layers, and every "
            "one is before or after a protected weight"
        )
    scores = _scores(model, method, calibration, seed)
    removed = _choose([scores[k] for k in free], amount, scope)
    kept = {k: ~gone for k, gone in zip(free, removed, strict=True) if gone.any()}
    if not kept:
        return model
    before = copy.deepcopy(model)
    masked = copy.deepcopy(model)
    for k, keep in kept.items():
        masked.coefs_[k + 1][~keep] = 0.0
    _slice(model, kept)
    found, wanted = (mlp.inputs_of_layers(one, X)[-1] for one in (model, masked))
    tolerance = _TOLERANCE[model.coefs_[0].dtype.name] * max(float(np.abs(wanted).max()), 1.0)
    if not np.allclose(found, wanted, rtol=0.0, atol=tolerance):
        raise UnsupportedModel(
            f"without some hidden units this {type(model).__name__} computes something else than with zeros in their "
            "place"
        )
    _refit(before, model, kept, X)
    sizes = [weight.shape[1] for weight in model.coefs_[:-1]]
    model.set_params(hidden_layer_sizes=tuple(sizes))
    mlp.restart_training(model)
    return model


def _is_protected(k: int, protect: Sequence[str]) -> bool:
    return "coefs_" in protect or f"coefs_.{k}" in protect


def _scores(model: Any, method: str, calibration: Any, seed: np.random.RandomState) -> list[np.ndarray]:
    """For each hidden unit the norm of the weights before and after it, or of their products with the gradients."""
    if method == "random":
        return [seed.uniform(size=weight.shape[1]) for weight in model.coefs_[:-1]]
    squares = [np.square(weight, dtype=np.float64) for weight in model.coefs_]
    if method == "taylor":
        names = [layer.name for layer in mlp.layers(model)]
        gradients = mlp.squared_gradients(model, names, *calibration)
        squares = [square * gradient for square, gradient in zip(squares, gradients, strict=True)]
    return [np.sqrt(squares[k].sum(axis=0) + squares[k + 1].sum(axis=1)) for k in range(len(squares) - 1)]


def _choose(scores: list[np.ndarray], amount: float, scope: str) -> list[np.ndarray]:
    """Which units of each layer go. Scores of different layers are compared relative to the mean of the layer."""
    relative = [s / (s.mean() or 1.0) for s in scores]
    for s in relative:
        s[np.argmax(s)] = np.inf
    bounds = np.cumsum([len(s) for s in relative])[:-1]
    if scope == "global":
        gone = _lowest(np.concatenate(relative), amount, len(relative))
        return np.split(gone, bounds)
    return [_lowest(s, amount, 1) for s in relative]


def _lowest(scores: np.ndarray, amount: float, n_kept: int) -> np.ndarray:
    """That share of the scores, without `n_kept` of them at least."""
    gone = np.zeros(len(scores), bool)
    gone[np.argsort(scores, kind="stable")[: min(round(amount * len(scores)), len(scores) - n_kept)]] = True
    return gone


def _slice(model: Any, kept: dict[int, np.ndarray]) -> None:
    """Take the units out of the weights and intercepts that give them, and of the weights that read them."""
    coefs, intercepts = list(model.coefs_), list(model.intercepts_)
    for k, keep in kept.items():
        coefs[k], intercepts[k], coefs[k + 1] = coefs[k][:, keep], intercepts[k][keep], coefs[k + 1][keep]
    model.coefs_, model.intercepts_ = [np.ascontiguousarray(weight) for weight in coefs], intercepts


def _refit(before: Any, model: Any, kept: dict[int, np.ndarray], X: Any) -> None:
    """Adapt the layer after the units by least squares on its outputs before (ThiNet; Luo, Wu & Lin, 2017).

    The minimum over W' and b' of the mean of ‖a W + b − a_k W' − b'‖², a_k being the units that remain: of centred
    units, W' = C_kk⁻¹ C_k W with their covariance C.
    """
    values = mlp.inputs_of_layers(before, X)
    for k, keep in kept.items():
        mean = values[k + 1].mean(axis=0, dtype=np.float64)
        centred = values[k + 1] - mean
        covariance = centred.T @ centred / len(centred)
        damping = _DAMPING * np.trace(covariance) / len(covariance)
        covariance.flat[:: len(covariance) + 1] += damping or 1.0
        outputs = kept.get(k + 1, slice(None))
        weight, intercept = before.coefs_[k + 1][:, outputs], before.intercepts_[k + 1][outputs]
        fitted = np.linalg.solve(covariance[np.ix_(keep, keep)], covariance[keep] @ weight)
        model.coefs_[k + 1] = fitted.astype(weight.dtype)
        model.intercepts_[k + 1] = (intercept + mean @ weight - mean[keep] @ fitted).astype(intercept.dtype)
