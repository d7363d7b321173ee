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
from numba.core import types
from numba.extending import intrinsic, overload, register_jitable
from numba.np.unsafe.ndarray import to_fixed_tuple as _to_fixed_tuple

__all__ = [
    "absolute", "bits", "element", "fetch_and_add", "first_after", "from_bits", "from_half_bits", "half_bits", "kernel",
    "maximum", "memory", "native", "noise", "sign", "sqrt", "stamp", "start", "to_fixed_tuple",
]  # fmt: skip


# kernels call the functions below, of which the intrinsic ones show no code that could be hashed
_OWN_SOURCE = hashlib.sha256(Path(__file__).read_bytes()).digest()


def kernel(function: Callable, mark: str = "", *, reassociate: bool = False) -> Any:
    """Compile a serial loop: releases the GIL, cached on disk, IEEE division, no fast-math.

    `mark`: the `stamp` of the functions that it takes from its closure; it must stand in its closure too.
    `reassociate`: a sum may be taken in another order, the same at each call, which lets it be vectorized.
    """
    return _cached(numba.njit, _named(function, mark), nogil=True, **_options(reassociate))


def native(function: Callable, mark: str = "", *, reassociate: bool = False, arguments: int = 3) -> Any:
    """Compile a function of int64 arguments as a C function with an `address`, which any kind of thread may call.

    A loop takes (arguments, begin, end): where the addresses and lengths of its arrays stand, and its range.
    """
    signature = types.void(*[types.int64] * arguments)
    made = _cached(partial(numba.cfunc, signature), _named(function, mark), **_options(reassociate))
    made.call = made.ctypes  # releases the GIL
    return made


def _options(reassociate: bool) -> dict[str, Any]:
    return {"error_model": "numpy", "fastmath": {"reassoc"} if reassociate else False}


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


def element(function: Callable, mark: str = "") -> Any:
    """Mark a function that kernels call; it stays a plain Python function outside of them. `mark` as in `kernel`."""
    return register_jitable(_named(function, mark))


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


_I16, _I32, _I64 = ir.IntType(16), ir.IntType(32), ir.IntType(64)


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


@intrinsic
def start(typingctx, address, arguments, begin, end):
    """Call the C function at an address (compiled code only)."""

    def codegen(context, builder, sig, args):
        function = builder.inttoptr(args[0], ir.FunctionType(ir.VoidType(), [_I64] * 3).as_pointer())
        builder.call(function, args[1:])
        return context.get_dummy_value()

    return types.void(*[types.int64] * 4), codegen


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

    @overload(function, inline="always")
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


@overload(noise, inline="always")
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
