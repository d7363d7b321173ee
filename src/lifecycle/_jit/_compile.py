"""Compile options, inlining, and the stamps by which the disk cache tells kernels apart.

No `parallel=True`: numba's threading layers abort or kill processes that thread or fork.

numba's disk cache looks at the source of a kernel's own file only, and names the file of a compiled kernel after its
`__qualname__`. So `kernel` and `native` append a stamp to that name: a hash of the kernel and of all that it uses. A
kernel is then compiled again after a function that it calls, or a constant that it uses, was edited.
"""

import hashlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numba
from numba.core import types
from numba.core.ccallback import CFunc
from numba.extending import register_jitable

from lifecycle._jit._disk_cache import disk_cache

# kernels call the functions of this package; the intrinsic functions among them show no code that could be hashed
_SOURCES = sorted(Path(__file__).parent.glob("*.py"))
_SOURCE_HASH = hashlib.sha256(b"".join(path.read_bytes() for path in _SOURCES)).digest()

# inlined by LLVM; numba's own inlining fails on conditional expressions
INLINED: Any = {"forceinline": True}
_elements: WeakSet[Callable] = WeakSet()


def kernel(function: Callable, *, reassociate: bool = False, contract: bool = False) -> Any:
    """Compile a serial loop: releases the GIL, cached on disk, IEEE division, no fast-math.

    `reassociate`: a sum may be taken in another order, the same at each call, which lets it be vectorized.
    `contract`: a product and a sum may be one operation with one rounding.
    """
    compiled = numba.njit(nogil=True, **_options(reassociate, contract))(stamped(function))
    if compiled is not function:  # NUMBA_DISABLE_JIT leaves the function as it is
        compiled._cache = disk_cache(function)
    return compiled


def native(function: Callable, *, reassociate: bool = False, arguments: int = 3) -> Any:
    """Compile a function of int64 arguments as a C function with an `address`, which any kind of thread may call.

    A loop takes (arguments, begin, end): the address of a table of its arrays' addresses and lengths, and its range.
    """
    signature = types.void(*[types.int64] * arguments)
    compiled: Any = CFunc(stamped(function), (signature.args, signature.return_type), {}, _options(reassociate))
    compiled._cache = disk_cache(function)
    compiled.compile()
    compiled.call = compiled.ctypes  # releases the GIL
    return compiled


def element(function: Callable) -> Any:
    """Decorator of a function that kernels call; outside of them it stays a plain Python function.

    It is always inlined: a loop that calls a function does not vectorize. A function that was decorated before is
    returned as it is.
    """
    if function in _elements:
        return function
    _elements.add(function)
    # the name of a nested function or a lambda does not tell which one it is
    return register_jitable(**INLINED)(stamped(function) if "<" in function.__qualname__ else function)


def _options(reassociate: bool, contract: bool = False) -> dict[str, Any]:
    flags = {flag for flag, allowed in (("reassoc", reassociate), ("contract", contract)) if allowed}
    return {"error_model": "numpy", "fastmath": flags or False}


def stamped(function: Callable) -> Callable:
    """The function under a name that it has with no other closure, code or constants.

    numba links compiled code by name, and two kernels out of its disk cache that were compiled in different
    processes may bear the same one: without a stamp, one rule or loss would silently run in place of another.
    """
    function.__qualname__ += f"_{stamp(function)[:16]}"
    return function


def stamp(function: Callable) -> str:
    """Hash of a function's code, of the constants that it uses, and of the functions that it calls.

    It is made of the compiled code that runs, not of the source on the disk, which may have changed since.
    """
    digest = hashlib.sha256(_SOURCE_HASH)
    _add_to_hash(function, digest, set())
    return digest.hexdigest()


def _add_to_hash(value: Any, digest: Any, seen: set[int]) -> None:
    value = value if inspect.isfunction(value) else getattr(value, "__wrapped__", value)  # a function with a cache
    if inspect.isfunction(value):
        if id(value) in seen or value.__module__.partition(".")[0] in ("numpy", "numba", "math"):
            digest.update(value.__qualname__.encode())
            return
        seen.add(id(value))
        _add_code(value.__code__, value, digest, seen)
        for defaults in (value.__defaults__, value.__kwdefaults__):
            digest.update(repr(defaults).encode())
        for cell in value.__closure__ or ():
            _add_to_hash(cell.cell_contents, digest, seen)
    elif not inspect.ismodule(value):
        digest.update(repr(value).encode())


def _add_code(code: Any, function: Any, digest: Any, seen: set[int]) -> None:
    digest.update(code.co_code + repr((code.co_names, code.co_varnames, code.co_freevars)).encode())
    for constant in code.co_consts:
        if inspect.iscode(constant):
            _add_code(constant, function, digest, seen)
        else:
            value = sorted(map(repr, constant)) if isinstance(constant, frozenset) else constant
            digest.update(repr(value).encode())
    for name in code.co_names:
        value = function.__globals__.get(name)
        _add_to_hash(value, digest, seen)
        if inspect.ismodule(value) and value.__name__.partition(".")[0] == function.__module__.partition(".")[0]:
            for attribute in code.co_names:  # module.function
                _add_to_hash(getattr(value, attribute, None), digest, seen)
