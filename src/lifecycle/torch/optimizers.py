"""Every rule as a torch.optim.Optimizer on CPU tensors; the state dict moves both ways with torch's twin."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import torch

from ..loops import plain
from ..optim import Optimizer, check_hyperparameters
from ..rules import Rule, list_rules

_DTYPES: dict[torch.dtype, Any] = {torch.float32: np.dtype(np.float32), torch.float64: np.dtype(np.float64)}
_POSITIONAL_IN_TORCH = ("lr", "betas", "momentum", "dampening", "eps", "weight_decay", "nesterov", "amsgrad")


class RuleOptimizer(torch.optim.Optimizer):
    """One rule over parameter groups: a single kernel call steps all tensors of a dtype."""

    rule: Rule

    def __init__(self, params: Iterable, **hyper: Any):
        super().__init__(params, check_hyperparameters(self.rule, {k: _plain(v) for k, v in hyper.items()}))

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not set is the optimizer's own."""
        own = {k: _plain(v) for k, v in param_group.items() if k in self.rule.defaults}
        check_hyperparameters(self.rule, {**self.defaults, **own})
        super().add_param_group(param_group)

    def __setstate__(self, state: dict[str, Any]) -> None:
        # also the way in for load_state_dict: complete what a torch twin's checkpoint does not say
        super().__setstate__(state)
        for group in self.param_groups:
            for name, default in self.rule.defaults.items():
                group.setdefault(name, default)
        for own in self.state.values():
            buffers = [v for k, v in own.items() if k != "step" and v is not None]
            own["step"] = int(own.get("step", 1 if buffers else 0))  # torch's SGD does not count its steps
            for name in [k for k, v in own.items() if v is None]:
                del own[name]

    def state_bytes(self) -> int:
        """Bytes that the state tensors take."""
        return sum(v.numel() * v.element_size() for own in self.state.values() for k, v in own.items() if k != "step")

    @torch.no_grad()
    def step(self, closure: Callable | None = None) -> Any:
        """One step over every parameter that has a gradient.

        Parameters
        ----------
        closure : callable, optional
            Computes the loss again and returns it.

        Raises
        ------
        TypeError
            For a parameter or gradient that is not a dense float32 or float64 CPU tensor; nothing has moved then.
        """
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        work: dict[Any, list] = {}  # (update, dtype) -> [(row of tensors, scalars)]
        moved, gapped, counted = [], [], []
        for group in self.param_groups:
            hyper = {name: _plain(group[name]) for name in self.rule.defaults}
            update, slots = self.rule.variant(hyper)
            scalars: dict[int, tuple] = {}
            for p in group["params"]:
                if (g := p.grad) is None:
                    continue
                _refuse(p, g)
                own = self.state[p]
                if "step" not in own or (slots and not any(name in own for name in slots)):
                    own["step"] = 0  # new, or its first step with slots
                for name in slots:
                    if name not in own:
                        own[name] = torch.zeros_like(p, memory_format=torch.preserve_format)
                t = own["step"] + 1
                if t not in scalars:
                    scalars[t] = self.rule.step(t, **hyper)
                row = [p, g, *(own[name] for name in slots)]
                if not p.is_contiguous() and p.stride() != torch.empty_like(p).stride():
                    row[0] = torch.empty_like(p).copy_(p)  # memory with gaps: step a dense copy
                    gapped.append((p, row[0]))
                strides = row[0].stride()
                for i, a in enumerate(row):
                    if a.stride() != strides:  # same elements in another order: walk them in the parameter's
                        row[i] = torch.empty_like(row[0]).copy_(a)
                        if i > 1:
                            own[list(slots)[i - 2]] = row[i]
                work.setdefault((update, p.dtype), []).append((row, scalars[t]))
                moved.append(p)
                counted.append((own, t))
        for (update, dtype), rows in work.items():
            addresses = np.array([[a.data_ptr() for a in row] for row, _ in rows], dtype=np.int64)
            lengths = np.array([row[0].numel() for row, _ in rows], dtype=np.int64)
            plain.step(update, addresses, lengths, np.array([s for _, s in rows], dtype=_DTYPES[dtype]))
        for own, t in counted:
            own["step"] = t
        if moved:
            torch.autograd.graph.increment_version(moved)  # autograd does not see writes through a pointer
        for p, dense in gapped:
            p.copy_(dense)
        return loss


def _plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.item()
    return value


def _refuse(p: torch.Tensor, g: torch.Tensor) -> None:
    for what, a in (("parameter", p), ("gradient", g)):
        if a.dtype not in _DTYPES or a.device.type != "cpu" or a.layout is not torch.strided:
            raise TypeError(
                f"a {what} of shape {tuple(a.shape)} is {a.dtype}, {a.layout} on {a.device}; "
                "this optimizer steps dense float32 and float64 tensors on the CPU"
            )
    if p.dtype != g.dtype:
        raise TypeError(f"a parameter of shape {tuple(p.shape)} is {p.dtype}, its gradient {g.dtype}; they must match")


_classes: dict[str, type[RuleOptimizer]] = {}


def class_of(name: str) -> type[RuleOptimizer]:
    """The torch optimizer of a rule.

    Raises
    ------
    ValueError
        If there is no rule of that name.
    """
    rules = list_rules()
    if name not in rules:
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, sorted(rules)))}; got {name!r}")
    if name not in _classes:
        _classes[name] = _make(rules[name])
    return _classes[name]


def _make(rule: Rule) -> type[RuleOptimizer]:
    positional = [n for n in rule.defaults if n in _POSITIONAL_IN_TORCH]

    def __init__(self, params, *args, **hyper):
        if len(args) > len(positional):
            raise TypeError(f"{rule.class_name} takes params and at most {', '.join(positional)} by position")
        RuleOptimizer.__init__(self, params, **dict(zip(positional, args, strict=False)), **hyper)

    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for name, default in sorted(rule.defaults.items(), key=lambda item: item[0] not in positional):
        kind = kinds.POSITIONAL_OR_KEYWORD if name in positional else kinds.KEYWORD_ONLY
        parameters.append(kinds(name, kind, default=default))
    body = {"rule": rule, "__doc__": rule.doc, "__module__": __name__, "__init__": __init__}
    made = type(rule.class_name, (RuleOptimizer,), body)
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return made


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for rule in list_rules().values():
            if rule.class_name == name:
                return class_of(rule.name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resolve(
    optimizer: Any, params: Iterable, *, lr: float | None = None, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """A torch optimizer over `params` from a rule's name, an optimizer of the numpy face, or a callable.

    Parameters
    ----------
    optimizer : str, lifecycle optimizer, or callable
        "adamw", lc.Adam(lr=1e-3), lt.Adam, torch.optim.RMSprop, or lambda params: …
    lr, weight_decay : float, optional
        None: the optimizer's own.

    Raises
    ------
    ValueError
        For an unknown name, or an optimizer object together with lr or weight_decay.
    """
    given = {k: v for k, v in (("lr", lr), ("weight_decay", weight_decay)) if v is not None}
    if isinstance(optimizer, str):
        return class_of(optimizer)(params, **given)
    if isinstance(optimizer, Optimizer):
        if given:
            name = next(iter(given))
            raise ValueError(f"{name} is set twice: in {optimizer!r} and as {name}={given[name]!r}; leave one out")
        return class_of(optimizer.rule.name)(params, **optimizer.get_params())
    if callable(optimizer):
        made = optimizer(params, **given)
        if isinstance(made, torch.optim.Optimizer):
            return made
        raise TypeError(f"optimizer must return a torch optimizer; it returned {type(made).__name__}")
    raise TypeError(f"optimizer must be a name, an optimizer such as lc.Adam(lr=1e-3), or a class; got {optimizer!r}")
