"""The room of scikit-learn's pipelines around an estimator of ours: see `_adapters.Adapter` for the verbs.

Weights are those of the estimator at the end. Of the steps before it only the classes in `_STEPS` are stored: by
their arguments and by what they learned, never as objects. To rebuild one, scikit-learn fits it to a few made-up rows
from which it learns the same, so that no private attribute of another version is ever set.
"""

import copy as _copy
import inspect
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle.codecs import Quantizer
from lifecycle.store import adapters
from lifecycle.store.adapters import Adapter, Layer
from lifecycle.store.json_values import attributes_apart, params_apart, params_together, set_attributes

_KIND = "sklearn.pipeline"
# class -> (module, attributes that its fit leaves, arguments that a file may hold)
_NAMES = ("n_features_in_", "feature_names_in_")
_STEPS = {
    "StandardScaler": (
        "sklearn.preprocessing",
        ("mean_", "var_", "scale_", "n_samples_seen_", *_NAMES),
        ("copy", "with_mean", "with_std"),
    ),
    "OneHotEncoder": (
        "sklearn.preprocessing",
        ("categories_", *_NAMES),
        ("categories", "drop", "sparse_output", "dtype", "handle_unknown", "feature_name_combiner"),
    ),
    "SimpleImputer": (
        "sklearn.impute",
        ("statistics_", *_NAMES),
        ("missing_values", "strategy", "fill_value", "copy", "keep_empty_features"),
    ),
}
_OF_COLUMNS = ("remainder", "sparse_threshold", "verbose_feature_names_out")
_SERVED = f"Pipeline, ColumnTransformer, TransformedTargetRegressor, {', '.join(_STEPS)}"
_WORDS = ("passthrough", "drop")


def _classes() -> dict[str, type]:
    from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
    from sklearn.pipeline import Pipeline

    return {c.__name__: c for c in (Pipeline, ColumnTransformer, TransformedTargetRegressor)}


def _class_of(name: str) -> Any:
    from importlib import import_module

    return getattr(import_module(_STEPS[name][0]), name)  # a module that this file names, not the stored one


def _is(model: Any, name: str) -> bool:
    return type(model) is _classes()[name]


# -- the estimator at the end ----------------------------------------------------------------------------------------


def _end(model: Any) -> Any:
    """What stands at the end of a pipeline, inside transformers of the target too."""
    while True:
        if _is(model, "Pipeline"):
            model = model.steps[-1][1]
        elif _is(model, "TransformedTargetRegressor"):
            model = getattr(model, "regressor_", model.regressor)
        else:
            return model


def _room(model: Any) -> tuple[Adapter, Any]:
    """The room of the estimator at the end, and that estimator."""
    end = _end(model)
    if not isinstance(end, str) and end is not None:
        room = adapters.adapter_for(end)
        if getattr(room, "__name__", "") != __name__:
            return room, end
    raise UnsupportedModel(
        f"a {type(end).__name__} is not served; what is: an estimator of ours, alone, at the end of a scikit-learn "
        "Pipeline, or in a TransformedTargetRegressor"
    )


def _with_end(model: Any, end: Any) -> Any:
    """The pipeline, in place, with another estimator at its end."""
    if _is(model, "Pipeline"):
        name, last = model.steps[-1]
        model.steps[-1] = (name, _with_end(last, end))
    elif _is(model, "TransformedTargetRegressor"):
        model.regressor_ = _with_end(model.regressor_, end)
    else:
        return end
    return model


def layers(model: Any) -> list[Layer]:
    room, end = _room(model)
    return room.layers(end)


def read_weight(model: Any, name: str) -> np.ndarray:
    room, end = _room(model)
    return room.read_weight(end, name)


def replace_weight(model: Any, name: str, array: np.ndarray) -> None:
    room, end = _room(model)
    room.replace_weight(end, name, array)


def quantize_layers(model: Any, names: list[str], codec: Quantizer, activations: str | None) -> Any:
    room, end = _room(model)
    return _with_end(model, room.quantize_layers(end, names, codec, activations))


def copy(model: Any) -> Any:
    return _copy.deepcopy(model)


def tensors(model: Any) -> dict[str, np.ndarray]:
    return take_apart(model)[1]


# -- taken apart -----------------------------------------------------------------------------------------------------


def take_apart(model: Any) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    _room(model)  # says what is not served, before anything of the inside is looked at
    arrays: dict[str, np.ndarray] = {}
    root = _apart(model, "", arrays)
    return {"kind": _KIND, "class": type(model).__name__, "missing": _missing(root), "root": root}, arrays


def _missing(node: dict[str, Any]) -> list[str]:
    """Arguments of the estimator at the end that no file can hold."""
    while "model" not in node:
        node = node["steps"][-1][1] if "steps" in node else node["regressor"]
    return node["model"].get("missing", [])


def _apart(step: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    """One step as JSON; its arrays go under `path`."""
    if isinstance(step, str) or step is None:
        return {"word": "passthrough" if step is None else step}
    name = type(step).__name__
    if name in _STEPS and type(step) is _class_of(name):
        _check_fitted(step, "n_features_in_")
        return {"class": name, "params": _params(step), "fitted": _fitted(step, path, arrays)}
    if _is(step, "Pipeline"):
        if step.memory is not None or getattr(step, "transform_input", None) is not None:
            raise UnsupportedModel("a Pipeline with memory or transform_input cannot be stored: set both to None")
        parts = [[label, _apart(part, f"{path}{label}.", arrays)] for label, part in step.steps]
        return {"class": name, "steps": parts}
    if _is(step, "ColumnTransformer"):
        return _columns_apart(step, path, arrays)
    if _is(step, "TransformedTargetRegressor"):
        if step.func is not None or step.inverse_func is not None:
            raise UnsupportedModel(
                "a TransformedTargetRegressor with functions cannot be stored: give it a transformer"
            )
        inner = {k: _apart(getattr(step, f"{k}_"), f"{path}{k}.", arrays) for k in ("regressor", "transformer")}
        return {"class": name, "check_inverse": bool(step.check_inverse), "dimensions": step._training_dim, **inner}
    room = adapters.adapter_for(step)
    if getattr(room, "__name__", "") != __name__:
        config, own = room.take_apart(step)
        arrays.update({f"{path}{key}": array for key, array in own.items()})
        return {"model": config}
    raise UnsupportedModel(f"a {name} cannot be stored; what can, before an estimator of ours: {_SERVED}")


def _check_fitted(step: Any, learned: str) -> None:
    if not hasattr(step, learned):
        raise UnsupportedModel(f"this {type(step).__name__} is not fitted yet: call fit first")


def _params(step: Any) -> dict[str, Any]:
    """Arguments that are not the defaults, as JSON."""
    if vars(step).get("_sklearn_output_config"):
        raise UnsupportedModel(f"a {type(step).__name__} after set_output cannot be stored: leave set_output out")
    defaults = {k: p.default for k, p in inspect.signature(type(step)).parameters.items()}
    changed = {k: v for k, v in step.get_params(deep=False).items() if not _same(v, defaults[k])}
    for k in changed:
        if k not in _STEPS[type(step).__name__][2]:
            raise UnsupportedModel(f"a {type(step).__name__} with {k}={changed[k]!r} cannot be stored")
    plain, missing = params_apart(changed)
    if missing:
        raise UnsupportedModel(f"{missing[0]} of this {type(step).__name__} is no plain value and cannot be stored")
    return plain


def _same(a: Any, b: Any) -> bool:
    return a is b or (type(a) is type(b) and isinstance(a, (str, bool, int, float)) and a == b)


def _fitted(step: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    found = {k: getattr(step, k) for k in _STEPS[type(step).__name__][1] if hasattr(step, k)}
    holder = type(type(step).__name__, (), {})()
    vars(holder).update(found)
    plain, own = attributes_apart(holder, {})
    arrays.update({f"{path}{k}": array for k, array in own.items()})
    return plain


def _columns_apart(step: Any, path: str, arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    params = {k: v for k, v in step.get_params(deep=False).items() if k != "transformers"}
    if (
        params["remainder"] not in _WORDS
        or params["transformer_weights"] is not None
        or not hasattr(step, "transformers_")
    ):
        raise UnsupportedModel(
            "a ColumnTransformer can be stored if it is fitted, its remainder is 'drop' or 'passthrough', and it has "
            "no transformer_weights"
        )
    words = {label: part for label, part, _ in step.transformers if isinstance(part, str)}
    parts = []
    for label, part, columns in step.transformers_:
        if label != "remainder":
            part = words.get(label, part)  # scikit-learn puts an object in the place of "passthrough"
            parts.append([label, _apart(part, f"{path}{label}.", arrays), _plain_columns(columns)])
    plain, _ = params_apart({k: params[k] for k in _OF_COLUMNS})
    names = [str(n) for n in step.feature_names_in_] if hasattr(step, "feature_names_in_") else None
    return {"class": "ColumnTransformer", "params": plain, "parts": parts, "names": names,
            "n_features": int(step.n_features_in_), "sparse": bool(step.sparse_output_)}  # fmt: skip


def _plain_columns(columns: Any) -> Any:
    listed = columns.tolist() if isinstance(columns, np.ndarray) else columns
    one = [listed] if isinstance(listed, (str, int)) else listed
    if not isinstance(one, list) or not all(type(c) in (str, int) for c in one):
        raise UnsupportedModel(
            f"columns {columns!r} of a ColumnTransformer cannot be stored: give their names or numbers"
        )
    return listed


# -- together again --------------------------------------------------------------------------------------------------


def rebuild(config: dict[str, Any], arrays: dict[str, np.ndarray], into: Any = None) -> Any:
    if into is not None and type(into).__name__ != config["class"]:
        raise ValueError(f"the file holds a {config['class']}; into is a {type(into).__name__}")
    rest = dict(arrays)
    model = _together(config["root"], "", rest, None if into is None else _end(into))
    if rest:
        raise ValueError(f"arrays that belong to no step: {', '.join(list(rest)[:5])}")
    if into is None:
        return model
    vars(into).update(vars(model))
    return into


def _together(node: dict[str, Any], path: str, rest: dict[str, np.ndarray], into: Any) -> Any:
    """The step of a node; takes its arrays out of `rest`."""
    if "word" in node:
        if node["word"] not in _WORDS:
            raise ValueError(f"a step is {node['word']!r}")
        return node["word"]
    if "model" in node:
        own = {k.removeprefix(path): rest.pop(k) for k in list(rest) if k.startswith(path)}
        return adapters.adapter_for_kind(node["model"]["kind"]).rebuild(node["model"], own, into)
    name = node["class"]
    if name in _STEPS:
        own = {k: rest.pop(path + k) for k in _STEPS[name][1] if path + k in rest}
        holder: Any = type(name, (), {})()
        set_attributes(holder, node["fitted"], own)
        if not set(vars(holder)) <= set(_STEPS[name][1]):
            raise ValueError(f"a {name} does not learn {sorted(vars(holder))}")
        return _LEARN[name](_class_of(name)(**_known(name, node["params"], _STEPS[name][2])), vars(holder))
    classes = _classes()
    if name == "Pipeline":
        pairs = [(label, _together(part, f"{path}{label}.", rest, into)) for label, part in node["steps"]]
        return classes[name](pairs)
    if name == "ColumnTransformer":
        return _columns_together(node, path, rest)
    if name == "TransformedTargetRegressor":
        inner = {k: _together(node[k], f"{path}{k}.", rest, into if k == "regressor" else None)
                 for k in ("regressor", "transformer")}  # fmt: skip
        from sklearn.base import clone

        y = np.zeros((2, inner["transformer"].n_features_in_))
        parts = {"regressor": _frozen(inner["regressor"]), "transformer": clone(inner["transformer"])}
        found = classes[name](**parts, check_inverse=False).fit(y, y[:, 0] if node["dimensions"] == 1 else y)
        vars(found).update({**inner, "regressor_": inner["regressor"], "transformer_": inner["transformer"]})
        return found.set_params(check_inverse=bool(node["check_inverse"]))
    raise ValueError(f"a step of the unknown class {name!r}; known: {_SERVED}")


def _known(name: str, params: Any, allowed: tuple[str, ...]) -> dict[str, Any]:
    """Arguments of a step; ValueError if there are others than those that are ever stored, such as n_jobs."""
    if not set(params) <= set(allowed):
        raise ValueError(f"a {name} is stored with {', '.join(allowed)} only; the file has {', '.join(params)}")
    return params_together(params)


def _frozen(step: Any) -> Any:
    from sklearn.frozen import FrozenEstimator

    return step if isinstance(step, str) else FrozenEstimator(step)


def _columns_together(node: dict[str, Any], path: str, rest: dict[str, np.ndarray]) -> Any:
    parts = [(label, _together(part, f"{path}{label}.", rest, None), columns) for label, part, columns in node["parts"]]
    made = _classes()["ColumnTransformer"](
        [(n, _frozen(t), c) for n, t, c in parts], **_known("ColumnTransformer", node["params"], _OF_COLUMNS)
    )
    width, names = node["n_features"], node["names"]
    if type(width) is not int or not 0 < width <= 10**6 or (names is not None and len(names) != width):
        raise ValueError("the columns are malformed")
    row: list[Any] = [0.0] * width
    for _, part, columns in parts:
        places = [columns] if isinstance(columns, (str, int)) else columns
        for column, value in zip(places, _typical_row(part), strict=False):
            row[names.index(column) if isinstance(column, str) else column] = value
    made.fit_transform(_table(row, names))  # learns the columns only: its parts are frozen
    given = {label: part for label, part, _ in parts if not isinstance(part, str)}
    made.transformers = parts
    made.transformers_ = [(label, given.get(label, part), columns) for label, part, columns in made.transformers_]
    made.sparse_output_ = bool(node["sparse"])
    return made


def _table(row: list[Any], names: list[str] | None) -> Any:
    if names is None:
        return np.array([row], dtype=object)
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "this model takes columns by name, which needs pandas: pip install 'lifecycle-ml[plot]'"
        ) from error
    return pandas.DataFrame([row], columns=names)


def _typical_row(step: Any) -> Iterator[Any]:
    """Values that the step can transform, one for each of its columns."""
    if type(step).__name__ == "Pipeline":
        inner = [part for _, part in step.steps]
        step = next((p for p in inner if hasattr(p, "categories_")), inner[0])
    if hasattr(step, "categories_"):
        yield from (categories[0] for categories in step.categories_)
    elif hasattr(step, "statistics_"):
        yield from step.statistics_


def _learn_scaler(step: Any, learned: dict[str, Any]) -> Any:
    width = int(learned["n_features_in_"])
    for k in ("mean_", "var_", "scale_"):
        if learned[k] is not None and (np.shape(learned[k]) != (width,) or not np.isfinite(learned[k]).all()):
            raise ValueError(f"{k} of a StandardScaler is malformed")
    vars(step).update(learned)
    return step


def _learn_encoder(step: Any, learned: dict[str, Any]) -> Any:
    categories = learned["categories_"]
    if not categories or not all(isinstance(c, np.ndarray) and c.ndim == 1 and c.size for c in categories):
        raise ValueError("the categories of a OneHotEncoder are malformed")
    table = np.empty((max(map(len, categories)), len(categories)), dtype=object)
    for j, own in enumerate(categories):
        table[:, j] = own[0]
        table[: len(own), j] = own
    return _refitted(step, table, learned)


def _learn_imputer(step: Any, learned: dict[str, Any]) -> Any:
    return _refitted(step, np.array([learned["statistics_"]]), learned)


def _refitted(step: Any, table: np.ndarray, learned: dict[str, Any]) -> Any:
    if table.shape[1] != learned["n_features_in_"]:
        raise ValueError(f"a {type(step).__name__} of {learned['n_features_in_']} columns learned {table.shape[1]}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of columns without values, which the user was told of at the first fit
        step.fit(table)
    vars(step).update(learned)
    return step


_LEARN: dict[str, Callable[[Any, dict[str, Any]], Any]] = {
    "StandardScaler": _learn_scaler,
    "OneHotEncoder": _learn_encoder,
    "SimpleImputer": _learn_imputer,
}
