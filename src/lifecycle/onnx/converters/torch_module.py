"""Torch modules and estimators, by torch.onnx."""

import copy
import logging
import os
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.onnx.conversion import (
    Conversion,
    check_classes,
    classifier_interface,
    feature_names,
    regressor_interface,
)
from lifecycle.onnx.converters.heads import append_class
from lifecycle.onnx.graph import IR_VERSION, OPSET, GraphBuilder, tensors_of
from lifecycle.onnx.interface import MODULE, PREDICTION, PROBABILITIES, Interface, Tensor
from lifecycle.store.limits import shorten
from lifecycle.torch.batches import to_batches
from lifecycle.torch.modules import unwrap
from lifecycle.torch.quantized.integer_operators import with_integer_operators

_one_at_a_time = threading.Lock()
_DTYPES = (torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
           torch.float16, torch.float32, torch.float64)  # fmt: skip
_LOGGERS = ("torch", "onnxscript", "onnx_ir")  # and those below them
_LATE_LOGGERS = ("torch.onnx._internal.exporter._registration", "torch.fx.experimental.symbolic_shapes")
_SET_BY_TORCH = "TORCHINDUCTOR_CACHE_DIR"  # a variable of the environment
_REASON = 300  # characters of what torch says


class _Classifier(nn.Module):
    """Codes of the classes and their probabilities."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, X: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        out = self.net(X)
        if out.shape[1] == 1:
            out = torch.cat((torch.zeros_like(out), out), dim=1)
        return out.argmax(dim=1), torch.softmax(out, dim=1)


class _Regressor(nn.Module):
    def __init__(self, net: nn.Module, is_vector: bool):
        super().__init__()
        self.net, self.is_vector = net, is_vector

    def forward(self, X: torch.Tensor) -> torch.Tensor:
        out = self.net(X)
        return out[:, 0] if self.is_vector else out


def convert(model: Any, example: Any, opset: int | None) -> Conversion:
    if isinstance(model, nn.Module):
        return _convert_module(model, example, opset)
    return _convert_estimator(model, example, opset)


def _prepared(net: nn.Module) -> nn.Module:
    """A copy on the CPU in eval mode."""
    try:
        return copy.deepcopy(unwrap(net)).cpu().eval()
    except Exception as error:
        raise UnsupportedModel(
            f"this {type(net).__name__} cannot be copied for the export: {_reason(error)}"
        ) from error


def _convert_module(model: nn.Module, example: Any, opset: int | None) -> Conversion:
    net = _prepared(model)
    by_name = isinstance(example, dict)
    tensors = _tensors(example)
    if any(t.ndim < 1 or len(t) < 2 for t in tensors) or len({len(t) for t in tensors}) != 1:
        raise ValueError("example must hold two rows or more, as many in each input")
    names = [str(name) for name in example] if by_name else [f"input_{k}" for k in range(len(tensors))]
    names = ["input"] if len(names) == 1 and not by_name else names
    try:
        out = _forward(net, names, tensors, by_name)
    except Exception as error:
        raise ValueError(f"example does not fit the module: {_reason(error)}") from error
    if any(t.dtype not in _DTYPES for t in (*tensors, *_flat(out))) or any(t.ndim < 1 for t in _flat(out)):
        raise UnsupportedModel(
            "a module can be exported to ONNX if its inputs and outputs have rows, and are integers, booleans, or of "
            "float16, float32 or float64"
        )
    n_outputs = len(_flat(out))
    if not n_outputs:
        raise UnsupportedModel("the module returns nothing")
    outputs = ["output"] if n_outputs == 1 else [f"output_{k}" for k in range(n_outputs)]
    graph = _export(with_integer_operators(net), tensors, names, outputs, opset, by_name)
    found = {one.name: one for one in tensors_of(graph.graph.input)}
    missing = [name for name in names if name not in found]
    if missing:
        raise UnsupportedModel(f"the graph does not use the inputs {', '.join(missing)}: leave them out of example")
    interface = Interface(MODULE, [found[name] for name in names], tensors_of(graph.graph.output), by_name=by_name)
    return Conversion(graph, interface, _module_reference(net, names, by_name))


def _module_reference(net: nn.Module, names: list[str], by_name: bool) -> Callable[[Any], list[np.ndarray]]:
    def reference(X: Any) -> list[np.ndarray]:
        tensors = _tensors(X)
        try:
            out = _forward(net, names, tensors, by_name)
        except Exception as error:
            raise UnsupportedModel(
                f"the module fails for {len(tensors[0])} rows, and a graph takes any number: {_reason(error)}"
            ) from error
        return [t.numpy() for t in _flat(out)]

    return reference


def _tensors(example: Any) -> list[torch.Tensor]:
    """Copies of the inputs on the CPU, as a module may write to them."""
    values = [example]
    if isinstance(example, dict | tuple):
        values = list(example.values()) if isinstance(example, dict) else list(example)
    for value in values:
        if not isinstance(value, torch.Tensor | np.ndarray):
            raise ValueError(
                "example must be an array or a tensor, or a tuple or dict of these where a module has several inputs; "
                f"it is or holds a {type(value).__name__}"
            )
        if isinstance(value, torch.Tensor) and (value.layout != torch.strided or value.is_meta):
            raise ValueError("example holds a tensor that is sparse, or without values: give dense rows")
    try:
        return [torch.as_tensor(value.copy() if isinstance(value, np.ndarray) else value).detach().cpu().clone()
                for value in values]  # fmt: skip
    except TypeError as error:
        raise ValueError(f"example holds what is no tensor: {_reason(error)}") from error


def _forward(net: nn.Module, names: list[str], tensors: list[torch.Tensor], by_name: bool) -> Any:
    """What the module returns; a module that draws random numbers leaves the caller's generator as it is."""
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return net(**dict(zip(names, tensors, strict=True))) if by_name else net(*tensors)


def _reason(error: BaseException) -> str:
    """The first line of what torch says, or the class of the error."""
    lines = [line for line in str(error).splitlines() if line.strip()]
    return shorten(lines[0].strip(), _REASON) if lines else type(error).__name__


def _cause(error: BaseException) -> BaseException:
    """The error that torch.onnx has wrapped in others."""
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _flat(out: Any) -> list[torch.Tensor]:
    """The tensors that a module returns."""
    if isinstance(out, torch.Tensor):
        return [out]
    values: list[Any] = [None]
    if isinstance(out, dict | tuple | list):
        values = list(out.values()) if isinstance(out, dict) else list(out)
    if not all(isinstance(value, torch.Tensor) for value in values):
        raise UnsupportedModel(f"the module returns a {type(out).__name__} that is not made of tensors alone")
    return values


def _convert_estimator(model: Any, example: Any, opset: int | None) -> Conversion:
    X = model._check_data(example, reset=False)
    if not isinstance(X, np.ndarray):
        raise UnsupportedModel("an estimator of sequences of different lengths cannot be exported to ONNX")
    if len(X) < 2:
        raise ValueError("example must hold two rows or more")
    net = _prepared(model.module_)
    tensor = to_batches(X, net).values
    is_classifier = hasattr(model, "classes_")
    is_vector = not is_classifier and not model._y_shape
    wrapped = _Classifier(net) if is_classifier else _Regressor(net, is_vector)
    outputs = ["code", PROBABILITIES] if is_classifier else [PREDICTION]
    graph = _export(with_integer_operators(wrapped.eval()), [tensor], ["X"], outputs, opset, by_name=False)
    inputs = tensors_of(graph.graph.input)
    names = {"feature_names": feature_names(model) if X.ndim == 2 else None}
    dtype = tensors_of(graph.graph.output)[-1].dtype
    if is_classifier:
        classes = check_classes(model)
        interface = classifier_interface(model, inputs, dtype, True, len(classes), **names)
        _append_classes(graph, classes, interface.outputs[0])
    else:
        interface = regressor_interface(inputs, dtype, () if is_vector else model._y_shape, **names)

    def reference(X: Any) -> list[np.ndarray]:
        found = [np.asarray(model.predict(X))]
        return [*found, np.asarray(model.predict_proba(X))] if is_classifier else found

    return Conversion(graph, interface, reference)


def _append_classes(graph: Any, classes: np.ndarray, label: Tensor) -> None:
    """Give the graph the output `label` in place of the codes of the classes."""
    build = GraphBuilder()
    append_class(build, "code", classes)
    graph.graph.node.extend(build.nodes)
    graph.graph.initializer.extend(build.initializers)
    value = build.model([], [label]).graph.output[0]
    graph.graph.output[0].CopyFrom(value)


class _FromOtherThreads(logging.Filter):
    """Keeps what other threads log, and errors."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread or record.levelno >= logging.ERROR


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings, and without what torch and onnxscript log in this thread; the environment is as before."""
    import onnxscript.optimizer  # noqa: F401 - makes its loggers

    known = {**logging.root.manager.loggerDict, **{name: logging.getLogger(name) for name in _LATE_LOGGERS}}
    loggers = [
        one for name, one in known.items() if name.partition(".")[0] in _LOGGERS and isinstance(one, logging.Logger)
    ]
    only_others, before = _FromOtherThreads(), os.environ.get(_SET_BY_TORCH)
    for logger in loggers:
        logger.addFilter(only_others)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(only_others)
        if before is None:
            os.environ.pop(_SET_BY_TORCH, None)


def _export(
    net: nn.Module, tensors: list[torch.Tensor], names: list[str], outputs: list[str], opset: int | None, by_name: bool
) -> Any:
    """The ModelProto of a module, of any number of rows."""
    rows = torch.export.Dim("batch", min=1)
    shapes: Any = {name: {0: rows} for name in names} if by_name else tuple({0: rows} for _ in names)
    given: dict[str, Any] = {"kwargs": dict(zip(names, tensors, strict=True))} if by_name else {}
    try:
        with _one_at_a_time, _quiet(), torch.random.fork_rng(devices=[]):
            program = torch.onnx.export(
                net, () if by_name else tuple(tensors), dynamo=True, dynamic_shapes=shapes, external_data=False,
                opset_version=OPSET if opset is None else opset, input_names=names, output_names=outputs,
                verbose=False, **given,
            )  # fmt: skip
    except Exception as error:  # torch.onnx wraps whatever happens in classes of its own
        cause = _cause(error)
        decides = "its forward decides by the values of the rows, which a graph cannot: "
        by_values = type(cause).__name__ == "GuardOnDataDependentSymNode"
        raise UnsupportedModel(
            f"torch.onnx cannot export this {type(net).__name__}: {decides * by_values}{_reason(cause)}"
        ) from error
    model = program.model_proto  # type: ignore[union-attr]
    model.ir_version = min(model.ir_version, IR_VERSION + 1)
    for node in model.graph.node:  # where a module's code stands on the machine that exports it
        node.ClearField("doc_string")
        node.ClearField("metadata_props")
    model.graph.ClearField("metadata_props")
    for values in (model.graph.value_info, model.graph.input, model.graph.output, model.graph.initializer):
        for value in values:
            value.ClearField("metadata_props")
            value.ClearField("doc_string")
    return model
