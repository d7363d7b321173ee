"""From parameters and their gradients to tables of memory, and one kernel call for each kind of them."""

from collections.abc import Iterable
from operator import is_
from typing import Any, NamedTuple

import numpy as np
import torch

from .._jit import noise
from ..formats import list_formats
from ..loops import blocks, norm, plain
from . import _slots

_FLOATS = {*_slots.TORCH_DTYPES.values(), *_slots.REAL} - {torch.uint8}
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
        self.kept: dict[str, list[torch.Tensor]] = {}  # the columns, where the next step may begin with them

    def column(self, name: str) -> list[torch.Tensor]:
        """A state tensor of every row."""
        return [own[name] for own in self.owns]


class Plan:
    """The tables of one step, made without moving anything."""

    def __init__(self, optimizer: Any):
        self.tables: list[Table] = []
        self.sharded = False
        self._gapped: list[tuple[torch.Tensor, torch.Tensor]] = []  # parameters whose memory has gaps, dense copies
        index = 0
        for number, group in enumerate(optimizer.param_groups):
            rule = optimizer.rule
            hyper = {name: _number(group[name]) for name in rule.defaults}
            again = self._as_last_time(optimizer, number, group, hyper)
            if again is None:
                self._row_by_row(optimizer, number, group, hyper, index)
            else:
                self.tables.append(again)
            index += len(group["params"])

    @property
    def next_step(self) -> int:
        return max((table.t for table in self.tables), default=1)

    def _as_last_time(self, optimizer: Any, number: int, group: dict[str, Any], hyper: dict) -> Table | None:
        """The table of a group whose tensors are those of the last step, but for the gradients; None if they are not.

        Python's loop over tensors is what many small ones cost, so these checks run over whole lists.
        """
        old: Table | None = optimizer.__dict__.setdefault("_last", {}).get(number)
        params, state, rule = group["params"], optimizer.state, optimizer.rule
        if old is None or len(params) != len(old.params) or not all(map(is_, params, old.params)):
            return None
        grads = [p.grad for p in params]
        owns, dtype = old.owns, params[0].dtype
        update, slots = rule.variant(hyper)
        slot = _slots.format_of(params[0], group["state_dtype"])
        averaged = group["ema_decay"] is not None
        kind = Kind(rule, update, tuple(slots.items()), old.kind.param, slot, averaged, "cpu")
        if kind != old.kind or not all(map(is_, map(state.get, params), owns)):
            return None
        try:
            usual = all([g.dtype is dtype and g.is_cpu and g.is_contiguous() for g in grads])
        except (AttributeError, RuntimeError):  # None; sparse
            return None
        if not usual or not all([p.is_contiguous() for p in params]):
            return None
        for name, tensors in old.kept.items():
            if not all(map(is_, [own.get(name) for own in owns], tensors)):
                return None
        if {own["step"] for own in owns} != {old.t}:
            return None
        carried = {name: {own[name] for own in owns} for name in rule.scalars}
        if any(len(values) != 1 for values in carried.values()):
            return None
        s = rule.advance(old.t + 1, hyper, {name: values.pop() for name, values in carried.items()})
        table = Table(kind, group, old.t + 1, s)
        table.params, table.grads, table.owns, table.indices = old.params, grads, owns, old.indices
        table.kept = old.kept
        return table

    def _row_by_row(self, optimizer: Any, number: int, group: dict[str, Any], hyper: dict, index: int) -> None:
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
            if not _is_dense(p):
                dense = torch.empty_like(p).copy_(p)
                self._gapped.append((p, dense))
            self._complete(rule, hyper, dense, own, kind)
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
        self.tables += found.values()
        optimizer.__dict__.setdefault("_last", {}).pop(number, None)

    def _check(self, p: torch.Tensor, g: torch.Tensor) -> None:
        """Refuse what cannot be stepped, before anything is made or moved."""
        for what, a in (("parameter", p), ("gradient", g)):
            if a.dtype not in _FLOATS or a.device.type not in ("cpu", *_ON_TORCH) or a.layout is not torch.strided:
                raise TypeError(
                    f"a {what} of shape {tuple(a.shape)} is {a.dtype}, {a.layout} on {a.device}; this optimizer steps "
                    "dense float, bfloat16, float16 and complex tensors on the CPU, and on a GPU"
                )
        if p.dtype is not g.dtype or p.device != g.device:
            raise TypeError(
                f"a parameter of shape {tuple(p.shape)} is {p.dtype} on {p.device}, its gradient {g.dtype} on "
                f"{g.device}; they must match"
            )
        kinds = {base.__name__ for base in type(p).__mro__}
        if "DTensor" in kinds:
            raise TypeError(
                "a parameter is a DTensor, of which this process holds a part: pass its local tensor, p.to_local()"
            )
        self.sharded |= "FlatParameter" in kinds

    @staticmethod
    def _complete(rule: Any, hyper: dict, p: torch.Tensor, own: dict[str, Any], kind: Kind) -> None:
        """Make the slots that are missing, and bring the others into the format and the memory order of now."""
        if "step" not in own or (kind.slots and not any(name in own for name, _ in kind.slots)):
            own["step"] = 0  # new, or its first step with slots
        for name, value in rule.scalars.items():
            own.setdefault(name, value)
        wanted = p.dtype if p.is_complex() else _slots.TORCH_DTYPES[kind.slot]
        for name, of in kind.slots:
            if name not in own:
                own.update(_slots.make(p, name, of, kind.slot, rule.initial(hyper, name)))
            elif own[name].dtype is not wanted or own[name].stride() != p.stride():
                made = _slots.converted(own, p, name, of, kind.slot)
                own.pop(name + _slots.SCALE, None)
                own.update(made)

    def where_not_finite(self) -> str:
        """Which gradients hold NaN or infinity."""
        rows = [(i, g) for table in self.tables for i, g in zip(table.indices, table.grads, strict=True)]
        names = [f"that of parameter {i}, {tuple(g.shape)}" for i, g in rows if not bool(torch.isfinite(g).all())]
        return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")

    def finish(self, optimizer: Any) -> None:
        """Count the steps, bring parameters with gaps up to date, and tell autograd what moved."""
        number = {id(group): k for k, group in enumerate(optimizer.param_groups)}
        per_group: dict[int, list[Table]] = {}
        for table in self.tables:
            t = table.t
            for own in table.owns:
                own["step"] = t
            for place, name in enumerate(table.kind.rule.scalars):
                for own in table.owns:
                    own[name] = table.s[place]
            per_group.setdefault(number[id(table.group)], []).append(table)
        for p, dense in self._gapped:
            p.copy_(dense)
        moved = [p for table in self.tables if table.kind.device == "cpu" for p in table.params]
        if moved:
            torch.autograd.graph.increment_version(moved)  # autograd does not see writes through a pointer
        for k, tables in per_group.items():
            (table, *others) = tables
            whole = len(table.params) == len(optimizer.param_groups[k]["params"])
            if not others and whole and not self._gapped and table.kind.device == "cpu":
                names = [*table.kind.columns, *(["ema"] if table.kind.averaged else [])]
                table.kept = table.kept or {name: table.column(name) for name in names}
                table.grads = []
                optimizer._last[k] = table


def _number(value: Any) -> Any:
    return value.item() if isinstance(value, torch.Tensor) else value


def _is_dense(p: torch.Tensor) -> bool:
    return p.is_contiguous() or p.stride() == torch.empty_like(p).stride()


def _pointers(tensors: Iterable[torch.Tensor]) -> list[int]:
    return [a.data_ptr() for a in tensors]


def _lengths(table: Table) -> list[int]:
    numbers = 2 if table.params[0].is_complex() else 1  # in an element
    return [numbers * p.numel() for p in table.params]


def gradient_norm(plan: Plan) -> float:
    """The norm of all gradients together."""
    total = 0.0
    for table in plan.tables:
        if table.kind.device == "cpu":
            form = list_formats()[table.kind.param]
            addresses = np.array(_pointers(table.grads), np.int64)
            total += norm.sum_of_squares(form, addresses, np.array(_lengths(table), np.int64))
        else:
            total += sum(float(torch.linalg.vector_norm(g, dtype=torch.float32)) ** 2 for g in table.grads)
    return total**0.5


def clip_factor(norm: float, largest: float) -> float:
    """What `torch.nn.utils.clip_grad_norm_` multiplies the gradients by."""
    factor = largest / (norm + 1e-6)
    return factor if not factor >= 1.0 else 1.0  # NaN stays NaN


def step_all(plan: Plan, factor: float) -> None:
    """Step every row of every table; tables of a kind share one kernel call."""
    by_kind: dict[Kind, list[Table]] = {}
    for table in plan.tables:
        by_kind.setdefault(table.kind, []).append(table)
    for kind, tables in by_kind.items():
        if kind.device == "cpu":
            _by_kernel(kind, tables, factor)
        else:
            for table in tables:
                by_torch(table, factor)


def _shares(table: Table) -> list[float]:
    """By how much each average moves towards its parameter; at its first step it becomes the parameter."""
    if not table.kind.averaged:
        return [0.0] * len(table.params)
    decay, shares = table.group["ema_decay"], []
    for p, own in zip(table.params, table.owns, strict=True):
        shares.append(1.0 - decay if "ema" in own else 1.0)
        if "ema" not in own:
            wide = p.dtype if p.dtype not in (torch.bfloat16, torch.float16) else torch.float32
            own["ema"] = torch.zeros_like(p, dtype=wide)
    return shares


def _by_kernel(kind: Kind, tables: list[Table], factor: float) -> None:
    forms = list_formats()
    param, slot = forms[kind.param], forms[kind.slot]
    shares = [share for table in tables for share in _shares(table)]
    names = [*kind.columns, *(["ema"] if kind.averaged else [])]
    addresses = [[a for t in tables for a in _pointers(t.params)], [a for t in tables for a in _pointers(t.grads)]]
    addresses += [[a for t in tables for a in _pointers(t.kept.get(name) or t.column(name))] for name in names]
    counts = [len(table.params) for table in tables]
    scalars = np.empty((len(shares), len(tables[0].s) + 2), np.float64 if kind.param == "float64" else np.float32)
    scalars[:, :-2] = np.repeat(np.array([table.s for table in tables]), counts, axis=0)
    scalars[:, -2], scalars[:, -1] = factor, shares
    walk = plain if slot.BLOCK == 1 else blocks
    walk.step(kind.update, [of for _, of in kind.slots], param, slot if kind.slots else param,
              np.ascontiguousarray(np.array(addresses, np.int64).T),
              np.array([n for table in tables for n in _lengths(table)], np.int64), scalars,
              np.concatenate([_keys(table) for table in tables]), kind.averaged)  # fmt: skip


def _keys(table: Table) -> np.ndarray:
    """A key of the stochastic rounding for each row, from the seed, the step's number and the parameter's."""
    key = noise(np.array(table.t), np.uint32(table.group["seed"] % 2**32))
    return noise(np.array(table.indices, np.int64), key)


def by_torch(table: Table, factor: float) -> None:
    """The same rule, as torch operations: on a device that our kernels do not reach."""

    def real(x: torch.Tensor) -> torch.Tensor:
        return torch.view_as_real(x) if x.is_complex() else x

    def wide(x: torch.Tensor) -> torch.Tensor:
        return real(x) if x.dtype in (torch.float64, torch.complex128) else real(x).float()

    names = [name for name, _ in table.kind.slots]
    rows = zip(table.params, table.grads, table.owns, _shares(table), strict=True)
    for p, g, own, share in rows:
        held = [own[name] for name in names]
        new, *slots = table.kind.update(wide(p), factor * wide(g), *map(wide, held), table.s)
        for stored, value in zip([p, *held], [new, *slots], strict=True):
            real(stored).copy_(value)
        if table.kind.averaged:
            real(own["ema"]).lerp_(new, share)
