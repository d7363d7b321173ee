"""The only home of numba: compile options, cache stamps, elementwise functions and raw memory access."""

from lifecycle._jit._bits import bits, from_bits, from_half_bits, half_bits, noise
from lifecycle._jit._compile import element, kernel, native, stamp
from lifecycle._jit._elementwise import absolute, like, maximum, minimum, sign, sqrt, where
from lifecycle._jit._exp_log import exp, log1p
from lifecycle._jit._memory import fetch_and_add, first_after, memory, scratch, start, to_fixed_tuple
from lifecycle._jit._vectors import add_product, wide_vectors

__all__ = [
    "absolute", "add_product", "bits", "element", "exp", "fetch_and_add", "first_after", "from_bits", "from_half_bits",
    "half_bits", "kernel", "like", "log1p", "maximum", "memory", "minimum", "native", "noise", "scratch", "sign",
    "sqrt", "stamp", "start", "to_fixed_tuple", "where", "wide_vectors",
]  # fmt: skip
