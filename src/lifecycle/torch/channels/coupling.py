"""Which channels of a network belong together: removing one from a layer removes it from others.

A network is traced, and every channel of every tensor in it gets a number. Layers give their outputs new numbers;
activations, poolings and normalizations hand them on; a sum makes the channels of its terms one; a concatenation lines
them up. What is not known here keeps its channels.
"""

import operator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import fx, nn
from torch.nn.utils import rnn

from lifecycle._check import UnsupportedModel
from lifecycle.torch.channels.channel_numbers import ChannelNumbers
from lifecycle.torch.channels.operations import (
    BATCH_NORMS,
    CONVOLUTIONS,
    ELEMENTWISE,
    KEEPING_FUNCTIONS,
    KEEPING_METHODS,
    POOLS,
    RECURRENT,
    SUM_METHODS,
    SUMS,
    is_packed,
    is_plain_index,
    name_of,
    shape_of,
)
from lifecycle.torch.channels.tracing import trace


class Channels(NamedTuple):
    """The axis of a tensor that its channels lie along, and the number of the channel at each place."""

    axis: int
    numbers: np.ndarray


@dataclass
class Use:
    """A layer, and the numbers of its input and output channels; None where they are not its own to choose."""

    module: nn.Module
    inputs: np.ndarray | None = None
    outputs: np.ndarray | None = None
    hidden: list[np.ndarray] = field(default_factory=list)  # of a recurrent network: the units of each layer


@dataclass
class Coupling:
    """The layers of a network by path, and what belongs together.

    `group_of[number]` tells the group of a channel: channels of one group are kept or removed together. `frozen[group]`
    says that they stay. `space_of[number]` is the layer that gave the channel its number.
    """

    uses: dict[str, Use]
    group_of: np.ndarray
    frozen: np.ndarray
    space_of: np.ndarray
    reasons: list[str]


def find_coupling(net: nn.Module, arguments: tuple, keywords: dict[str, Any], protected: set[str]) -> Coupling:
    """Trace a network with an input.

    Parameters
    ----------
    protected : set of str
        Paths of layers whose output channels stay.

    Raises
    ------
    UnsupportedModel
        torch.fx cannot trace the network, or an operation of the trace is not understood.
    """
    graph = trace(net, arguments, keywords)
    try:
        return _Propagation(net, graph, protected).run()
    except Exception as error:
        raise UnsupportedModel(
            f"it is not known which channels of this {type(net).__name__} belong together: an operation of its trace "
            f"raises {type(error).__name__}: {str(error).partition(chr(10))[0]}"
        ) from error


class _Propagation:
    """Numbers the channels, node by node."""

    def __init__(self, net: nn.Module, graph: fx.Graph, protected: set[str]):
        self.net, self.graph, self.protected = net, graph, protected
        self.numbers = ChannelNumbers()
        self.channels: dict[fx.Node, Channels | None] = {}
        self.states: dict[fx.Node, str] = {}  # last states of all layers, and the path of their recurrent network
        self.uses: dict[str, Use] = {}
        counts: dict[int, int] = {}
        for module in net.modules():
            for p in module._parameters.values():
                counts[id(p)] = counts.get(id(p), 0) + 1
        self.shared = {id(p) for p in net.parameters() if counts[id(p)] > 1}

    def run(self) -> Coupling:
        for node in self.graph.nodes:
            unused = node.target is operator.getitem and not node.users  # a part of what was unpacked
            self.channels[node] = None if unused else self._visit(node)
        self._freeze_units_together()
        group_of, frozen = self.numbers.groups()
        return Coupling(self.uses, group_of, frozen, np.array(self.numbers.space, int), list(self.numbers.reasons))

    def _freeze_units_together(self) -> None:
        """All layers of a recurrent network have as many units: they stay if those of one layer do."""
        changed = True
        while changed:
            before = len(self.numbers.frozen)
            frozen = {self.numbers.root(number) for number in self.numbers.frozen}
            for path, use in self.uses.items():
                if any(self.numbers.root(k) in frozen for numbers in use.hidden for k in numbers.tolist()):
                    for numbers in use.hidden:
                        self._freeze(Channels(0, numbers), f"the other layers of {path}")
            changed = len(self.numbers.frozen) > before

    def _freeze(self, channels: Channels | None, reason: str) -> None:
        if channels is not None:
            self.numbers.freeze(channels.numbers, reason)

    def _visit(self, node: fx.Node) -> Channels | None:
        shape = shape_of(node)
        if node.target is not operator.getitem:
            for value in node.all_input_nodes:
                if value in self.states:
                    self._freeze_states(self.states[value])
        if node.op == "output":
            for value in node.all_input_nodes:
                self._freeze(self.channels[value], "the network's output")
            return None
        if node.op in ("placeholder", "get_attr"):
            return None
        found = None
        if node.op == "call_module":
            found = self._module(node, str(node.target), self.net.get_submodule(str(node.target)), shape)
        elif shape is not None or any(self.channels[value] is not None for value in node.all_input_nodes):
            found = self._function(node, shape)
        if found is None:
            return None
        if shape is None:  # a recurrent network returns a tuple
            differs = node.op != "call_module" and not is_packed(node) and node.target is not rnn.pad_packed_sequence
        else:
            differs = found.axis >= len(shape) or len(found.numbers) != shape[found.axis]
        if differs:
            self._freeze(found, f"{name_of(node)}, whose output has another shape than is known")
            return None
        return found

    def _module(self, node: fx.Node, path: str, module: Any, shape: Any) -> Channels | None:
        source = node.args[0] if node.args else next(iter(node.kwargs.values()), None)
        before = self.channels.get(source) if isinstance(source, fx.Node) else None
        before_shape = shape_of(source) if isinstance(source, fx.Node) else None
        if isinstance(module, ELEMENTWISE):
            return before
        if isinstance(module, nn.PReLU):
            if module.num_parameters > 1:
                self._freeze(before, f"{path} (PReLU with a slope for each channel)")
            return before
        if isinstance(module, POOLS):
            return self._at(before, 1, path, source)
        if isinstance(module, nn.Flatten):
            return self._flatten(before, before_shape, shape, path)
        if isinstance(module, BATCH_NORMS):
            return self._batch_norm(path, module, self._at(before, 1, path, source))
        if isinstance(module, (nn.Linear, *CONVOLUTIONS)) and shape is not None and before_shape is not None:
            axis = len(shape) - 1 if isinstance(module, nn.Linear) else 1
            return self._layer(path, module, self._at(before, axis, path, source), axis)
        if isinstance(module, RECURRENT) and is_packed(source) and not getattr(module, "proj_size", 0):
            return self._recurrent(path, module, None, 2)  # the axis of the outputs when they are padded
        if isinstance(module, RECURRENT) and before_shape is not None and not getattr(module, "proj_size", 0):
            axis = len(before_shape) - 1
            return self._recurrent(path, module, self._at(before, axis, path, source), axis)
        for value in node.all_input_nodes:
            self._freeze(self.channels[value], f"{path} ({type(module).__name__})")
        return None

    def _at(self, channels: Channels | None, axis: int, path: str, source: Any) -> Channels | None:
        """The channels if they lie along this axis; else they stay as they are."""
        if channels is None or channels.axis == axis:
            return channels
        self._freeze(channels, f"{path}, whose channels are another axis than those of {source}")
        return None

    def _layer(self, path: str, module: Any, before: Channels | None, axis: int) -> Channels:
        n_out = module.out_features if isinstance(module, nn.Linear) else module.out_channels
        groups = getattr(module, "groups", 1)
        inputs = None if before is None else before.numbers
        is_fixed = self._is_fixed(path, module)
        if groups > 1 and inputs is not None and groups == len(inputs) == n_out:  # depthwise: a filter for each channel
            self._use(path, module, inputs, inputs)
            if is_fixed:
                self._freeze(Channels(axis, inputs), f"{path} (protected, or with shared weights)")
            return Channels(axis, inputs)
        outputs = self._outputs(path, n_out)
        if groups > 1:
            if inputs is not None:  # the channels at one place of every group stay or go together
                self._tie(inputs, groups)
            self._tie(outputs, groups)
        self._use(path, module, inputs, outputs)
        found = Channels(axis, outputs)
        if is_fixed:
            for channels in (before, found):
                self._freeze(channels, f"{path} (protected, or with shared weights)")
        return found

    def _is_fixed(self, path: str, module: nn.Module) -> bool:
        return path in self.protected or any(id(p) in self.shared for p in module.parameters(recurse=False))

    def _tie(self, numbers: np.ndarray, groups: int) -> None:
        parts = numbers.reshape(groups, -1)
        for part in parts[1:]:
            self.numbers.join(parts[0], part)

    def _outputs(self, path: str, n: int) -> np.ndarray:
        """New numbers; those of the first call where a layer is called again."""
        known = self.uses.get(path)
        return known.outputs if known is not None and known.outputs is not None else self.numbers.new(n)

    def _use(self, path: str, module: Any, inputs: np.ndarray | None, outputs: np.ndarray | None) -> Use:
        known = self.uses.setdefault(path, Use(module, inputs, outputs))
        if known.inputs is not None and inputs is not None and known.inputs is not inputs:
            self.numbers.join(known.inputs, inputs)
        elif (known.inputs is None) != (inputs is None):  # once with channels that are known, and once without
            for numbers in (known.inputs, inputs):
                if numbers is not None:
                    self._freeze(Channels(0, numbers), f"{path}, which is called in two ways")
            known.inputs = None
        return known

    def _batch_norm(self, path: str, module: Any, before: Channels | None) -> Channels | None:
        if before is not None:
            self._use(path, module, before.numbers, before.numbers)
            if self._is_fixed(path, module):
                self._freeze(before, f"{path} (protected, or with shared weights)")
        return before

    def _recurrent(self, path: str, module: Any, before: Channels | None, axis: int) -> Channels:
        n_directions = 2 if module.bidirectional else 1
        known = self.uses.get(path)
        if known is None:
            layers = [self.numbers.new(module.hidden_size * n_directions) for _ in range(module.num_layers)]
            known = self._use(path, module, None if before is None else before.numbers, layers[-1])
            known.hidden = layers
        elif known.inputs is not None or before is not None:
            self._freeze(before, f"{path}, which is called twice")
            if known.inputs is not None:
                self._freeze(Channels(0, known.inputs), f"{path}, which is called twice")
        if self._is_fixed(path, module):
            self._freeze(before, f"{path} (protected, or with shared weights)")
            for numbers in known.hidden:
                self._freeze(Channels(0, numbers), f"{path} (protected, or with shared weights)")
        return Channels(axis, known.hidden[-1])

    def _flatten(self, before: Channels | None, old: Any, new: Any, name: str) -> Channels | None:
        """After (n, channels, …) became (n, channels · …)."""
        if before is None or old is None or new is None:
            self._freeze(before, name)
            return None
        if before.axis == 1 and len(new) == 2 and new[0] == old[0]:
            return Channels(1, np.repeat(before.numbers, int(np.prod(old[2:]))))
        self._freeze(before, f"{name}, which mixes channels with other axes")
        return None

    def _function(self, node: fx.Node, shape: Any) -> Channels | None:
        source = node.args[0] if node.args else None
        before = self.channels.get(source) if isinstance(source, fx.Node) else None
        old = shape_of(source) if isinstance(source, fx.Node) else None
        target = node.target
        keeps = target in (KEEPING_FUNCTIONS if node.op == "call_function" else KEEPING_METHODS)
        if keeps and len(node.all_input_nodes) == 1:
            return self.channels[node.all_input_nodes[0]]
        if target in (SUMS if node.op == "call_function" else SUM_METHODS):
            return self._sum(node, shape)
        if target in (torch.cat, torch.concat, torch.concatenate) and node.args:
            return self._cat(node, shape)
        if target in (operator.getitem, getattr):
            return self._getitem(node, source, before, old, shape)
        if target in ("size", "dim"):
            return None
        if target is rnn.pad_packed_sequence:
            return before
        if target in (torch.flatten, "flatten", "view", "reshape", torch.reshape):
            return self._flatten(before, old, shape, name_of(node))
        if target in (torch.mean, "mean", "sum", torch.sum, "amax") and before is not None and old is not None:
            return self._reduced(node, before, old)
        permutes = target in (torch.transpose, "transpose", "permute", torch.permute) and len(node.args) > 1
        if permutes and before is not None and old is not None:
            return self._permuted(node, before, old)
        for value in node.all_input_nodes:
            self._freeze(self.channels[value], name_of(node))
        return None

    def _sum(self, node: fx.Node, shape: Any) -> Channels | None:
        terms = [self.channels.get(value) for value in node.all_input_nodes]
        tensors = [value for value in node.all_input_nodes if shape_of(value) is not None]
        is_product = node.target in (operator.mul, torch.mul, "mul", "mul_")
        if len(tensors) == 1 and is_product and len(node.all_input_nodes) == 1:
            return terms[0]  # times a number
        known = [term for term in terms if term is not None]
        same = len(known) == len(terms) == 2 and known[0].axis == known[1].axis and len(known[0].numbers) == len(
            known[1].numbers
        ) and len(shape_of(tensors[0])) == len(shape_of(tensors[-1]))  # fmt: skip
        if same and len({shape_of(value)[known[0].axis] for value in tensors}) == 1:
            return Channels(known[0].axis, self.numbers.join(known[0].numbers, known[1].numbers))
        for term in known:
            self._freeze(term, f"{name_of(node)} of tensors that do not have the same known channels")
        return None

    def _cat(self, node: fx.Node, shape: Any) -> Channels | None:
        parts: Any = node.args[0]
        dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", node.kwargs.get("axis", 0))
        terms = [self.channels.get(value) for value in parts]
        axes = {term.axis for term in terms if term is not None}
        if shape is None or None in terms or len(axes) != 1:
            for term in terms:
                self._freeze(term, f"{name_of(node)} of tensors whose channels are not all known")
            return None
        (axis,) = axes
        numbers = [term.numbers for term in terms if term is not None]
        if int(dim) % len(shape) == axis:
            return Channels(axis, np.concatenate(numbers))
        for other in numbers[1:]:
            self.numbers.join(numbers[0], other)
        return Channels(axis, numbers[0])

    def _getitem(self, node: fx.Node, source: Any, before: Channels | None, old: Any, shape: Any) -> Channels | None:
        index: Any = node.args[1] if isinstance(node.args[1], tuple) else (node.args[1],)
        if source in self.states and old is not None:
            return self._state(self.states[source], index, shape)
        returns = source.op == "call_module" and before is not None and old is None
        if source in self.states or (returns and index in ((1,), (-1,))):
            # of what a recurrent network returns: its last states, or the hidden and the cell states of a pair of them
            self.states[node] = self.states.get(source, str(source.target))
            return None
        if before is None:
            return None
        if old is None:
            if index == (0,):
                return before
            if returns:
                self._freeze_states(str(source.target))
            if source.target is not rnn.pad_packed_sequence:  # which returns lengths, too
                self._freeze(before, f"{name_of(node)} of what is no tensor")
            return None
        if is_plain_index(index) and Ellipsis not in index:
            index = (*index, *[slice(None)] * (len(old) - len(index)))
            if index[before.axis] == slice(None):
                axis = before.axis - sum(isinstance(i, int) for i in index[: before.axis])
                return Channels(axis, before.numbers)
        self._freeze(before, f"{name_of(node)} with an index that is not simple")
        return None

    def _state(self, path: str, index: tuple, shape: Any) -> Channels | None:
        """The last state of one layer and direction, of (layers · directions, n, units)."""
        use: Any = self.uses[path]
        if isinstance(index[0], int) and all(part is Ellipsis or part == slice(None) for part in index[1:]):
            return Channels(len(shape) - 1, np.concatenate(use.hidden).reshape(-1, use.module.hidden_size)[index[0]])
        self._freeze_states(path)
        return None

    def _freeze_states(self, path: str) -> None:
        for numbers in self.uses[path].hidden:
            self._freeze(Channels(0, numbers), f"the last states of {path}, which are used together")

    def _reduced(self, node: fx.Node, before: Channels, old: Any) -> Channels | None:
        dim: Any = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim")
        keep = bool(node.kwargs.get("keepdim", node.args[2] if len(node.args) > 2 else False))
        dims = (
            {int(d) % len(old) for d in (dim if isinstance(dim, list | tuple) else [dim])} if dim is not None else set()
        )
        if not dims or before.axis in dims:
            self._freeze(before, f"{name_of(node)} over the channels")
            return None
        return Channels(before.axis - (0 if keep else sum(d < before.axis for d in dims)), before.numbers)

    def _permuted(self, node: fx.Node, before: Channels, old: Any) -> Channels | None:
        order = list(range(len(old)))
        arguments: Any = node.args[1:]
        if node.target in ("permute", torch.permute):
            given = arguments[0] if isinstance(arguments[0], list | tuple) else arguments
            order = [int(d) % len(old) for d in given]
        else:
            a, b = (int(d) % len(old) for d in arguments)
            order[a], order[b] = order[b], order[a]
        return Channels(order.index(before.axis), before.numbers)
