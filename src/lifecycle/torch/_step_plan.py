"""From an optimizer and its gradients to one kernel call for each kind of tensors, kept for the next steps."""

from typing import Any

import torch

from lifecycle._threads import uninterrupted
from lifecycle.torch import _device_step, state_tensors
from lifecycle.torch._kernel_call import KernelCall, KernelSignature, TensorGroup, identical
from lifecycle.torch._openmp import serial_in_forked_child
from lifecycle.torch.averaged_weights import ema_weight
from lifecycle.torch.parameter_groups import OPTIONS, check_options, hyperparameters

_DTYPES = {*state_tensors.TORCH_DTYPES.values(), *state_tensors.REAL_DTYPES} - {torch.uint8}
_KERNEL_DEVICES = ("cpu",)
_TORCH_DEVICES = ("cuda", "xpu", "mps")  # where the rule runs as torch operations


class StepPlan:
    """What one step does, made before any parameter moves; the next steps use it while only the gradients change."""

    @torch.no_grad()
    def __init__(self, optimizer: Any):
        self.groups: list[TensorGroup] = []
        self.sharded = False
        self._dense_copies: list[tuple[torch.Tensor, torch.Tensor]] = []  # of parameters whose memory has gaps
        self.params, self.options = _params(optimizer), _options(optimizer)
        first_index = 0
        for group in optimizer.param_groups:
            group.update(check_options({name: group[name] for name in OPTIONS}))
            self.groups += self._tensor_groups(optimizer, group, first_index)
            first_index += len(group["params"])
        self.states = list(optimizer.state.values())
        by_signature: dict[KernelSignature, list[TensorGroup]] = {}
        for group in self.groups:
            by_signature.setdefault(group.signature, []).append(group)
        self.calls = [KernelCall(k, groups) for k, groups in by_signature.items() if k.device in _KERNEL_DEVICES]
        self.on_device = [group for group in self.groups if group.signature.device not in _KERNEL_DEVICES]
        with_grad = {index for group in self.groups for index in group.indices}
        self.without_grad = [index for index in range(first_index) if index not in with_grad]
        self.reusable = not (self.on_device or self._dense_copies)

    def _tensor_groups(self, optimizer: Any, options: dict[str, Any], first_index: int) -> list[TensorGroup]:
        """The parameters of a group that have a gradient, checked, with complete state, by signature and step."""
        rule, hyper = optimizer.rule, hyperparameters(optimizer.rule, options)
        update, slots = rule.variant(hyper)
        slots, decay = tuple(slots.items()), options["ema_decay"]
        if options["state_dtype"] not in (None, "float32") and any(kind == "weight" for _, kind in slots):
            raise ValueError(f"{rule.class_name} keeps weights in its slots: state_dtype must be None or 'float32'")
        for p in options["params"]:
            if p.grad is not None:
                _check_tensors(p, p.grad)
                # FullyShardedDataParallel marks its flat parameters, and the originals of which they are made
                self.sharded |= hasattr(p, "_is_flat_param") or hasattr(p, "_fsdp_flattened")
        groups: dict[tuple, TensorGroup] = {}
        for index, p in enumerate(options["params"], first_index):
            if (g := p.grad) is None:
                continue
            form = state_tensors.slot_format(p, options["state_dtype"])
            if p.device.type != "cpu" and form == "int8":
                raise TypeError("state_dtype='int8' is for parameters on the CPU; on another device use 'bfloat16'")
            if p.is_complex() and form not in ("float32", "float64"):
                raise TypeError(f"complex parameters keep float32 slots; {form} is not for them")
            param_format = state_tensors.format_name(p.dtype)
            signature = KernelSignature(rule, update, slots, param_format, form, decay is not None, p.device.type)
            state, dense = optimizer.state[p], p
            if not _is_dense(p) or p.is_conj() or p.is_neg():
                dense = torch.empty_like(p).copy_(p)
                self._dense_copies.append((p, dense))
            weight = ema_weight(state, decay)
            state_tensors.complete_state(state, dense, hyper, signature)
            g = g.resolve_conj().resolve_neg()
            if g.stride() != dense.stride():  # the same elements in another memory order
                g = torch.empty_like(dense).copy_(g)
            scalars = {name: state[name] for name in rule.scalars}
            key = (signature, state["step"], *scalars.values())
            if key not in groups:
                t = state["step"] + 1
                groups[key] = TensorGroup(signature, options, t, rule.advance(t, hyper, scalars))
            groups[key].append(dense, g, state, index, weight)
        return list(groups.values())

    def prepare_next(self, optimizer: Any) -> bool:
        """Make it the plan of the next step, if only gradients and coefficients are new; whether that is so."""
        params = _params(optimizer)
        if not identical(params, self.params) or _options(optimizer) != self.options:
            return False
        if len(optimizer.state) != len(self.states) or not identical(optimizer.state.values(), self.states):
            return False
        grads: list[Any] = [p.grad for p in params]
        if self.without_grad and any(grads[index] is not None for index in self.without_grad):
            return False
        try:
            next_steps = [group.next_step() for group in self.groups]
        except KeyError:  # the number of a step is missing
            return False
        in_order = len(self.calls) == 1 and not self.without_grad
        for call in self.calls:
            if not call.replace_gradients(grads if in_order else [grads[index] for index in call.indices]):
                return False
        for group, step in zip(self.groups, next_steps, strict=True):
            if step is None:
                return False
            group.t, group.coefficients = step
        return True

    @torch.no_grad()
    def gradient_norm(self) -> float:
        """The norm of all gradients together."""
        total = sum(call.sum_of_squares() for call in self.calls)
        for group in self.on_device:
            for g in group.grads:
                real = torch.view_as_real(g) if g.is_complex() else g
                dtype = torch.float64 if real.dtype is torch.float64 else torch.float32
                total += float(torch.linalg.vector_norm(real, dtype=dtype)) ** 2
        return total**0.5

    def where_not_finite(self) -> str:
        """The number of the step, and which gradients hold NaN or infinity."""
        tensors: list[Any] = [*self.calls, *self.on_device]
        pairs = [pair for x in tensors for pair in zip(x.indices, x.grads, strict=True)]
        names = [f"that of parameter {i}, {tuple(g.shape)}" for i, g in pairs if not bool(torch.isfinite(g).all())]
        more = f" and {len(names) - 5} more" if len(names) > 5 else ""
        return f"step {max(group.t for group in self.groups)}: {', '.join(names[:5])}{more}"

    def step(self, factor: float) -> None:
        """Step every parameter by its gradient times `factor`, count the steps, and tell autograd what moved."""
        with uninterrupted():  # parameters that moved, and a number of steps that did not, would change the run
            self._step(factor)

    def _step(self, factor: float) -> None:
        for call in self.calls:
            call.step(factor)
            torch.autograd.graph.increment_version(call.params)  # autograd does not see writes through a pointer
            call.grads = []  # not kept alive
        if not self.reusable:
            self._step_by_torch(factor)
        for group in self.groups:
            t, group.grads = group.t, []
            for state in group.states:
                state["step"] = t
            for name, value in zip(group.signature.rule.scalars, group.coefficients, strict=False):
                for state in group.states:
                    state[name] = value

    @torch.no_grad()
    @serial_in_forked_child()
    def _step_by_torch(self, factor: float) -> None:
        for group in self.on_device:
            _device_step.step(group, factor, group.noise_keys())
        for p, dense in self._dense_copies:
            p.copy_(dense)


def _check_tensors(p: torch.Tensor, g: torch.Tensor) -> None:
    """TypeError for a parameter or a gradient that cannot be stepped, before anything is made or moved."""
    for what, a in (("parameter", p), ("gradient", g)):
        if a.dtype not in _DTYPES or a.device.type not in ("cpu", *_TORCH_DEVICES) or a.layout is not torch.strided:
            raise TypeError(
                f"a {what} of shape {tuple(a.shape)} is {a.dtype}, {a.layout} on {a.device}; this optimizer steps "
                "dense float, bfloat16, float16 and complex tensors on the CPU, and on a GPU"
            )
    if p.dtype is not g.dtype or p.device != g.device or p.shape != g.shape:
        raise TypeError(
            f"a parameter of shape {tuple(p.shape)} is {p.dtype} on {p.device}, its gradient {g.dtype} on "
            f"{g.device} of shape {tuple(g.shape)}; they must match"
        )
    if "DTensor" in {base.__name__ for base in type(p).__mro__}:
        raise TypeError(
            "a parameter is a DTensor, of which this process holds a part: pass its local tensor, p.to_local()"
        )
    for what, a in (("parameter", p), ("gradient", g)):
        if a.numel() and not a.data_ptr():
            raise TypeError(f"a {what} is a {type(a).__name__} without memory of its own, which cannot be stepped here")


def _params(optimizer: Any) -> list[torch.Tensor]:
    return [p for group in optimizer.param_groups for p in group["params"]]


def _options(optimizer: Any) -> list[tuple]:
    """What decides how tensors are stored and grouped, for each parameter group."""
    return [(id(g), len(g["params"]), *(g[name] for name in OPTIONS)) for g in optimizer.param_groups]


def _is_dense(p: torch.Tensor) -> bool:
    return p.is_contiguous() or p.stride() == torch.empty_like(p).stride()
