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

from lifecycle.codecs import absmax

_SCALES = "_lifecycle_scales"  # attribute of a module, in pickles too: {parameter name: (scales, channel axis)}


class Int8Module(nn.Module, ABC):
    """A layer with int8 weights, one scale per output channel, and int8 activations; for inference only.

    For an input that requires a gradient it computes in float32 with the decoded weights, which have no gradient.

    The activations of a call share one scale and zero point, chosen from the smallest and largest value of the whole
    input, as in ``torch.ao``'s dynamic quantization: the output of a row depends a little on the other rows. Buffers:
    ``codes`` (int8, the weight's shape), ``scales`` (float32), ``bias`` (float32, or None).
    """

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("codes", codes)
        self.register_buffer("scales", scales)
        self.register_buffer("bias", bias)
        self._packed: tuple[Any, list[tuple[torch.Tensor, int]]] | None = None

    @staticmethod
    @abstractmethod
    def supports(module: nn.Module) -> bool:
        """Whether this class can replace the floating-point layer."""

    @classmethod
    def from_float(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
        """A layer of this class with the same geometry, bias and training mode as a floating-point one."""
        return cls(codes, scales, None if module.bias is None else module.bias.detach().clone()).train(module.training)

    @property
    def weight(self) -> torch.Tensor:
        """Decoded weight, float32."""
        return self.codes.float() * self.scales.view(-1, *[1] * (self.codes.ndim - 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.dtype != torch.float32 or x.device.type != "cpu":
            raise ValueError(f"an int8 layer takes float32 tensors on the CPU; got {x.dtype} on {x.device}")
        if x.requires_grad and torch.is_grad_enabled():
            # the int8 kernels have no gradient, and their output would silently have none
            return self._forward_float(x)
        if not _kernel_works(type(self).__name__):
            _warn_slow(type(self).__name__)
            return self._forward_float(x)
        return self._forward_int8(x)

    @abstractmethod
    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with floating-point activations, for inputs and machines that the int8 kernel does not support."""

    @abstractmethod
    def _forward_int8(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with int8 activations, by the kernel of torch."""

    @abstractmethod
    def _pack(self) -> Any:
        """The weight in the layout of the kernel of torch."""

    def _packed_weight(self) -> Any:
        # packed again after a buffer was replaced or written to
        buffers = [self.codes, self.scales] + ([] if self.bias is None else [self.bias])
        versions = [(t, 0 if t.is_inference() else t._version) for t in buffers]
        packed = self._packed
        if packed is None or not all(a is b and v == w for (a, v), (b, w) in zip(versions, packed[1], strict=True)):
            with warnings.catch_warnings():
                # torch's quantized tensors are deprecated, but its int8 kernels need them
                warnings.simplefilter("ignore")
                packed = (self._pack(), versions)
            self._packed = packed
        return packed[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}


class Int8Linear(Int8Module):
    """`nn.Linear` with int8 weights and activations: see `Int8Module`."""

    @staticmethod
    def supports(module: nn.Module) -> bool:
        return type(module) is nn.Linear

    @property
    def in_features(self) -> int:
        return self.codes.shape[1]

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def _forward_int8(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 1:
            return self._forward_int8(x[None])[0]
        try:
            return torch.ops.quantized.linear_dynamic(x, self._packed_weight(), not _eight_bits())
        except RuntimeError as error:
            if x.numel() and not bool(torch.isfinite(x).all()):
                raise ValueError("the input of an int8 layer contains NaN or infinity") from error
            raise

    def _pack(self) -> Any:
        zeros = torch.zeros(self.out_features, dtype=torch.long)
        weight = torch._make_per_channel_quantized_tensor(self.codes, self.scales.double(), zeros, 0)
        return torch.ops.quantized.linear_prepack(weight, None if self.bias is None else self.bias.float())

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Conv2d(Int8Module):
    """`nn.Conv2d` with zero padding, int8 weights and activations: see `Int8Module`."""

    geometry: tuple[tuple[int, int], tuple[int, int], tuple[int, int], int] = ((1, 1), (0, 0), (1, 1), 1)

    @staticmethod
    def supports(module: nn.Module) -> bool:
        return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)

    @classmethod
    def from_float(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
        layer = super().from_float(module, codes, scales)
        layer.geometry = (module.stride, module.padding, module.dilation, module.groups)
        return layer

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, *self.geometry)

    def _forward_int8(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() == 0:
            return self._forward_float(x)
        if x.ndim == 3:
            return self._forward_int8(x[None])[0]
        packed, zeros = self._packed_weight()
        low, high = (v.item() for v in torch.aminmax(x))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("the input of an int8 layer contains NaN or infinity")
        low, high = min(low, 0.0), max(high, 0.0)
        # zero is one of the codes, so that padding is exact
        scale = max((high - low) / (255 if _eight_bits() else 127), 1e-30)
        zero = round(-low / scale)
        codes = torch.quantize_per_tensor(x.detach(), scale, zero, torch.quint8).int_repr()
        weight = (packed, self.scales, zeros, self.bias)
        out: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qconv_pointwise(codes, scale, zero, *weight, *self.geometry, *out)

    def _pack(self) -> Any:
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)  # the first call warns
        packed = torch.ops.onednn.qconv_prepack(self.codes, self.scales, 1.0, 0, *self.geometry, None)
        return packed, torch.zeros(len(self.codes), dtype=torch.int32)

    def extra_repr(self) -> str:
        n, m, *kernel = self.codes.shape
        stride, padding, dilation, groups = self.geometry
        return (
            f"{m * groups}, {n}, kernel_size={tuple(kernel)}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, groups={groups}, bias={self.bias is not None}"
        )


INT8: tuple[type[Int8Module], ...] = (Int8Linear, Int8Conv2d)


def holds_int8(net: nn.Module) -> bool:
    """Whether a module is, or has, an int8 layer."""
    return any(isinstance(module, Int8Module) for module in net.modules())


@cache  # once for each class
def _warn_slow(name: str) -> None:
    warnings.warn(f"torch has no int8 kernel for {name} on this machine: computed in float32", stacklevel=3)


@cache
def _eight_bits() -> bool:
    # without VNNI the kernels add pairs of products in 16 bits: 7-bit activations keep them from overflowing
    has_vnni = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(has_vnni and has_vnni()) or torch.backends.quantized.engine == "qnnpack"


@cache
def _kernel_works(name: str) -> bool:
    """Whether torch on this machine runs layers of the class of that name with the right result."""
    cls: Any = next(c for c in INT8 if c.__name__ == name)
    kernel_size = (1, 1) if cls is Int8Conv2d else ()
    layer = cls(torch.arange(-8, 8, dtype=torch.int8).view(4, 4, *kernel_size), torch.full((4,), 0.25))
    x = torch.arange(4.0).view(1, 4, *kernel_size)
    try:
        with torch.no_grad():
            return bool(torch.allclose(layer._forward_int8(x), layer._forward_float(x), atol=0.5))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def int8_class_for(module: nn.Module) -> type[Int8Module] | None:
    """The class that runs this layer in int8 on this machine; None if there is none."""
    return next((cls for cls in INT8 if cls.supports(module) and _kernel_works(cls.__name__)), None)


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

    codes = absmax.on_grid(array, *grid, rounded)
    return None if codes is None else (codes, *grid)
