"""size_of: the bytes that a model takes in a file."""

from typing import Any

from lifecycle.codecs import pack
from lifecycle.store import adapters

__all__ = ["size_of"]


def size_of(model: Any) -> int:
    """Bytes of a model's parameters and buffers as `save` stores them.

    int8 weights count as codes and scales, pruned ones as a bit mask and their non-zero values where that is smaller,
    and tied ones once.
    """
    arrays = adapters.adapter_for(model).tensors(model).values()
    return sum(part.nbytes for array in arrays for part in pack(array)[1].values())
