"""Modules and marks of int8 weights.

Where torch has a fast int8 kernel (`nn.Linear`, `nn.Conv2d`, float32 on the CPU), the layer becomes an `Int8Linear` or
`Int8Conv2d`. Every other weight stays a floating-point parameter whose values lie on its int8 grid: what it computes
with is decoded once, what is stored is codes.
"""

import math
import warnings
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import nn

from lifecycle.codecs import absmax

__all__ = ["INT8", "Int8Conv2d", "Int8Linear", "Int8Module", "codes_of", "holds_int8", "mark", "scales_of", "unmark"]

_MARK = "_lifecycle_scales"  # on a module: {parameter name: (scales, channel axis)}


class Int8Module(nn.Module):
    """A layer with int8 weights, one scale an output channel, and int8 activations; for inference only.

    Where a gradient is asked for, it computes in float32 with the decoded weights; the weights themselves have none.

    The activations of a call share one scale and zero point, chosen from the smallest and largest value of the whole
    input, as in ``torch.ao``'s dynamic quantization: what a row gives depends a little on the rows beside it. Buffers:
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
    def takes(module: nn.Module) -> bool:
        """Whether this class can stand in for the layer."""
        raise NotImplementedError

    @classmethod
    def standing_in(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
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
            return self._decoded(x)  # the int8 kernels know no gradient and would cut it off without a word
        if not _works(type(self).__name__):
            _warn_slow(type(self).__name__)
            return self._decoded(x)
        return self._int8(x)

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with floating-point activations, for inputs and machines that the int8 kernel does not serve."""
        raise NotImplementedError

    def _int8(self, x: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _pack(self) -> Any:
        raise NotImplementedError

    def _pack_once(self) -> Any:
        # packed again where a buffer is another one, or was written to since
        parts = [self.codes, self.scales] + ([] if self.bias is None else [self.bias])
        state = [(t, 0 if t.is_inference() else t._version) for t in parts]
        old = self._packed
        if old is None or not all(a is b and v == w for (a, v), (b, w) in zip(state, old[1], strict=True)):
            with warnings.catch_warnings():
                # torch calls its quantized tensors deprecated, and its int8 kernels take nothing else
                warnings.simplefilter("ignore")
                old = (self._pack(), state)
            self._packed = old
        return old[0]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_packed": None}


class Int8Linear(Int8Module):
    """`nn.Linear` with int8 weights and activations: see `Int8Module`."""

    @staticmethod
    def takes(module: nn.Module) -> bool:
        return type(module) is nn.Linear

    @property
    def in_features(self) -> int:
        return self.codes.shape[1]

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def _int8(self, x: torch.Tensor) -> torch.Tensor:
        if x.ndim == 1:
            return self._int8(x[None])[0]
        try:
            return torch.ops.quantized.linear_dynamic(x, self._pack_once(), not _eight_bits())
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
    def takes(module: nn.Module) -> bool:
        return type(module) is nn.Conv2d and module.padding_mode == "zeros" and not isinstance(module.padding, str)

    @classmethod
    def standing_in(cls, module: Any, codes: torch.Tensor, scales: torch.Tensor) -> Self:
        found = super().standing_in(module, codes, scales)
        found.geometry = (module.stride, module.padding, module.dilation, module.groups)
        return found

    def _decoded(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, *self.geometry)

    def _int8(self, x: torch.Tensor) -> torch.Tensor:
        if x.numel() == 0:
            return self._decoded(x)
        if x.ndim == 3:
            return self._int8(x[None])[0]
        packed, zeros = self._pack_once()
        low, high = (v.item() for v in torch.aminmax(x))
        if not (math.isfinite(low) and math.isfinite(high)):
            raise ValueError("the input of an int8 layer contains NaN or infinity")
        low, high = min(low, 0.0), max(high, 0.0)
        # zero is among the codes, so that padding is exact
        scale = max((high - low) / (255 if _eight_bits() else 127), 1e-30)
        zero = round(-low / scale)
        codes = torch.quantize_per_tensor(x.detach(), scale, zero, torch.quint8).int_repr()
        weight = (packed, self.scales, zeros, self.bias)
        out: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        return torch.ops.onednn.qconv_pointwise(codes, scale, zero, *weight, *self.geometry, *out)

    def _pack(self) -> Any:
        torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)  # torch warns at the first of these only
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


class _Said:
    """What was warned about already."""

    names: ClassVar[set[str]] = set()


def _warn_slow(name: str) -> None:
    if name not in _Said.names:
        _Said.names.add(name)
        warnings.warn(f"torch has no int8 kernel for {name} on this machine: computed in float32", stacklevel=3)


@cache
def _eight_bits() -> bool:
    # without VNNI the kernels add pairs of products in 16 bits: 7-bit activations keep them from overflowing
    found = getattr(torch.cpu, "_is_vnni_supported", None)
    return bool(found and found()) or torch.backends.quantized.engine == "qnnpack"


@cache
def _works(name: str) -> bool:
    """Whether this machine's torch runs layers of the class of that name, and rightly."""
    kind: Any = next(k for k in INT8 if k.__name__ == name)
    codes = torch.arange(-8, 8, dtype=torch.int8).view(4, 4, *([1, 1] if kind is Int8Conv2d else []))
    layer, x = (
        kind(codes, torch.full((4,), 0.25)),
        torch.arange(4.0).view(1, 4, *([1, 1] if kind is Int8Conv2d else [])),
    )
    try:
        with torch.no_grad():
            return bool(torch.allclose(layer._int8(x), layer._decoded(x), atol=0.5))
    except (RuntimeError, AttributeError, NotImplementedError):
        return False


def best_for(module: nn.Module) -> type[Int8Module] | None:
    """The class that runs this layer in int8 on this machine; None where there is none."""
    return next((kind for kind in INT8 if kind.takes(module) and _works(kind.__name__)), None)


def mark(module: nn.Module, name: str, scales: np.ndarray, axis: int) -> None:
    """Note that a parameter of a module lies on the int8 grid of these scales."""
    marks = dict(vars(module).get(_MARK, {}))
    marks[name] = (scales, axis)
    setattr(module, _MARK, marks)


def unmark(module: nn.Module, name: str | None = None) -> None:
    """Take back the mark of a parameter; None: of all."""
    marks = {k: v for k, v in vars(module).pop(_MARK, {}).items() if name not in (None, k)}
    if marks:
        setattr(module, _MARK, marks)


def scales_of(module: nn.Module, name: str) -> tuple[np.ndarray, int] | None:
    """Scales and channel axis of a marked parameter."""
    return vars(module).get(_MARK, {}).get(name)


def codes_of(module: nn.Module, name: str, array: np.ndarray) -> tuple[np.ndarray, np.ndarray, int] | None:
    """Codes, scales and channel axis, if this array (of that parameter) still lies on its grid; else None."""
    found = scales_of(module, name)
    if found is None:
        return None
    dtype = getattr(module, name).dtype

    def rounded(decoded: np.ndarray) -> np.ndarray:
        wide = torch.from_numpy(decoded)
        return wide.to(dtype).to(wide.dtype).numpy()

    codes = absmax.on_grid(array, *found, rounded)
    return None if codes is None else (codes, *found)
