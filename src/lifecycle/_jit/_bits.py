"""Unsigned integers and the bits of floats: on numpy arrays, in kernels, and on torch tensors.

torch has little arithmetic for unsigned integers: a uint32 is an int64 tensor of values below 2**32, a uint16 an int16
tensor of the same bits.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from lifecycle._jit._compile import INLINED, element, stamped
from lifecycle._jit._elementwise import namespace

_I16, _I32 = ir.IntType(16), ir.IntType(32)
_F16, _F32 = ir.HalfType(), ir.FloatType()
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MAGNITUDE_MASK = np.uint32(0x7FFFFFFF)
_MIXING = ((0x9E3779B1, 15), (0x85EBCA77, 16))  # factors and shifts of the hash


def uint32(x: Any) -> Any:
    """Integers modulo 2**32."""
    if (xp := namespace(x)) is np:
        return np.asarray(x).astype(np.uint32)[()]
    return x.to(xp.int64) & (0xFFFF if x.dtype is xp.int16 else 0xFFFFFFFF)


def uint16(x: Any) -> Any:
    """Integers modulo 2**16."""
    return np.asarray(x).astype(np.uint16)[()] if (xp := namespace(x)) is np else x.to(xp.int16)


def uint8(x: Any) -> Any:
    """Integers modulo 2**8."""
    return np.asarray(x).astype(np.uint8)[()] if (xp := namespace(x)) is np else x.to(xp.uint8)


def bits(x: Any) -> Any:
    """Bit pattern of a float32, as uint32."""
    if (xp := namespace(x)) is np:
        return np.asarray(x, np.float32).view(np.uint32)[()]
    return uint32(x.view(xp.int32))


@element
def magnitude_bits(x: Any) -> Any:
    """Bits of |x| of a float32: larger numbers have larger ones, and infinity and NaN the largest."""
    return uint32(bits(x) & _MAGNITUDE_MASK)


def from_bits(pattern: Any) -> Any:
    """float32 of a bit pattern."""
    if (xp := namespace(pattern)) is np:
        return np.asarray(pattern, np.uint32).view(np.float32)[()]
    return pattern.to(xp.int32).view(xp.float32)


def half_bits(x: Any) -> Any:
    """Bit pattern of the float16 nearest to a float32, as uint16."""
    if (xp := namespace(x)) is np:
        with np.errstate(over="ignore"):
            return np.asarray(x, np.float32).astype(np.float16).view(np.uint16)[()]
    return x.to(xp.float16).view(xp.int16)


def from_half_bits(pattern: Any) -> Any:
    """float32 of the bit pattern of a float16."""
    if (xp := namespace(pattern)) is np:
        return np.asarray(pattern, np.uint16).view(np.float16).astype(np.float32)[()]
    return pattern.view(xp.float16).to(xp.float32)


def noise(start: Any, i: Any, key: Any) -> Any:
    """32 pseudo-random bits from the index start + i of an element and a key: a multiplicative hash."""
    x = uint32(start + i) ^ np.uint32(key)
    with np.errstate(over="ignore"):
        for factor, shift in _MIXING:
            x = uint32(x * factor)
            x = x ^ (x >> shift)
    return x


def hashed_keys(seed: int, step: int, indices: np.ndarray) -> np.ndarray:
    """A key of `noise`, uint32, for each index, in 64 bits until the last.

    Each number is hashed before the next one enters. If seed and step entered together, by exclusive or, the seeds of
    one run after another would give the same streams in another order, and their mean would keep its rounding noise.
    """
    with np.errstate(over="ignore"):
        state = np.zeros(1, np.uint64)
        for number in (seed % 2**64, step, indices):
            state = _mix(state + _GOLDEN * (np.asarray(number).astype(np.uint64) + np.uint64(1)))
    return (state >> np.uint64(32)).astype(np.uint32)


def _mix(x: np.ndarray) -> np.ndarray:
    """The hash of SplitMix64 (Steele, Lea & Flood, 2014): each bit of x decides over each of the result."""
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


# numba widens every integer to 64 bits, which halves the width of a vector: these are written in 32


def _overload_cast(function: Callable, dtype: Any) -> None:
    @overload(function, jit_options=INLINED)
    def typed(x):
        return stamped(lambda x: dtype(x))


def _overload_bitcast(function: Callable, source: Any, target: Any, build: Callable) -> None:
    @intrinsic
    def cast(typingctx, x):
        return target(source), lambda context, builder, sig, args: build(builder, args[0])

    @overload(function, jit_options=INLINED)
    def typed(x):
        if x == source:
            return lambda x: cast(x)  # type: ignore[call-arg]
        # numba widens the results of integer arithmetic to 64 bits
        return (lambda x: cast(source(x))) if isinstance(x, types.Integer) else None  # type: ignore[call-arg]


for _function, _dtype in ((uint8, np.uint8), (uint16, np.uint16), (uint32, np.uint32)):
    _overload_cast(_function, _dtype)
_overload_bitcast(bits, types.float32, types.uint32, lambda b, x: b.bitcast(x, _I32))
_overload_bitcast(from_bits, types.uint32, types.float32, lambda b, x: b.bitcast(x, _F32))
_overload_bitcast(half_bits, types.float32, types.uint16, lambda b, x: b.bitcast(b.fptrunc(x, _F16), _I16))
_overload_bitcast(from_half_bits, types.uint16, types.float32, lambda b, x: b.fpext(b.bitcast(x, _F16), _F32))


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
