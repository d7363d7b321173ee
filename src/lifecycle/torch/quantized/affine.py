"""Layers that multiply and add, with int8 weights and int8 activations: what linear layers and convolutions share."""

import math
from abc import abstractmethod
from typing import Any, ClassVar, Self, cast

import torch

from lifecycle.torch.quantized.base import Grids, QuantizedModule
from lifecycle.torch.quantized.kernels import (
    is_finite,
    range_with_zero,
    span_is_rounded_well,
    times_power_of_two,
)


class Int8Affine(QuantizedModule):
    """A layer with int8 weights, one scale per output channel, and int8 activations.

    The activations of a call share one scale and zero point. Dynamic: they are chosen from the smallest and largest
    value of the whole input, as in ``torch.ao``'s dynamic quantization, so that each output has an error in proportion
    to the largest value of the whole batch. Static, where the buffer ``input_range`` has the smallest and largest value
    (float32): these are the range, whatever the input, and what is beyond them is clipped. Other buffers: ``codes``
    (int8, the weight's shape), ``scales`` (float32), ``bias`` (float32, or None).

    Samples with NaN or infinity, and weights with which sums of 32 bits could overflow, are computed in float32.
    """

    n_spatial: ClassVar[int]  # dimensions of an input after batch and channels

    codes: torch.Tensor
    scales: torch.Tensor
    bias: torch.Tensor | None
    input_range: torch.Tensor | None

    def __init__(
        self,
        codes: torch.Tensor,
        scales: torch.Tensor,
        bias: torch.Tensor | None = None,
        input_range: torch.Tensor | None = None,
    ) -> None:
        super().__init__({"weight": (codes, scales)}, {"bias": bias, "input_range": input_range})

    @classmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        bias = None if module.bias is None else module.bias.detach().clone()
        return cls(*grids["weight"], bias).train(module.training)

    @classmethod
    def example(cls) -> tuple[Self, tuple]:
        ones = [1] * cls.n_spatial
        layer = cls(
            torch.arange(-8, 8, dtype=torch.int8).view(4, 4, *ones), torch.full((4,), 0.25, dtype=torch.float32)
        )
        return layer, (torch.arange(4, dtype=torch.float32).view(1, 4, *ones),)

    @property
    def is_static(self) -> bool:
        return self._buffers["input_range"] is not None  # faster than the attribute

    def _forward_quantized(self, x: torch.Tensor) -> torch.Tensor:
        """The layer with int8 activations; those that the kernel of torch does not round well are scaled before it."""
        if x.ndim == 1 + self.n_spatial:
            out = self._forward_quantized(x[None])[0]
        else:
            x, low, high = self._clipped(x)
            if is_finite(low, high):
                out = self._forward_range(x, low, high)
            else:
                out = self._forward_samples(x, 1 + self.n_spatial)
        return out if out.numel() else self._forward_float(x)

    def _clipped(self, x: torch.Tensor) -> tuple[torch.Tensor, float, float]:
        """The input within its range, and the range; an infinite one if some value is not finite."""
        if not self.is_static:
            return x, *range_with_zero(x)
        limits = self._cached("range", lambda: cast("torch.Tensor", self.input_range).tolist())
        # a sum reads the input once; it is finite if all values are
        if not math.isfinite(x.sum().item()) and not torch.isfinite(x).all():
            return x, -math.inf, math.inf
        return x.clamp(*limits), *limits

    def _forward_range(self, x: torch.Tensor, low: float, high: float) -> torch.Tensor:
        packed = self._packed_weight(with_bias=True)
        if packed is None:
            self._overflow_warning()
            return self._forward_float(x)
        if span_is_rounded_well(low, high):
            return self._call_kernel(x, low, high, packed)
        # both multiplications are without a rounding
        exponent = math.frexp(high - low)[1]
        x, low, high = times_power_of_two(x, -exponent), math.ldexp(low, -exponent), math.ldexp(high, -exponent)
        out = self._call_kernel(x, low, high, self._packed_weight(with_bias=False))
        out = times_power_of_two(out, exponent)
        return out if self.bias is None else out + self.bias.view(-1, *[1] * self.n_spatial)

    @abstractmethod
    def _call_kernel(self, x: torch.Tensor, low: float, high: float, packed: Any) -> torch.Tensor:
        """The kernel of torch, for an input with a batch dimension and values from low ≤ 0 to high ≥ 0."""

    @abstractmethod
    def _pack(self, bias: torch.Tensor | None) -> Any:
        """The weight in the layout of the kernel of torch."""

    def _packed_weight(self, with_bias: bool) -> Any:
        """The packed weight, with or without the bias; None if the sums of the kernel could overflow."""

        def pack() -> Any:
            return None if self._sums_overflow() else self._pack(self.bias if with_bias else None)

        return self._cached(with_bias, pack)

    def _range_repr(self) -> str:
        return "" if self.input_range is None else f", input_range={tuple(self.input_range.tolist())}"
