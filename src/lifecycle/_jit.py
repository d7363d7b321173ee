"""The only home of numba: compile options, cache stamps, elementwise functions and raw memory access.

No `parallel=True`: its layers abort or kill processes that thread or fork.
"""

import hashlib
import inspect
import warnings
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numba
import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic, overload, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple as _to_fixed_tuple

__all__ = [
    "absolute", "bits", "element", "exp", "fetch_and_add", "first_after", "from_bits", "from_half_bits", "half_bits",
    "kernel", "like", "log1p", "maximum", "memory", "minimum", "native", "noise", "prefetch", "scratch", "sign", "sqrt",
    "stamp", "start", "to_fixed_tuple", "where",
]  # fmt: skip


# kernels call the functions below, of which the intrinsic ones show no code that could be hashed
_OWN_SOURCE = hashlib.sha256(Path(__file__).read_bytes()).digest()


def kernel(function: Callable, mark: str = "", *, reassociate: bool = False, contract: bool = False) -> Any:
    """Compile a serial loop: releases the GIL, cached on disk, IEEE division, no fast-math.

    `mark`: the `stamp` of the functions that it takes from its closure; it must stand in its closure too.
    `reassociate`: a sum may be taken in another order, the same at each call, which lets it be vectorized.
    `contract`: a product and a sum may be one operation with one rounding.
    """
    return _cached(numba.njit, _named(function, mark), nogil=True, **_options(reassociate, contract))


def native(function: Callable, mark: str = "", *, reassociate: bool = False, arguments: int = 3) -> Any:
    """Compile a function of int64 arguments as a C function with an `address`, which any kind of thread may call.

    A loop takes (arguments, begin, end): where the addresses and lengths of its arrays stand, and its range.
    """
    signature = types.void(*[types.int64] * arguments)
    made = _cached(partial(numba.cfunc, signature), _named(function, mark), **_options(reassociate))
    made.call = made.ctypes  # releases the GIL
    return made


def _options(reassociate: bool, contract: bool = False) -> dict[str, Any]:
    allowed = {flag for flag, wanted in (("reassoc", reassociate), ("contract", contract)) if wanted}
    return {"error_model": "numpy", "fastmath": allowed or False}


def _cached(compiler: Callable, function: Callable, **options: Any) -> Any:
    try:
        return compiler(cache=True, **options)(function)
    except RuntimeError as error:  # numba found no folder that it may write to
        if "no locator" not in str(error):
            raise
        _warn_once(
            "compiled kernels cannot be kept, as neither the package's folder nor the user's cache is writable: every "
            "process compiles them again; NUMBA_CACHE_DIR names another folder"
        )
        return compiler(**options)(function)


@cache
def _warn_once(sentence: str) -> None:
    warnings.warn(sentence, stacklevel=2)


# an inlined function, by the compiler; numba's own inlining trips over conditional expressions
_INLINED: Any = {"forceinline": True}


def element(function: Callable, mark: str = "") -> Any:
    """Mark a function that kernels call; it stays a plain Python function outside of them. `mark` as in `kernel`.

    It is always inlined: a loop that calls a function does not vectorize.
    """
    return register_jitable(**_INLINED)(_named(function, mark))


def _named(function: Callable, mark: str) -> Callable:
    """The function under a name that it has with no other closure.

    numba links compiled code by name, and two kernels out of its disk cache that were compiled in different
    processes may bear the same one: without this, one rule or loss would silently run in place of another.
    """
    if mark:
        function.__qualname__ += f"_{mark[:16]}"
    return function


def stamp(*parts: Any) -> str:
    """Hash of what functions do, and the functions that they call, and of constants, for the closure of a kernel.

    numba's disk cache looks at a kernel's own source only; with this string in its closure the kernel
    is compiled again after a function that it calls, or a constant that it uses, was edited. It is made of the
    compiled code that runs, not of the source on the disk, which may be another one by now. Whatever else makes two
    kernels of one function differ belongs into it too: numba tells them apart by their closures within a file that
    two processes may write at once, and by nothing once they are loaded.
    """
    found = hashlib.sha256(_OWN_SOURCE)
    seen: set[int] = set()
    for part in parts:
        _add_to_hash(part, found, seen)
    return found.hexdigest()


def _add_to_hash(value: Any, found: Any, seen: set[int]) -> None:
    if inspect.isfunction(value):
        if id(value) in seen or value.__module__.partition(".")[0] in ("numpy", "numba", "math"):
            found.update(value.__qualname__.encode())
            return
        seen.add(id(value))
        _add_code(value.__code__, value, found, seen)
        for part in (value.__defaults__, value.__kwdefaults__):
            found.update(repr(part).encode())
        for cell in value.__closure__ or ():
            _add_to_hash(cell.cell_contents, found, seen)
    elif not inspect.ismodule(value):
        found.update(repr(value).encode())


def _add_code(code: Any, function: Any, found: Any, seen: set[int]) -> None:
    found.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if inspect.iscode(constant):
            _add_code(constant, function, found, seen)
        else:
            plain = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            found.update(repr(plain).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        _add_to_hash(value, found, seen)
        if inspect.ismodule(value) and value.__name__.partition(".")[0] == function.__module__.partition(".")[0]:
            for attribute in code.co_names:  # module.function
                _add_to_hash(getattr(value, attribute, None), found, seen)


_f = np.float32
_I8, _I16, _I32, _I64 = ir.IntType(8), ir.IntType(16), ir.IntType(32), ir.IntType(64)


@intrinsic
def _pointer(typingctx, address, start, dtype):
    pointer = types.CPointer(dtype.dtype)

    def codegen(context, builder, sig, args):
        return builder.gep(builder.inttoptr(args[0], context.get_value_type(pointer)), [args[1]])

    return pointer(address, types.int64, dtype), codegen


@element
def memory(address, start, size, dtype):
    """`size` elements of a dtype, from the element `start` of those at an address (compiled code only)."""
    return numba.carray(_pointer(address, start, dtype), size)  # type: ignore[call-arg]


def scratch(size: int) -> Any:
    """A function (dtype) -> `size` elements on the stack, which a loop over them may keep in registers."""

    @intrinsic
    def on_stack(typingctx, dtype):
        def codegen(context, builder, sig, args):
            place = cgutils.alloca_once(builder, context.get_value_type(dtype.dtype), ir.Constant(_I64, size))
            place.align = 64
            return place

        return types.CPointer(dtype.dtype)(dtype), codegen

    # inlined, or the memory would be that of a function that has returned
    @register_jitable(inline="always")
    def made(dtype):
        return numba.carray(on_stack(dtype), size)  # type: ignore[call-arg]

    return made


@intrinsic
def start(typingctx, address, arguments, begin, end):
    """Call the C function at an address (compiled code only)."""

    def codegen(context, builder, sig, args):
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [_I64] * 3).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


@intrinsic
def _prefetch(typingctx, array, i):
    def codegen(context, builder, sig, args):
        view = cgutils.create_struct_proxy(sig.args[0])(context, builder, args[0])
        place = builder.bitcast(builder.gep(view.data, [args[1]]), _I8.as_pointer())
        kind = ir.FunctionType(ir.VoidType(), [_I8.as_pointer(), _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(function, [place, ir.Constant(_I32, 1), ir.Constant(_I32, 2), ir.Constant(_I32, 1)])
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


@element
def prefetch(array, i):
    """Have element i of a contiguous array brought into the cache (compiled code only)."""
    _prefetch(array, i)  # type: ignore[call-arg]


@intrinsic
def fetch_and_add(typingctx, address, n):
    """The int64 at an address, to which n is added in one indivisible operation (compiled code only)."""

    def codegen(context, builder, sig, args):
        return builder.atomic_rmw("add", builder.inttoptr(args[0], _I64.as_pointer()), args[1], "seq_cst")

    return types.int64(types.int64, types.int64), codegen


@element
def first_after(ends, place):
    """Index of the first of the rising numbers `ends` above `place` (numpy's searchsorted compiles much longer)."""
    low, high = 0, ends.size
    while low < high:
        middle = (low + high) // 2
        if ends[middle] > place:
            high = middle
        else:
            low = middle + 1
    return low


# array -> tuple of a length known when compiling; numba's type says nothing of how an intrinsic is called
to_fixed_tuple: Any = _to_fixed_tuple


# -- bits of a number ----------------------------------------------------------------------------------------------


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

    @overload(function, jit_options=_INLINED)
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


@overload(noise, jit_options=_INLINED)
def _noise_of(start, i, key):
    return lambda start, i, key: _noise(start, i, key)  # type: ignore[call-arg]


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


def minimum(x: Any, y: Any) -> Any:
    """Smaller of the two; NaN where either is NaN."""
    return np.minimum(x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """x where the condition holds, else y."""
    return np.where(condition, x, y)


def like(x: Any, constant: float) -> Any:
    """A constant in the precision of x: numba takes a number in the source for a float64, and all that it touches."""
    return constant


@overload(sqrt, jit_options=_INLINED)
def _sqrt(x):
    return lambda x: np.sqrt(x)


@overload(absolute, jit_options=_INLINED)
def _absolute(x):
    return lambda x: np.abs(x)


@overload(sign, jit_options=_INLINED)
def _sign(x):
    return lambda x: np.sign(x)


@overload(maximum, jit_options=_INLINED)
def _maximum(x, y):
    # written out, because numba's own np.maximum keeps the loop scalar
    return lambda x, y: x if (x > y or x != x) else y


@overload(minimum, jit_options=_INLINED)
def _minimum(x, y):
    return lambda x, y: x if (x < y or x != x) else y


@overload(where, jit_options=_INLINED)
def _where(condition, x, y):
    return lambda condition, x, y: x if condition else y


@overload(like, jit_options=_INLINED)
def _like(x, constant):
    return (lambda x, constant: _f(constant)) if x == types.float32 else (lambda x, constant: constant)


# -- exp and log1p: numba calls a library for each element, and these vectorize ------------------------------------


def exp(x: Any) -> Any:
    """e**x to about one unit in the last place; compiled, x is cut to what has a normal result."""
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


def _split_at(kind: Any, integer: Any, bias: int, shift: int, root_of_half: int) -> tuple[Any, Any]:
    """x > 0 as m * 2**n with m from 1/sqrt(2) to sqrt(2): functions for n and for m."""

    def place(builder, x):
        x = builder.bitcast(x, integer)
        away = builder.sub(x, ir.Constant(integer, root_of_half))
        return x, builder.ashr(away, ir.Constant(integer, shift))

    @intrinsic
    def exponent(typingctx, x):
        def codegen(context, builder, sig, args):
            return builder.sitofp(place(builder, args[0])[1], context.get_value_type(kind))

        return kind(kind), codegen

    @intrinsic
    def mantissa(typingctx, x):
        def codegen(context, builder, sig, args):
            x, n = place(builder, args[0])
            return builder.bitcast(
                builder.sub(x, builder.shl(n, ir.Constant(integer, shift))), context.get_value_type(kind)
            )

        return kind(kind), codegen

    return exponent, mantissa


_power32, _power64 = _power_of_two(types.float32, _I32, 127, 23), _power_of_two(types.float64, _I64, 1023, 52)
_exponent32, _mantissa32 = _split_at(types.float32, _I32, 127, 23, 0x3F3504F3)
_exponent64, _mantissa64 = _split_at(types.float64, _I64, 1023, 52, 0x3FE6A09E667F3BCD)

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
        return element(lambda x: head, stamp(coefficients))
    rest = _polynomial(coefficients[:-1])
    return element(lambda x: rest(x) * x + head, stamp(coefficients))


_exp32_of, _exp64_of, _log32_of, _log64_of = (_polynomial(c) for c in (_EXP32, _EXP64, _LOG32, _LOG64))


@overload(exp, jit_options=_INLINED)
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


@overload(log1p, jit_options=_INLINED)
def _log1p(x):
    if x == types.float32:

        def single(x):
            u = _f(1.0) + x
            lost = (x - (u - _f(1.0))) / u
            n, m = _exponent32(u), _mantissa32(u)
            s = (m - _f(1.0)) / (m + _f(1.0))
            return s * _log32_of(s * s) + lost + n * _f(-2.12194440e-4) + n * _f(0.693359375)

        return single
    if x == types.float64:

        def double(x):
            u = 1.0 + x
            lost = (x - (u - 1.0)) / u
            n, m = _exponent64(u), _mantissa64(u)
            s = (m - 1.0) / (m + 1.0)
            return s * _log64_of(s * s) + lost + n * 1.42860682030941723212e-6 + n * 6.93145751953125e-1

        return double
    return lambda x: np.log1p(x)
