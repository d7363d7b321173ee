"""One kernel call for all tensors of a kind: what they have in common, the table of their memory, and the call."""

from collections.abc import Callable, Iterable
from functools import cached_property
from itertools import chain, pairwise, repeat
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from lifecycle._jit import hashed_keys
from lifecycle.formats import list_formats
from lifecycle.loops import blockwise, elementwise, norm
from lifecycle.torch.parameter_groups import hyperparameters
from lifecycle.torch.state_tensors import SCALE_SUFFIX


class KernelSignature(NamedTuple):
    """What tensors must have in common to be stepped by one kernel call."""

    rule: Any
    update: Any
    slots: tuple[tuple[str, str], ...]  # name and kind of each
    param_format: str
    slot_format: str
    averaged: bool
    device: str

    @property
    def state_names(self) -> list[str]:
        """Names of the state tensors, in the order in which a kernel takes them."""
        suffixes = ("", SCALE_SUFFIX) if self.slot_format == "int8" else ("",)
        return [name + suffix for name, _ in self.slots for suffix in suffixes] + ["ema"] * self.averaged


class TensorGroup:
    """Parameters of one group with one signature that take the same step, each with its gradient and its state."""

    def __init__(self, signature: KernelSignature, options: dict[str, Any], t: int, coefficients: tuple[float, ...]):
        self.signature, self.options, self.t, self.coefficients = signature, options, t, coefficients
        self.params: list[torch.Tensor] = []
        self.grads: list[torch.Tensor] = []
        self.states: list[dict[str, Any]] = []
        self.indices: list[int] = []  # of the parameters among all of the optimizer
        self.ema_weights: list[float] = []
        self.hyper: dict[str, Any] = {}  # the hyperparameters as numbers,
        self.values: list | None = None  # and as the group has them; None where one may change in place, as a tensor

    def append(self, p: torch.Tensor, grad: torch.Tensor, state: dict[str, Any], index: int, ema_weight: float) -> None:
        self.params.append(p)
        self.grads.append(grad)
        self.states.append(state)
        self.indices.append(index)
        self.ema_weights.append(ema_weight)

    def next_step(self) -> tuple[int, tuple[float, ...]] | None:
        """Number and coefficients of the next step; None if the group asks for another kernel now."""
        rule, signature = self.signature.rule, self.signature
        values = [self.options[name] for name in rule.defaults]
        if self.values is None or not identical(values, self.values):
            self.hyper = hyperparameters(rule, self.options)
            update, slots = rule.variant(self.hyper)
            if update is not signature.update or tuple(slots.items()) != signature.slots:
                return None
            self.values = values if all(map(_is_constant, values)) else None
        if not identical(map(_step_of, self.states), repeat(self.t)):
            return None
        scalars = dict(zip(rule.scalars, self.coefficients, strict=False))
        for name, value in scalars.items():
            if not identical((state.get(name) for state in self.states), repeat(value)):
                return None
        return self.t + 1, rule.advance(self.t + 1, self.hyper, scalars)

    def noise_keys(self) -> np.ndarray:
        """A key of the stochastic rounding for each parameter, from the seed, the number of the step and its own."""
        return hashed_keys(self.options["seed"], self.t, np.array(self.indices))


class KernelCall:
    """The step of all tensors with one signature on the CPU; repeated while their memory stays where it is."""

    def __init__(self, signature: KernelSignature, groups: list[TensorGroup]):
        self.signature, self.groups = signature, groups
        formats = list_formats()
        param = formats[signature.param_format]
        slot = formats[signature.slot_format] if signature.slots else param
        self.params = [p for group in groups for p in group.params]
        self.grads = [g for group in groups for g in group.grads]
        self.states = [state for group in groups for state in group.states]
        self.indices = [index for group in groups for index in group.indices]
        names = signature.state_names
        self.state_tensors = {name: [state[name] for state in self.states] for name in names}
        self.fixed = list(chain(self.params, *self.state_tensors.values()))  # must keep their memory
        self.dtypes = [p.dtype for p in self.params]
        self.complex = any(p.is_complex() for p in self.params)
        self.sizes = [p.numel() for p in self.params]
        self.strides = None if all(p.is_contiguous() for p in self.params) else [p.stride() for p in self.params]
        starts = np.cumsum([0, *(len(group.params) for group in groups)])
        self.rows = [slice(*pair) for pair in pairwise(starts)]  # of each group

        self.fixed_pointers = list(map(_pointer, self.fixed))
        self.lengths = np.array([n * (1 + p.is_complex()) for p, n in zip(self.params, self.sizes, strict=True)])
        fixed = np.array(self.fixed_pointers, np.int64).reshape(1 + len(names), len(self.params))
        self.addresses = np.ascontiguousarray(np.insert(fixed, 1, list(map(_pointer, self.grads)), axis=0).T)
        dtype = np.float64 if signature.param_format == "float64" else np.float32
        # of each tensor: the coefficients, the factor of its gradient, the weight in its average
        self.scalars = np.empty((len(self.params), len(groups[0].coefficients) + 2), dtype)
        self.scalars[:, -1] = [weight for group in groups for weight in group.ema_weights]
        self.stochastic = param.STOCHASTIC or slot.STOCHASTIC
        self.keys = np.zeros(len(self.params), np.uint32)
        loop = elementwise if slot.BLOCK == 1 else blockwise
        kinds = [kind for _, kind in signature.slots]
        arrays = (self.addresses, self.lengths, self.scalars, self.keys)
        self.call = loop.prepare(signature.update, kinds, param, slot, *arrays, signature.averaged)

    @cached_property
    def _norm(self) -> tuple[np.ndarray, Callable[[], float]]:
        """The addresses that it reads, and the call."""
        pointers = np.zeros(len(self.params), np.int64)
        return pointers, norm.prepare(list_formats()[self.signature.param_format], pointers, self.lengths)

    def sum_of_squares(self) -> float:
        """Of the gradients."""
        pointers, total = self._norm
        pointers[:] = self.addresses[:, 1]
        return total()

    def replace_gradients(self, grads: list) -> bool:
        """Take the gradients of the next step, if they fit and all else is where it was; whether that is so.

        Python's loop over tensors is the cost of many small ones, so every check runs over the whole list.
        """
        try:
            if not (
                identical(map(_dtype, grads), self.dtypes)
                and all(map(_is_cpu, grads))
                and list(map(torch.Tensor.numel, grads)) == self.sizes
                and self._same_layout(grads)
                and self._same_layout(self.params)
                and not any(map(torch.Tensor.is_neg, grads))
                and not (self.complex and any(map(torch.Tensor.is_conj, chain(grads, self.params))))
                and all(identical(map(itemgetter(k), self.states), v) for k, v in self.state_tensors.items())
                and list(map(_pointer, self.fixed)) == self.fixed_pointers
            ):
                return False
            pointers = list(map(_pointer, grads))
            if 0 in pointers and any(n and not at for n, at in zip(self.sizes, pointers, strict=True)):
                return False  # a tensor without memory
        except (AttributeError, KeyError, RuntimeError, TypeError):  # no gradient, or a sparse one; a slot is missing
            return False
        self.addresses[:, 1], self.grads = pointers, grads
        if self.signature.averaged:
            for group, rows in zip(self.groups, self.rows, strict=True):
                self.scalars[rows, -1] = 1.0 - group.options["ema_decay"]
        return True

    def _same_layout(self, tensors: list) -> bool:
        if self.strides is None:
            return all(map(torch.Tensor.is_contiguous, tensors))
        return list(map(torch.Tensor.stride, tensors)) == self.strides

    def step(self, factor: float) -> None:
        """Step every tensor by its gradient times `factor`."""
        for group, rows in zip(self.groups, self.rows, strict=True):
            self.scalars[rows, :-1] = (*group.coefficients, factor)
            if self.stochastic:
                self.keys[rows] = group.noise_keys()
        self.call()


_pointer, _dtype, _is_cpu = torch.Tensor.data_ptr, attrgetter("dtype"), attrgetter("is_cpu")
_step_of = itemgetter("step")


def _is_constant(value: Any) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, tuple) and all(map(_is_constant, value)))


def identical(objects: Iterable, others: Iterable) -> bool:
    """Whether these are the very same objects."""
    return all(map(is_, objects, others))
