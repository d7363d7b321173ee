"""prune, quantize, compress, audit and size_of, for models that have an adapter; a model is copied, never changed."""

from lifecycle.compression.certificate import Certificate
from lifecycle.compression.changes import Audit, audit
from lifecycle.compression.pruning import prune
from lifecycle.compression.quantization import quantize
from lifecycle.compression.result import Candidate, Compression
from lifecycle.compression.search import compress
from lifecycle.compression.size import size_of

__all__ = ["Audit", "Candidate", "Certificate", "Compression", "audit", "compress", "prune", "quantize", "size_of"]
