"""The adapter of scikit-learn's estimators, and of its pipelines around one of them or of this library.

`lifecycle.store.adapters.Adapter` documents its functions. The weights are those of the final estimator, which has an
adapter of its own: `linear_models`, `mlp`, `trees` and `neighbors` are those of scikit-learn's. How the steps before it
are stored is in `steps` and `transformers`.
"""

import copy as _copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.store.adapters import SKLEARN_PIPELINE, Adapter, Encode, Layer, QuantizationOptions
from lifecycle.store.adapters.sklearn import linear_models, mlp, neighbors, trees
from lifecycle.store.adapters.sklearn.columns import check_copies
from lifecycle.store.adapters.sklearn.steps import deserialize_step, estimator_adapter, is_a, serialize_step


def _final_estimator(model: Any) -> Any:
    """The estimator at the end of a pipeline, or inside a TransformedTargetRegressor."""
    while True:
        if is_a(model, "Pipeline"):
            model = model.steps[-1][1]
        elif is_a(model, "TransformedTargetRegressor"):
            model = getattr(model, "regressor_", model.regressor)
        else:
            return model


def _adapter_and_estimator(model: Any) -> tuple[Adapter, Any]:
    """The final estimator and its adapter."""
    estimator = _final_estimator(model)
    if not isinstance(estimator, str) and estimator is not None:
        adapter = estimator_adapter(estimator)
        if adapter is not None:
            return adapter, estimator
    if hasattr(estimator, "best_estimator_"):
        raise UnsupportedModel(f"a {type(estimator).__name__} is a search: pass its best_estimator_")
    own = ", ".join(sorted((*linear_models.CLASSES, *mlp.CLASSES, *trees.CLASSES, *neighbors.CLASSES)))
    raise UnsupportedModel(
        f"a {type(estimator).__name__} is not supported; what is, alone, at the end of a scikit-learn Pipeline, or in "
        f"a TransformedTargetRegressor: an estimator of this library, and of scikit-learn (no subclass of these): {own}"
    )


def _replace_final_estimator(model: Any, estimator: Any) -> Any:
    """The pipeline, in place, with another final estimator."""
    if is_a(model, "Pipeline"):
        name, last = model.steps[-1]
        model.steps[-1] = (name, _replace_final_estimator(last, estimator))
    elif is_a(model, "TransformedTargetRegressor"):
        model.regressor_ = _replace_final_estimator(model.regressor_, estimator)
    else:
        return estimator
    return model


def layers(model: Any) -> list[Layer]:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.layers(estimator)


def read_weight(model: Any, name: str) -> np.ndarray:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.read_weight(estimator, name)


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    adapter, estimator = _adapter_and_estimator(model)
    adapter.replace_weight(estimator, name, array)


def quantize_layers(model: Any, names: list[str], encode: Encode, options: QuantizationOptions | None) -> Any:
    adapter, estimator = _adapter_and_estimator(model)
    if options is not None and options.calibration is not None:
        options = replace(options, calibration=_transformed(model, options.calibration))
    return _replace_final_estimator(model, adapter.quantize_layers(estimator, names, encode, options))


def integer_layers(model: Any) -> list[str] | None:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.integer_layers(estimator)


def _transformed(model: Any, inputs: Any) -> Any:
    """What the steps before the final estimator make of its inputs."""
    while is_a(model, "Pipeline") or is_a(model, "TransformedTargetRegressor"):
        if is_a(model, "Pipeline"):
            inputs = model[:-1].transform(inputs) if len(model.steps) > 1 else inputs
            model = model.steps[-1][1]
        else:
            model = model.regressor_
    return inputs


def _targets(model: Any, targets: Any) -> Any:
    """Targets as the final estimator was trained on them."""
    while is_a(model, "Pipeline") or is_a(model, "TransformedTargetRegressor"):
        if is_a(model, "Pipeline"):
            model = model.steps[-1][1]
        else:
            targets = model.transformer_.transform(np.asarray(targets).reshape(len(targets), -1))
            model = model.regressor_
    return targets[:, 0] if getattr(targets, "ndim", 1) == 2 and targets.shape[1] == 1 else targets


def second_moments(
    model: Any, names: Sequence[str], inputs: Any, *, skip_unknown: bool = False
) -> dict[str, np.ndarray]:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.second_moments(estimator, names, _transformed(model, inputs), skip_unknown=skip_unknown)


def squared_gradients(model: Any, names: list[str], inputs: Any, targets: Any) -> list[np.ndarray]:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.squared_gradients(estimator, names, _transformed(model, inputs), _targets(model, targets))


def remove_channels(
    model: Any, amount: float, method: str, scope: str, calibration: Any, protect: Sequence[str], seed: Any
) -> Any:
    adapter, estimator = _adapter_and_estimator(model)
    if method == "taylor":
        inputs: Any = (_transformed(model, calibration[0]), _targets(model, calibration[1]))
    else:
        inputs = _transformed(model, calibration)
    if adapter.remove_channels(estimator, amount, method, scope, inputs, protect, seed) is None:
        return None
    _renew_regressors(model)
    return model


def fold_batch_norms(model: Any, calibration: Any) -> Any:
    adapter, estimator = _adapter_and_estimator(model)
    return _replace_final_estimator(model, adapter.fold_batch_norms(estimator, _transformed(model, calibration)))


def channels_last(model: Any) -> Any:
    adapter, estimator = _adapter_and_estimator(model)
    changed = adapter.channels_last(estimator)
    return None if changed is None else _replace_final_estimator(model, changed)


def first_trees(model: Any, share: float) -> Any:
    adapter, estimator = _adapter_and_estimator(model)
    shorter = adapter.first_trees(estimator, share)
    return None if shorter is None else _with_final_estimator(model, shorter)


def _with_final_estimator(model: Any, estimator: Any) -> Any:
    """A copy of the pipeline with another final estimator; the steps before it are shared."""
    if is_a(model, "Pipeline"):
        shallow = _copy.copy(model)
        shallow.steps = [*model.steps[:-1], (model.steps[-1][0], _with_final_estimator(model.steps[-1][1], estimator))]
        return shallow
    if is_a(model, "TransformedTargetRegressor"):
        shallow = _copy.copy(model)
        shallow.regressor_ = _with_final_estimator(model.regressor_, estimator)
        return shallow
    return estimator


def _renew_regressors(model: Any) -> None:
    """Let another fit of a TransformedTargetRegressor make a regressor of the size that it has now."""
    from sklearn.base import clone

    while is_a(model, "Pipeline") or is_a(model, "TransformedTargetRegressor"):
        if is_a(model, "Pipeline"):
            model = model.steps[-1][1]
        else:
            model.regressor = clone(model.regressor_)
            model = model.regressor_


def copy(model: Any) -> Any:
    return _copy.deepcopy(model)


def tensors(model: Any) -> dict[str, np.ndarray]:
    adapter, estimator = _adapter_and_estimator(model)
    return adapter.tensors(model) if estimator is model else serialize(model)[1]


def serialize(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    adapter, estimator = _adapter_and_estimator(model)  # refuses what is not supported before any step is read
    if estimator is model:
        return adapter.serialize(model)
    arrays: dict[str, np.ndarray] = {}
    root = serialize_step(model, "", arrays)
    check_copies(model)
    return {"kind": SKLEARN_PIPELINE, "class": type(model).__name__, "missing": _missing(root), "root": root}, arrays


def _missing(config: dict[str, Any]) -> list[str]:
    """Arguments of the final estimator that are not stored."""
    while "model" not in config:
        config = config["steps"][-1][1] if "steps" in config else config["regressor"]
    return config["model"].get("missing", [])


def deserialize(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    if into is not None and type(into).__name__ != config["class"]:
        raise ValueError(f"the file holds a {config['class']}; into is a {type(into).__name__}")
    final = None if into is None else _final_estimator(into)
    before = dict(vars(final)) if hasattr(final, "__dict__") else None
    try:
        model = deserialize_step(config["root"], "", arrays, final)
        if arrays:
            raise ValueError(f"the file holds arrays that no step has: {', '.join(list(arrays)[:5])}")
        check_copies(model)
    except BaseException:
        if before is not None:
            vars(final).clear()
            vars(final).update(before)
        raise
    if into is None:
        return model
    vars(into).update(vars(model))
    return into
