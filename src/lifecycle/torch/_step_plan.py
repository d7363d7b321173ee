"""From parameters and their gradients to tables of memory, and one kernel call for each kind of them."""

from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from itertools import chain, repeat
from operator import attrgetter, is_, itemgetter
from typing import Any, NamedTuple

import numpy as np
import torch

from lifecycle._jit import noise
from lifecycle.formats import list_formats
from lifecycle.loops import blockwise, elementwise, norm
from lifecycle.torch import _device_step, _slots

_FLOATS = {*_slots.TORCH_DTYPES.values(), *_slots.REAL} - {torch.uint8}
OF_A_GROUP = ("state_dtype", "ema_decay", "seed")  # options that are no hyperparameters of a rule
_BY_KERNEL = ("cpu",)
_ON_TORCH = ("cuda", "xpu", "mps")  # devices where the rule runs as torch operations


class Sharded(ValueError):
    """Parameters of which this process holds a part only, where the whole is needed."""


class Kind(NamedTuple):
    """What rows must have in common to be stepped by one kernel call."""

    rule: Any
    update: Any
    slots: tuple[tuple[str, str], ...]
    param: str
    slot: str
    averaged: bool
    device: str

    @property
    def columns(self) -> list[str]:
        """Names of the state tensors, in the order in which a loop takes them."""
        blocked = self.slot == "int8"
        return [n for name, _ in self.slots for n in ((name, name + _slots.SCALE) if blocked else (name,))]


class Table:
    """Rows of one kind in one group, that make the same step: a parameter, its gradient and its state each."""

    def __init__(self, kind: Kind, group: dict[str, Any], t: int, s: tuple[float, ...]):
        self.kind, self.group, self.t, self.s = kind, group, t, s
        self.params: list[torch.Tensor] = []
        self.grads: list[torch.Tensor] = []
        self.owns: list[dict[str, Any]] = []
        self.indices: list[int] = []  # of the parameters among all of the optimizer
        self.shares: list[float] = []  # by which each average moves towards its parameter; its first step: wholly

    def advanced(self) -> tuple[int, tuple[float, ...]] | None:
        """Number and coefficients of the next step; None if the group asks for another kind of step now."""
        rule, group, kind = self.kind.rule, self.group, self.kind
        hyper = _hyper(rule, group)
        update, slots = rule.variant(hyper)
        if update is not kind.update or tuple(slots.items()) != kind.slots:
            return None
        if not _same(map(_step_of, self.owns), repeat(self.t)):
            return None
        scalars = dict(zip(rule.scalars, self.s, strict=False))
        for name, value in scalars.items():
            if not _same((own.get(name) for own in self.owns), repeat(value)):
                return None
        return self.t + 1, rule.advance(self.t + 1, hyper, scalars)


class Batch:
    """The rows of one kind on the CPU: one kernel call, made again while what it walks stays where it is."""

    def __init__(self, kind: Kind, tables: list[Table]):
        self.kind, self.tables = kind, tables
        forms = list_formats()
        param, slot = forms[kind.param], forms[kind.slot] if kind.slots else forms[kind.param]
        self.owns = [own for table in tables for own in table.owns]
        self.params = [p for table in tables for p in table.params]
        self.grads = [g for table in tables for g in table.grads]
        names = [*kind.columns, *(["ema"] if kind.averaged else [])]
        self.columns = {name: [own[name] for own in self.owns] for name in names}
        self.held = list(chain(self.params, *self.columns.values()))
        self.places = [place for table in tables for place in table.indices]
        self.dtypes = [p.dtype for p in self.params]
        self.complex = any(p.is_complex() for p in self.params)
        self.sizes = [p.numel() for p in self.params]
        self.filled = np.array(self.sizes) > 0
        self.strides = None if all(p.is_contiguous() for p in self.params) else [p.stride() for p in self.params]
        self.starts = np.cumsum([0, *(len(table.params) for table in tables)])  # of the rows of each table

        self.pointers = list(map(_pointer, self.held))
        self.gradients = np.array(list(map(_pointer, self.grads)), np.int64)
        lengths = np.array([2 * n if p.is_complex() else n for p, n in zip(self.params, self.sizes, strict=True)])
        held = np.array(self.pointers, np.int64).reshape(1 + len(names), len(self.params))
        self.addresses = np.ascontiguousarray(np.insert(held, 1, self.gradients, axis=0).T)
        dtype = np.float64 if kind.param == "float64" else np.float32
        self.scalars = np.empty((len(self.params), len(tables[0].s) + 2), dtype)
        self.scalars[:, -1] = [share for table in tables for share in table.shares]
        self.stochastic = param.STOCHASTIC or slot.STOCHASTIC
        self.keys = np.zeros(len(self.params), np.uint32)
        walk = elementwise if slot.BLOCK == 1 else blockwise
        self.call = walk.prepare(kind.update, [of for _, of in kind.slots], param, slot, self.addresses, lengths,
                                 self.scalars, self.keys, kind.averaged)  # fmt: skip
        self.lengths = lengths

    @cached_property
    def sum_of_squares(self) -> Callable[[], float]:
        """Of the gradients."""
        return norm.prepare(list_formats()[self.kind.param], self.gradients, self.lengths)

    def take(self, grads: list) -> bool:
        """Take the gradients of the next step, if they fit and all else is where it was; whether that is so.

        Python's loop over tensors is what many small ones cost, so every check runs over the whole list.
        """
        try:
            if not (
                _same(map(_dtype, grads), self.dtypes)
                and all(map(_is_cpu, grads))
                and list(map(torch.Tensor.numel, grads)) == self.sizes
                and (
                    all(map(torch.Tensor.is_contiguous, grads))
                    if self.strides is None
                    else list(map(torch.Tensor.stride, grads)) == self.strides
                )
                and (
                    all(map(torch.Tensor.is_contiguous, self.params))
                    if self.strides is None
                    else list(map(torch.Tensor.stride, self.params)) == self.strides
                )
                and not any(map(torch.Tensor.is_neg, grads))
                and not (self.complex and any(map(torch.Tensor.is_conj, chain(grads, self.params))))
                and all(_same(map(itemgetter(name), self.owns), column) for name, column in self.columns.items())
                and list(map(_pointer, self.held)) == self.pointers
            ):
                return False
            self.gradients[:] = list(map(_pointer, grads))
            if not self.gradients[self.filled].all():  # without memory of its own
                return False
        except (AttributeError, KeyError, RuntimeError, TypeError):  # no gradient, a sparse one; a slot that is gone
            return False
        self.addresses[:, 1], self.grads = self.gradients, grads
        if self.kind.averaged:
            for table, rows in self._rows():
                self.scalars[rows, -1] = 1.0 - table.group["ema_decay"]
        return True

    def step(self, factor: float) -> None:
        for table, rows in self._rows():
            self.scalars[rows, :-2] = table.s
            if self.stochastic:
                self.keys[rows] = _keys(table)
        self.scalars[:, -2] = factor
        self.call()

    def _rows(self) -> Iterator[tuple[Table, slice]]:
        for k, table in enumerate(self.tables):
            yield table, slice(self.starts[k], self.starts[k + 1])


class Plan:
    """What one step does, made without moving anything; it serves the next ones while only the gradients change."""

    def __init__(self, optimizer: Any):
        self.tables: list[Table] = []
        self.sharded = False
        self._gapped: list[tuple[torch.Tensor, torch.Tensor]] = []  # parameters whose memory has gaps, dense copies
        rule, self.params, self.options = optimizer.rule, _params(optimizer), _options(optimizer)
        index = 0
        for group in optimizer.param_groups:
            optimizer.check_options(group)
            hyper = _hyper(rule, group)
            self._row_by_row(optimizer, group, hyper, index)
            index += len(group["params"])
        self.states = list(optimizer.state.values())
        by_kind: dict[Kind, list[Table]] = {}
        for table in self.tables:
            by_kind.setdefault(table.kind, []).append(table)
        self.batches = [Batch(kind, tables) for kind, tables in by_kind.items() if kind.device in _BY_KERNEL]
        self.elsewhere = [table for table in self.tables if table.kind.device not in _BY_KERNEL]
        self.idle = sorted({*range(index)} - {place for table in self.tables for place in table.indices})

    @property
    def lasting(self) -> bool:
        """Whether the next step may begin with it."""
        return not (self.elsewhere or self._gapped)

    @property
    def next_step(self) -> int:
        return max((table.t for table in self.tables), default=1)

    def renew(self, optimizer: Any) -> bool:
        """Make it the plan of the next step, if gradients and coefficients are all that is new; whether that is so."""
        params = _params(optimizer)
        if not _same(params, self.params) or _options(optimizer) != self.options:
            return False
        if len(optimizer.state) != len(self.states) or not _same(optimizer.state.values(), self.states):
            return False
        grads: list[Any] = [p.grad for p in params]
        if any(grads[place] is not None for place in self.idle):
            return False
        try:
            found = [table.advanced() for table in self.tables]
        except KeyError:  # a step's number that is gone
            return False
        for batch in self.batches:
            in_order = len(self.batches) == 1 and not self.idle
            if not batch.take(grads if in_order else [grads[place] for place in batch.places]):
                return False
        for table, one in zip(self.tables, found, strict=True):
            if one is None:
                return False
            table.t, table.s = one
        return True

    def _row_by_row(self, optimizer: Any, group: dict[str, Any], hyper: dict, index: int) -> None:
        rule = optimizer.rule
        update, slots = rule.variant(hyper)
        kinds = tuple(slots.items())
        if group["state_dtype"] not in (None, "float32") and "weight" in slots.values():
            raise ValueError(f"{rule.class_name} keeps weights in its slots: state_dtype must be None or 'float32'")
        for p in group["params"]:
            if p.grad is not None:
                self._check(p, p.grad)
        found: dict[tuple, Table] = {}
        for place, p in enumerate(group["params"]):
            if (g := p.grad) is None:
                continue
            form = _slots.format_of(p, group["state_dtype"])
            param = _slots.NAMES[_slots.REAL.get(p.dtype, p.dtype)]
            kind = Kind(rule, update, kinds, param, form, group["ema_decay"] is not None, p.device.type)
            if p.device.type != "cpu" and form == "int8":
                raise TypeError("state_dtype='int8' is for parameters on the CPU; on another device use 'bfloat16'")
            if p.is_complex() and form not in ("float32", "float64"):
                raise TypeError(f"complex parameters keep float32 slots; {form} is not for them")
            own = optimizer.state[p]
            dense = p
            if not _is_dense(p) or p.is_conj() or p.is_neg():
                dense = torch.empty_like(p).copy_(p)
                self._gapped.append((p, dense))
            share = 0.0
            if kind.averaged:
                share = 1.0 - group["ema_decay"] if "ema" in own and own.get("step") else 1.0
            self._complete(rule, hyper, dense, own, kind)
            g = g.resolve_conj().resolve_neg()
            if g.stride() != dense.stride():  # the same elements in another memory order
                g = torch.empty_like(dense).copy_(g)
            scalars = {name: own[name] for name in rule.scalars}
            key = (kind, own["step"], *scalars.values())
            if key not in found:
                t = own["step"] + 1
                found[key] = Table(kind, group, t, rule.advance(t, hyper, scalars))
            table = found[key]
            table.params.append(dense)
            table.grads.append(g)
            table.owns.append(own)
            table.indices.append(index + place)
            table.shares.append(share)
        self.tables += found.values()

    def _check(self, p: torch.Tensor, g: torch.Tensor) -> None:
        """Refuse what cannot be stepped, before anything is made or moved."""
        for what, a in (("parameter", p), ("gradient", g)):
            if a.dtype not in _FLOATS or a.device.type not in ("cpu", *_ON_TORCH) or a.layout is not torch.strided:
                raise TypeError(
                    f"a {what} of shape {tuple(a.shape)} is {a.dtype}, {a.layout} on {a.device}; this optimizer steps "
                    "dense float, bfloat16, float16 and complex tensors on the CPU, and on a GPU"
                )
        if p.dtype is not g.dtype or p.device != g.device or p.shape != g.shape:
            raise TypeError(
                f"a parameter of shape {tuple(p.shape)} is {p.dtype} on {p.device}, its gradient {g.dtype} on "
                f"{g.device} of shape {tuple(g.shape)}; they must match"
            )
        kinds = {base.__name__ for base in type(p).__mro__}
        if "DTensor" in kinds:
            raise TypeError(
                "a parameter is a DTensor, of which this process holds a part: pass its local tensor, p.to_local()"
            )
        for what, a in (("parameter", p), ("gradient", g)):
            if a.numel() and not a.data_ptr():
                raise TypeError(
                    f"a {what} is a {type(a).__name__} without memory of its own, which cannot be stepped here"
                )
        # FullyShardedDataParallel marks its flat parameters, and the originals of which they are made
        self.sharded |= hasattr(p, "_is_flat_param") or hasattr(p, "_fsdp_flattened")

    @staticmethod
    def _complete(rule: Any, hyper: dict, p: torch.Tensor, own: dict[str, Any], kind: Kind) -> None:
        """Make the slots that are missing, and bring the others into the format and the memory order of now."""
        if "step" not in own or (kind.slots and not any(name in own for name, _ in kind.slots)):
            own["step"] = 0  # new, or its first step with slots
        for name, value in rule.scalars.items():
            own.setdefault(name, value)
        _slots.check(p, own, [*(name for name, _ in kind.slots), *(["ema"] if kind.averaged else [])])
        wanted = p.dtype if p.is_complex() else _slots.TORCH_DTYPES[kind.slot]
        for name, of in kind.slots:
            if name not in own:
                own.update(_slots.make(p, name, of, kind.slot, rule.initial(hyper, name)))
            elif own[name].dtype is not wanted or own[name].stride() != p.stride():
                made = _slots.converted(own, p, name, of, kind.slot)
                own.pop(name + _slots.SCALE, None)
                own.update(made)
        if kind.averaged:
            wide = torch.float32 if p.dtype in (torch.bfloat16, torch.float16) else p.dtype
            mean = own.setdefault("ema", p)
            if mean is p or mean.dtype is not wide or mean.stride() != p.stride():
                own["ema"] = torch.empty_like(p, dtype=wide, requires_grad=False).copy_(mean)

    def gradient_norm(self) -> float:
        """The norm of all gradients together."""
        total = sum(batch.sum_of_squares() for batch in self.batches)
        for table in self.elsewhere:
            for g in table.grads:
                flat = torch.view_as_real(g) if g.is_complex() else g
                wide = torch.float64 if flat.dtype is torch.float64 else torch.float32
                total += float(torch.linalg.vector_norm(flat, dtype=wide)) ** 2
        return total**0.5

    def where_not_finite(self) -> str:
        """Which gradients hold NaN or infinity."""
        rows = [(i, g) for batch in self.batches for i, g in zip(batch.places, batch.grads, strict=True)]
        rows += [(i, g) for table in self.elsewhere for i, g in zip(table.indices, table.grads, strict=True)]
        names = [f"that of parameter {i}, {tuple(g.shape)}" for i, g in rows if not bool(torch.isfinite(g).all())]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    def step(self, factor: float) -> None:
        """Step every row by its gradient times `factor`, count the steps, and tell autograd what moved."""
        for batch in self.batches:
            batch.step(factor)
            torch.autograd.graph.increment_version(batch.params)  # autograd does not see writes through a pointer
            batch.grads = []  # their memory is not ours to hold
        for table in self.elsewhere:
            _device_step.step(table, factor, _keys(table))
        for table in self.tables:
            t, table.grads = table.t, []
            for own in table.owns:
                own["step"] = t
            for name, value in zip(table.kind.rule.scalars, table.s, strict=False):
                for own in table.owns:
                    own[name] = value
        for p, dense in self._gapped:
            p.copy_(dense)


_pointer, _dtype, _is_cpu, _step_of = (
    torch.Tensor.data_ptr, attrgetter("dtype"), attrgetter("is_cpu"), itemgetter("step")
)  # fmt: skip


def _same(some: Iterable, others: Iterable) -> bool:
    """Whether these are the very same objects."""
    return all(map(is_, some, others))


def _params(optimizer: Any) -> list[torch.Tensor]:
    groups = optimizer.param_groups
    return [p for group in groups for p in group["params"]]


def _options(optimizer: Any) -> list[tuple]:
    """What decides how rows are stored and grouped, for each group."""
    return [(id(g), len(g["params"]), *(g[name] for name in OF_A_GROUP)) for g in optimizer.param_groups]


def _hyper(rule: Any, group: dict[str, Any]) -> dict[str, Any]:
    """The hyperparameters of a group as numbers."""
    found = {}
    for name in rule.defaults:
        value = group[name]
        if isinstance(value, torch.Tensor):
            value = value.item()
        if not isinstance(value, (int, float, tuple)):
            raise TypeError(f"{name} of a parameter group must be a number, or a tuple of some; got {value!r}")
        found[name] = value
    return found


def _is_dense(p: torch.Tensor) -> bool:
    return p.is_contiguous() or p.stride() == torch.empty_like(p).stride()


def clip_factor(norm: float, largest: float) -> float:
    """What `torch.nn.utils.clip_grad_norm_` multiplies the gradients by."""
    factor = largest / (norm + 1e-6)
    return factor if not factor >= 1.0 else 1.0  # NaN stays NaN


def _keys(table: Table) -> np.ndarray:
    """A key of the stochastic rounding for each row, from the seed, the step's number and the parameter's."""
    key = noise(table.t, 0, np.uint32(table.group["seed"] % 2**32))
    return noise(np.array(table.indices, np.int64), 0, key)
