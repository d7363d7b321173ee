"""The optimizers over numpy arrays, one class per rule, and `minimize`.

The classes (`GD`, `SGD`, `Adam`, `AdamW`, …) are made from the registry of rules on first use.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle._check import integer, number, one_of
from lifecycle.formats import list_formats
from lifecycle.loops import elementwise
from lifecycle.rules import Rule, list_rules

__all__ = ["Optimizer", "State", "check_hyperparameters", "minimize", "resolve"]

_ALLOWED: dict[str, dict[str, float]] = {
    "lr": {"low": 0.0},
    "eps": {"low": 0.0},
    "weight_decay": {"low": 0.0},
    "momentum": {"low": 0.0},
    "dampening": {},
    "alpha": {"low": 0.0, "high": 1.0},
    "rho": {"low": 0.0, "high": 1.0},
    "lr_decay": {"low": 0.0},
    "momentum_decay": {"low": 0.0},
    "initial_accumulator_value": {"low": 0.0},
}


def check_hyperparameters(rule: Rule, hyper: dict[str, Any]) -> dict[str, Any]:
    """The rule's hyperparameters, completed with its defaults, each of the type and range that its name asks for.

    Raises
    ------
    TypeError
        For a name that the rule does not have.
    ValueError
        For a value out of range.
    """
    unknown = [name for name in hyper if name not in rule.defaults]
    if unknown:
        raise TypeError(f"{rule.class_name} has no {unknown[0]!r}; it has {', '.join(rule.defaults)}")
    hyper = {**rule.defaults, **hyper}
    for name, value in hyper.items():
        default = rule.defaults[name]
        if isinstance(default, bool):
            one_of(name, value, (True, False))
        elif isinstance(default, tuple):
            if not isinstance(value, tuple | list) or len(value) != len(default):
                raise ValueError(f"{name} must be {len(default)} numbers; got {value!r}")
            hyper[name] = tuple(number(f"{name}[{i}]", v, low=0.0, below=1.0) for i, v in enumerate(value))
        elif isinstance(default, float):
            hyper[name] = number(name, value, **_ALLOWED.get(name, {}))
    rule.variant(hyper)  # a rule refuses combinations of its own
    return hyper


class State:
    """What an optimizer remembers of a list of arrays: `step`, the number of steps, `slots`, one dict an array, and
    `scalars`, the numbers that some rules carry from step to step."""

    def __init__(self, slots: list[dict[str, np.ndarray]], scalars: dict[str, float]):
        self.step = 0
        self.slots = slots
        self.scalars = scalars

    def __repr__(self) -> str:
        return f"State(step={self.step}, slots={[list(s) for s in self.slots]})"


class Optimizer:
    """An update rule with its hyperparameters; the arrays and the state are the caller's."""

    rule: Rule

    def __init__(self, *args: Any, **hyper: Any):
        if args:
            raise TypeError(
                f"{type(self).__name__} takes its hyperparameters by name: {type(self).__name__}(lr={args[0]!r})"
            )
        self._hyper = check_hyperparameters(self.rule, hyper)

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Hyperparameters by name."""
        return dict(self._hyper)

    def set_params(self, **hyper: Any) -> "Optimizer":
        """Change hyperparameters; the state of a running optimization stays valid."""
        self._hyper = check_hyperparameters(self.rule, {**self._hyper, **hyper})
        return self

    def __getattr__(self, name: str) -> Any:
        if name != "_hyper" and name in self.__dict__.get("_hyper", {}):
            return self._hyper[name]
        raise AttributeError(f"{type(self).__name__} has no {name!r}; it has {', '.join(self.rule.defaults)}")

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self.rule.defaults:
            self.set_params(**{name: value})
        else:
            super().__setattr__(name, value)

    def __sklearn_clone__(self) -> "Optimizer":
        return type(self)(**self._hyper)

    def __reduce__(self):
        return _rebuild, (self.rule.name, self._hyper)

    def __eq__(self, other: object) -> bool:
        return type(self) is type(other) and self._hyper == other._hyper  # type: ignore[attr-defined]

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        changed = {k: v for k, v in self._hyper.items() if v != self.rule.defaults[k]}
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in changed.items())})"

    def init(self, params: np.ndarray | list[np.ndarray]) -> State:
        """Fresh state for an array or a list of arrays, float32 or float64."""
        start = {name: self.rule.initial(self._hyper, name) for name in self.rule.variant(self._hyper).slots}
        slots = [{name: np.full_like(p, x) for name, x in start.items()} for p in _arrays("params", params)]
        return State(slots, dict(self.rule.scalars))

    def step(self, params: np.ndarray | list[np.ndarray], grads: np.ndarray | list[np.ndarray], state: State) -> None:
        """One step, in place on `params` and `state`.

        Parameters
        ----------
        params, grads : array or list of arrays, float32 or float64
            Same shapes and dtypes, in any memory layout.
        state : State
            As `init` returned it.

        Raises
        ------
        ValueError
            If number, shapes or dtypes differ, an array is read-only, or the state belongs to other arrays or slots.
        """
        ps, gs = _arrays("params", params), _arrays("grads", grads)
        update, slots = self.rule.variant(self._hyper)
        if not len(ps) == len(gs) == len(state.slots):
            raise ValueError(f"{len(ps)} params, {len(gs)} grads and a state of {len(state.slots)} arrays do not match")
        for i, (p, g, own) in enumerate(zip(ps, gs, state.slots, strict=True)):
            if p.shape != g.shape or p.dtype != g.dtype:
                raise ValueError(
                    f"params[{i}] is {p.dtype}{p.shape}, grads[{i}] is {g.dtype}{g.shape}: they must match"
                )
            if not p.flags.writeable:
                raise ValueError(f"params[{i}] is read-only; pass a writeable copy")
            if set(own) != set(slots) or any(a.shape != p.shape or a.dtype != p.dtype for a in own.values()):
                raise ValueError(
                    f"the state of params[{i}] holds {list(own)}, not {list(slots)} of {p.dtype}{p.shape}; call init"
                )
        state.step += 1
        s = np.array([*self.rule.advance(state.step, self._hyper, state.scalars), 1.0, 0.0])
        by_dtype: dict[Any, list[list[np.ndarray]]] = {}
        gapped: list[tuple[np.ndarray, np.ndarray]] = []
        for p, g, own in zip(ps, gs, state.slots, strict=True):
            dense = np.empty_like(p)  # keeps the order of the axes, without gaps
            if p.strides != dense.strides:
                np.copyto(dense, p)
                gapped.append((p, dense))
                p = dense
            row = [p]
            for name, a in (("", g), *own.items()):
                if a.strides != p.strides:  # same elements, other layout: walk it in the parameter's
                    moved = np.empty_like(p)
                    np.copyto(moved, a)
                    if name:
                        own[name] = moved
                    a = moved
                row.append(a)
            by_dtype.setdefault(p.dtype, []).append(row)
        for dtype, rows in by_dtype.items():
            addresses = np.array([[a.ctypes.data for a in row] for row in rows])
            lengths = np.array([row[0].size for row in rows])
            own_format = list_formats()[dtype.name]
            scalars, keys = np.tile(s.astype(dtype), (len(rows), 1)), np.zeros(len(rows), np.uint32)
            elementwise.prepare(update, tuple(slots.values()), own_format, own_format, addresses, lengths, scalars, keys,
                          False)()  # fmt: skip
        for p, dense in gapped:
            np.copyto(p, dense)


def _arrays(name: str, value: Any) -> list[np.ndarray]:
    arrays = list(value) if isinstance(value, list | tuple) else [value]
    for i, a in enumerate(arrays):
        if not isinstance(a, np.ndarray) or a.dtype not in (np.float32, np.float64):
            kind = f"{a.dtype} array" if isinstance(a, np.ndarray) else type(a).__name__
            raise TypeError(f"{name}[{i}] must be a float32 or float64 numpy array; got a {kind}")
    return arrays


def _rebuild(name: str, hyper: dict[str, Any]) -> Optimizer:
    return _class_of(name)(**hyper)


_classes: dict[str, type[Optimizer]] = {}


def _class_of(name: str) -> type[Optimizer]:
    rules = list_rules()
    if name not in rules:
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, sorted(rules)))}; got {name!r}")
    if name not in _classes:
        rule = rules[name]
        made = type(rule.class_name, (Optimizer,), {"rule": rule, "__doc__": rule.doc, "__module__": __name__})
        made.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
            [inspect.Parameter(k, inspect.Parameter.KEYWORD_ONLY, default=v) for k, v in rule.defaults.items()]
        )
        _classes[name] = made
    return _classes[name]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for rule in list_rules().values():
            if rule.class_name == name:
                return _class_of(rule.name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resolve(optimizer: "str | Optimizer", *, lr: float | None = None, **hyper: Any) -> Optimizer:
    """An optimizer from its rule's name and hyperparameters (None: the rule's default), or the object itself.

    Raises
    ------
    ValueError
        For an unknown name, or an object together with hyperparameters.
    """
    given = {k: v for k, v in {"lr": lr, **hyper}.items() if v is not None}
    if isinstance(optimizer, Optimizer):
        if given:
            name = next(iter(given))
            raise ValueError(f"{name} is set twice: in {optimizer!r} and as {name}={given[name]!r}; leave one out")
        return optimizer
    if not isinstance(optimizer, str):
        raise TypeError(f"optimizer must be a name or an optimizer such as lc.Adam(lr=1e-3); got {optimizer!r}")
    return _class_of(optimizer)(**given)


def minimize(
    fun: Callable,
    x0: Any,
    args: tuple = (),
    *,
    optimizer: "str | Optimizer" = "adam",
    jac: "Callable | bool | None" = None,
    max_iter: int = 1000,
    tol: float = 1e-6,
    callback: Callable | None = None,
):
    """Minimize a function of one array with one of the optimizers.

    Parameters
    ----------
    fun : callable, fun(x, *args) -> float
        With jac=True it returns (value, gradient).
    x0 : array-like, shape (n,)
    args : tuple
        Further arguments of `fun` and `jac`.
    optimizer : str or Optimizer
    jac : callable, True or None
        Gradient, as in scipy.optimize.minimize; None: two-point differences.
    max_iter : int
    tol : float
        Stop when the largest element of the gradient is at most tol.
    callback : callable, callback(x) -> bool
        Called after each step; a true value stops.

    Returns
    -------
    scipy.optimize.OptimizeResult
        x, fun, jac, nit, nfev, success, status, message, history (the value before each step and at the end).
    """
    from scipy.optimize import OptimizeResult, approx_fprime

    integer("max_iter", max_iter, low=1)
    number("tol", tol, low=0.0)
    if not (callable(jac) or jac is None or isinstance(jac, bool)):
        raise ValueError(f"jac must be a callable, True (fun returns the gradient too) or None; got {jac!r}")
    opt = resolve(optimizer)
    x = np.array(x0, dtype=np.float64).ravel()
    calls = 0

    def value_and_gradient(at: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal calls
        calls += 1
        if jac is True:
            value, slope = fun(at.copy(), *args)
        elif callable(jac):
            value, slope = fun(at.copy(), *args), jac(at.copy(), *args)
        else:
            value, slope = fun(at.copy(), *args), approx_fprime(at.copy(), lambda z: float(fun(z, *args)))
            calls += at.size + 1
        slope = np.asarray(slope, dtype=np.float64).ravel()
        if slope.shape != at.shape:
            raise ValueError(f"the gradient has {slope.size} elements, x0 has {at.size}")
        return float(value), slope

    state = opt.init(x)
    history = []
    status, message = 1, f"max_iter={max_iter} steps were made before the gradient fell to tol={tol:g}"
    nit = 0
    while True:
        value, slope = value_and_gradient(x)
        history.append(value)
        if not np.isfinite(value) or not np.isfinite(slope).all():
            status, message = 2, "the function or its gradient is not finite; a smaller lr may help"
            break
        if np.abs(slope).max(initial=0.0) <= tol:
            status, message = 0, f"the largest element of the gradient is at most tol={tol:g}"
            break
        if nit == max_iter:
            break
        opt.step(x, slope, state)
        nit += 1
        if callback is not None and callback(x.copy()):
            value, slope = value_and_gradient(x)
            history.append(value)
            status, message = 99, "the callback stopped the run"
            break
    return OptimizeResult(
        x=x, fun=value, jac=slope, nit=nit, nfev=calls, success=status == 0, status=status, message=message,
        history=np.array(history),
    )  # fmt: skip
