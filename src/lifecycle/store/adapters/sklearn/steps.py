"""The steps of a pipeline as JSON and arrays, among them those that hold steps, such as Pipeline and FeatureUnion."""

from typing import Any, cast

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle._display import import_optional
from lifecycle.store import adapters, limits
from lifecycle.store.adapters import Adapter
from lifecycle.store.adapters.sklearn import linear_models, mlp, neighbors, transformers, trees
from lifecycle.store.adapters.sklearn.columns import n_outputs
from lifecycle.store.json_values import pop_prefixed, serialize_params

_COLUMN_PARAMS = ("remainder", "sparse_threshold", "verbose_feature_names_out")
_UNION_PARAMS = ("transformer_weights", "verbose_feature_names_out")
_SUPPORTED = ", ".join(
    ("Pipeline", "ColumnTransformer", "FeatureUnion", "TransformedTargetRegressor", *transformers.TRANSFORMERS)
)
_KEYWORDS = ("passthrough", "drop")


def _classes() -> dict[str, type]:
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.pipeline import FeatureUnion, Pipeline

    return {c.__name__: c for c in (Pipeline, ColumnTransformer, FeatureUnion, TransformedTargetRegressor)}


def is_a(step: Any, name: str) -> bool:
    """Whether a step is of that class of scikit-learn, not of a subclass."""
    return type(step) is _classes()[name]


def estimator_adapter(step: Any) -> Adapter | None:
    """The adapter of an estimator of this library or of scikit-learn; None for other classes of scikit-learn."""
    adapter = adapters.adapter_for(step)
    if getattr(adapter, "__name__", "") != __package__:
        return adapter
    return next((cast(Adapter, own) for own in (linear_models, mlp, trees, neighbors) if own.is_supported(step)), None)


def serialize_step(step: Any, path: str, arrays: dict[str, np.ndarray], depth: int = 0) -> dict[str, Any]:
    """A step as JSON; its arrays are added with names that begin with `path`; `depth`: of how many steps it is part."""
    limits.spend_work(limits.PART)
    limits.check_depth_of_steps(depth)
    if isinstance(step, str) or step is None:
        return {"word": "passthrough" if step is None else step}
    if transformers.is_supported(step):
        return transformers.serialize_transformer(step, path, arrays)
    name = type(step).__name__
    if is_a(step, "Pipeline"):
        if step.memory is not None or getattr(step, "transform_input", None) is not None:
            raise UnsupportedModel("a Pipeline with memory or transform_input cannot be stored: set both to None")
        return {
            "class": name,
            "steps": [[k, serialize_step(s, f"{path}{k}.", arrays, depth + 1)] for k, s in step.steps],
        }
    if is_a(step, "ColumnTransformer"):
        return _serialize_columns(step, path, arrays, depth + 1)
    if is_a(step, "FeatureUnion"):
        return _serialize_union(step, path, arrays, depth + 1)
    if is_a(step, "TransformedTargetRegressor"):
        inner = {
            k: serialize_step(getattr(step, f"{k}_"), f"{path}{k}.", arrays, depth + 1)
            for k in ("regressor", "transformer")
        }
        limits.spend_work(int(step.transformer_.n_features_in_))
        by_functions = {"by_functions": True} if step.transformer is None else {}
        config = {"class": name, "check_inverse": bool(step.check_inverse), "dimensions": step._training_dim}
        return {**config, **by_functions, **inner}
    adapter = estimator_adapter(step)
    if adapter is None:
        raise UnsupportedModel(f"a {name} cannot be stored; what can, before the final estimator: {_SUPPORTED}")
    config, estimator_arrays = adapter.serialize(step)
    arrays.update({f"{path}{key}": array for key, array in estimator_arrays.items()})
    return {"model": config}


def deserialize_step(
    config: dict[str, Any], path: str, remaining: dict[str, np.ndarray], into: Any, depth: int = 0
) -> Any:
    """The step that `serialize_step` was given; takes its arrays out of `remaining`."""
    limits.spend_work(limits.PART)
    limits.check_depth_of_steps(depth)
    if "word" in config:
        if config["word"] not in _KEYWORDS:
            raise ValueError(f"a step is {config['word']!r}")
        return config["word"]
    if "model" in config:
        if config["model"]["kind"] == adapters.SKLEARN_PIPELINE:  # which is a step itself, at its own depth
            raise ValueError("a pipeline stands in the place of a model")
        adapter = adapters.adapter_for_kind(config["model"]["kind"])
        return adapter.deserialize(config["model"], pop_prefixed(remaining, path), into)
    name = config["class"]
    if name in transformers.TRANSFORMERS:
        return transformers.deserialize_transformer(config, path, remaining)
    if name == "Pipeline":
        if any("model" in step for _, step in config["steps"][:-1]):
            raise ValueError("a model stands before the end of a Pipeline")
        _check_labels(config["steps"])
        steps = [(k, deserialize_step(step, f"{path}{k}.", remaining, into, depth + 1)) for k, step in config["steps"]]
        return _classes()[name](steps)
    if name == "ColumnTransformer":
        return _deserialize_columns(config, path, remaining, depth + 1)
    if name == "FeatureUnion":
        return _deserialize_union(config, path, remaining, depth + 1)
    if name == "TransformedTargetRegressor":
        return _deserialize_target(config, path, remaining, into, depth + 1)
    raise ValueError(f"a step has the unknown class {name!r}; known: {_SUPPORTED}")


def _check_labels(parts: Any) -> None:
    if not parts or not all(isinstance(label, str) for label, *_ in parts):
        raise ValueError("the names of steps are malformed")


def _frozen(step: Any) -> Any:
    from sklearn.frozen import FrozenEstimator

    return step if isinstance(step, str) else FrozenEstimator(step)


def _deserialize_target(
    config: dict[str, Any], path: str, remaining: dict[str, np.ndarray], into: Any, depth: int
) -> Any:
    from sklearn.preprocessing import FunctionTransformer

    regressor = deserialize_step(config["regressor"], f"{path}regressor.", remaining, into, depth)
    transformer = deserialize_step(config["transformer"], f"{path}transformer.", remaining, None, depth)
    limits.spend_work(transformer.n_features_in_)
    y = np.zeros((2, 1))
    params = {"regressor": _frozen(regressor), "transformer": FunctionTransformer(), "check_inverse": False}
    model = _classes()["TransformedTargetRegressor"](**params).fit(y, y[:, 0] if config["dimensions"] == 1 else y)
    vars(model).update(regressor=regressor, regressor_=regressor, transformer=transformer, transformer_=transformer)
    if config.get("by_functions"):
        vars(model).update(transformer=None, func=transformer.func, inverse_func=transformer.inverse_func)
    return model.set_params(check_inverse=bool(config["check_inverse"]))


def _serialize_union(step: Any, path: str, arrays: dict[str, np.ndarray], depth: int) -> dict[str, Any]:
    transformers.refuse_output_config(step)
    changed = transformers.changed_params(step)
    params = {k: changed[k] for k in _UNION_PARAMS if k in changed}
    parts = [[label, serialize_step(part, f"{path}{label}.", arrays, depth)] for label, part in step.transformer_list]
    if not _are_weights(params.get("transformer_weights"), step.transformer_list):
        raise UnsupportedModel("a FeatureUnion whose transformer_weights are not numbers cannot be stored")
    return {"class": "FeatureUnion", "params": serialize_params(params)[0], "parts": parts}


def _are_weights(weights: Any, parts: list) -> bool:
    return weights is None or (
        set(weights) <= {label for label, *_ in parts}
        and all(type(w) in (int, float) or isinstance(w, np.number) for w in weights.values())
    )


def _deserialize_union(config: dict[str, Any], path: str, remaining: dict[str, np.ndarray], depth: int) -> Any:
    if any("model" in part for _, part in config["parts"]):
        raise ValueError("a part of a FeatureUnion is a model")
    params = transformers.checked_params("FeatureUnion", config["params"], _UNION_PARAMS)
    _check_labels(config["parts"])
    if not _are_weights(params.get("transformer_weights"), config["parts"]):
        raise ValueError("the weights of a FeatureUnion are malformed")
    parts = [
        (label, deserialize_step(part, f"{path}{label}.", remaining, None, depth)) for label, part in config["parts"]
    ]
    return _classes()["FeatureUnion"](parts, **params)


def _serialize_columns(step: Any, path: str, arrays: dict[str, np.ndarray], depth: int) -> dict[str, Any]:
    params = {k: v for k, v in step.get_params(deep=False).items() if k != "transformers"}
    if (
        params["remainder"] not in _KEYWORDS
        or params["transformer_weights"] is not None
        or not hasattr(step, "transformers_")
    ):
        raise UnsupportedModel(
            "a ColumnTransformer can be stored if it is fitted, its remainder is 'drop' or 'passthrough', and it has "
            "no transformer_weights"
        )
    limits.spend_work(int(step.n_features_in_) // limits.COLUMNS_PER_UNIT)
    keywords = {label: part for label, part, _ in step.transformers if isinstance(part, str)}
    parts = []
    for label, part, columns in step.transformers_:
        if label != "remainder":
            part = keywords.get(label, part)  # scikit-learn replaces "passthrough" by an object
            parts.append([label, serialize_step(part, f"{path}{label}.", arrays, depth), _plain_columns(columns)])
    return {
        "class": "ColumnTransformer",
        "params": serialize_params({k: params[k] for k in _COLUMN_PARAMS})[0],
        "parts": parts,
        "names": [str(n) for n in step.feature_names_in_] if hasattr(step, "feature_names_in_") else None,
        "n_features": int(step.n_features_in_),
        "sparse": bool(step.sparse_output_),
    }


def _plain_columns(columns: Any) -> Any:
    plain = columns.tolist() if isinstance(columns, np.ndarray) else columns
    as_list = [plain] if isinstance(plain, (str, int)) else plain
    if not isinstance(as_list, list) or not all(type(c) in (str, int) for c in as_list):
        raise UnsupportedModel(
            f"columns {columns!r} of a ColumnTransformer cannot be stored: give their names or numbers"
        )
    return plain


def _deserialize_columns(config: dict[str, Any], path: str, remaining: dict[str, np.ndarray], depth: int) -> Any:
    if any("model" in part for _, part, _ in config["parts"]):
        raise ValueError("a part of a ColumnTransformer is a model")
    parts = [
        (label, deserialize_step(part, f"{path}{label}.", remaining, None, depth), columns)
        for label, part, columns in config["parts"]
    ]
    params = transformers.checked_params("ColumnTransformer", config["params"], _COLUMN_PARAMS)
    width, names = config["n_features"], config["names"]
    if type(width) is not int or width < 1 or (names is not None and len(names) != width):
        raise ValueError("the columns are malformed")
    limits.spend_work(width // limits.COLUMNS_PER_UNIT)
    stand_ins = [(label, _stand_in(part, c), c) for label, part, c in parts]
    model = _classes()["ColumnTransformer"](stand_ins, **params)
    model.fit_transform(_table(width, names))  # learns only which columns its parts take and make
    steps = {label: part for label, part, _ in parts if not isinstance(part, str)}
    model.transformers = parts
    model.transformers_ = [(label, steps.get(label, part), columns) for label, part, columns in model.transformers_]
    model.sparse_output_ = bool(config["sparse"])
    return model


def _table(width: int, names: list[str] | None) -> Any:
    row = np.zeros((1, width))
    if names is None:
        return row
    return import_optional("pandas", "this model takes columns by name, which").DataFrame(row, columns=names)


def _stand_in(step: Any, columns: Any) -> Any:
    """A transformer that makes as many columns as a fitted step does."""
    from sklearn.preprocessing import FunctionTransformer

    if isinstance(step, str):
        return step
    n = len(columns) if isinstance(columns, list) else 1
    expected = getattr(step, "n_features_in_", n)
    if n != expected:
        raise ValueError(f"a part of a ColumnTransformer takes {n} columns; it learned from {expected}")
    return FunctionTransformer(_zeros, kw_args={"width": n_outputs(step, n)})


def _zeros(rows: Any, width: int) -> np.ndarray:
    return np.broadcast_to(0.0, (len(rows), width))
