"""Pipelines of scikit-learn: the steps before the final estimator by skl2onnx, the estimator by its own converter."""

import warnings
from typing import Any

import numpy as np

from lifecycle._check import UnsupportedModel
from lifecycle._display import import_optional
from lifecycle.onnx.conversion import Conversion, classifier_reference, feature_names
from lifecycle.onnx.conversion import convert as convert_model
from lifecycle.onnx.converters.columns import dense, inputs_of, with_names
from lifecycle.onnx.export import compare, n_rows
from lifecycle.onnx.graph import ML, ML_OPSET, OPSET, join, rename_inputs, tensors_of
from lifecycle.onnx.interface import CLASSIFIER, PROBABILITIES, TEXT, Interface, Tensor
from lifecycle.store.adapters.sklearn.steps import estimator_adapter, is_a

_DOUBLE = 11  # of ONNX's data types


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    if not is_a(model, "Pipeline"):
        raise UnsupportedModel(f"a {type(model).__name__} cannot be exported to ONNX: export its regressor_")
    estimator = model.steps[-1][1]
    steps = [(name, step) for name, step in model.steps[:-1] if step is not None and step != "passthrough"]
    if is_a(estimator, "Pipeline"):
        raise UnsupportedModel("a Pipeline at the end of another one cannot be exported to ONNX: make one of both")
    _refuse_text(model)
    if n_rows(example) < 2:
        raise ValueError("example must hold two rows or more")
    adapter = estimator_adapter(estimator)
    if adapter is None:
        raise UnsupportedModel(f"a {type(estimator).__name__} cannot be exported to ONNX")
    kind = adapter.serialize(estimator)[0]["kind"]
    if not steps:
        return convert_model(estimator, kind, example, opset)
    preprocessing, inputs = _convert_steps(type(model)(steps), example, opset)
    (features,) = tensors_of(preprocessing.graph.output)
    transformed = dense(type(model)(steps).transform(example)).astype(features.dtype)
    of_estimator = convert_model(estimator, kind, transformed, opset)
    compare(of_estimator, transformed)  # on rows that are hard for it, which no row of the example may become
    names = feature_names(model) if hasattr(example, "columns") else None
    graph = join(preprocessing, of_estimator.model)
    inputs = with_names(graph, inputs, names)
    interface = Interface(
        of_estimator.interface.task, inputs, of_estimator.interface.outputs, of_estimator.interface.classes,
        names, by_column=hasattr(example, "columns"),
    )  # fmt: skip
    of_rows, ties = of_estimator.ties, None
    if of_rows is not None:

        def ties(X: Any) -> np.ndarray:
            return of_rows(dense(type(model)(steps).transform(X)))

    return Conversion(graph, interface, _reference(model, interface), ties=ties)


def _refuse_text(model: Any) -> None:
    """UnsupportedModel for a step that finds words in texts."""
    for step in model.get_params(deep=True).values():
        if hasattr(step, "build_tokenizer"):
            raise UnsupportedModel(
                f"a {type(step).__name__} cannot be exported to ONNX: only an operator of onnxruntime's own finds "
                "words, and it finds others than scikit-learn in texts with characters beyond ASCII"
            )


def _reference(model: Any, interface: Interface) -> Any:
    if interface.task == CLASSIFIER:
        return classifier_reference(model, interface.outputs[1].name == PROBABILITIES)
    return lambda X: [np.asarray(model.predict(X))]


def _convert_steps(steps: Any, example: Any, opset: int | None) -> tuple[Any, list[Tensor]]:
    """The graph of the steps, and its inputs."""
    inputs = inputs_of(example)
    import_optional("skl2onnx", "the export of a Pipeline", extra="onnx")
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType, StringTensorType
    from skl2onnx.common.exceptions import MissingConverter, MissingShapeCalculator
    from sklearn.impute import SimpleImputer

    types = {"float32": FloatTensorType, "float64": DoubleTensorType, TEXT: StringTensorType}
    names = [str(name) for name in example.columns] if hasattr(example, "iloc") else [one.name for one in inputs]
    declared = [(name, types[one.dtype]([None, *one.shape[1:]])) for name, one in zip(names, inputs, strict=True)]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = convert_sklearn(
                steps, initial_types=declared, target_opset={"": OPSET if opset is None else opset, ML: ML_OPSET},
                custom_conversion_functions={SimpleImputer: _convert_imputer},
            )  # fmt: skip
            # skl2onnx changes names that are none in Python; the order stays
            rename_inputs(found, [one.name for one in inputs])
            return found, inputs
    except (MissingConverter, MissingShapeCalculator) as error:
        raise UnsupportedModel(f"skl2onnx cannot export a step of this Pipeline: {str(error)[:300]}") from None
    except (RuntimeError, NotImplementedError, TypeError, ValueError, AttributeError) as error:
        raise UnsupportedModel(f"skl2onnx fails on a step of this Pipeline: {str(error)[:300]}") from None


def _convert_imputer(scope: Any, operator: Any, container: Any) -> None:
    """A SimpleImputer; of float64 by two operators, because onnxruntime has no Imputer for it."""
    from skl2onnx.common._registration import get_converter
    from skl2onnx.common.data_types import DoubleTensorType

    imputer = operator.raw_operator
    of_doubles = all(isinstance(one.type, DoubleTensorType) for one in operator.inputs)
    if not of_doubles or not np.isnan(imputer.missing_values):
        get_converter("SklearnImputer")(scope, operator, container)
        return
    values, missing, statistics = map(scope.get_unique_variable_name, ("values", "nan", "mean"))
    names = [one.full_name for one in operator.inputs]
    container.add_node("Concat", names, values, axis=1, name=scope.get_unique_operator_name("Concat"))
    learned = np.asarray(imputer.statistics_, np.float64)
    if np.isnan(learned).any():
        raise NotImplementedError("a SimpleImputer that drops columns without values")
    container.add_initializer(statistics, _DOUBLE, learned.shape, learned.tolist())
    container.add_node("IsNaN", values, missing, name=scope.get_unique_operator_name("IsNaN"))
    outputs = [missing, statistics, values], operator.outputs[0].full_name
    container.add_node("Where", *outputs, name=scope.get_unique_operator_name("Where"))
