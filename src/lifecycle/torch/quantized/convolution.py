"""`nn.Conv1d` and `nn.Conv2d` with int8 weights and activations."""

from typing import Any, ClassVar, Self

import torch
from torch import nn

from lifecycle.torch.quantized.affine import Int8Affine
from lifecycle.torch.quantized.base import Grids
from lifecycle.torch.quantized.kernels import quantize

Geometry = tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], int]  # stride, padding, dilation, groups


class Int8Conv(Int8Affine):
    """A convolution with zero padding, int8 weights and activations: see `Int8Affine`."""

    kind = "conv"
    assumed_size: ClassVar[int]  # of each spatial dimension of an input
    geometry: Geometry

    def __init__(self, *arguments: Any, **buffers: Any) -> None:
        super().__init__(*arguments, **buffers)
        n = self.n_spatial
        self.geometry = ((1,) * n, (0,) * n, (1,) * n, 1)

    @classmethod
    def supports(cls, module: Any) -> bool:
        return super().supports(module) and module.padding_mode == "zeros" and not isinstance(module.padding, str)

    @classmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        layer = super().from_float(module, grids)
        layer.geometry = (module.stride, module.padding, module.dilation, module.groups)
        return layer

    def assumed_input(self, batch_size: int) -> torch.Tensor:
        _, n_inputs, *kernel = self.codes.shape
        _, _, dilation, groups = self.geometry
        sizes = [max(self.assumed_size, d * (k - 1) + 1) for k, d in zip(kernel, dilation, strict=True)]
        return torch.randn(
            batch_size, n_inputs * groups, *sizes, generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )

    def _planes(self, x: torch.Tensor) -> torch.Tensor:
        """A tensor with two spatial dimensions, as the kernel takes it."""
        return x.unsqueeze(-2) if self.n_spatial == 1 else x

    def _plane_geometry(self) -> Geometry:
        stride, padding, dilation, groups = self.geometry
        missing = 2 - self.n_spatial
        return (1,) * missing + stride, (0,) * missing + padding, (1,) * missing + dilation, groups

    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        codes, scale, zero = quantize(x, low, high)
        out: tuple[Any, ...] = (1.0, 0, torch.float32, "none", [], "")
        planes = self._planes(codes)
        result = torch.ops.onednn.qconv_pointwise(planes, scale, zero, *packed, *self._plane_geometry(), *out)
        result = result.flatten(2) if self.n_spatial == 1 else result
        # the kernel lays the channels last, and `view` needs the order that a convolution in floating point gives
        return result.contiguous() if x.is_contiguous() else result

    def _pack(self, bias: torch.Tensor | None) -> Any:
        planes = self._planes(self.codes)
        packed = torch.ops.onednn.qconv_prepack(planes, self.scales, 1.0, 0, *self._plane_geometry(), None)
        return packed, self.scales, torch.zeros(len(self.codes), dtype=torch.int32), bias

    def extra_repr(self) -> str:
        n, m, *kernel = self.codes.shape
        stride, padding, dilation, groups = self.geometry
        return (
            f"{m * groups}, {n}, kernel_size={tuple(kernel)}, stride={stride}, padding={padding}, "
            f"dilation={dilation}, groups={groups}, bias={self.bias is not None}{self._range_repr()}"
        )


class Int8Conv1d(Int8Conv):
    """`nn.Conv1d`, through the kernel for two dimensions: see `Int8Conv`."""

    replaces, n_spatial, assumed_size = nn.Conv1d, 1, 128

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv1d(x, self.weight, self.bias, *self.geometry)


class Int8Conv2d(Int8Conv):
    """`nn.Conv2d`: see `Int8Conv`."""

    replaces, n_spatial, assumed_size = nn.Conv2d, 2, 32

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.conv2d(x, self.weight, self.bias, *self.geometry)
