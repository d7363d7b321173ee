"""Pipelines of scikit-learn, and its TransformedTargetRegressor: steps, the estimator by its own converter, targets."""

import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel, check_column_names
from lifecycle.onnx.conversion import Conversion, classifier_reference, feature_names
from lifecycle.onnx.conversion import convert as convert_model
from lifecycle.onnx.converters.columns import dense, dtype_of, inputs_of, with_names
from lifecycle.onnx.converters.transformers import (
    Columns,
    Table,
    inverse_transform,
    transform,
    used_columns,
)
from lifecycle.onnx.graph import GraphBuilder, join
from lifecycle.onnx.interface import (
    CLASSIFIER,
    PREDICTION,
    PROBABILITIES,
    REGRESSOR,
    Interface,
    Tensor,
    columns_named,
    columns_of,
)
from lifecycle.onnx.parity import answer, compare
from lifecycle.onnx.rows import as_table, n_rows, rows_with_missing, take_rows, unlike_rows
from lifecycle.store.adapters.sklearn.steps import estimator_adapter, is_a


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    _refuse_text(model)
    steps, estimator, targets = _parts(model)
    adapter = estimator_adapter(estimator)
    if adapter is None:
        raise UnsupportedModel(f"a {type(estimator).__name__} cannot be exported to ONNX")
    kind = adapter.serialize(estimator)[0]["kind"]
    if not steps:
        of_estimator = convert_model(estimator, kind, example, opset)
        return _with_targets(of_estimator, model, targets, opset)
    example = as_table(example)
    if len(example) < 2:
        raise ValueError("example must hold two rows or more")
    features = _features(steps, example)

    def reference(X: Any) -> list[np.ndarray]:
        return [_features_of(steps, X)]

    (transformed,) = answer(reference, example)
    of_estimator = convert_model(estimator, kind, transformed, opset)
    # on rows that are hard for the estimator, which no row of the example may become; quietly, as they have no names
    compare(replace(of_estimator, reference=partial(_quietly, of_estimator.reference)), transformed)
    before = _graph(steps, features, transformed.dtype.name, None, opset)
    _check_steps(Conversion(before, features, reference), steps, example)
    dtype = of_estimator.interface.inputs[0].dtype
    graph = join(_graph(steps, features, dtype, of_estimator.interface, opset), of_estimator.model)
    inputs = with_names(graph, features.inputs, features.feature_names)
    interface = replace(
        of_estimator.interface, inputs=inputs, feature_names=features.feature_names, by_column=features.by_column,
        by_name=features.by_name,
    )  # fmt: skip
    of_features = of_estimator.ties
    ties = None if of_features is None else lambda X: of_features(_features_of(steps, X))
    whole = Conversion(graph, interface, _reference(model, interface), ties=ties)
    return _with_targets(whole, model, targets, opset)


def _parts(model: Any) -> tuple[list[Any], Any, list[Any]]:
    """The steps before the final estimator, this one, and the TransformedTargetRegressors around it."""
    steps: list[Any] = []
    targets: list[Any] = []
    while True:
        if is_a(model, "TransformedTargetRegressor"):
            targets.append(model)
            model = model.regressor_
        elif is_a(model, "Pipeline"):
            steps += [step for _, step in model.steps[:-1] if step is not None and step != "passthrough"]
            model = model.steps[-1][1]
        else:
            return steps, model, targets


def _refuse_text(model: Any) -> None:
    """UnsupportedModel for a step that finds words in texts."""
    for step in model.get_params(deep=True).values():
        if hasattr(step, "build_tokenizer"):
            raise UnsupportedModel(
                f"a {type(step).__name__} cannot be exported to ONNX: only an operator of onnxruntime's own finds "
                "words, and it finds others than scikit-learn in texts with characters beyond ASCII"
            )


def _features_of(steps: Sequence[Any], X: Any) -> np.ndarray:
    """What the steps make of rows, in float32 or float64."""
    for step in steps:
        X = _quietly(step.transform, X)
    X = dense(X)
    return X if X.dtype in (np.float32, np.float64) else X.astype(np.float64)


def _quietly(function: Callable[[Any], Any], X: Any) -> Any:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return function(X)


# -- inputs ------------------------------------------------------------------------------------------------------------


def _features(steps: Sequence[Any], example: Any) -> Interface:
    """The inputs of a graph of steps: a column of a DataFrame each, or the whole array."""
    names, n_features = feature_names(steps[0]), getattr(steps[0], "n_features_in_", None)
    output = [Tensor(PREDICTION, "float64", (None, 1))]  # of which only the name is read
    if not hasattr(example, "iloc"):
        _check_width(example, n_features)
        return Interface(REGRESSOR, [Tensor("X", dtype_of(example), (None, example.shape[1]))], output)
    used = used_columns(steps[0])
    if used is not None and names is not None:
        names = [names[k] for k in used]
        columns = columns_named(example, names, "example")
    else:
        _check_width(example, n_features)
        if names is not None:
            check_column_names([str(name) for name in example.columns], names)
        columns = columns_of(example)
    return Interface(
        REGRESSOR, inputs_of(columns), output, feature_names=names, by_column=True, by_name=used is not None
    )


def _check_width(example: Any, n_features: Any) -> None:
    if n_features is not None and example.shape[1] != n_features:
        raise ValueError(f"example has {example.shape[1]} features; the model was trained on {n_features}")


# -- steps -------------------------------------------------------------------------------------------------------------


def _graph(
    steps: Sequence[Any], features: Interface, dtype: str, estimator: Interface | None, opset: int | None
) -> Any:
    """The graph of the steps; with an estimator it fails where they make what that refuses."""
    build = GraphBuilder(opset)
    blocks = [Columns(build, one.name, one.dtype, int(one.shape[1] or 0)) for one in features.inputs]
    used = used_columns(steps[0]) if features.by_name else None
    if used is not None:  # any block stands in the place of a column that the first step drops
        place_of = {place: k for k, place in enumerate(used)}
        blocks = [blocks[place_of.get(place, 0)] for place in range(steps[0].n_features_in_)]
    table = Table(blocks)
    for k, step in enumerate(steps):
        table = transform(step, table, k > 0)
    if table.has_text:
        raise UnsupportedModel("the steps of this Pipeline leave strings for the estimator: encode them")
    found = table.numbers(steps[-1]).as_type(dtype)
    refused = None if estimator is None else _refused(found, estimator)
    found = found if refused is None else found.refused_where(refused, "not_finite")
    build.node("Identity", found.name, output=PREDICTION)
    return build.model(features.inputs, [Tensor(PREDICTION, found.dtype, (None, found.width))])


def _refused(X: Columns, estimator: Interface) -> Columns | None:
    """Whether a value is one that the estimator refuses."""
    missing = np.ones(X.width, bool)
    missing[list(estimator.may_be_missing)] = False
    found = None if not missing.any() else X.is_nan() if missing.all() else X.is_nan().apply("And", missing)
    if estimator.may_be_infinite:
        return found
    return X.is_infinite() if found is None else X.is_infinite().apply("Or", found)


def _check_steps(converted: Conversion, steps: Sequence[Any], example: Any) -> None:
    """Compare a graph of steps with them on rows unlike those of the example; ParityError unless they agree."""
    n_columns = sum(int(one.shape[1] or 0) for one in converted.interface.inputs)
    everything: dict[str, Any] = {"may_be_missing": range(n_columns), "may_be_infinite": True}
    converted = replace(converted, interface=replace(converted.interface, **everything))
    with_missing, _ = _divided(steps, rows_with_missing(example))
    hard_rows, refused = _divided(steps, unlike_rows(example))
    compare(replace(converted, hard_rows=[*with_missing, *hard_rows]), example, refused)


def _divided(steps: Sequence[Any], parts: Iterable[Any]) -> tuple[list[Any], list[Any]]:
    """Rows that the steps accept, and those that they refuse, which stand alone."""
    accepted: list[Any] = []
    refused: list[Any] = []
    for rows in parts:
        is_accepted = _is_accepted(steps, rows)
        for part in [rows] if is_accepted else [take_rows(rows, np.array([k])) for k in range(n_rows(rows))]:
            (accepted if is_accepted or _is_accepted(steps, part) else refused).append(part)
    return accepted, refused


def _is_accepted(steps: Sequence[Any], rows: Any) -> bool:
    try:
        _features_of(steps, rows)
    except (TypeError, ValueError):
        return False
    return True


# -- targets -----------------------------------------------------------------------------------------------------------


def _reference(model: Any, interface: Interface) -> Any:
    if interface.task == CLASSIFIER:
        return classifier_reference(model, interface.outputs[1].name == PROBABILITIES)
    return lambda X: [np.asarray(model.predict(X))]


def _with_targets(converted: Conversion, model: Any, targets: Sequence[Any], opset: int | None) -> Conversion:
    """The graph of a regressor with the inverse of what each TransformedTargetRegressor around it does to targets."""
    graph, interface = converted.model, converted.interface
    for target in reversed(targets):
        shape = interface.outputs[0].shape
        build, name = GraphBuilder(opset), "transformed_targets"
        given = Tensor(name, interface.outputs[0].dtype, shape)
        if len(shape) == 1:
            name = build.node("Unsqueeze", name, build.constant(np.array([1])))
        values = Columns(build, name, given.dtype, 1 if len(shape) == 1 else int(shape[1] or 0)).as_type("float64")
        values = inverse_transform(target.transformer_, values)
        if target._training_dim == 1 and values.width == 1:
            build.node("Squeeze", values.name, build.constant(np.array([1])), output=PREDICTION)
            found = Tensor(PREDICTION, "float64", (None,))
        else:
            build.node("Identity", values.name, output=PREDICTION)
            found = Tensor(PREDICTION, "float64", (None, values.width))
        graph = join(graph, build.model([given], [found]), "regressor")
        interface = replace(interface, outputs=[found])
    if not targets:
        return converted
    return replace(converted, model=graph, interface=interface, reference=_reference(model, interface))
