"""All that imports numba: compile options, cache stamps, elementwise functions and raw memory access."""

from lifecycle._jit._bits import (
    bits,
    from_bits,
    from_half_bits,
    half_bits,
    hashed_keys,
    magnitude_bits,
    noise,
    uint8,
    uint16,
    uint32,
)
from lifecycle._jit._compile import element, kernel, native
from lifecycle._jit._disk_cache import KERNELS_NOT_KEPT, cache_usage
from lifecycle._jit._elementwise import (
    absolute,
    clip_for_square,
    copysign,
    like,
    maximum,
    minimum,
    sign,
    sqrt,
    where,
)
from lifecycle._jit._exp_log import exp, log1p
from lifecycle._jit._memory import (
    call_native,
    fetch_and_add,
    memory,
    prefetch,
    searchsorted_right,
    stack_array,
    to_fixed_tuple,
)
from lifecycle._jit._vectors import add_product, wide_vectors

__all__ = [
    "KERNELS_NOT_KEPT",
    "absolute",
    "add_product",
    "bits",
    "cache_usage",
    "call_native",
    "clip_for_square",
    "copysign",
    "element",
    "exp",
    "fetch_and_add",
    "from_bits",
    "from_half_bits",
    "half_bits",
    "hashed_keys",
    "kernel",
    "like",
    "log1p",
    "magnitude_bits",
    "maximum",
    "memory",
    "minimum",
    "native",
    "noise",
    "prefetch",
    "searchsorted_right",
    "sign",
    "sqrt",
    "stack_array",
    "to_fixed_tuple",
    "uint8",
    "uint16",
    "uint32",
    "where",
    "wide_vectors",
]
