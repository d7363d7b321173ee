"""What the int8 kernels of torch need on this machine, and where they cannot be called."""

import math
import threading
import warnings
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch.autograd import forward_ad

# The kernel of linear layers raises every scale of activations to 6.1e-5 (0.0156 / 255), and the products of scales of
# weights and activations must be finite. Between these differences of the largest and smallest value it rounds well.
SMALLEST_SPAN, LARGEST_SPAN = 2.0**-6, 2.0**32
_LARGEST = LARGEST_SPAN / 2


def _no_kernel(*arguments: Any) -> torch.Tensor:
    raise NotImplementedError("this torch has no quantized.linear_dynamic")


_dynamic = getattr(torch.ops.quantized, "linear_dynamic", None)
# of (input, packed weight, whether the activations have 7 bits): the binding itself, as the object around it searches
# the arguments of each call for those of other libraries
linear_dynamic: Callable[..., torch.Tensor] = (
    _no_kernel if _dynamic is None else getattr(_dynamic.default, "_op", _dynamic)
)

_is_wrapped = torch._C._functorch.is_functorch_wrapped_tensor

_deprecation_lock = threading.Lock()


@cache
def eight_bits() -> bool:
    """Whether the kernels take activations of 8 bits; else of 7."""
    # without VNNI the kernels add pairs of products in 16 bits: 7-bit activations keep them from overflowing
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(has_vnni and has_vnni()) or torch.backends.quantized.engine == "qnnpack"


def pass_over_deprecation() -> None:
    """Have torch warn of its quantized tensors, which its int8 kernels need, where nobody sees it.

    It warns once in a process. Filters of warnings are of the whole process too, so that they are not to be changed in
    every call that may be the first, which other threads would notice.
    """
    with _deprecation_lock:
        _make_deprecated()


@cache
def _make_deprecated() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.quantize_per_tensor(torch.zeros(1, dtype=torch.float32), 1.0, 0, torch.quint8)


def sums_overflow(codes: torch.Tensor) -> bool:
    """Whether the 32-bit sums of a kernel with these weights can overflow, for activations of 8 bits."""
    return bool((codes.flatten(1).to(torch.int16).abs().sum(1) * 255 >= 2**31).any())


def is_differentiated(x: torch.Tensor) -> bool:
    """Whether a derivative with respect to x is asked for, or x is a batch of vmap, whose values cannot be read."""
    return (
        (x.requires_grad and torch.is_grad_enabled())
        or _is_wrapped(x)
        or (forward_ad._current_level >= 0 and forward_ad.unpack_dual(x).tangent is not None)
    )


def is_usual(x: torch.Tensor) -> bool:
    """Whether x is a plain batch, finite and not differentiated, that the kernel of linear layers rounds well.

    It answers no where that is not seen at once.
    """
    if x.dtype is not torch.float32 or not x.is_cpu or x.ndim < 2 or not x.numel() or is_differentiated(x):
        return False
    if torch.is_autocast_enabled("cpu"):
        return False
    smallest, largest = torch.aminmax(x)
    low, high = smallest.item(), largest.item()
    # comparisons with NaN are false
    return high - low >= SMALLEST_SPAN and -_LARGEST <= low and high <= _LARGEST


def span_is_rounded_well(low: float, high: float) -> bool:
    """Whether the kernels round values from low to high as well as they can."""
    return SMALLEST_SPAN <= high - low <= LARGEST_SPAN or low == high


def range_with_zero(x: torch.Tensor) -> tuple[float, float]:
    """Smallest and largest value of a tensor and zero, which must be one of the codes for padding to be exact."""
    low, high = torch.aminmax(x)
    return min(low.item(), 0.0), max(high.item(), 0.0)


def times_power_of_two(x: torch.Tensor, exponent: int) -> torch.Tensor:
    """x · 2**exponent."""
    # in two steps, as the power itself can be outside the range of a float32
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


def quantize(x: torch.Tensor, low: float, high: float) -> tuple[torch.Tensor, float, int]:
    """Unsigned codes of values from low ≤ 0 to high ≥ 0, their scale and the code of zero."""
    scale = (high - low) / (255 if eight_bits() else 127) or 1.0
    zero = round(-low / scale)
    return torch.quantize_per_tensor(x.detach(), scale, zero, torch.quint8).int_repr(), scale, zero


def prepack_linear(codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None) -> Any:
    """Weights of a linear layer in the layout of the dynamic kernel: one scale for each row."""
    zeros = torch.zeros(len(codes), dtype=torch.long)
    weight = torch._make_per_channel_quantized_tensor(codes, scales.double(), zeros, 0)
    return torch.ops.quantized.linear_prepack(weight, bias)


def is_finite(low: float, high: float) -> bool:
    """Whether values from low to high, and their difference, are finite."""
    return math.isfinite(high - low)


@cache  # once for each message
def warn_slow(message: str) -> None:
    """Warn of a computation that is slower than was asked for."""
    warnings.warn(message, stacklevel=3)
