"""What the weights of a module meet on calibration rows: second moments of their inputs, and gradients."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lifecycle._check import UnsupportedModel
from lifecycle.torch.batches import Sequences, TensorRows, as_array, input_dtype_and_device
from lifecycle.torch.free_memory import release_free_memory

_BATCH_SIZE = 32
_LARGEST_ACTIVATION = 1 << 22  # bytes of one tensor between two modules, in a batch of calibration rows
_MEASURED_ROWS = 2  # not one: a module may squeeze it away
_CALIBRATED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_GRADIENT_BATCH_SIZE = 8  # the squares of the gradients of small batches resemble those of single rows


class _EnoughSeen(Exception):
    """Ends a forward pass after the last layer whose inputs are recorded."""


def second_moments(
    net: nn.Module, run: Callable[[], None] | None, modules: list[nn.Module], inputs: Any, *, skip_unknown: bool = False
) -> list[Any]:
    """Mean of x xᵀ over all inputs x of linear or convolutional layers: (groups, n_inputs, n_inputs).

    In float64 for inputs in float64, else in float32.

    Parameters
    ----------
    run : callable or None
        Applies the model to all calibration rows; None: the module is applied to batches of `inputs`.
    skip_unknown : bool
        None for a layer of another kind, or one that is not called, instead of an error.

    Raises
    ------
    ValueError
        The calibration rows do not fit the module.
    UnsupportedModel
        A layer is of another kind, or is not called.

    Notes
    -----
    A forward pass ends after the last of the layers only where each of them was called once in every batch before, the
    first of which is run to its end: a layer that some batches call more often, as in a mixture of experts, would lose
    inputs.
    """
    recorded = {
        id(module): _InputMoments(module) for module in modules if not skip_unknown or isinstance(module, _CALIBRATED)
    }
    if not recorded:
        return [None] * len(modules)
    may_end = False
    release_free_memory()

    def see(layer: nn.Module, arguments: tuple, keywords: dict) -> None:
        recorded[id(layer)].add(arguments[0] if arguments else next(iter(keywords.values())))
        if may_end and all(one.calls == 1 for one in recorded.values()):
            raise _EnoughSeen

    n_rows = _batch_size(net, inputs) if run is None else 0
    handles = [m.register_forward_pre_hook(see, with_kwargs=True) for m in modules if id(m) in recorded]
    try:
        with evaluating(net), torch.no_grad():
            if run is not None:
                run()
            else:
                for number, (arguments, keywords) in enumerate(batches_of(net, inputs, n_rows)):
                    for one in recorded.values():
                        one.calls = 0
                    try:
                        net(*arguments, **keywords)
                        called_once = all(one.calls == 1 for one in recorded.values())
                        may_end = called_once and (may_end or number == 0)
                    except _EnoughSeen:
                        pass
    finally:
        for handle in handles:
            handle.remove()
    for module in modules:
        if not skip_unknown and not recorded[id(module)].n_seen:
            raise UnsupportedModel(
                f"the model does not call this {type(module).__name__} on the calibration rows: the layer's inputs are "
                "not known: protect it, or choose a method that needs no calibration"
            )
    return [recorded[id(m)].mean() if id(m) in recorded else None for m in modules]


def _batch_size(net: nn.Module, inputs: Any) -> int:
    """Rows with which no output of a module takes more than 4 MiB, up to 32."""
    largest = 1

    def see(_: nn.Module, __: Any, out: Any) -> None:
        nonlocal largest
        if isinstance(out, torch.Tensor):
            largest = max(largest, out.numel() * out.element_size())

    handles = [module.register_forward_hook(see) for module in net.modules()]
    try:
        with evaluating(net), torch.no_grad():
            arguments, keywords = batch_of(net, inputs, _MEASURED_ROWS)
            net(*arguments, **keywords)
    finally:
        for handle in handles:
            handle.remove()
    return max(1, min(_BATCH_SIZE, _LARGEST_ACTIVATION * _MEASURED_ROWS // largest))


class _InputMoments:
    """The sum of x xᵀ over the inputs of a layer."""

    def __init__(self, module: nn.Module):
        self.rows_of = _rows_of(module)
        self.total: torch.Tensor | None = None
        self.n_seen = self.calls = 0

    def add(self, x: torch.Tensor) -> None:
        rows = self.rows_of(x.detach() if x.dtype == torch.float64 else x.detach().float())
        if self.total is None:
            self.total = rows.transpose(1, 2) @ rows
        else:
            self.total.baddbmm_(rows.transpose(1, 2), rows)
        self.n_seen += rows.shape[1]
        self.calls += 1

    def mean(self) -> np.ndarray | None:
        return None if self.total is None or not self.n_seen else self.total.div_(self.n_seen).cpu().numpy()


def _rows_of(module: Any) -> Callable[[torch.Tensor], torch.Tensor]:
    """What gives the vectors that the rows of a layer's weight are multiplied with: (groups, n, n_inputs)."""
    if isinstance(module, nn.Linear):
        return lambda x: x.reshape(1, math.prod(x.shape[:-1]), x.shape[-1])
    if not isinstance(module, nn.Conv1d | nn.Conv2d):
        raise UnsupportedModel(
            f"the inputs of this {type(module).__name__} are not recorded: what is calibrated are nn.Linear, nn.Conv1d "
            "and nn.Conv2d; protect the other layers, or choose a method that needs no calibration"
        )

    def patches(x: torch.Tensor) -> torch.Tensor:
        n_spatial = len(module.kernel_size)
        if x.ndim == n_spatial + 1:
            x = x[None]
        mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
        x = functional.pad(x, module._reversed_padding_repeated_twice, mode=mode)
        sizes = (module.kernel_size, module.dilation, module.stride)
        if n_spatial == 1:
            x, sizes = x[:, :, None], tuple((1, *size) for size in sizes)  # type: ignore[assignment]
        kernel_size, dilation, stride = sizes
        columns = functional.unfold(x, kernel_size, dilation, 0, stride)  # (n, channels · kernel, places)
        n, _, places = columns.shape
        columns = columns.view(n, module.groups, -1, places).permute(1, 0, 3, 2)
        return columns.reshape(module.groups, n * places, -1)

    return patches


def squared_gradients(
    net: nn.Module, parameters: list[nn.Parameter], inputs: Any, targets: Any, loss: Callable | None
) -> list[np.ndarray]:
    """Mean of the squared gradients of the mean loss of batches of 8 rows.

    Parameters
    ----------
    loss : callable (outputs, targets) -> tensor, or None
        None: cross entropy where the targets are whole numbers, else the mean squared error.
    """
    y = targets if isinstance(targets, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(targets))
    if loss is None:
        loss = functional.mse_loss if y.is_floating_point() else functional.cross_entropy
    dtype, device = input_dtype_and_device(net)
    y = y.to(device, dtype) if y.is_floating_point() else y.to(device, torch.long)
    sums = [torch.zeros_like(p) for p in parameters]
    needed = [p.requires_grad for p in parameters]
    n_batches = start = 0
    with evaluating(net), torch.enable_grad(), torch.backends.cudnn.flags(enabled=False):  # RNNs need no training mode
        for p in parameters:
            p.requires_grad_(True)
        try:
            for arguments, keywords in batches_of(net, inputs, _GRADIENT_BATCH_SIZE):
                out = net(*arguments, **keywords)
                batch = y[start : start + len(out)]
                start += len(out)
                value = loss(out, batch.view_as(out) if batch.is_floating_point() else batch)
                gradients = torch.autograd.grad(value, parameters, allow_unused=True)
                for total, gradient in zip(sums, gradients, strict=True):
                    if gradient is not None:
                        total += gradient.detach() ** 2
                n_batches += 1
        finally:
            for p, need in zip(parameters, needed, strict=True):
                p.requires_grad_(need)
    if not n_batches or start != len(y):
        raise ValueError(
            f"calibration has {start} rows and {len(y)} targets: it must be a pair (X, y) with a row or more"
        )
    return [as_array(total / n_batches).astype(np.float64) for total in sums]


class evaluating:
    """The module and all of its parts in eval mode inside of the block."""

    def __init__(self, net: nn.Module):
        self.modes = [(module, module.training) for module in net.modules()]

    def __enter__(self) -> None:
        for module, _ in self.modes:
            module.training = False

    def __exit__(self, *_: object) -> None:
        for module, training in self.modes:
            module.training = training


def batches_of(net: nn.Module, inputs: Any, size: int, *, shuffle: bool = False) -> Iterator[tuple[tuple, dict]]:
    """Arguments and keyword arguments of calls of a module, in copies, which a module may write to.

    `inputs`: arrays or tensors, tuples or dicts of them, or what `to_batches` made. The batches have about `size` rows.
    """
    n, take = _rows_of_inputs(net, inputs)
    for rows in _split(n, size, shuffle):
        yield take(rows)


def batch_of(net: nn.Module, inputs: Any, size: int) -> tuple[tuple, dict]:
    """As `batches_of`: the first `size` rows, again from the first where there are fewer."""
    n, take = _rows_of_inputs(net, inputs)
    return take(torch.arange(size) % n)


def _rows_of_inputs(net: nn.Module, inputs: Any) -> tuple[int, Callable[[torch.Tensor], tuple[tuple, dict]]]:
    """The number of rows, and what gives the arguments and keyword arguments of a call with some of them."""
    if isinstance(inputs, TensorRows | Sequences):
        _, device = input_dtype_and_device(net)

        def take_samples(rows: torch.Tensor) -> tuple[tuple, dict]:
            x, lengths = inputs.take(rows.to(device))
            return (x,), lengths

        return len(inputs), take_samples
    keywords = isinstance(inputs, dict)
    values = list(inputs.values()) if keywords else list(inputs) if isinstance(inputs, tuple) else [inputs]
    tensors = [_as_input(net, value) for value in values]
    sizes = {len(t) for t in tensors}
    if len(sizes) != 1 or not sizes - {0}:
        raise ValueError(f"calibration must have a row or more, as many in each input; got {sorted(sizes)}")

    def take(rows: torch.Tensor) -> tuple[tuple, dict]:
        batch = [t[rows.to(t.device)] for t in tensors]
        return ((), dict(zip(inputs, batch, strict=True))) if keywords else (tuple(batch), {})

    return sizes.pop(), take


def _split(n: int, size: int, shuffle: bool) -> tuple[torch.Tensor, ...]:
    """Row numbers, in parts that differ by one row at most."""
    order = np.random.RandomState(0).permutation(n) if shuffle else np.arange(n)
    return torch.from_numpy(order).tensor_split(max(1, round(n / size)))


def _as_input(net: nn.Module, value: Any) -> torch.Tensor:
    dtype, device = input_dtype_and_device(net)
    if not isinstance(value, torch.Tensor):
        array = np.asarray(value)
        if array.dtype.kind not in "biuf" or array.ndim == 0:
            raise ValueError(f"calibration must be arrays or tensors of numbers; got a {type(value).__name__}")
        value = torch.from_numpy(np.ascontiguousarray(array))
    return value.to(device, dtype) if value.is_floating_point() else value.to(device)
