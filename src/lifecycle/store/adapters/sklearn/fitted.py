"""Arguments and fitted attributes of scikit-learn's own estimators as JSON and arrays, checked when they are read.

Only what predicting, scoring and training on need is stored. Arguments that are the defaults are not, so that a file
can be read by versions of scikit-learn that do not have them any more.
"""

import copy as _copy
from collections.abc import Callable
from importlib import import_module
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, one_of, to_scalar
from lifecycle.store import json_values, limits
from lifecycle.store.adapters.labels import check_classes
from lifecycle.store.adapters.sklearn.transformers import changed_params

_LEARNED = ("classes_", "feature_names_in_")
_MAX_JOBS = 256  # threads that a file may ask for
_COPIES_OF_CLASSES = 4  # as wide as the widest, that are in memory while they are checked


def check_fitted(estimator: Any, attribute: str, check: Callable[[Any], None]) -> Any:
    """The estimator; UnsupportedModel where it lacks the attribute, or `check` raises a ValueError."""
    name = type(estimator).__name__
    if not hasattr(estimator, attribute):
        raise UnsupportedModel(f"this {name} is not fitted yet: call fit first")
    try:
        check(estimator)
    except ValueError as error:
        raise UnsupportedModel(f"this {name} cannot be compressed or stored: {error}") from None
    return estimator


def serialize(estimator: Any, records: tuple[str, ...]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Arguments, classes, names of features, and those of `records` that the estimator has.

    `records`: attributes that tell of the fit. All but "solver_" are numbers, or lists or arrays of these.
    """
    name = type(estimator).__name__
    if vars(estimator).get("_metadata_request"):
        raise UnsupportedModel(f"a {name} after set_fit_request or set_score_request cannot be stored: leave them out")
    changed = changed_params(estimator)
    try:
        _check_jobs(changed)
    except ValueError as error:
        raise UnsupportedModel(f"this {name} cannot be stored: {error}") from None
    params, missing = json_values.serialize_params(changed)
    attributes = {k: _without_numpy(getattr(estimator, k)) for k in (*_LEARNED, *records) if hasattr(estimator, k)}
    _spend_classes(attributes.get("classes_"))
    fitted, arrays = json_values.serialize_attributes(name, attributes)
    binarizer = vars(estimator).get("_label_binarizer")
    config = {
        "class": name,
        "params": params,
        "missing": missing,
        "fitted": fitted,
        "multilabel": _is_multilabel(estimator),
        "sparse_labels": binarizer is not None and bool(binarizer.sparse_input_),
    }
    return config, {f"fitted.{k}": array for k, array in arrays.items()}


def deserialize(
    config: dict[str, Any],
    arrays: dict[str, np.ndarray],
    cls: type,
    records: tuple[str, ...],
    into: Any,
    neg_label: int | None = None,
) -> Any:
    """An estimator with the arguments and attributes that `serialize` was given, not with its weights.

    It is a new one, or a shallow copy of `into` without what that learned. `arrays` must hold no others.

    `neg_label`: of the LabelBinarizer that a fit of such a classifier makes; None: it makes none.
    """
    from sklearn.base import is_classifier

    changed, attributes = json_values.deserialize_fitted(config, arrays, cls, into)
    if not set(attributes) <= {*_LEARNED, *records}:
        raise ValueError(f"a {cls.__name__} is not stored with the attributes {', '.join(sorted(attributes))}")
    for name in records:
        if not _is_record(attributes.get(name), name):
            raise ValueError(f"{name} of a {cls.__name__} is malformed")
    _check_jobs(changed)
    defaults = cls().get_params(deep=False)
    params = {**{k: v for k, v in defaults.items() if k not in config["missing"]}, **changed}
    model: Any = cls(**params) if into is None else _copy.copy(into).set_params(**params)
    classes = attributes.pop("classes_", None)
    json_values.restore_attributes(model, attributes)
    if classes is not None:
        if not is_classifier(model):
            raise ValueError(f"a {cls.__name__} has no classes_")
        _spend_classes(classes)
        for labels in classes if isinstance(classes, list) else [classes]:
            check_classes(labels)
        if isinstance(classes, list):
            classes = _of_one_width(classes)
        if neg_label is not None:
            binarizer = _label_binarizer(classes, config["multilabel"], config["sparse_labels"], neg_label)
            model._label_binarizer = binarizer
        if not hasattr(cls, "classes_"):  # it is a property of RidgeClassifier before scikit-learn 1.7
            model.classes_ = classes
    return model


def _check_jobs(params: dict[str, Any]) -> None:
    """ValueError for a number of threads that no machine needs: a prediction would start them."""
    n = params.get("n_jobs")
    is_integer = isinstance(n, (int, np.integer)) and not isinstance(n, bool)
    if n is not None and not (is_integer and -_MAX_JOBS <= n <= _MAX_JOBS):
        raise ValueError(f"n_jobs={n!r} is not between {-_MAX_JOBS} and {_MAX_JOBS}")


def _spend_classes(classes: Any) -> None:
    """Account for the copies of the classes of a target, or of several."""
    arrays = [labels for labels in (classes if isinstance(classes, list) else [classes]) if hasattr(labels, "itemsize")]
    widest = max((labels.itemsize for labels in arrays), default=0)
    limits.spend_bytes(_COPIES_OF_CLASSES * widest * sum(labels.size for labels in arrays))


def _of_one_width(classes: list[np.ndarray]) -> list[np.ndarray]:
    """Strings of several targets as wide as the longest: scikit-learn predicts them all in the dtype of the first."""
    if any(labels.dtype.kind != "U" for labels in classes):
        return classes
    widest = max((labels.dtype for labels in classes), key=lambda dtype: dtype.itemsize)
    return [labels.astype(widest) for labels in classes]


def _without_numpy(value: Any) -> Any:
    """A list with Python's numbers, which take less JSON than numpy's; anything else as it is."""
    return [to_scalar(v) for v in value] if isinstance(value, list) else value


def _is_record(value: Any, name: str) -> bool:
    if isinstance(value, list):
        return all(_is_record(v, name) for v in value)
    if isinstance(value, np.ndarray):
        return value.dtype.kind in "biuf" or (value.dtype.kind == "O" and _is_record(value.tolist(), name))
    if isinstance(value, str):
        return name == "solver_"
    return value is None or isinstance(value, (bool, int, float, np.number, np.bool_))


def _is_multilabel(estimator: Any) -> bool:
    binarizer = vars(estimator).get("_label_binarizer")
    return binarizer is not None and str(binarizer.y_type_).startswith("multilabel")


def _label_binarizer(classes: np.ndarray, multilabel: Any, sparse: Any, neg_label: int) -> Any:
    """The LabelBinarizer that a fit made for these classes."""
    from scipy.sparse import csr_array
    from sklearn.preprocessing import LabelBinarizer

    labels: Any = classes
    if multilabel:
        rows = np.arange(2)[:, None].repeat(len(classes), axis=1)  # without any label, and with all
        labels = csr_array(rows) if sparse else rows
    binarizer = LabelBinarizer(neg_label=neg_label).fit(labels)
    if not np.array_equal(binarizer.classes_, classes):
        raise ValueError("classes_ does not list the labels of the targets")
    return binarizer


def check_outputs(model: Any, n_outputs: int) -> None:
    """ValueError unless a classifier has an output for each class, or one where there are no more than two."""
    classes: Any = getattr(model, "classes_", None)
    check_classes(classes)
    expected = len(classes) if len(classes) > 2 or _is_multilabel(model) else 1
    if n_outputs != expected:
        raise ValueError(f"{len(classes)} classes need {expected} outputs; there are {n_outputs}")


def class_named(name: Any, modules: dict[str, str]) -> Any:
    """The class of scikit-learn with this name, which is one of `modules`."""
    module = modules[one_of("the estimator's class", name, modules)]
    return getattr(import_module(module), name)


def is_of_class(model: Any, modules: dict[str, str]) -> bool:
    """Whether a model is of one of these classes, not of a subclass."""
    name = type(model).__name__
    return name in modules and type(model).__module__.startswith(f"{modules[name]}.")
