"""Every rule as a torch.optim.Optimizer; the state dict moves both ways with torch's twin."""

import inspect
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

from lifecycle._check import NonFiniteGradient, integer, number, one_of
from lifecycle.optim import Optimizer, check_hyperparameters
from lifecycle.rules import Rule, list_rules
from lifecycle.torch import _openmp, _slots
from lifecycle.torch._step_plan import OF_A_GROUP, Plan, Sharded, clip_factor

_KEYWORD_ONLY = ("maximize", "bias_correction", "decoupled_weight_decay")
_NOT_SERVED = ("capturable", "differentiable")
# what schedulers and training libraries write into a group
_NOTES = ("params", "initial_lr", "max_lr", "min_lr", "base_momentum", "max_momentum", "swa_lr", "param_names", "name",
          "lr_scale")  # fmt: skip
_IGNORED = {"foreach": None, "fused": None}  # one kernel serves them all

_openmp.use()


class RuleOptimizer(torch.optim.Optimizer):
    """One rule over parameter groups: a single kernel call steps all tensors of a dtype.

    Parameters
    ----------
    params : iterable of tensors, named tensors or dicts
        As in torch.optim. A group may set any hyperparameter of the rule, and `state_dtype` and `ema_decay`.
    state_dtype : None, "float32", "bfloat16", "int8" or a torch dtype
        How the slots are stored; None: as the parameter. bfloat16 takes 2 bytes a number, int8 one, both with
        stochastic rounding. The slots of a float64 parameter stay float64.
    max_grad_norm : float, optional
        Clip the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_` before the step does. The gradients
        themselves are left alone. Where this process holds a part of them only (FullyShardedDataParallel,
        ZeroRedundancyOptimizer) it raises.
    ema_decay : float, optional
        Keep an exponential moving average of the parameters, from the first step on; see `averaged_weights`. It looks
        back about 1 / (1 - ema_decay) steps, and takes 4 bytes a parameter (8 for float64).
    nonfinite : {"propagate", "skip", "raise"}
        What a gradient with NaN or infinity does: spoil the parameters as in torch, leave the step out (counted in
        `skipped_steps`), or raise `NonFiniteGradient`.
    seed : int
        Of the stochastic rounding.
    foreach, fused : accepted so that a call written for torch.optim works; they choose nothing here.
    capturable, differentiable : only False.
    """

    rule: Rule
    last_grad_norm: float | None
    skipped_steps: int
    averaging = False  # the averages are in the model

    def __init__(
        self,
        params: Iterable,
        *,
        state_dtype: Any = None,
        max_grad_norm: float | None = None,
        ema_decay: float | None = None,
        nonfinite: str = "propagate",
        seed: int = 0,
        foreach: bool | None = None,
        fused: bool | None = None,
        capturable: bool = False,
        differentiable: bool = False,
        **hyper: Any,
    ):
        for name, flag in zip(_NOT_SERVED, (capturable, differentiable), strict=True):
            if flag:
                raise ValueError(f"{name}=True is not served: the step runs in a compiled kernel; leave it out")
        for name, choice in (("foreach", foreach), ("fused", fused)):
            one_of(name, choice, (None, True, False))
        if max_grad_norm is not None:
            max_grad_norm = number("max_grad_norm", max_grad_norm, above=0.0)
            _refuse_a_part_of_the_norm()
        self.max_grad_norm = max_grad_norm
        self.nonfinite = one_of("nonfinite", nonfinite, ("propagate", "skip", "raise"))
        self.last_grad_norm, self.skipped_steps = None, 0
        self._plan: Plan | None = None
        unknown = [name for name in hyper if name not in self.rule.defaults]
        if unknown:
            names = [p for p in inspect.signature(type(self)).parameters if p not in ("params", "foreach", "fused")]
            raise TypeError(f"{self.rule.class_name} has no {unknown[0]!r}; it has {', '.join(names)}")
        defaults = check_hyperparameters(self.rule, {k: plain(v) for k, v in hyper.items()})
        # a tensor lr stays the caller's tensor, read at each step
        defaults |= {k: v for k, v in hyper.items() if isinstance(v, torch.Tensor)}
        options = {"state_dtype": state_dtype, "ema_decay": ema_decay, "seed": seed}
        super().__init__(params, {**defaults, **checked(options), **_IGNORED})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not set is the optimizer's own."""
        own = {k: plain(v) for k, v in param_group.items() if k in self.rule.defaults}
        check_hyperparameters(self.rule, {**{k: plain(self.defaults[k]) for k in self.rule.defaults}, **own})
        for name, value in param_group.items():
            if name in _NOT_SERVED and value:
                raise ValueError(f"{name}=True is not served: the step runs in a compiled kernel; leave it out")
            if name not in self.defaults and name not in _NOTES + _NOT_SERVED:
                raise ValueError(f"a parameter group has no option {name!r}; it has {', '.join(sorted(self.defaults))}")
        super().add_param_group({**param_group, **checked({k: v for k, v in param_group.items() if k in OF_A_GROUP})})
        params = self.param_groups[-1]["params"]
        if len({id(p) for p in params}) < len(params):
            del self.param_groups[-1]
            raise ValueError("a parameter stands twice in its group: it would be stepped twice at once; name it once")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # also the way in for load_state_dict: complete what a torch twin's checkpoint does not say
        super().__setstate__(state)
        self._plan = None
        for group in self.param_groups:
            for name, default in self.defaults.items():
                group.setdefault(name, default)
            for name in ("betas",):  # JSON and older checkpoints make lists of tuples
                if isinstance(group.get(name), list):
                    group[name] = tuple(group[name])
        for p, own in self.state.items():
            if not isinstance(p, torch.Tensor):  # a note of somebody's
                continue
            for name, value in own.items():
                if isinstance(value, _Kept):
                    own[name] = value.tensor.to(p.device, copy=True)
            buffers = [v for k, v in own.items() if k != "step" and v is not None]
            own["step"] = int(own.get("step", 1 if buffers else 0))  # torch's SGD does not count its steps
            for name in [k for k, v in own.items() if v is None]:
                del own[name]
            for name in self.rule.scalars.keys() & own.keys():
                own[name] = float(own[name])

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state, of this optimizer or of its twin in torch; the checkpoint's groups decide how slots are stored.

        Parameters
        ----------
        state_dict : dict
            As `state_dict()` returned it.
        """
        handle = self.register_load_state_dict_pre_hook(_as_it_is)  # after those of the user
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

    def check_options(self, group: dict[str, Any]) -> None:
        """Check what a user may have put into a group since it was added."""
        group.update(checked({name: group[name] for name in OF_A_GROUP}))

    def __getstate__(self) -> dict[str, Any]:
        own = ("max_grad_norm", "nonfinite", "last_grad_norm", "skipped_steps")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in own}}

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}max_grad_norm: {self.max_grad_norm}\nnonfinite: {self.nonfinite!r}\n)"

    def state_bytes(self) -> int:
        """Bytes that the state tensors take."""
        tensors = [v for own in self.state.values() for v in own.values() if isinstance(v, torch.Tensor)]
        return sum(v.numel() * v.element_size() for v in tensors)

    @contextmanager
    def averaged_weights(self) -> Iterator[None]:
        """The averaged parameters are in the model inside the block; parameters that never moved stay as they are.

        Buffers, such as the statistics of BatchNorm, are not averaged. A step inside the block raises.

        Warns
        -----
        UserWarning
            If the average still holds more than a fifth of the weights after the first step.

        Raises
        ------
        ValueError
            If the optimizer keeps no average.
        """
        if all(group["ema_decay"] is None for group in self.param_groups):
            raise ValueError("this optimizer keeps no average of the weights: pass ema_decay, such as 0.999")
        if self.averaging:
            raise ValueError("the averages are in the model already: this is inside averaged_weights()")
        kept = [(p, p.detach().clone(), own["ema"]) for p, own in self.state.items() if "ema" in own]
        steps = max((own.get("step", 0) for own in self.state.values() if "ema" in own), default=0)
        warn_of_a_young_average(max(g["ema_decay"] or 0.0 for g in self.param_groups), steps)
        self.averaging = True
        try:
            with torch.no_grad():
                for p, _, mean in kept:
                    p.copy_(mean)
            yield
        finally:
            self.averaging = False
            with torch.no_grad():
                for p, before, _ in kept:
                    p.copy_(before)

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
            For a parameter or gradient that cannot be stepped; nothing has moved then.
        NonFiniteGradient
            With nonfinite="raise"; nothing has moved then.
        """
        if self.averaging:
            raise ValueError("a step inside averaged_weights() would be lost when the block ends: leave it first")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        plan, self._plan = self._plan, None  # it stays away if anything is raised
        if plan is None or not plan.renew(self):
            plan = Plan(self)
        factor = 1.0
        if self.max_grad_norm is not None or self.nonfinite != "propagate":
            if self.max_grad_norm is not None and plan.sharded:
                raise Sharded(
                    "max_grad_norm with sharded parameters would clip by this rank's own norm: leave it out and call "
                    "the clip_grad_norm_ of the sharded model"
                )
            self.last_grad_norm = norm = plan.gradient_norm()
            if self.nonfinite != "propagate" and not norm < float("inf"):
                if self.nonfinite == "raise":
                    raise NonFiniteGradient(
                        f"the gradients hold NaN or infinity in step {plan.next_step}: {plan.where_not_finite()}"
                    )
                self.skipped_steps += 1
                return loss
            if self.max_grad_norm is not None:
                factor = clip_factor(norm, self.max_grad_norm)
        plan.step(factor)
        if plan.lasting:
            self._plan = plan
        return loss


def _refuse_a_part_of_the_norm() -> None:
    """ZeroRedundancyOptimizer gives each rank some of the parameters, and nothing in them says so: ask who calls."""
    frame = inspect.currentframe()
    while frame is not None:
        if frame.f_code.co_qualname.startswith("ZeroRedundancyOptimizer."):
            raise Sharded(
                "max_grad_norm inside ZeroRedundancyOptimizer would clip by this rank's own norm: leave it out and "
                "call torch.nn.utils.clip_grad_norm_ before the step"
            )
        frame = frame.f_back


def warn_of_a_young_average(decay: float, steps: int) -> None:
    """Say so where the first weights make up a fifth of an average or more."""
    if steps and decay ** (steps - 1) > 0.2:
        warnings.warn(
            f"the average of the weights of {steps} steps with ema_decay={decay:g} still consists to "
            f"{decay ** (steps - 1):.0%} of those after the first step: it looks back {1 / (1 - decay):.0f} steps, so "
            "take a smaller ema_decay or more steps",
            stacklevel=4,
        )


class _Kept:
    """A tensor that torch's `load_state_dict` is to leave as it is."""

    def __init__(self, tensor: torch.Tensor):
        self.tensor = tensor


def _as_it_is(optimizer: torch.optim.Optimizer, state_dict: dict[str, Any]) -> dict[str, Any]:
    """A state dict whose tensors torch leaves alone, and whose groups say what those of a torch twin do not."""
    known = {k for group in state_dict["param_groups"] for k in group["params"]}
    for own in (own for k, own in state_dict["state"].items() if k in known):
        for name in ("step", *optimizer.rule.scalars):  # type: ignore[attr-defined]
            value = own.get(name, 0)
            if not isinstance(value, (int, float, torch.Tensor)) or not float(value) == float(value):
                raise ValueError(f"{name} in the state of a parameter must be a number; got {value!r}")
    # torch would cast every tensor to the parameter's dtype: codes, scales and averages too
    state = {
        k: {name: _Kept(v) if isinstance(v, torch.Tensor) and name != "step" else v for name, v in own.items()}
        if k in known
        else own
        for k, own in state_dict["state"].items()
    }
    groups = [dict(group) for group in state_dict["param_groups"]]
    for group, here in zip(groups, optimizer.param_groups, strict=False):
        for name in OF_A_GROUP:
            group.setdefault(name, here[name])
    return {**state_dict, "state": state, "param_groups": groups}


def checked(options: dict[str, Any]) -> dict[str, Any]:
    """The options of a group that are no hyperparameters."""
    if "state_dtype" in options:
        options["state_dtype"] = _slots.state_name(options["state_dtype"])
    if options.get("ema_decay") is not None:
        options["ema_decay"] = number("ema_decay", options["ema_decay"], low=0.0, below=1.0)
    if "seed" in options:
        options["seed"] = integer("seed", options["seed"])
    return options


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        if value.numel() != 1:
            raise ValueError(f"a hyperparameter must be one number; got a tensor of shape {tuple(value.shape)}")
        return value.item()
    if isinstance(value, (tuple, list)):
        return tuple(plain(v) for v in value)
    return value


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
    positional = [n for n in rule.defaults if n not in _KEYWORD_ONLY]

    def __init__(self, params, *args, **hyper):
        if len(args) > len(positional):
            raise TypeError(f"{rule.class_name} takes params and at most {', '.join(positional)} by position")
        RuleOptimizer.__init__(self, params, **dict(zip(positional, args, strict=False)), **hyper)

    kinds = inspect.Parameter
    parameters = [kinds("params", kinds.POSITIONAL_OR_KEYWORD)]
    for name, default in sorted(rule.defaults.items(), key=lambda item: item[0] not in positional):
        kind = kinds.POSITIONAL_OR_KEYWORD if name in positional else kinds.KEYWORD_ONLY
        parameters.append(kinds(name, kind, default=default))
    shared = inspect.signature(RuleOptimizer.__init__).parameters.values()
    parameters += [p for p in shared if p.kind is kinds.KEYWORD_ONLY]
    body = {"rule": rule, "__doc__": _doc(rule), "__module__": __name__, "__init__": __init__}
    made = type(rule.class_name, (RuleOptimizer,), body)
    made.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return made


def _doc(rule: Rule) -> str:
    """The rule's own, with what every optimizer takes among its parameters."""
    shared = inspect.getdoc(RuleOptimizer) or ""
    own, _, rest = rule.doc.partition("\n\nReferences")
    return f"{own}\n{shared[shared.index('state_dtype :') :]}" + (f"\n\nReferences{rest}" if rest else "")


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
    given: dict[str, Any] = {k: v for k, v in (("lr", lr), ("weight_decay", weight_decay)) if v is not None}
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
