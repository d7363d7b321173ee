"""exp and log1p: numba calls a library for each element, and these vectorize."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic, overload

from lifecycle._jit._compile import INLINED, element

_f = np.float32
_I32, _I64 = ir.IntType(32), ir.IntType(64)


def exp(x: Any) -> Any:
    """e**x to about one unit in the last place; compiled, x is clipped to the range of normal results."""
    return np.exp(x)


def log1p(x: Any) -> Any:
    """log(1 + x) for x >= 0, to about one unit in the last place of 1 + x."""
    return np.log1p(x)


def _power_of_two(kind: Any, integer: Any, bias: int, shift: int) -> Any:
    @intrinsic
    def power(typingctx, n):
        def codegen(context, builder, sig, args):
            n = builder.fptosi(args[0], integer)
            n = builder.shl(builder.add(n, ir.Constant(integer, bias)), ir.Constant(integer, shift))
            return builder.bitcast(n, context.get_value_type(kind))

        return kind(kind), codegen

    return power


def _split_at(kind: Any, integer: Any, shift: int, root_of_half: int) -> tuple[Any, Any]:
    """x > 0 as m * 2**n with m from 1/sqrt(2) to sqrt(2): functions for n and for m."""

    def pattern_and_exponent(builder, x):
        x = builder.bitcast(x, integer)
        return x, builder.ashr(builder.sub(x, ir.Constant(integer, root_of_half)), ir.Constant(integer, shift))

    @intrinsic
    def exponent(typingctx, x):
        def codegen(context, builder, sig, args):
            return builder.sitofp(pattern_and_exponent(builder, args[0])[1], context.get_value_type(kind))

        return kind(kind), codegen

    @intrinsic
    def mantissa(typingctx, x):
        def codegen(context, builder, sig, args):
            x, n = pattern_and_exponent(builder, args[0])
            return builder.bitcast(
                builder.sub(x, builder.shl(n, ir.Constant(integer, shift))), context.get_value_type(kind)
            )

        return kind(kind), codegen

    return exponent, mantissa


_power32, _power64 = _power_of_two(types.float32, _I32, 127, 23), _power_of_two(types.float64, _I64, 1023, 52)
_exponent32, _mantissa32 = _split_at(types.float32, _I32, 23, 0x3F3504F3)
_exponent64, _mantissa64 = _split_at(types.float64, _I64, 52, 0x3FE6A09E667F3BCD)

# Both reduce the argument by a multiple of log 2 in two parts (Cody & Waite, 1980); the rest of exp is a Taylor
# polynomial, that of log is the series of the inverse hyperbolic tangent in (m - 1) / (m + 1)
_EXP64 = tuple(
    1.0 / f for f in (6227020800, 479001600, 39916800, 3628800, 362880, 40320, 5040, 720, 120, 24, 6, 2, 1, 1)
)
_EXP32 = tuple(np.float32(c) for c in _EXP64[-8:])
_LOG64 = tuple(2.0 / k for k in range(23, 0, -2))
_LOG32 = tuple(np.float32(c) for c in _LOG64[-6:])


def _polynomial(coefficients: tuple) -> Any:
    """x -> value of the polynomial with these coefficients, that of the highest power first."""
    head = coefficients[-1]
    if len(coefficients) == 1:
        return element(lambda x: head)
    rest = _polynomial(coefficients[:-1])
    return element(lambda x: rest(x) * x + head)


_exp32_of, _exp64_of, _log32_of, _log64_of = (_polynomial(c) for c in (_EXP32, _EXP64, _LOG32, _LOG64))


@overload(exp, jit_options=INLINED)
def _exp(x):
    if x == types.float32:

        def single(x):
            x = _f(-87.0) if x < _f(-87.0) else (_f(88.0) if x > _f(88.0) else x)
            n = np.floor(x * _f(1.44269504) + _f(0.5))
            r = (x - n * _f(0.693359375)) - n * _f(-2.12194440e-4)
            return _exp32_of(r) * _power32(n)

        return single
    if x == types.float64:

        def double(x):
            x = -708.0 if x < -708.0 else (709.0 if x > 709.0 else x)
            n = np.floor(x * 1.4426950408889634 + 0.5)
            r = (x - n * 6.93145751953125e-1) - n * 1.42860682030941723212e-6
            return _exp64_of(r) * _power64(n)

        return double
    return lambda x: np.exp(x)


@overload(log1p, jit_options=INLINED)
def _log1p(x):
    if x == types.float32:

        def single(x):
            u = _f(1.0) + x
            correction = (x - (u - _f(1.0))) / u  # of the rounding of u
            n, m = _exponent32(u), _mantissa32(u)
            s = (m - _f(1.0)) / (m + _f(1.0))
            return s * _log32_of(s * s) + correction + n * _f(-2.12194440e-4) + n * _f(0.693359375)

        return single
    if x == types.float64:

        def double(x):
            u = 1.0 + x
            correction = (x - (u - 1.0)) / u  # of the rounding of u
            n, m = _exponent64(u), _mantissa64(u)
            s = (m - 1.0) / (m + 1.0)
            return s * _log64_of(s * s) + correction + n * 1.42860682030941723212e-6 + n * 6.93145751953125e-1

        return double
    return lambda x: np.log1p(x)
