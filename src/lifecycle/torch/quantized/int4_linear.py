"""`nn.Linear` with weights of 4 bits, a scale for each group of inputs, and activations in bfloat16."""

from typing import Any, Self

import torch
from torch import nn

from lifecycle.torch.quantized.base import Grids, QuantizedModule
from lifecycle.torch.quantized.kernels import is_finite, range_with_zero
from lifecycle.torch.quantized.linear import LinearShape

GROUP_SIZES = (32, 64, 128, 256)  # that the kernel of torch takes
_OUTPUTS = 16  # of which the number of outputs must be a multiple
_LARGEST_CODE = 7
# differences of the largest and smallest input whose products neither overflow nor lose bits to subnormal numbers
_SMALLEST_SPAN, _LARGEST_SPAN = 2.0**-64, 2.0**64


class Int4Linear(LinearShape, QuantizedModule):
    """`nn.Linear` with weights of 4 bits: the kernel of torch decodes them while it multiplies.

    Inputs, scales and outputs of the kernel are rounded to bfloat16, 8 bits of a float32, each on its own: an output
    does not depend on other rows. Buffers: ``codes`` (int8, values from -7 to 7), ``scales`` (float32: outputs, groups)
    and ``bias``. Beside them, the kernel has the codes in half a byte each.

    Rows with NaN or infinity, and inputs that are tiny or huge, are computed in float32.
    """

    replaces, kind, quantizes_inputs = nn.Linear, "linear", False

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor, bias: torch.Tensor | None = None) -> None:
        super().__init__({"weight": (codes, scales)}, {"bias": bias})

    @classmethod
    def fits(cls, codes: torch.Tensor, scales: torch.Tensor) -> bool:
        if codes.ndim != 2 or scales.ndim != 2 or len(scales) != len(codes) or not codes.numel():
            return False
        size, remaining = divmod(codes.shape[1], scales.shape[1])
        return not remaining and size in GROUP_SIZES and codes.shape[0] % _OUTPUTS == 0

    @classmethod
    def supports_codes(cls, codes: torch.Tensor, scales: torch.Tensor) -> bool:
        return cls.fits(codes, scales) and int(codes.to(torch.int16).abs().max()) <= _LARGEST_CODE

    @classmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        bias = None if module.bias is None else module.bias.detach().clone()
        return cls(*grids["weight"], bias).train(module.training)

    @classmethod
    def example(cls) -> tuple[Self, tuple]:
        generator = torch.Generator().manual_seed(0)
        codes = torch.randint(-_LARGEST_CODE, _LARGEST_CODE + 1, (64, 128), generator=generator, dtype=torch.int8)
        scales = torch.rand(64, 2, generator=generator, dtype=torch.float32)
        return cls(codes, scales), (torch.randn(3, 128, generator=generator, dtype=torch.float32),)

    @property
    def group_size(self) -> int:
        """Inputs that share a scale."""
        return self.codes.shape[1] // self.scales.shape[1]

    def decoded(self, weight: str) -> torch.Tensor:
        codes, scales = self.grid(weight)
        return codes.float() * scales.repeat_interleave(self.group_size, 1)

    def _forward_quantized(self, x: torch.Tensor) -> torch.Tensor:
        packed = self._cached("packed", self._pack)
        if packed is None:
            return self._forward_float(x)
        self._check_width(x)
        if x.ndim == 1:
            return self._forward_quantized(x[None])[0]
        low, high = range_with_zero(x)
        if not is_finite(low, high):
            return self._forward_samples(x, 1)
        if high - low < _SMALLEST_SPAN or high - low > _LARGEST_SPAN:
            return self._forward_float(x)
        # the kernel for float32 is many times slower than the one for bfloat16
        rows = x.detach().reshape(-1, self.in_features).bfloat16().contiguous()
        weight, scales_and_zeros = packed
        out = torch.ops.aten._weight_int4pack_mm_for_cpu(rows, weight, self.group_size, scales_and_zeros).float()
        out = out if self.bias is None else out.add_(self.bias)
        return out.view(*x.shape[:-1], self.out_features)

    def _pack(self) -> Any:
        """The weight and the scales as the kernel takes them; None if some code has more than 4 bits."""
        if not self.supports_codes(self.codes, self.scales):
            return None
        # its codes are unsigned: 8 stands for zero
        weight = torch.ops.aten._convert_weight_to_int4pack_for_cpu(self.codes.int() + 8, 1)
        scales = self.scales.t()
        return weight, torch.stack((scales, torch.zeros_like(scales)), -1).bfloat16().contiguous()

    def extra_repr(self) -> str:
        return f"{self._sizes()}, group_size={self.group_size}"
