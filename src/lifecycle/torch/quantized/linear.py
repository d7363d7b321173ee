"""`nn.Linear` with int8 weights and activations."""

from typing import Any

import torch
from torch import nn
from torch.compiler import is_compiling

from lifecycle.torch.quantized.affine import Int8Affine
from lifecycle.torch.quantized.kernels import eight_bits, is_usual, linear_dynamic, prepack_linear, quantize


class LinearShape:
    """The sizes of a linear layer, which those of its codes are."""

    codes: torch.Tensor
    bias: torch.Tensor | None
    weight: torch.Tensor

    @property
    def in_features(self) -> int:
        return self.codes.shape[1]

    @property
    def out_features(self) -> int:
        return self.codes.shape[0]

    def assumed_input(self, batch_size: int) -> torch.Tensor:
        return torch.randn(
            batch_size, self.in_features, generator=torch.Generator().manual_seed(0), dtype=torch.float32
        )

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.weight, self.bias)

    def _check_width(self, x: torch.Tensor) -> None:
        if x.shape[-1:] != (self.in_features,):
            raise RuntimeError(f"the last dimension of the input must be {self.in_features}; got {tuple(x.shape)}")

    def _sizes(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"


class Int8Linear(LinearShape, Int8Affine):
    """`nn.Linear` with int8 weights and activations: see `Int8Affine`."""

    replaces, n_spatial, kind = nn.Linear, 0, "linear"

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        # at batch 1 the product takes as long as ten other operations: usual inputs meet as few as can be
        made = self._made
        if made is not None and self._buffers["input_range"] is None and not is_compiling() and is_usual(input):
            arguments = made.values.get(True) if made.is_current(self._buffers) else None
            if arguments is not None:
                try:
                    return linear_dynamic(input, *arguments)
                except RuntimeError:  # of a wrong shape, which the layer names in floating point
                    pass
        return super().forward(input)

    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        if not self.is_static:  # the kernel finds the range again, faster than codes are made before it
            return linear_dynamic(x, *packed)
        self._check_width(x)
        codes, scale, zero = quantize(x.flatten(0, -2), low, high)
        product = torch.ops.onednn.qlinear_pointwise(codes, scale, zero, *packed, 1.0, 0, torch.float32, "none", [], "")
        return product.unflatten(0, x.shape[:-1])

    def _pack(self, bias: torch.Tensor | None) -> Any:
        if not self.is_static:
            return prepack_linear(self.codes, self.scales, bias), not eight_bits()
        zeros = torch.zeros(len(self.codes), dtype=torch.int32)
        return torch.ops.onednn.qlinear_prepack(self.codes, None), self.scales, zeros, bias

    def extra_repr(self) -> str:
        return self._sizes() + self._range_repr()
