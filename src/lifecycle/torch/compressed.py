"""int8 weights in torch modules.

Where torch has a fast int8 kernel (`nn.Linear`, `nn.Conv2d`, float32 on the CPU), the layer becomes an `Int8Linear` or
`Int8Conv2d`. Every other quantized weight stays a floating-point parameter with values on an int8 grid, whose scales
are kept on its module: the module computes in floating point, and codes are stored.
"""

import math
import warnings
from abc import ABC, abstractmethod
from functools import cache
from typing import Any, Self

import numpy as np
import torch
from torch import nn
from torch.autograd import forward_ad

from lifecycle.codecs import on_grid

_SCALES = "_lifecycle_scales"  # attribute of a module, in pickles too: {parameter name: (scales, channel axis)}
# The kernel of linear layers raises every scale of activations to 6.1e-5 (0.0156 / 255), and the products of scales of
# weights and activations must be finite. Beyond these differences of the largest and smallest value, inputs are
# multiplied by a power of two, and outputs divided by it, both without a rounding.
_SMALLEST_SPAN, _LARGEST_SPAN = 2.0**-6, 2.0**32


class Int8Module(nn.Module, ABC):
    """A layer with int8 weights, one scale per output channel, and int8 activations; for inference only.

    The activations of a call share one scale and zero point, chosen from the smallest and largest value of the whole
    input, as in ``torch.ao``'s dynamic quantization: each output has an error in proportion to the largest value of the
    whole batch. Buffers: ``codes`` (int8, the weight's shape), ``scales`` (float32), ``bias`` (float32, or None).

    Where a derivative is asked for, in ``torch.func`` and ``vmap``, for empty inputs, for samples with NaN or infinity,
    and where sums of 32 bits could overflow, it computes in float32 with the decoded weights, which have no gradient.
    """

    replaces: type[nn.Module]  # the floating-point layer
    n_spatial: int  # dimensions of an input after batch and channels

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    # the buffers that were packed, as they were, and the packed weight without and with the bias
    _packed: tuple[list[tuple[int, int]], list[torch.Tensor | None], dict[bool, Any]] | None

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self._packed = None

    @classmethod
    def supports(cls, module: nn.Module) -> bool:
        """Whether this class can replace the floating-point layer."""
        return type(module) is cls.replaces

    @classmethod
    def from_float(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
        """A layer of this class with the same geometry, bias and training mode as a floating-point one."""
        return cls(codes, scales, None if module.bias is None else module.bias.detach().clone()).train(module.training)

    @property
    def weight(self) -> torch.Tensor:
        """Decoded weight, float32."""
        return self.codes.float() * self.scales.view(-1, *[1] * (self.codes.ndim - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # torch.compile cannot trace the kernels: its graph ends here. A call outside of it pays for the check alone
        return _forward_outside_graphs(self, x) if torch.compiler.is_compiling() else self._forward(x)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"an int8 layer takes float32 tensors on the CPU; got {x.dtype} on {x.device}")
        if _is_differentiated(x) or not x.numel():
            # the int8 kernels have no derivative, and return other memory where there is nothing to multiply
            return self._forward_float(x)
        if not _kernel_works(type(self).__name__):
            _warn_slow(f"torch has no int8 kernel for {type(self).__name__} on this machine: computed in float32")
            return self._forward_float(x)
        try:
            out = self._forward_int8(x)
        except RuntimeError:
            self._forward_float(x)  # raises an error that says what is wrong with the shape
            raise
        return out if out.numel() else self._forward_float(x)

    @abstractmethod
    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with floating-point activations, for inputs and machines that the int8 kernel does not support."""

    def _forward_int8(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with int8 activations; those that the kernel of torch does not round well are scaled before it."""
        if x.ndim == 1 + self.n_spatial:
            return self._forward_int8(x[None])[0]
        low, high = (v.item() for v in torch.aminmax(x))
        # zero is one of the codes, so that padding is exact
        low, high = min(low, 0.0), max(high, 0.0)
        span = high - low
        if not math.isfinite(span):
            return self._forward_samples(x)
        packed = self._packed_weight()
        if packed is None:
            _warn_slow(f"32-bit sums of {type(self).__name__} with this weight could overflow: computed in float32")
            return self._forward_float(x)
        if _SMALLEST_SPAN <= span <= _LARGEST_SPAN or not span:
            return self._call_kernel(x, low, high, packed)
        exponent = math.frexp(span)[1]
        x, low, high = _times_power_of_two(x, -exponent), math.ldexp(low, -exponent), math.ldexp(high, -exponent)
        out = self._call_kernel(x, low, high, self._packed_weight(with_bias=False))
        out = _times_power_of_two(out, exponent)
        return out if self.bias is None else out + self.bias.view(-1, *[1] * self.n_spatial)

    def _forward_samples(self, x: torch.Tensor) -> torch.Tensor:
        """The layer where samples with NaN or infinity have floating-point activations, and no part in the scale."""
        samples = x if self.n_spatial else x.flatten(0, -2)
        finite = torch.isfinite(samples).flatten(1).all(1)
        out = self._forward_float(samples)
        if finite.any():
            out[finite] = self._forward_int8(samples[finite])
        return out if self.n_spatial else out.unflatten(0, x.shape[:-1])

    @abstractmethod
    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        """The kernel of torch, for an input with a batch dimension and values from low ≤ 0 to high ≥ 0."""

    @abstractmethod
    def _pack(self, bias: torch.Tensor | None) -> Any:
        """The weight in the layout of the kernel of torch."""

    def _packed_weight(self, with_bias: bool = True) -> Any:
        """The packed weight, with or without the bias; None if the sums of the kernel could overflow."""
        buffers = list(self._buffers.values())
        versions = [(id(t), 0 if t is None or t.is_inference() else t._version) for t in buffers]
        packed = self._packed
        if packed is None or packed[0] != versions:  # a buffer was replaced or written to
            self._packed = packed = versions, buffers, {}
        weights = packed[2]
        if with_bias not in weights:
            with warnings.catch_warnings():
                # torch's quantized tensors are deprecated, but its int8 kernels need them
                warnings.simplefilter("ignore")
                bias = self.bias if with_bias else None
                weights[with_bias] = None if sums_overflow(self.codes) else self._pack(bias)
        return weights[with_bias]

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        # `half` and `double` of a whole model must not round the scales: the kernel needs these dtypes
        def keep_dtype(t: torch.Tensor) -> torch.Tensor:
            changed = fn(t)
            return changed if changed.dtype == t.dtype else t.to(changed.device)

        return super()._apply(keep_dtype, recurse)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}


class Int8Linear(Int8Module):
    """`nn.Linear` with int8 weights and activations: see `Int8Module`."""

    replaces, n_spatial = nn.Linear, 0

    @property
    def in_features(self) -> int:
        return self.codes.shape[1]

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        return torch.ops.quantized.linear_dynamic(x, packed, not _eight_bits())

    def _pack(self, bias: torch.Tensor | None) -> Any:
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(self.codes, self.scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(weight, bias)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Conv2d(Int8Module):
    """`nn.Conv2d` with zero padding, int8 weights and activations: see `Int8Module`."""

    replaces, n_spatial = nn.Conv2d, 2
    geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int], int] = ((1, 1), (0, 0), (1, 1), 1)

    @classmethod
    def supports(cls, module: Any) -> bool:
        return super().supports(module) and module.padding_mode == "zeros" and not isinstance(module.padding, str)

    @classmethod
    def from_float(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
        layer = super().from_float(module, codes, scales)
        layer.geometry = (module.stride, module.padding, module.dilation, module.groups)
        return layer

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, *self.geometry)

    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        scale = (high - low) / (255 if _eight_bits() else 127) or 1.0
        zero = round(-low / scale)
        codes = torch.quantize_per_tensor(x.detach(), scale, zero, torch.quint8).int_repr()
        out: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qconv_pointwise(codes, scale, zero, *packed, *self.geometry, *out)

    def _pack(self, bias: torch.Tensor | None) -> Any:
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)  # the first call warns
        packed = torch.ops.onednn.qconv_prepack(self.codes, self.scales, 1.0, 0, *self.geometry, None)
        return packed, self.scales, torch.zeros(len(self.codes), dtype=torch.int32), bias

    def extra_repr(self) -> str:
        n, m, *kernel = self.codes.shape
        stride, padding, dilation, groups = self.geometry
        return (
            f"{m * groups}, {n}, kernel_size={tuple(kernel)}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, groups={groups}, bias={self.bias is not None}"
        )


INT8: tuple[type[Int8Module], ...] = (Int8Linear, Int8Conv2d)


@torch._disable_dynamo
def _forward_outside_graphs(layer: Int8Module, x: torch.Tensor) -> torch.Tensor:
    return layer._forward(x)


def holds_int8(net: nn.Module) -> bool:
    """Whether a module is, or has, an int8 layer."""
    return any(isinstance(module, Int8Module) for module in net.modules())


def sums_overflow(codes: torch.Tensor) -> bool:
    """Whether the 32-bit sums of a kernel with these weights can overflow, for activations of 8 bits."""
    return bool((codes.flatten(1).to(torch.int16).abs().sum(1) * 255 >= 2**31).any())


def _is_differentiated(x: torch.Tensor) -> bool:
    """Whether a derivative with respect to x is asked for, or x is a batch of vmap, whose values cannot be read."""
    return (
        (x.requires_grad and torch.is_grad_enabled())
        or torch._C._functorch.is_functorch_wrapped_tensor(x)
        or forward_ad.unpack_dual(x).tangent is not None
    )


def _times_power_of_two(x: torch.Tensor, exponent: int) -> torch.Tensor:
    # in two steps, as the power itself can be outside the range of a float32
    half = exponent // 2
    return x * 2.0**half * 2.0 ** (exponent - half)


@cache  # once for each message
def _warn_slow(message: str) -> None:
    warnings.warn(message, stacklevel=3)


@cache
def _eight_bits() -> bool:
    # without VNNI the kernels add pairs of products in 16 bits: 7-bit activations keep them from overflowing
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(has_vnni and has_vnni()) or torch.backends.quantized.engine == "qnnpack"


@cache
def _kernel_works(name: str) -> bool:
    """Whether torch on this machine runs layers of the class of that name with the right result."""
    cls: Any = next(c for c in INT8 if c.__name__ == name)
    kernel_size = [1] * cls.n_spatial
    layer = cls(torch.arange(-8, 8, dtype=torch.int8).view(4, 4, *kernel_size), torch.full((4,), 0.25))
    x = torch.arange(4.0).view(1, 4, *kernel_size)
    try:
        with torch.no_grad():
            return bool(torch.allclose(layer._forward_int8(x), layer._forward_float(x), atol=0.5))
    except (RuntimeError, AttributeError, NotImplementedError):  # a torch without this operator, or without its engine
        return False


def int8_class_for(module: nn.Module, codes: torch.Tensor) -> type[Int8Module] | None:
    """The class that runs this layer with these codes in int8 on this machine; None if there is none."""
    classes = (cls for cls in INT8 if cls.supports(module) and _kernel_works(cls.__name__))
    return None if sums_overflow(codes) else next(classes, None)


def set_scales(module: nn.Module, name: str, scales: np.ndarray, axis: int) -> None:
    """Keep the scales of the int8 grid on which a parameter of the module lies."""
    setattr(module, _SCALES, {**vars(module).get(_SCALES, {}), name: (scales, axis)})


def clear_scales(module: nn.Module, name: str | None = None) -> None:
    """Remove the scales of a parameter; None: of all."""
    remaining = {k: v for k, v in vars(module).pop(_SCALES, {}).items() if name not in (None, k)}
    if remaining:
        setattr(module, _SCALES, remaining)


def scales_of(module: nn.Module, name: str) -> tuple[np.ndarray, int] | None:
    """Scales and channel axis of a quantized parameter; None for any other."""
    return vars(module).get(_SCALES, {}).get(name)


def codes_of(module: nn.Module, name: str, array: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Codes, scales and channel axis, if this array of the parameter's values is on its grid; else None."""
    grid = scales_of(module, name)
    if grid is None:
        return None
    dtype = getattr(module, name).dtype

    def rounded(decoded: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(decoded)
        return tensor.to(dtype).to(tensor.dtype).numpy()

    codes = on_grid(array, *grid, rounded)
    return None if codes is None else (codes, *grid)
