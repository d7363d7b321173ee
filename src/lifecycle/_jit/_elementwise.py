"""Elementwise functions of rules, losses, penalties and formats: on numpy arrays, in kernels, and on torch tensors."""

import sys
from typing import Any

import numpy as np
from numba.core import types
from numba.extending import overload

from lifecycle._jit._compile import INLINED, stamped


def namespace(x: Any) -> Any:
    """The module torch for a tensor, else numpy; torch is not imported for it."""
    return sys.modules["torch"] if type(x).__module__.partition(".")[0] == "torch" else np


def sqrt(x: Any) -> Any:
    """Square root."""
    return namespace(x).sqrt(x)


def absolute(x: Any) -> Any:
    """Absolute value."""
    return namespace(x).abs(x)


def sign(x: Any) -> Any:
    """-1, 0 or 1."""
    return namespace(x).sign(x)


def copysign(x: Any, y: Any) -> Any:
    """|x| with the sign of y."""
    return namespace(x).copysign(x, y)


def maximum(x: Any, y: Any) -> Any:
    """Larger of the two; NaN where either is NaN. If one is a tensor, x is."""
    return x.clamp(min=y) if namespace(x) is not namespace(y) else namespace(x).maximum(x, y)


def minimum(x: Any, y: Any) -> Any:
    """Smaller of the two; NaN where either is NaN. If one is a tensor, x is."""
    return x.clamp(max=y) if namespace(x) is not namespace(y) else namespace(x).minimum(x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    if (xp := namespace(condition)) is np:
        return np.where(condition, x, y)[()]
    if xp is not namespace(x) and xp is not namespace(y):  # torch would give two numpy scalars its default dtype
        x = condition.new_full((), x, dtype=getattr(xp, x.dtype.name))
    return xp.where(condition, x, y)


def clip_for_square(x: Any) -> Any:
    """x, a finite one clipped to 2^63 (float64: 2^511), so that its square is finite; infinity and NaN stay."""
    xp = namespace(x)
    limit, largest = _square_limits(np.float64 if x.dtype == xp.float64 else np.float32)
    size = xp.abs(x)
    return where((size > limit) & (size <= largest), copysign(xp.full_like(x, limit), x), x)


def _square_limits(dtype: Any) -> tuple[float, float]:
    """Half of the exponents of a type, and its largest number."""
    info = np.finfo(dtype)
    return 2.0 ** (info.maxexp // 2 - 1), float(info.max)


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


@overload(copysign, jit_options=INLINED)
def _copysign(x, y):
    return lambda x, y: np.copysign(x, y)


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


@overload(clip_for_square, jit_options=INLINED)
def _clip_for_square(x):
    dtype: Any = np.float32 if x == types.float32 else np.float64
    limit, largest = (dtype(bound) for bound in _square_limits(dtype))
    return stamped(lambda x: np.copysign(limit, x) if limit < np.abs(x) <= largest else x)
