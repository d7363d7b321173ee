"""The optimizers over numpy arrays, one class per rule, and `minimize`.

The classes (`GD`, `SGD`, `Adam`, `AdamW`, …) are made from the registry of rules on first use.
"""

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from lifecycle._check import integer, number, one_of
from lifecycle._threads import uninterrupted
from lifecycle.formats import list_formats
from lifecycle.loops import elementwise
from lifecycle.rules import Rule, list_rules

__all__ = ["Optimizer", "State", "check_hyperparameters", "class_of", "minimize", "resolve"]

# arguments of `number` for the hyperparameters that every rule has under the same name
_RANGES: dict[str, dict[str, float]] = {
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
            hyper[name] = one_of(name, value, (True, False))
        elif isinstance(default, tuple):
            if not isinstance(value, tuple | list | np.ndarray) or np.shape(value) != (len(default),):
                raise ValueError(f"{name} must be {len(default)} numbers; got {value!r}")
            hyper[name] = tuple(number(f"{name}[{i}]", v, low=0.0, below=1.0) for i, v in enumerate(value))
        elif isinstance(default, float):
            hyper[name] = number(name, value, **_RANGES.get(name, {}))
    rule.variant(hyper)  # it raises where the rule does not serve these values in combination
    return hyper


class State:
    """The state of an optimizer for a list of arrays: `step`, the number of steps, `slots`, a dict for each array, and
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
        initial = {name: self.rule.initial(self._hyper, name) for name in self.rule.variant(self._hyper).slots}
        slots = [{name: np.full_like(p, x) for name, x in initial.items()} for p in _checked_arrays("params", params)]
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
        arrays, gradients = _checked_arrays("params", params), _checked_arrays("grads", grads)
        update, slots = self.rule.variant(self._hyper)
        _check_match(arrays, gradients, state, list(slots))
        with uninterrupted():
            self._step(arrays, gradients, state, update, tuple(slots.values()))

    def _step(self, arrays: list, gradients: list, state: State, update: Callable, kinds: tuple[str, ...]) -> None:
        state.step += 1
        # of a row of the loop's table: the coefficients of the rule, a factor of the gradient, the weight of an average
        scalars = np.array([*self.rule.advance(state.step, self._hyper, state.scalars), 1.0, 0.0])
        rows: dict[np.dtype, list[list[np.ndarray]]] = {}
        strided: list[tuple[np.ndarray, np.ndarray]] = []
        for p, g, slot in zip(arrays, gradients, state.slots, strict=True):
            dense = np.empty_like(p)  # keeps the order of the axes, without gaps
            if p.strides != dense.strides:
                np.copyto(dense, p)
                strided.append((p, dense))
                p = dense
            for name, values in slot.items():
                if values.strides != p.strides:
                    slot[name] = _in_layout_of(p, values)
            row = [p, g if g.strides == p.strides else _in_layout_of(p, g), *slot.values()]
            rows.setdefault(p.dtype, []).append(row)
        for dtype, table in rows.items():
            form, addresses = list_formats()[dtype.name], np.array([[a.ctypes.data for a in row] for row in table])
            lengths, keys = np.array([row[0].size for row in table]), np.zeros(len(table), np.uint32)
            tiled = np.tile(scalars.astype(dtype), (len(table), 1))
            elementwise.prepare(update, kinds, form, form, addresses, lengths, tiled, keys, False)()
        for p, dense in strided:
            np.copyto(p, dense)


def _checked_arrays(name: str, value: Any) -> list[np.ndarray]:
    arrays = list(value) if isinstance(value, list | tuple) else [value]
    for i, a in enumerate(arrays):
        if not isinstance(a, np.ndarray) or a.dtype not in (np.float32, np.float64):
            kind = f"{a.dtype} array" if isinstance(a, np.ndarray) else type(a).__name__
            raise TypeError(f"{name}[{i}] must be a float32 or float64 numpy array; got a {kind}")
    return arrays


def _check_match(params: list[np.ndarray], grads: list[np.ndarray], state: State, slots: list[str]) -> None:
    if not len(params) == len(grads) == len(state.slots):
        raise ValueError(
            f"{len(params)} params, {len(grads)} grads and a state of {len(state.slots)} arrays do not match"
        )
    for i, (p, g, slot) in enumerate(zip(params, grads, state.slots, strict=True)):
        if p.shape != g.shape or p.dtype != g.dtype:
            raise ValueError(f"params[{i}] is {p.dtype}{p.shape}, grads[{i}] is {g.dtype}{g.shape}: they must match")
        if not p.flags.writeable:
            raise ValueError(f"params[{i}] is read-only; pass a writeable copy")
        if set(slot) != set(slots) or any(a.shape != p.shape or a.dtype != p.dtype for a in slot.values()):
            raise ValueError(
                f"the state of params[{i}] holds {list(slot)}, not {slots} of {p.dtype}{p.shape}; call init"
            )


def _in_layout_of(p: np.ndarray, array: np.ndarray) -> np.ndarray:
    """A copy with the strides of `p`: the loop reads all arrays in the order of the parameter's elements."""
    copy = np.empty_like(p)
    np.copyto(copy, array)
    return copy


def _rebuild(name: str, hyper: dict[str, Any]) -> Optimizer:  # pickles refer to it by this name
    return class_of(name)(**hyper)


_classes: dict[str, type[Optimizer]] = {}


def class_of(name: str) -> type[Optimizer]:
    """The optimizer class of a rule.

    Raises
    ------
    ValueError
        If there is no rule of that name.
    """
    rules = list_rules()
    if name not in rules:
        raise ValueError(f"optimizer must be one of {', '.join(map(repr, sorted(rules)))}; got {name!r}")
    if name not in _classes:
        rule = rules[name]
        cls = type(rule.class_name, (Optimizer,), {"rule": rule, "__doc__": rule.doc, "__module__": __name__})
        parameter, keyword_only = inspect.Parameter, inspect.Parameter.KEYWORD_ONLY
        parameters = [parameter(k, keyword_only, default=v) for k, v in rule.defaults.items()]
        cls.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        _classes[name] = cls
    return _classes[name]


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        for rule in list_rules().values():
            if rule.class_name == name:
                return class_of(rule.name)
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
    return class_of(optimizer)(**given)


def minimize(
    fun: Callable,
    x0: Any,
    args: Any = (),
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
        Further arguments of `fun` and `jac`; anything else is a single one.
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
    for name, function in (("fun", fun), ("callback", callback)):
        if not callable(function) and not (name == "callback" and function is None):
            raise TypeError(f"{name} must be callable; got {function!r}")
    args = args if isinstance(args, tuple) else (args,)
    opt = resolve(optimizer)
    x = np.array(x0, dtype=np.float64).ravel()
    n_evaluations = 0

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal n_evaluations
        n_evaluations += 1
        if jac is True:
            pair = fun(x.copy(), *args)
            if not isinstance(pair, tuple | list) or len(pair) != 2:
                raise TypeError(f"with jac=True fun must return (value, gradient); it returned {pair!r:.100}")
            value, gradient = pair
        elif callable(jac):
            value, gradient = fun(x.copy(), *args), jac(x.copy(), *args)
        else:
            value, gradient = fun(x.copy(), *args), approx_fprime(x.copy(), lambda z: float(fun(z, *args)))
            n_evaluations += x.size + 1
        gradient = np.asarray(gradient, dtype=np.float64).ravel()
        if gradient.shape != x.shape:
            raise ValueError(f"the gradient has {gradient.size} elements, x0 has {x.size}")
        return float(value), gradient

    state = opt.init(x)
    history = []
    status, message = 1, f"max_iter={max_iter} steps were made before the gradient fell to tol={tol:g}"
    n_steps = 0
    while True:
        value, gradient = value_and_gradient(x)
        history.append(value)
        if not np.isfinite(value) or not np.isfinite(gradient).all():
            status, message = 2, "the function or its gradient is not finite; a smaller lr may help"
            break
        if np.abs(gradient).max(initial=0.0) <= tol:
            status, message = 0, f"the largest element of the gradient is at most tol={tol:g}"
            break
        if n_steps == max_iter:
            break
        opt.step(x, gradient, state)
        n_steps += 1
        if callback is not None and callback(x.copy()):
            value, gradient = value_and_gradient(x)
            history.append(value)
            status, message = 99, "the callback stopped the run"
            break
    counts = {"nit": n_steps, "nfev": n_evaluations, "history": np.array(history)}
    return OptimizeResult(x=x, fun=value, jac=gradient, success=status == 0, status=status, message=message, **counts)
