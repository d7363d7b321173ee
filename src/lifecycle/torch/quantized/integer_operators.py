"""Layers with int8 weights and activations, as ONNX's integer operators.

The graph rounds the inputs to the codes of torch's kernel, its sums of products are exact, and it multiplies these by
the same float32 numbers. So its outputs are those of the layer, but for the last bit where a kernel of torch adds the
bias to a product that is not rounded, and following layers get the same codes.
"""

import copy
from typing import Any

import torch
from torch import nn

from lifecycle._check import UnsupportedModel
from lifecycle.torch.quantized import Int8Affine, Int8Conv, Int8Linear, QuantizedModule
from lifecycle.torch.quantized.kernels import eight_bits


def with_integer_operators(net: nn.Module) -> nn.Module:
    """A copy of a module for torch.onnx, which cannot trace the kernels; UnsupportedModel names a layer without one."""
    made: dict[int, nn.Module] = {}
    for path, module in net.named_modules():
        if isinstance(module, QuantizedModule) and module.quantizes_inputs:
            made[id(module)] = _exported(path, module)
    return copy.deepcopy(net, made)  # type: ignore[arg-type]


def _exported(path: str, layer: QuantizedModule) -> nn.Module:
    if not isinstance(layer, Int8Linear | Int8Conv):
        raise UnsupportedModel(
            f"{path}, a {type(layer).__name__}, computes with int8 activations, which cannot be exported to ONNX: "
            "quantize with activations=None, or protect it"
        )
    if layer._packed_weight(with_bias=True) is None:
        raise UnsupportedModel(f"the sums of {path} can overflow 32 bits: it cannot be exported to ONNX")
    return _Linear(layer) if isinstance(layer, Int8Linear) else _Convolution(layer)


class _Exported(nn.Module):
    """What both kinds of layers share: codes of the inputs, and outputs from sums."""

    scales: torch.Tensor
    bias: torch.Tensor
    weight: torch.Tensor
    zero_of_weight: torch.Tensor

    def __init__(self, layer: Int8Affine, codes: torch.Tensor) -> None:
        super().__init__()
        ones = [1] * layer.n_spatial
        bias = torch.zeros_like(layer.scales) if layer.bias is None else layer.bias.detach()
        self.register_buffer("scales", layer.scales.clone().view(-1, *ones))
        self.register_buffer("bias", bias.clone().view(-1, *ones))
        self.largest_code = 255 if eight_bits() else 127
        self.limits = layer.input_range.tolist() if layer.input_range is not None else None
        # without VNNI onnxruntime adds pairs of products of signed weights in 16 bits, where those of 8-bit activations
        # do not fit: a graph with these has unsigned weights, whose sums are exact on every machine
        if eight_bits():
            self.register_buffer("weight", (codes.to(torch.int16) + 128).to(torch.uint8))
            self.register_buffer("zero_of_weight", torch.tensor(128, dtype=torch.uint8))
        else:
            self.register_buffer("weight", codes.clone())
            self.register_buffer("zero_of_weight", torch.tensor(0, dtype=torch.int8))

    @property
    def is_of_fbgemm(self) -> bool:
        """Whether the kernel finds the code of zero by a rounded scale, and adds the bias to a product as it is."""
        return self.limits is None and isinstance(self, _Linear) and not eight_bits()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        nothing = (x - x).sum(self._of_sample(x), keepdim=True)  # 0, or NaN where a value is not finite
        values, low, high = self._range(x, nothing)
        exact = (high - low) / self.largest_code
        exact = torch.where(exact == 0, torch.ones((), dtype=torch.float64), exact)
        scale = exact.to(torch.float32)
        zero = torch.round(-low / (scale.to(torch.float64) if self.is_of_fbgemm else exact)).to(torch.float32)
        codes = (torch.round(values * (1 / scale)) + zero).clamp(0.0, 255.0).to(torch.uint8)
        sums = self._sums(codes, zero.to(torch.uint8))
        factors = scale * self.scales
        if self.is_of_fbgemm:
            products = sums.to(torch.float64) * factors.to(torch.float64)
            out = (products + self.bias.to(torch.float64)).to(torch.float32)
        else:
            out = sums.to(torch.float32) * factors + self.bias
        return out + nothing

    def _range(self, x: torch.Tensor, nothing: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The values that get codes, and their range, float64; without samples that are not finite."""
        if self.limits is not None:
            low, high = (torch.tensor(limit, dtype=torch.float64) for limit in self.limits)
            return x.clamp(*self.limits), low, high
        values, dimensions = torch.where(nothing == 0, x, torch.zeros((), dtype=torch.float32)), list(range(x.ndim))
        low, high = values.amin(dimensions).clamp(max=0.0), values.amax(dimensions).clamp(min=0.0)
        return values, low.to(torch.float64), high.to(torch.float64)

    def _sums(self, codes: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError

    def _of_sample(self, x: torch.Tensor) -> list[int]:
        """The dimensions of one sample."""
        raise NotImplementedError


class _Linear(_Exported):
    def __init__(self, layer: Int8Linear) -> None:
        super().__init__(layer, layer.codes.t().contiguous())

    def _sums(self, codes: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        shape = (*codes.shape[:-1], self.weight.shape[1])
        operands = (codes, self.weight, zero, self.zero_of_weight)
        return torch.onnx.ops.symbolic("MatMulInteger", operands, dtype=torch.int32, shape=shape)

    def _of_sample(self, x: torch.Tensor) -> list[int]:
        return [-1]


class _Convolution(_Exported):
    def __init__(self, layer: Int8Conv) -> None:
        super().__init__(layer, layer.codes)
        self.geometry = layer.geometry

    def _sums(self, codes: torch.Tensor, zero: torch.Tensor) -> torch.Tensor:
        stride, padding, dilation, groups = self.geometry
        sizes = [
            (size + 2 * p - d * (k - 1) - 1) // s + 1
            for size, k, s, p, d in zip(codes.shape[2:], self.weight.shape[2:], stride, padding, dilation, strict=True)
        ]
        attributes: dict[str, Any] = {
            "strides": stride,
            "pads": (*padding, *padding),
            "dilations": dilation,
            "group": groups,
        }
        operands, shape = (
            (codes, self.weight, zero, self.zero_of_weight),
            (codes.shape[0], self.weight.shape[0], *sizes),
        )
        return torch.onnx.ops.symbolic("ConvInteger", operands, attributes, dtype=torch.int32, shape=shape)

    def _of_sample(self, x: torch.Tensor) -> list[int]:
        return list(range(1, x.ndim))
