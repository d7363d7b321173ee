"""The only home of numba: compile options, cache stamps, elementwise functions and raw memory access.

No `parallel=True`: its layers abort or kill processes that thread or fork.
"""

import hashlib
import inspect
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple as _to_fixed_tuple

__all__ = ["absolute", "element", "kernel", "maximum", "memory", "sign", "sqrt", "stamp", "to_fixed_tuple"]


def kernel(function: Callable) -> Any:
    """Compile a serial loop: releases the GIL, cached on disk, IEEE division, no fast-math."""
    return numba.njit(cache=True, nogil=True, error_model="numpy")(function)


def element(function: Callable) -> Any:
    """Mark a function that kernels call; it stays a plain Python function outside of them."""
    return register_jitable(function)


def stamp(*functions: Callable) -> str:
    """Hash of the functions' sources, for the closure of the kernel that calls them.

    numba's disk cache looks at a kernel's own source only; with this string in its closure the kernel
    is compiled again after a function that it calls has been edited.
    """
    text = "\n".join(inspect.getsource(f) for f in functions)
    return hashlib.sha256(text.encode()).hexdigest()


@intrinsic
def _pointer(typingctx, address, like):
    pointer = types.CPointer(like.dtype)

    def codegen(context, builder, sig, args):
        return builder.inttoptr(args[0], context.get_value_type(pointer))

    return pointer(address, like), codegen


@element
def memory(address, start, size, like):
    """`size` elements of like's dtype, from the element `start` of those at an address (compiled code only)."""
    return numba.carray(_pointer(address + start * like.itemsize, like), size)  # type: ignore[call-arg]


# array -> tuple of a length known when compiling; numba's type says nothing of how an intrinsic is called
to_fixed_tuple: Any = _to_fixed_tuple


# -- elementwise functions of a rule: on numpy scalars and arrays, inside kernels, and on torch tensors ------------


def _is_tensor(x: Any) -> bool:
    return type(x).__module__.partition(".")[0] == "torch"


def sqrt(x: Any) -> Any:
    return x.sqrt() if _is_tensor(x) else np.sqrt(x)


def absolute(x: Any) -> Any:
    return x.abs() if _is_tensor(x) else np.abs(x)


def sign(x: Any) -> Any:
    return x.sign() if _is_tensor(x) else np.sign(x)


def maximum(x: Any, y: Any) -> Any:
    """Larger of the two; NaN where either is NaN."""
    return x.maximum(y) if _is_tensor(x) else np.maximum(x, y)


@overload(sqrt, inline="always")
def _sqrt(x):
    return lambda x: np.sqrt(x)


@overload(absolute, inline="always")
def _absolute(x):
    return lambda x: np.abs(x)


@overload(sign, inline="always")
def _sign(x):
    return lambda x: np.sign(x)


@overload(maximum, inline="always")
def _maximum(x, y):
    # written out, because numba's own np.maximum keeps the loop scalar
    return lambda x, y: x if (x > y or x != x) else y
