"""Layers with weights of 4 or 8 bits: one file for each kind of layer."""

from torch import nn

from lifecycle.torch.quantized.affine import Int8Affine
from lifecycle.torch.quantized.base import Grids, QuantizedModule, holds_quantized, kernel_works
from lifecycle.torch.quantized.convolution import Int8Conv, Int8Conv1d, Int8Conv2d
from lifecycle.torch.quantized.embedding import Int8Embedding
from lifecycle.torch.quantized.int4_linear import Int4Linear
from lifecycle.torch.quantized.linear import Int8Linear
from lifecycle.torch.quantized.recurrent import Int8GRU, Int8GRUCell, Int8LSTM, Int8LSTMCell, Int8Recurrent

__all__ = [
    "QUANTIZED",
    "Grids",
    "Int4Linear",
    "Int8Affine",
    "Int8Conv",
    "Int8Conv1d",
    "Int8Conv2d",
    "Int8Embedding",
    "Int8GRU",
    "Int8GRUCell",
    "Int8LSTM",
    "Int8LSTMCell",
    "Int8Linear",
    "Int8Recurrent",
    "QuantizedModule",
    "class_for",
    "holds_quantized",
    "stored_class",
]

QUANTIZED: tuple[type[QuantizedModule], ...] = (
    Int8Linear, Int8Conv1d, Int8Conv2d, Int8Embedding, Int8LSTM, Int8GRU, Int8LSTMCell, Int8GRUCell, Int4Linear,
)  # fmt: skip


def class_for(module: nn.Module, grids: Grids, *, is_static: bool = False) -> type[QuantizedModule] | None:
    """The class that runs this layer with these codes on this machine; None if there is none.

    `is_static`: with a range of inputs that is kept.
    """
    cls = stored_class(module, grids)
    if cls is None or set(cls.weights_of(module)) != set(grids):
        return None
    if is_static and cls.quantizes_inputs and not issubclass(cls, Int8Affine):
        return None
    is_supported = all(cls.supports_codes(codes, scales) for codes, scales in grids.values())
    return cls if is_supported and kernel_works(cls, is_static and issubclass(cls, Int8Affine)) else None


def stored_class(module: nn.Module, grids: Grids) -> type[QuantizedModule] | None:
    """The class that takes codes and scales of these shapes in the place of a layer, on any machine."""
    for cls in QUANTIZED:
        if cls.supports(module) and all(cls.fits(codes, scales) for codes, scales in grids.values()):
            return cls
    return None
