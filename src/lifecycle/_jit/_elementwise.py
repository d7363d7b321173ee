"""Elementwise functions of rules, losses and penalties: on numpy arrays, inside kernels, and on torch tensors."""

from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from lifecycle._jit._compile import INLINED


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


def minimum(x: Any, y: Any) -> Any:
    """Smaller of the two; NaN where either is NaN."""
    return np.minimum(x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    return np.where(condition, x, y)


def like(x: Any, constant: float) -> Any:
    """A constant in the precision of x: numba takes a number in the source for a float64, and all that it touches."""
    return constant


@overload(sqrt, jit_options=INLINED)
def _sqrt(x):
    return lambda x: np.sqrt(x)


@overload(absolute, jit_options=INLINED)
def _absolute(x):
    return lambda x: np.abs(x)


@overload(sign, jit_options=INLINED)
def _sign(x):
    return lambda x: np.sign(x)


@overload(maximum, jit_options=INLINED)
def _maximum(x, y):
    # written out, because numba's own np.maximum keeps the loop scalar
    return lambda x, y: x if (x > y or x != x) else y


@overload(minimum, jit_options=INLINED)
def _minimum(x, y):
    return lambda x, y: x if (x < y or x != x) else y


@overload(where, jit_options=INLINED)
def _where(condition, x, y):
    return lambda condition, x, y: x if condition else y


@overload(like, jit_options=INLINED)
def _like(x, constant):
    return (lambda x, constant: np.float32(constant)) if x == types.float32 else (lambda x, constant: constant)
