"""Every rule as a torch.optim.Optimizer; the state dict moves both ways with the optimizer of that name in torch."""

import inspect
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from lifecycle import optim
from lifecycle._check import NonFiniteGradient, number, one_of
from lifecycle.rules import Rule, list_rules
from lifecycle.torch import _openmp, averaged_weights, optim_state_dict, parameter_groups
from lifecycle.torch._step_plan import StepPlan
from lifecycle.torch.gradient_clipping import Sharded, clip_factor, refuse_zero_redundancy

_KEYWORD_ONLY = ("maximize", "bias_correction", "decoupled_weight_decay")
_IGNORED = {"foreach": None, "fused": None}  # one kernel serves them all

_openmp.use()


class RuleOptimizer(torch.optim.Optimizer):
    """The optimizer of one rule over parameter groups: a single kernel call steps all tensors of a dtype.

    Parameters
    ----------
    params : iterable of tensors, named tensors or dicts
        As in torch.optim. A group may set any hyperparameter of the rule, and `state_dtype` and `ema_decay`.
    state_dtype : None, "float32", "bfloat16", "int8" or a torch dtype
        How the slots are stored; None: as the parameter. bfloat16 takes 2 bytes a number; "int8" one, for 8-bit floats
        with a scale for 256 of them; both with stochastic rounding. The slots of a float64 parameter stay float64.
    max_grad_norm : float, optional
        Clip the norm of all gradients together, as `torch.nn.utils.clip_grad_norm_` before the step does. The gradients
        themselves do not change. Where this process holds only a shard of them (FullyShardedDataParallel,
        ZeroRedundancyOptimizer) it raises.
    ema_decay : float, optional
        Keep an exponential moving average of the parameters, from the first step on; see `averaged_weights`. It
        averages over about 1 / (1 - ema_decay) steps, and takes 4 bytes a parameter (8 for float64).
    nonfinite : {"propagate", "skip", "raise"}
        What a gradient with NaN or infinity does: enter the parameters as in torch, leave the step out (counted in
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
        parameter_groups.check_supported({"capturable": capturable, "differentiable": differentiable})
        for name, choice in (("foreach", foreach), ("fused", fused)):
            one_of(name, choice, (None, True, False))
        if max_grad_norm is not None:
            max_grad_norm = number("max_grad_norm", max_grad_norm, above=0.0)
            refuse_zero_redundancy()
        self.max_grad_norm = max_grad_norm
        self.nonfinite = one_of("nonfinite", nonfinite, ("propagate", "skip", "raise"))
        self.last_grad_norm, self.skipped_steps = None, 0
        self._plan: StepPlan | None = None
        unknown = [name for name in hyper if name not in self.rule.defaults]
        if unknown:
            names = [p for p in inspect.signature(type(self)).parameters if p not in ("params", "foreach", "fused")]
            raise TypeError(f"{self.rule.class_name} has no {unknown[0]!r}; it has {', '.join(names)}")
        defaults = optim.check_hyperparameters(self.rule, {k: parameter_groups.to_numbers(v) for k, v in hyper.items()})
        # a tensor lr stays the caller's tensor, read at each step
        defaults |= {k: v for k, v in hyper.items() if isinstance(v, torch.Tensor)}
        options = {"state_dtype": state_dtype, "ema_decay": ema_decay, "seed": seed}
        super().__init__(params, {**defaults, **parameter_groups.check_options(options), **_IGNORED})

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add a group; what it does not set is as in the optimizer."""
        super().add_param_group(parameter_groups.check_group(self.rule, self.defaults, param_group))
        params = self.param_groups[-1]["params"]
        if len({id(p) for p in params}) < len(params):
            del self.param_groups[-1]
            raise ValueError("a parameter stands twice in its group: it would be stepped twice at once; name it once")

    def __setstate__(self, state: dict[str, Any]) -> None:
        # torch calls this from load_state_dict too
        super().__setstate__(state)
        self._plan = None
        optim_state_dict.after_loading(self)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Load a state of this optimizer, or of the one of that name in torch; its groups decide how slots are stored.

        Parameters
        ----------
        state_dict : dict
            As `state_dict()` returned it.
        """
        handle = self.register_load_state_dict_pre_hook(optim_state_dict.before_loading)  # after those of the user
        try:
            super().load_state_dict(state_dict)
        finally:
            handle.remove()

    def __getstate__(self) -> dict[str, Any]:
        names = ("max_grad_norm", "nonfinite", "last_grad_norm", "skipped_steps")
        return {**super().__getstate__(), **{name: getattr(self, name) for name in names}}

    def __repr__(self) -> str:
        return f"{super().__repr__()[:-1]}max_grad_norm: {self.max_grad_norm}\nnonfinite: {self.nonfinite!r}\n)"

    def state_bytes(self) -> int:
        """Bytes that the state tensors take."""
        tensors = [v for state in self.state.values() for v in state.values() if isinstance(v, torch.Tensor)]
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
        pairs = averaged_weights.averages(self)
        steps = max((self.state[p].get("step", 0) for p, _ in pairs), default=0)
        averaged_weights.warn_if_dominated_by_first_weights(self, steps)
        self.averaging = True
        try:
            with averaged_weights.averages_in_model(pairs):
                yield
        finally:
            self.averaging = False

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
        if torch.compiler.is_compiling():  # it cannot trace kernels: its graph ends here
            return _step_outside_graphs(self, closure)
        if not self._observed():
            return self._step(closure)
        return self._observed_step(closure) if closure is not None else self._observed_step()

    # else torch would surround every step by its hooks and marks for its profiler, which take as long as a small step
    step.hooked = True  # type: ignore[attr-defined]

    def _observed(self) -> bool:
        """Whether a hook of a step or the profiler is on."""
        hooks = self._optimizer_step_pre_hooks or self._optimizer_step_post_hooks
        of_all = _global_optimizer_pre_hooks or _global_optimizer_post_hooks
        return bool(hooks or of_all) or torch.autograd._profiler_enabled()

    def _step(self, closure: Callable | None = None) -> Any:
        if self.averaging:
            raise ValueError("a step inside averaged_weights() would be lost when the block ends: leave it first")
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        plan, self._plan = self._plan, None  # dropped if anything is raised
        if plan is None or not plan.prepare_next(self):
            with _openmp.serial_in_forked_child():  # makes state tensors
                plan = StepPlan(self)
        factor = 1.0
        if self.max_grad_norm is not None or self.nonfinite != "propagate":
            if self.max_grad_norm is not None and plan.sharded:
                raise Sharded("with sharded parameters", "the clip_grad_norm_ of the sharded model")
            self.last_grad_norm = norm = plan.gradient_norm()
            if self.nonfinite != "propagate" and not norm < float("inf"):
                if self.nonfinite == "raise":
                    raise NonFiniteGradient(f"the gradients hold NaN or infinity in {plan.where_not_finite()}")
                self.skipped_steps += 1
                return loss
            if self.max_grad_norm is not None:
                factor = clip_factor(norm, self.max_grad_norm)
        plan.step(factor)
        if plan.reusable:
            self._plan = plan
        return loss

    _observed_step = torch.optim.Optimizer.profile_hook_step(_step)


@torch._disable_dynamo
def _step_outside_graphs(optimizer: RuleOptimizer, closure: Callable | None) -> Any:
    return optimizer.step(closure)


@cache
def _class_of(rule: Rule) -> type[RuleOptimizer]:
    """The torch optimizer of a rule, with the rule's hyperparameters in its signature."""
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
    """That of the rule, with the arguments of every optimizer among its parameters."""
    shared = inspect.getdoc(RuleOptimizer) or ""
    parameters, _, rest = rule.doc.partition("\n\nReferences")
    return f"{parameters}\n{shared[shared.index('state_dtype :') :]}" + (f"\n\nReferences{rest}" if rest else "")


def __getattr__(name: str) -> Any:
    for rule in () if name.startswith("_") else list_rules().values():
        if rule.class_name == name:
            return _class_of(rule)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def resolve(
    optimizer: Any, params: Iterable, *, lr: float | None = None, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """A torch optimizer over `params`, with its default of what is None.

    `optimizer` is the name of a rule, an optimizer of the numpy API such as lc.Adam(lr=1e-3), which sets lr and
    weight_decay itself, or a callable: lt.Adam, torch.optim.RMSprop, or lambda params: …
    """
    given: dict[str, Any] = {k: v for k, v in (("lr", lr), ("weight_decay", weight_decay)) if v is not None}
    if isinstance(optimizer, str):
        return _class_of(optim.class_of(optimizer).rule)(params, **given)
    if isinstance(optimizer, optim.Optimizer):
        optim.resolve(optimizer, **given)  # refuses what is given twice
        return _class_of(optimizer.rule)(params, **optimizer.get_params())
    if callable(optimizer):
        made = optimizer(params, **given)
        if isinstance(made, torch.optim.Optimizer):
            return made
        raise TypeError(f"optimizer must return a torch optimizer; it returned {type(made).__name__}")
    raise TypeError(f"optimizer must be a name, an optimizer such as lc.Adam(lr=1e-3), or a class; got {optimizer!r}")
