"""A trace of torch.fx with an example computed beside it, so that shapes are numbers."""

import inspect
import re
from collections.abc import Callable
from operator import attrgetter
from typing import Any

import torch
from torch import fx, nn
from torch.nn.utils import rnn

from lifecycle._check import UnsupportedModel


class _Proxy(fx.Proxy):
    """A tensor of the trace, whose shape is that of the example."""

    @property
    def value(self) -> Any:
        return self.node.meta["value"]

    @property
    def shape(self) -> Any:
        return self.value.shape

    @property
    def ndim(self) -> int:
        return int(self.value.ndim)

    def size(self, *arguments: Any) -> Any:
        return self.value.size(*arguments)

    def dim(self) -> int:
        return int(self.value.dim())

    @property
    def dtype(self) -> Any:
        return self.value.dtype

    def is_floating_point(self) -> bool:
        return bool(self.value.is_floating_point())

    def __len__(self) -> int:
        return len(self.value)


class Tracer(fx.Tracer):
    """Computes an example beside the trace; does not enter recurrent networks and other modules of torch."""

    def __init__(self, values: dict[str, Any]):
        # packing and padding of sequences are nodes, however they are called
        super().__init__(autowrap_functions=(rnn.pack_padded_sequence, rnn.pad_packed_sequence))
        self._autowrap_search.append(rnn)
        self.values = values
        self.computes = False  # modules then run as they are

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def create_node(self, kind: str, target: Any, *more: Any, **options: Any) -> fx.Node:
        node = super().create_node(kind, target, *more, **options)
        if kind == "get_attr":  # buffers and constants come without a proxy
            node.meta["value"] = self._compute(node)
        return node

    def create_proxy(self, kind: str, target: Any, args: Any, kwargs: Any, *more: Any, **options: Any) -> fx.Proxy:
        made = super().create_proxy(kind, target, args, kwargs, *more, **options)
        made.node.meta["value"] = self._compute(made.node)
        return made

    def _compute(self, node: fx.Node) -> Any:
        before, self.computes = self.computes, True
        try:
            return self._value(node)
        finally:
            self.computes = before

    def _value(self, node: fx.Node) -> Any:
        target: Any = node.target
        given: Any = fx.node.map_arg(node.args, lambda n: n.meta["value"])
        named: Any = fx.node.map_arg(node.kwargs, lambda n: n.meta["value"])
        if node.op == "placeholder":  # of a default that is no None, with a number behind its name
            return self.values.get(target, self.values.get(re.sub(r"_\d+$", "", target)))
        if node.op == "get_attr":
            return attrgetter(target)(self.root)
        if node.op == "call_function":
            return target(*given, **named)
        if node.op == "call_method":
            return getattr(given[0], target)(*given[1:], **named)
        return self.root.get_submodule(target)(*given, **named) if node.op == "call_module" else None

    def call_module(self, m: nn.Module, forward: Callable, args: tuple, kwargs: dict[str, Any]) -> Any:
        return forward(*args, **kwargs) if self.computes else super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, Any]) -> Any:
        return attr_val if self.computes else super().getattr(attr, attr_val, parameter_proxy_cache)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return type(m).__module__.startswith("torch.nn") and not isinstance(m, nn.Sequential | nn.ModuleList)


def trace(net: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> fx.Graph:
    """The graph of a network that is called in this way; UnsupportedModel where torch.fx cannot trace it."""
    try:
        return _traced(net, arguments, keywords)
    except Exception as error:
        raise UnsupportedModel(
            f"torch.fx cannot trace this {type(net).__name__}, so that it is not known how its layers are connected: "
            f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


def _traced(net: nn.Module, arguments: tuple, keywords: dict[str, Any]) -> fx.Graph:
    parameters = inspect.signature(net.forward).parameters
    given = {*list(parameters)[: len(arguments)], *keywords}
    constant = {
        name: p.default for name, p in parameters.items()
        if name not in given and p.default is not inspect.Parameter.empty
    }  # fmt: skip
    values = {**constant, **dict(zip(parameters, arguments, strict=False)), **keywords}
    names = set(vars(net))
    try:
        with torch.no_grad():
            return Tracer(values).trace(net, concrete_args=constant or None)
    finally:
        for name in set(vars(net)) - names:  # torch.fx leaves the constants of a trace there
            delattr(net, name)


class SoleLayers:
    """The layers of a graph that are called once, and whose parameters nothing else uses."""

    def __init__(self, net: nn.Module, graph: fx.Graph):
        self.net = net
        self.calls: dict[Any, int] = {}
        self.uses: dict[int, int] = {}
        for node in graph.nodes:
            if node.op == "call_module":
                self.calls[node.target] = self.calls.get(node.target, 0) + 1
            elif node.op == "get_attr":  # a weight that is used without its layer
                path = str(node.target).rpartition(".")[0]
                self.calls[path] = self.calls.get(path, 0) + 1
        for module in net.modules():
            for p in module._parameters.values():
                self.uses[id(p)] = self.uses.get(id(p), 0) + 1

    def module(self, node: Any) -> Any:
        """The module that a node calls; None where it is called elsewhere too, shares a parameter, or has hooks."""
        if not isinstance(node, fx.Node) or node.op != "call_module" or self.calls[node.target] != 1:
            return None
        module = self.net.get_submodule(str(node.target))
        has_hooks = module._forward_hooks or module._forward_pre_hooks
        is_shared = any(p is not None and self.uses[id(p)] != 1 for p in module._parameters.values())
        return None if has_hooks or is_shared else module
