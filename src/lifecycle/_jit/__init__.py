"""The only home of numba: compile options, cache stamps, elementwise functions and raw memory access."""

from ._bits import bits, from_bits, from_half_bits, half_bits, noise
from ._compile import element, kernel, native, stamp
from ._elementwise import absolute, like, maximum, minimum, sign, sqrt, where
from ._exp_log import exp, log1p
from ._memory import fetch_and_add, first_after, memory, scratch, start, to_fixed_tuple
from ._vectors import add_product, wide_vectors

__all__ = [
    "absolute", "add_product", "bits", "element", "exp", "fetch_and_add", "first_after", "from_bits", "from_half_bits",
    "half_bits", "kernel", "like", "log1p", "maximum", "memory", "minimum", "native", "noise", "scratch", "sign",
    "sqrt", "stamp", "start", "to_fixed_tuple", "where", "wide_vectors",
]  # fmt: skip
