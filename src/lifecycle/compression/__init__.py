"""prune, quantize and size_of, for every kind of model that has an adapter; a model is copied, never changed."""

from lifecycle.compression.pruning import prune
from lifecycle.compression.quantization import quantize
from lifecycle.compression.size import size_of

__all__ = ["prune", "quantize", "size_of"]
