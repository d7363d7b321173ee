"""Bits of a number: as numpy arrays, and inside kernels."""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from lifecycle._jit._compile import INLINED

_I16, _I32 = ir.IntType(16), ir.IntType(32)


def bits(x: Any) -> Any:
    """Bit pattern of a float32, as uint32."""
    return np.asarray(x, np.float32).view(np.uint32)[()]


def from_bits(pattern: Any) -> Any:
    """float32 of a bit pattern."""
    return np.asarray(pattern, np.uint32).view(np.float32)[()]


def half_bits(x: Any) -> Any:
    """Bit pattern of the float16 nearest to a float32, as uint16."""
    with np.errstate(over="ignore"):
        return np.asarray(x, np.float32).astype(np.float16).view(np.uint16)[()]


def from_half_bits(pattern: Any) -> Any:
    """float32 of the bit pattern of a float16."""
    return np.asarray(pattern, np.uint16).view(np.float16).astype(np.float32)[()]


def noise(start: Any, i: Any, key: Any) -> Any:
    """32 bits that look random, from the place start + i of an element and a key: a multiplicative hash."""
    x = np.asarray(start + i).astype(np.uint32) ^ np.uint32(key)
    with np.errstate(over="ignore"):
        for factor, shift in _MIXING:
            x = x * np.uint32(factor)
            x = x ^ (x >> np.uint32(shift))
    return x[()]


_MIXING = ((0x9E3779B1, 15), (0x85EBCA77, 16))


# numba widens every integer to 64 bits, which halves the width of a vector: these are written in 32


def _cast(function: Callable, source: Any, target: Any, build: Callable) -> None:
    @intrinsic
    def cast(typingctx, x):
        return target(source), lambda context, builder, sig, args: build(builder, args[0])

    @overload(function, jit_options=INLINED)
    def typed(x):
        return (lambda x: cast(x)) if x == source else None  # type: ignore[call-arg]


_F16, _F32 = ir.HalfType(), ir.FloatType()
_cast(bits, types.float32, types.uint32, lambda b, x: b.bitcast(x, _I32))
_cast(from_bits, types.uint32, types.float32, lambda b, x: b.bitcast(x, _F32))
_cast(half_bits, types.float32, types.uint16, lambda b, x: b.bitcast(b.fptrunc(x, _F16), _I16))
_cast(from_half_bits, types.uint16, types.float32, lambda b, x: b.fpext(b.bitcast(x, _F16), _F32))


@intrinsic
def _noise(typingctx, start, i, key):
    def codegen(context, builder, sig, args):
        # both are cut before they are added: a vector of i then counts in 32 bits
        x = builder.add(builder.trunc(args[0], _I32), builder.trunc(args[1], _I32))
        x = builder.xor(x, args[2])
        for factor, shift in _MIXING:
            x = builder.mul(x, ir.Constant(_I32, factor))
            x = builder.xor(x, builder.lshr(x, ir.Constant(_I32, shift)))
        return x

    return types.uint32(types.int64, types.int64, types.uint32), codegen


@overload(noise, jit_options=INLINED)
def _noise_of(start, i, key):
    return lambda start, i, key: _noise(start, i, key)  # type: ignore[call-arg]
