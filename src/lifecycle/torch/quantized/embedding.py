"""`nn.Embedding` with int8 rows."""

from typing import Any, Self

import torch
from torch import nn

from lifecycle.torch.quantized.base import Grids, QuantizedModule

_ASSUMED_INDICES = 32  # of each row of a batch


class Int8Embedding(QuantizedModule):
    """`nn.Embedding` with int8 rows, one scale per row; the rows that are looked up are decoded, in float32.

    Buffers: ``codes`` (int8, the weight's shape) and ``scales`` (float32).
    """

    replaces, kind, quantizes_inputs = nn.Embedding, "embedding", False

    codes: torch.Tensor
    scales: torch.Tensor

    def __init__(self, codes: torch.Tensor, scales: torch.Tensor, padding_idx: int | None = None) -> None:
        super().__init__({"weight": (codes, scales)}, {})
        self.padding_idx = padding_idx

    @classmethod
    def supports(cls, module: Any) -> bool:
        return super().supports(module) and module.max_norm is None  # which changes the weight at each call

    @classmethod
    def supports_codes(cls, codes: torch.Tensor, scales: torch.Tensor) -> bool:
        return cls.fits(codes, scales)

    @classmethod
    def from_float(cls, module: Any, grids: Grids) -> Self:
        return cls(*grids["weight"], module.padding_idx).train(module.training)

    @classmethod
    def example(cls) -> tuple[Self, tuple]:
        scales = torch.full((3,), 0.5, dtype=torch.float32)
        return cls(torch.arange(6, dtype=torch.int8).view(3, 2), scales), (torch.tensor([2, 0]),)

    @property
    def num_embeddings(self) -> int:
        return self.codes.shape[0]

    @property
    def embedding_dim(self) -> int:
        return self.codes.shape[1]

    def assumed_input(self, batch_size: int) -> torch.Tensor:
        shape, generator = (batch_size, _ASSUMED_INDICES), torch.Generator().manual_seed(0)
        return torch.randint(max(self.num_embeddings, 1), shape, generator=generator)

    def _forward(self, x: torch.Tensor) -> torch.Tensor:
        return self._forward_quantized(x)

    def _forward_float(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(x, self.weight)

    def _forward_quantized(self, x: torch.Tensor) -> torch.Tensor:
        rows = nn.functional.embedding(x, self.codes).to(self.scales.dtype)
        return rows * nn.functional.embedding(x, self.scales[:, None])

    def extra_repr(self) -> str:
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"
